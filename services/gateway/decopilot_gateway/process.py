"""The process: what thousands of open streams need of it."""

import gc
import resource

import structlog

SPARE_FILES = 100

log = structlog.get_logger()


def allow_files(streams: int) -> None:
    """Take as many open files as the process may have, and say so if they are too few for so many streams."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < streams + SPARE_FILES:
        log.warning("open_files_too_few", limit=hard, streams=streams)


def spare_the_collector() -> None:
    """Collect garbage seldom, and never look at what was there from the start.

    Whoever is attached is a few hundred objects that stay: to look at those of 5,000 takes up to a second, and all of
    them wait for it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 10)
