"""The process: what thousands of open streams need of it."""

import resource
import sys

import structlog

SPARE_FILES = 100

log = structlog.get_logger()


def allow_files(connections: int) -> None:
    """Take as many open files as the process may have, and say so if they are too few for so many connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if files_left() < connections:
        log.warning("open_files_too_few", limit=hard, connections=connections)


def files_left() -> int:
    """Tell how many connections the process may have open: one too many would be accepted by nobody."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft - SPARE_FILES, 1)
