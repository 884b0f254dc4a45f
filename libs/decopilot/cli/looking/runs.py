"""`decopilot runs`: the runs of all threads, as the log tells of them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import typer

from decopilot.cli.errors import CliError
from decopilot.cli.logs import clean, clean_json
from decopilot.cli.looking.reading import an_id, events, read_log, sequence_before, time_of
from decopilot.cli.reaching import Where
from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded, run_of
from decopilot.contracts.ids import RunId
from decopilot.contracts.views import RunSummary
from decopilot.domain.inspecting import Runs
from decopilot.log.store import Store

STATUSES = ("queued", "in_progress", "requires_action", "completed", "failed", "withdrawn")
_GOES_ON = {"queued", "in_progress"}
_COLOURS = {"failed": typer.colors.RED, "completed": typer.colors.GREEN, "requires_action": typer.colors.YELLOW}
_ROW = "{:<19}  {:<15}  {:>8}  {:>3}  {:<24}  {}"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which runs are told of."""

    org: str | None = None
    thread: str | None = None
    status: str | None = None
    since: str = "1d"
    limit: int = 50
    follow: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A run, and whose it is."""

    org: str
    thread: str
    summary: RunSummary


@dataclass(slots=True)
class Gathered:
    """Runs as their events come by: all that go on, and of those that are over the last so many that are asked for."""

    limit: int
    status: str | None
    going: dict[tuple[str, str, RunId], Runs] = field(default_factory=dict)
    over: deque[Seen] = field(default_factory=deque)

    def add(self, recorded: Recorded) -> Seen | None:
        """Take an event; return the run that it changed, as it stands."""
        run = run_of(recorded.event)
        if run is None:
            return None
        key = (recorded.org, recorded.thread, run)
        runs = self.going.setdefault(key, Runs())
        runs.add(recorded)
        summary = runs.get(run)
        if summary is None:  # asked for before the time that is looked at
            del self.going[key]
            return None
        seen = Seen(recorded.org, recorded.thread, summary)
        if summary.status not in _GOES_ON:
            del self.going[key]
            if self.status in {None, summary.status}:
                self.over.append(seen)
                if len(self.over) > self.limit:
                    self.over.popleft()
        return seen if self.status in {None, summary.status} else None

    def newest(self) -> Iterator[Seen]:
        """Tell of the last ones, the one that was asked for last at the end."""
        found = [*self.over]
        for (org, thread, run), runs in self.going.items():
            summary = runs.get(run)
            if summary is not None and self.status in {None, summary.status}:
                found.append(Seen(org, thread, summary))
        found.sort(key=lambda seen: seen.summary.requested_at)
        yield from found[-self.limit :]


def runs(where: Where, asked: Asked) -> None:
    """Print them; with `follow` also each whose state changes, as it does.

    Raises:
        CliError: no such status, no id, no time; or no broker.

    """
    if asked.status is not None and asked.status not in STATUSES:
        message = f"{asked.status!r} is no status of a run. There are: {', '.join(STATUSES)}."
        raise CliError(message)
    org = "*" if asked.org is None else an_id(asked.org, "org")
    thread = "*" if asked.thread is None else an_id(asked.thread, "thread")
    since = time_of(asked.since, datetime.now(UTC))
    filter_ = f"{subjects.EVENT_PREFIX}.{org}.{thread}.*"

    async def look(store: Store) -> None:
        gathered = Gathered(asked.limit, asked.status)
        has_told = False

        def tell_all() -> None:
            nonlocal has_told
            if not has_told:
                has_told = True
                _tell(gathered, asked)

        after = await sequence_before(store, filter_, since)
        async for _, recorded in events(store, filter_, after=after, follow=asked.follow, at_end=tell_all):
            changed = None if recorded is None else gathered.add(recorded)
            if changed is not None and has_told:
                _line(changed, as_json=asked.as_json)

    read_log(where, look)


def _tell(gathered: Gathered, asked: Asked) -> None:
    found = list(gathered.newest())
    if not asked.as_json:
        if found or asked.follow:
            typer.secho(_ROW.format("REQUESTED", "STATUS", "TOOK", "TRY", "ORG/THREAD", "RUN"), bold=True)
        else:
            typer.echo(f"No runs since {asked.since}. Look further back with --since 7d.", err=True)
    for seen in found:
        _line(seen, as_json=asked.as_json)


def _line(seen: Seen, *, as_json: bool) -> None:
    summary = seen.summary
    if as_json:
        told = {"org": seen.org, "thread": seen.thread} | summary.model_dump(mode="json", exclude_none=True)
        typer.echo(clean_json(told))
        return
    end = summary.ended_at or datetime.now(UTC)
    status = summary.status if summary.reason is None else f"{summary.reason}"
    row = _ROW.format(
        f"{summary.requested_at.astimezone():%Y-%m-%d %H:%M:%S}",
        status,
        _span((end - summary.requested_at).total_seconds()),
        summary.attempts,
        f"{seen.org}/{seen.thread}",
        summary.run_id,
    )
    typer.secho(clean(row), fg=_COLOURS.get(summary.status))


def _span(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004  a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} m {rest:02}" if minutes < 600 else f"{minutes // 60} h"  # noqa: PLR2004  ten hours
