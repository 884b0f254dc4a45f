"""Blocks: what a process remembers of its sources, ready for the wire: a cache, in which anything may be missing."""

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

BLOCK_BYTES = 64 * 1024
"""What a block is filled up to: few enough of them in a long run, and each a good piece to write at once."""
PIECE_BYTES = 64
"""What a piece takes in memory besides its bytes, about."""

KindT = TypeVar("KindT", bound=Hashable)


class Piece(NamedTuple, Generic[KindT]):
    """One item of a source, encoded once for all who read it.

    It is all there is of the source behind sequence `previous` up to `sequence`. Pieces of one `kind` that follow on
    one another may stand in one block, unless the former `ends` it. `ordinal` counts within the kind.
    """

    kind: KindT
    previous: int
    sequence: int
    data: bytes
    ordinal: int = 0
    ends: bool = False


class Block(Generic[KindT]):
    """Pieces of one kind that follow on one another: all there is of the source behind `previous` up to `sequence`."""

    __slots__ = (
        "_asked",
        "_ordinals",
        "_sequences",
        "_shaped",
        "_starts",
        "_tail",
        "_whole",
        "ends",
        "kind",
        "previous",
        "size",
    )

    def __init__(self, piece: Piece[KindT]) -> None:
        self.kind = piece.kind
        self.previous = piece.previous
        self.ends = False
        self.size = 0
        """Bytes of its pieces."""
        self._sequences = array("Q")
        self._ordinals = array("Q")
        self._starts = array("Q")
        # The first pieces in one, and those that came since.
        self._whole = b""
        self._tail: list[bytes] = []
        self._asked: tuple[int, bytes] | None = None
        self._shaped: tuple[Hashable, bytes] | None = None
        self._append(piece)

    def add(self, piece: Piece[KindT]) -> bool:
        """Take a piece in, if it goes on with this block and there is room; tell whether it did."""
        if (
            self.ends
            or piece.previous != self.sequence
            or piece.kind != self.kind
            or self.size + len(piece.data) > BLOCK_BYTES
        ):
            return False
        self._append(piece)
        return True

    def _append(self, piece: Piece[KindT]) -> None:
        self._sequences.append(piece.sequence)
        self._ordinals.append(piece.ordinal)
        self._starts.append(self.size)
        self._tail.append(piece.data)
        self.size += len(piece.data)
        self.ends = piece.ends
        self._asked = self._shaped = None

    @property
    def sequence(self) -> int:
        """The sequence of its last piece."""
        return self._sequences[-1]

    @property
    def cost_bytes(self) -> int:
        """What it takes in memory, about."""
        return self.size + PIECE_BYTES * len(self._sequences)

    def follows(self, position: int) -> bool:
        """Tell whether what it has behind a position is what comes next there."""
        place = bisect_right(self._sequences, position)
        return position == (self._sequences[place - 1] if place else self.previous)

    def ordinal_behind(self, position: int) -> int:
        """Tell the ordinal of its first piece behind a position."""
        return self._ordinals[bisect_right(self._sequences, position)]

    def behind(self, position: int) -> bytes:
        """Return what it has behind a position: at the tip, made once for all who stand there."""
        place = bisect_right(self._sequences, position)
        whole = len(self._sequences) - len(self._tail)
        if place < whole:
            self.settle()
            return self._whole[self._starts[place] :]
        if self._asked is None or self._asked[0] != place:
            self._asked = (place, b"".join(self._tail[place - whole :]))
        return self._asked[1]

    def shaped(self, how: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return what was made of it in some way, if nothing else was made since, or make it: for all who ask alike."""
        if self._shaped is None or self._shaped[0] != how:
            self._shaped = (how, make())
        return self._shaped[1]

    def settle(self) -> None:
        """Make one of its pieces: no more are to come soon, or somebody reads it from far behind."""
        if self._tail:
            self._whole = b"".join((self._whole, *self._tail))
            self._tail = []
            self._asked = None


class Memory:
    """What all blocks of a process may take; where it is full, those go that were not read for longest."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._owners: OrderedDict[Block[Any], Blocks[Any]] = OrderedDict()

    def took(self, block: Block[Any], owner: "Blocks[Any]", cost_bytes: int) -> None:
        """Note that a block has come, or grown, and make room."""
        self._owners[block] = owner
        self._owners.move_to_end(block)
        self.used_bytes += cost_bytes
        while self.used_bytes > self.limit_bytes and self._owners:
            unread, its_owner = next(iter(self._owners.items()))
            its_owner.forget(unread)

    def touch(self, block: Block[Any]) -> None:
        """Note that a block is read."""
        self._owners.move_to_end(block)

    def left(self, block: Block[Any]) -> None:
        """Note that a block is forgotten."""
        del self._owners[block]
        self.used_bytes -= block.cost_bytes


class Blocks(Generic[KindT]):
    """The blocks of one source, in order."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._blocks: list[Block[KindT]] = []
        self._sequences: list[int] = []

    @property
    def cost_bytes(self) -> int:
        """What they take in memory, about."""
        return sum(block.cost_bytes for block in self._blocks)

    def near(self, position: int) -> Block[KindT] | None:
        """Return the block that has what comes next behind a position, if it is here."""
        place = bisect_right(self._sequences, position)
        if place == len(self._blocks) or self._blocks[place].previous > position:
            return None
        block = self._blocks[place]
        self._memory.touch(block)
        return block

    def push(self, piece: Piece[KindT]) -> None:
        """Take in a piece that is newer than all others."""
        if self._blocks:
            newest = self._blocks[-1]
            before = newest.cost_bytes
            if newest.add(piece):
                self._sequences[-1] = piece.sequence
                self._memory.took(newest, self, newest.cost_bytes - before)
                return
            newest.settle()
        self._insert(len(self._blocks), [Block(piece)])

    def fill(self, position: int, pieces: Iterable[Piece[KindT]]) -> Block[KindT] | None:
        """Take in what the store has behind a position; returns the block that is next there, if there is any."""
        place = bisect_right(self._sequences, position)
        following = self._blocks[place] if place < len(self._blocks) else None
        made: list[Block[KindT]] = []
        for piece in pieces:
            if following is not None and piece.sequence > following.previous:
                break
            if not made or not made[-1].add(piece):
                made.append(Block(piece))
        for block in made:
            block.settle()
        self._insert(place, made)
        return made[0] if made else following

    def clear(self) -> None:
        """Forget everything."""
        for block in list(self._blocks):
            self.forget(block)

    def forget(self, block: Block[KindT]) -> None:
        """Forget a block."""
        place = bisect_left(self._sequences, block.sequence)
        del self._blocks[place], self._sequences[place]
        self._memory.left(block)

    def _insert(self, place: int, made: list[Block[KindT]]) -> None:
        self._blocks[place:place] = made
        self._sequences[place:place] = [block.sequence for block in made]
        for block in made:
            self._memory.took(block, self, block.cost_bytes)
