"""Which TCP ports of the loopback interface a child process may listen on."""

import random
import socket
from collections.abc import Set as AbstractSet

from decopilot.cli.errors import CliError

HOST = "127.0.0.1"

# Below every system's ephemeral range (Linux from 32768, macOS from 49152). A port from that range can be lent to an
# outgoing connection while its server restarts; a client that retries against its own closed port can even connect to
# itself, and then the server never gets the port back.
FIRST, LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Tell whether a server could listen on `port` now; ports that only linger in TIME_WAIT are free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def random_port(taken: AbstractSet[int] = frozenset()) -> int:
    """Return a free port outside `taken`."""
    for port in random.sample(range(FIRST, LAST), 200):
        if port not in taken and is_free(port):
            return port
    message = f"No free port found between {FIRST} and {LAST}."
    raise CliError(message)


def next_port(start: int, taken: AbstractSet[int] = frozenset()) -> int:
    """Return the first free port from `start` on, outside `taken`."""
    for port in range(start, min(start + 1000, 65_536)):
        if port not in taken and is_free(port):
            return port
    message = f"No free port found from {start} on."
    raise CliError(message)
