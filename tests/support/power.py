"""Power that can be cut: file systems of their own, which lose what had not been written to their disk.

`kill -9` loses nothing that a process has written: the kernel has it. A disk here is an ext4 in a file, mounted by a
loop device, as root. Its power is cut as those who test file systems do it (`EXT4_IOC_SHUTDOWN`, as xfstests has it):
from one instant on nothing more reaches the disk, neither data nor journal; mounting it anew replays the journal and
shows what a machine finds that starts again. Such a disk has no cache that loses: what was written without a flush is
kept, which real ones may lose, too. So what is lost here is the least that a power cut takes.
"""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SIZE_BYTES = 40 << 30
"""Of the file, which has holes where nothing was written."""
_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_WITHOUT_FLUSHING_THE_JOURNAL = 2


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system whose power can be cut."""

    image: Path
    folder: Path

    def cut(self) -> None:
        """Cut the power: whatever is written from now on is lost, and what is on its way to the disk."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_JOURNAL))
        finally:
            os.close(descriptor)

    def restore(self) -> None:
        """Bring the power back, once nobody uses a file of it any more: there is what was on the disk."""
        self.unmount()
        self.mount()

    def mount(self) -> None:
        """Mount it where it belongs."""
        _run("mount", "-o", "loop", str(self.image), str(self.folder))

    def unmount(self) -> None:
        """Unmount it, with whatever is not written of it."""
        _run("umount", str(self.folder))


@contextmanager
def powered(folder: Path) -> Iterator[Disk]:
    """Have a disk while the context is open, mounted in the folder; needs root, mke2fs and loop devices."""
    folder.mkdir(parents=True)
    disk = Disk(folder.with_suffix(".img"), folder)
    with disk.image.open("wb") as image:
        image.truncate(SIZE_BYTES)
    _run("mkfs.ext4", "-q", "-F", "-N", "65536", str(disk.image))
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()
        disk.image.unlink()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
