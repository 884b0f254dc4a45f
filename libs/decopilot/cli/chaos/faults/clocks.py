"""Wrong clocks: a service's wall clock jumps while it runs, its monotonic clock goes on, as when NTP has lost its way.

By libfaketime, which is loaded into the process before it starts and reads how wrong it is to be from a file. The
broker's own clock is not made wrong: nats-server is linked statically and asks the kernel.
"""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from decopilot.cli.errors import CliError

_IN_PACKAGE = "vendor/libfaketime/src/libfaketime.so.1"
_OF_DEBIAN = "*/faketime/libfaketime.so.1"


class NoFaketimeError(CliError):
    """There is nothing that could make a clock wrong."""

    def __init__(self) -> None:
        super().__init__(
            "Clocks can't be made wrong here: libfaketime is missing. Install it by "
            "`pip install 'decopilot[chaos]'` or `apt-get install libfaketime`."
        )


def faketime() -> Path | None:
    """Find libfaketime: that of the Python package, or else that of the system."""
    spec = importlib.util.find_spec("libfaketime")
    if spec is not None and spec.origin is not None and (library := Path(spec.origin).parent / _IN_PACKAGE).exists():
        return library
    return next(iter(sorted(Path("/usr/lib").glob(_OF_DEBIAN))), None)


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of one process, right at first; `file` is its own, in a folder that is there."""

    file: Path

    def environment(self) -> Mapping[str, str]:
        """Tell what the process is to be started with, beside its own; what it starts itself has the same clock.

        Raises:
            NoFaketimeError: there is no libfaketime.

        """
        library = faketime()
        if library is None:
            raise NoFaketimeError
        self.be_off(0.0)
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }

    def be_off(self, seconds: float) -> None:
        """Be ahead by so many seconds, or behind if they are negative; from now on, in all at once."""
        # Replaced as a whole: one that is read half is no time.
        new = self.file.with_name(f"{self.file.name}.new")
        new.write_text(f"{seconds:+.3f}")
        os.replace(new, self.file)  # noqa: PTH105  of two paths


@dataclass(frozen=True, slots=True)
class Skew:
    """A clock that is wrong by so many seconds, and then right again: it jumps twice."""

    target: str
    clock: Clock
    off_s: float
    kind: str = "clock"

    async def begin(self) -> None:
        """Jump."""
        self.clock.be_off(self.off_s)

    async def end(self) -> None:
        """Jump back."""
        self.clock.be_off(0.0)
