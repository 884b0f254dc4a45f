"""Admitting: how many streams, and files that come or go, one user, one org and this process may have open at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from decopilot.contracts.ids import OrgId, UserId
from decopilot_gateway.problems import ProblemError


class Admission:
    """Counts open streams, and refuses one too many before it begins."""

    def __init__(self, *, per_user: int, per_org: int, in_all: int) -> None:
        self._per_user = per_user
        self._per_org = per_org
        self._in_all = in_all
        self._open: Counter[tuple[str, ...]] = Counter()

    @contextmanager
    def admit(self, org: OrgId, user: UserId | None) -> Iterator[None]:
        """Count a stream of a user's while the context is open; of nobody's where a link is followed.

        Raises:
            ProblemError: the user, the org or this gateway has as many as it may.

        """
        limits: list[tuple[tuple[str, ...], int, str]] = [
            ((org,), self._per_org, "The org has"),
            ((), self._in_all, "This gateway has"),
        ]
        if user is not None:
            limits.insert(0, ((org, user), self._per_user, "You have"))
        for counted, limit, who in limits:
            if self._open[counted] >= limit:
                raise ProblemError("too_many_streams", f"{who} {limit} streams open, which is the limit.")
        self._open.update(counted for counted, *_ in limits)
        try:
            yield
        finally:
            for counted, *_ in limits:
                self._open[counted] -= 1
                if not self._open[counted]:
                    del self._open[counted]
