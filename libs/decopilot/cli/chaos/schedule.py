"""What is going to happen, drawn from a seed alone before anything runs: who wishes what when, and what is broken."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from decopilot.cli.chaos.odds import INSTANT, PROCESSES, Blow, Family
from decopilot.cli.chaos.wishes import ForkOff, Wish, wishes_of

THREADS = 14
WATCHERS = 3
DELETED = 2
BEGIN_S = 2.0
NATS_APART_S, NATS_AWAY_S = 3.0, 6.0

Level = Literal["auto", "readonly"]
OnConflict = Literal["queue", "interrupt", "reject"]


@dataclass(frozen=True, slots=True)
class Post:
    """A message, sent to `copies` gateways at once."""

    at_s: float
    number: int
    text: str
    level: Level = "auto"
    on_conflict: OnConflict = "queue"
    copies: int = 1


@dataclass(frozen=True, slots=True)
class PostAgain:
    """A message that was sent before, word for word."""

    at_s: float
    number: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """The end of a message's run, or of whichever is active."""

    at_s: float
    number: int | None


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A message is taken back."""

    at_s: float
    number: int


@dataclass(frozen=True, slots=True)
class Resolve:
    """What is pending is resolved, as small facts or in a whole message; a `rival` says the contrary."""

    at_s: float
    approves: bool
    rival: bool
    is_whole_message: bool


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """The history is read, and a viewer attaches where it ends."""

    at_s: float
    rewind: bool


@dataclass(frozen=True, slots=True)
class Retitle:
    """Another title."""

    at_s: float
    title: str


@dataclass(frozen=True, slots=True)
class Delete:
    """The thread is deleted."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Trespass:
    """Somebody of another org tries a door."""

    at_s: float
    door: int


@dataclass(frozen=True, slots=True)
class Blunder:
    """A request that makes no sense."""

    at_s: float
    kind: int


Action = Post | PostAgain | Cancel | Withdraw | Resolve | TakeSnapshot | Retitle | Delete | Trespass | Blunder


