"""Command lines for programs that must not outlive the process that started them."""

import os
import signal
import sys
import threading
from collections.abc import Sequence

# Runs in the child before the program takes its place. Not a preexec_fn: that is Python between fork and exec, unsafe
# in a process with threads. A parent that died before the request was made sends no signal, hence the second look.
_DIE_WITH_PARENT = """
import os, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, int(sys.argv[1]), 0, 0, 0)
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[2]):
    os._exit(1)
try:
    os.execv(sys.argv[3], sys.argv[3:])
except OSError as error:
    print(f"{sys.argv[3]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)
"""


def bound_to_parent(argv: Sequence[str], death_signal: signal.Signals) -> tuple[str, ...]:
    """Return the command line that runs `argv` and, on Linux, gets `death_signal` when this process dies.

    The kernel watches the thread that starts the child, so only the main thread's children are bound; those of other
    threads would be killed when the thread ends.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return tuple(argv)
    return (sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(int(death_signal)), str(os.getpid()), *argv)
