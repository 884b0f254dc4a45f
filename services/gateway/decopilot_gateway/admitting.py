"""Admitting: how many streams one user, one org and this process may have open at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from decopilot_gateway.auth import Caller
from decopilot_gateway.problems import ProblemError


class Admission:
    """Counts open streams, and refuses one too many before it begins."""

    def __init__(self, *, per_user: int, per_org: int, in_all: int) -> None:
        self._per_user = per_user
        self._per_org = per_org
        self._in_all = in_all
        self._open: Counter[tuple[str, ...]] = Counter()

    @contextmanager
    def admit(self, caller: Caller) -> Iterator[None]:
        """Count a stream of the caller's while the context is open.

        Raises:
            ProblemError: the caller, its org or this gateway has as many as it may.

        """
        user, org, everyone = (caller.org, caller.user), (caller.org,), ()
        for counted, limit, who in (
            (user, self._per_user, "You have"),
            (org, self._per_org, "The org has"),
            (everyone, self._in_all, "This gateway has"),
        ):
            if self._open[counted] >= limit:
                raise ProblemError("too_many_streams", f"{who} {limit} streams open, which is the limit.")
        self._open.update((user, org, everyone))
        try:
            yield
        finally:
            for counted in (user, org, everyone):
                self._open[counted] -= 1
                if not self._open[counted]:
                    del self._open[counted]
