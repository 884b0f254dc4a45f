"""Which core the measured server has for itself, and which are left to everything else."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_PIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"


@dataclass(frozen=True, slots=True)
class Cores:
    """The server's core, None where processes can't be pinned or there is only one; `others` are for all else."""

    server: int | None
    others: frozenset[int]

    @classmethod
    def found(cls) -> "Cores":
        """Divide what this process may use."""
        if sys.platform != "linux":
            return cls(None, frozenset())
        usable = os.sched_getaffinity(0)
        if len(usable) == 1:
            return cls(None, frozenset(usable))
        server = max(usable)
        return cls(server, frozenset(usable - {server}))

    def __str__(self) -> str:
        if self.server is None:
            return "not pinned: one core only" if self.others else "not pinned: this system can't"
        return f"server on core {self.server}, all else on {', '.join(map(str, sorted(self.others)))}"

    def for_server(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Return the command line that runs `argv` on the server's core."""
        if self.server is None:
            return tuple(argv)
        return (sys.executable, "-I", "-S", "-c", _PIN, str(self.server), *argv)

    @contextmanager
    def kept_by_us(self) -> Iterator[None]:
        """Keep this process, and what it starts, on the other cores."""
        if sys.platform != "linux" or self.server is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.others)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