@dataclass(frozen=True, slots=True)
class ViewerPlan:
    """A viewer that stays for some seconds, goes for some, and comes back at any gateway."""

    name: str
    thread: str
    rewind: bool
    from_start: bool
    stays_s: tuple[float, float]
    goes_s: tuple[float, float]
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """What happens to one thread."""

    name: str
    actions: tuple[Action, ...]
    viewers: tuple[ViewerPlan, ...]
    wishes: tuple[Wish, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A blow against a copy of a service; if that one is down, against the next that is up.

    The service `driver` is a runner that drives a run at that moment, if there is one.
    The service `tool` is the runner that executes the next call which leaves a mark, right after it did.
    """

    at_s: float
    service: str
    index: int
    blow: Blow
    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything."""

    seed: int
    seconds: float
    threads: tuple[ThreadPlan, ...] = ()
    faults: tuple[Fault, ...] = field(default=())

    @property
    def names(self) -> list[str]:
        """All threads that there may be, then the forks of them."""
        forks = (wish.thread for plan in self.threads for wish in plan.wishes if isinstance(wish, ForkOff))
        return [*(plan.name for plan in self.threads), *forks]


def draw(
    seed: int,
    seconds: float,
    *,
    watched: int = THREADS - 1,
    unwatched: int = 1,
    pace: float = 1.0,
    prefix: str = "chaos",
    families: Sequence[Family] = (PROCESSES,),
    intensity: float = 1.0,
    hangs: bool = True,
) -> Schedule:
    """Draw a schedule: the same from the same seed.

    At twice the `pace` there is half the time between two posts, at twice the `intensity` that between two faults.
    Without `hangs` nobody asks for an answer that never comes.
    """
    chance = random.Random(f"{seed}/threads")
    # The last threads have no viewers: what is stored must not depend on them.
    deleted = set(chance.sample(range(watched), DELETED))
    threads = tuple(
        _thread(
            f"{seed}/thread/{number}",
            f"{prefix}-{number}",
            seconds,
            pace,
            is_deleted=number in deleted,
            is_watched=number < watched,
            hangs=hangs,
        )
        for number in range(watched + unwatched)
    )
    faults = (
        fault
        for family in families
        for fault in _faults(random.Random(f"{seed}/faults/{family.name}"), seconds, family, intensity)
    )
    return Schedule(seed, seconds, threads, _in_time(faults, seconds))


def _thread(
    seed: str, name: str, seconds: float, pace: float, *, is_deleted: bool, is_watched: bool, hangs: bool
) -> ThreadPlan:
    chance = random.Random(seed)
    actions = list(_actions(chance, name, seconds, pace, hangs=hangs))
    if is_watched:
        actions += [TakeSnapshot(chance.uniform(2, seconds), rewind=chance.random() < 0.5) for _ in range(3)]
    if is_deleted:
        actions.append(Delete(chance.uniform(0.3, 0.8) * seconds))
    actions.sort(key=lambda action: action.at_s)
    viewers = tuple(_viewers(chance, name)) if is_watched else ()
    return ThreadPlan(name, tuple(actions), viewers, wishes_of(seed, name, seconds))


def _viewers(chance: random.Random, thread: str) -> Iterator[ViewerPlan]:
    coming_and_going = ((0.1, 5.0), (0.0, 0.6))
    # Away for longer than what has ended is kept: some of its cursors can't be served any more.
    often_away = ((1.0, 8.0), (2.0, 14.0))
    for name, rewind, (stays_s, goes_s) in (
        ("steady", True, ((600.0, 600.0), (0.0, 0.1))),
        ("restless", True, coming_and_going),
        ("undeclared", False, coming_and_going),
        ("absent", chance.random() < 0.5, often_away),
    ):
        yield ViewerPlan(f"{thread}/{name}", thread, rewind, chance.random() < 0.5, stays_s, goes_s)
    yield ViewerPlan(f"{thread}/slow", thread, chance.random() < 0.5, True, (2.0, 12.0), (0.0, 0.6), is_slow=True)  # noqa: FBT003  a probability's result


def _actions(chance: random.Random, thread: str, seconds: float, pace: float, *, hangs: bool) -> Iterator[Action]:
    at_s, number = chance.uniform(0, 2), 0
    while at_s < seconds:
        number += 1
        post = _post(chance, f"{thread}-{number}", at_s, number, hangs=hangs)
        yield post
        yield from _what_follows(chance, post)
        at_s += chance.uniform(0.4, 5.0) / pace
    yield Retitle(chance.uniform(2, seconds), f"Title of {thread}")
    for kind in range(3):
        yield Trespass(chance.uniform(0, seconds), chance.randrange(8))
        yield Blunder(chance.uniform(0, seconds), kind)


def _post(chance: random.Random, mark: str, at_s: float, number: int, *, hangs: bool) -> Post:
    kinds: list[tuple[float, str, Level]] = [
        (3, f"/count {chance.randint(5, 80)} {chance.choice((0, 5, 20))}", "auto"),
        (5, f"/count {chance.randint(20, 90)} 100", "auto"),
        (1, f"/count {chance.randint(500, 2000)} {chance.choice((0, 1))}", "auto"),
        (1, f"A text called {mark}", "auto"),
        (1, "/think the weather of tomorrow", "auto"),
        (1, "/weather Lima", "auto"),
        (1, f"/fail {chance.randint(0, 30)}", "auto"),
        (0.5, "/length", "auto"),
        (4, f"/steps {chance.randint(2, 8)} /note {mark}", "auto"),
        (1, f"/steps {chance.randint(2, 5)}", "auto"),
        (1.5, "/ask which colour it shall be", "auto"),
        (2, f"/delete {mark}", "readonly"),
        (1, f"/note {mark}", "readonly"),
        (1.5, f"/slowtool {chance.randint(1, 5)}", "auto"),
        (0.7 if hangs else 0.0, "/hang", "auto"),
    ]
    ((_, text, level),) = chance.choices(kinds, [weight for weight, _, _ in kinds])
    on_conflict: list[OnConflict] = ["queue", "interrupt", "reject"]
    return Post(
        at_s, number, text, level, chance.choices(on_conflict, (8, 1, 1))[0], chance.choices((1, 2, 3), (7, 2, 1))[0]
    )


def _what_follows(chance: random.Random, post: Post) -> Iterator[Action]:
    if post.text.startswith(("/ask", "/delete", "/note")) and chance.random() < 0.85:
        yield _resolve(chance, post.at_s + chance.uniform(1.5, 6))
    if chance.random() < 0.35:
        # What was interrupted asks too.
        yield _resolve(chance, post.at_s + chance.uniform(2, 12))
    if chance.random() < (0.8 if post.text == "/hang" else 0.15):
        yield Cancel(post.at_s + chance.uniform(0, 5), post.number)
    if chance.random() < 0.07:
        yield Cancel(post.at_s + chance.uniform(0, 5), None)
    if chance.random() < 0.12:
        yield Withdraw(post.at_s + chance.uniform(0, 3), post.number)
    if chance.random() < 0.2:
        yield PostAgain(post.at_s + chance.uniform(0.5, 15), chance.randint(1, post.number))


def _resolve(chance: random.Random, at_s: float) -> Resolve:
    return Resolve(
        at_s,
        approves=chance.random() < 0.75,
        rival=chance.random() < 0.3,
        is_whole_message=chance.random() < 0.3,
    )


def _in_time(faults: Iterable[Fault], seconds: float) -> tuple[Fault, ...]:
    return tuple(sorted((fault for fault in faults if fault.at_s < seconds), key=lambda fault: fault.at_s))


def _faults(chance: random.Random, seconds: float, family: Family, pace: float) -> Iterator[Fault]:
    weights = [weight for weight, _, _ in family.blows]
    at_s, nats_free_at_s = BEGIN_S, 0.0
    while at_s < seconds:
        ((_, service, blow),) = chance.choices(family.blows, weights)
        shortest_s, longest_s = family.for_s
        for_s = chance.uniform(shortest_s, min(longest_s, NATS_AWAY_S) if service == "nats" else longest_s)
        if blow in INSTANT:
            for_s = 0.0
        if service != "nats" or at_s >= nats_free_at_s:
            index = chance.randrange(THREADS)
            yield Fault(at_s, service, index, blow, for_s)
            if (service, blow) in {
                ("driver", "KILL"),
                ("driver", "TERM"),
                ("driver", "STOP"),
            } and chance.random() < 0.2:
                # The next one that takes the run up is hit too, and the one after that.
                yield from (Fault(at_s + again_s, service, index, "KILL") for again_s in (6.5, 13.0))
            if service == "nats":
                nats_free_at_s = at_s + for_s + NATS_APART_S
        at_s += chance.uniform(*family.every_s) / pace
