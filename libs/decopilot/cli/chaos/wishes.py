"""Wishes of a thread beside messages: another answer, a fork, a file, to be put aside; drawn by themselves."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

FILE_BYTES = (1, 1_000, 70_000, 300_000)
BEGIN_S, END_S = 3.0, 4.0
APART_S = 2.5
"""So far apart messages are, more or less: how many there may be by a time."""


@dataclass(frozen=True, slots=True)
class Regenerate:
    """A message is to be answered anew: the one of this number, or whichever is the last."""

    at_s: float
    request: int
    number: int | None
    copies: int


@dataclass(frozen=True, slots=True)
class ForkOff:
    """Another thread is to begin with what this one holds up to a message, or with all; then `text` is posted to it."""

    at_s: float
    thread: str
    number: int | None
    text: str
    copies: int


@dataclass(frozen=True, slots=True)
class SendFile:
    """A file is uploaded, and sent with a message."""

    at_s: float
    filename: str
    size_bytes: int
    text: str

    @property
    def content(self) -> bytes:
        """What it holds."""
        return random.Random(self.filename).randbytes(self.size_bytes)


@dataclass(frozen=True, slots=True)
class PutAside:
    """The thread is archived, or taken back."""

    at_s: float
    archived: bool


Wish = Regenerate | ForkOff | SendFile | PutAside


def wishes_of(seed: str, thread: str, seconds: float) -> tuple[Wish, ...]:
    """Draw what is wished of a thread, in time."""
    last_s = max(BEGIN_S, seconds - END_S)
    found = _drawn(random.Random(f"{seed}/wishes"), thread, last_s)
    return tuple(sorted(found, key=lambda wish: wish.at_s))


def _drawn(chance: random.Random, thread: str, last_s: float) -> Iterator[Wish]:
    def copies() -> int:
        return chance.choices((1, 2), (7, 3))[0]

    def number(at_s: float) -> int | None:
        return None if chance.random() < 0.5 else chance.randint(1, 1 + int(at_s / APART_S))

    for request in range(1, 4):
        at_s = chance.uniform(BEGIN_S, last_s)
        yield Regenerate(at_s, request, number(at_s), copies())
    for file in range(1, 3):
        text = f"/count {chance.randint(3, 30)} {chance.choice((0, 20))}"
        yield SendFile(chance.uniform(0, last_s), f"{thread}-{file}.bin", chance.choice(FILE_BYTES), text)
    # Early enough to insist, and to go on in it.
    at_s = chance.uniform(min(BEGIN_S, 0.1 * last_s), 0.7 * last_s)
    text = f"/count {chance.randint(5, 40)} {chance.choice((5, 50))}"
    yield ForkOff(at_s, f"{thread}-fork", number(at_s), text, copies())
    for _ in range(2):
        yield PutAside(chance.uniform(BEGIN_S, last_s), archived=chance.random() < 0.7)
