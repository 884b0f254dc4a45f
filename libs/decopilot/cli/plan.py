"""Which services `up` runs, in how many copies, on which ports."""

import sys
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from decopilot.cli.errors import CliError
from decopilot.cli.ports import HOST, next_port, random_port
from decopilot.cli.processes import Program

SERVICES = ("command", "runner", "reactor", "gateway")
MAX_COPIES = 64


def service_programs(
    scale: Mapping[str, int],
    web_port: int,
    taken: AbstractSet[int],
    environment: Callable[[str], Mapping[str, str]],
) -> list[Program]:
    """Return every copy of every service; the first gateway listens on `web_port`, further ones on the next free.

    `environment` tells what a service is told beside its port.
    """
    used = set(taken)
    programs = []
    for service in SERVICES:
        shared = {key: value for key, value in environment(service).items() if key != "DECOPILOT_HEALTH_PORT"}
        for index in range(1, scale.get(service, 1) + 1):
            if service == "gateway":
                port = web_port if index == 1 else next_port(web_port + 1, used)
                used.add(port)
                health_port = random_port(used)
                own = {"DECOPILOT_HTTP_HOST": HOST, "DECOPILOT_HTTP_PORT": str(port)}
            else:
                port = health_port = random_port(used)
                own = {}
            used.add(health_port)
            own["DECOPILOT_HEALTH_PORT"] = str(health_port)
            argv = (sys.executable, "-m", f"decopilot_{service}")
            ready, measured = f"http://{HOST}:{port}/readyz", f"http://{HOST}:{health_port}/metrics"
            programs.append(Program(service, index, argv, shared | own, port, ready, measured))
    return programs


def parse_scale(texts: Sequence[str]) -> dict[str, int]:
    """Read `runner=2,gateway=2`; raises `CliError` for an unknown service or a number out of range."""
    scale = {}
    for part in ",".join(texts).split(","):
        if not part.strip():
            continue
        service, _, number = part.strip().partition("=")
        least = 1 if service == "gateway" else 0
        if service not in SERVICES or not number.isdecimal() or not least <= int(number) <= MAX_COPIES:
            message = f"--scale {part!r}: say SERVICE=COPIES, of {', '.join(SERVICES)}, {least} to {MAX_COPIES} copies."
            raise CliError(message)
        scale[service] = int(number)
    return scale
