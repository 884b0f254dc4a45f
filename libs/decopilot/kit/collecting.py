"""Collecting garbage: what a process that has imported much, and serves many, needs of the collector."""

import gc

ALLOCATIONS = 10_000
"""So many objects are made, beyond those that went, before the youngest are looked at; by default it is 700."""


def spare_the_collector(allocations: int = ALLOCATIONS) -> None:
    """Collect garbage more seldom from now on, and never look again at what is there by now.

    To look at all that a service has imported takes a tenth of a second and more, in which every run and every viewer
    waits.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(allocations, 20, 10)
