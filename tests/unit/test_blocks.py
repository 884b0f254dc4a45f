"""What is remembered, against the plain list it stands for: nothing wrong, nothing doubled, and no more than may be."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from decopilot.log.blocks import BLOCK_BYTES, PIECE_BYTES, Block, Blocks, Memory, Piece

KINDS = st.sampled_from("abc")
SIZES = st.sampled_from((0, 1, 7, 40_000))
LIMIT_BYTES = 200_000


def piece(
    previous: int, sequence: int, kind: str = "a", size: int = 3, index: int = 0, *, ends: bool = False
) -> Piece[str]:
    return Piece(kind, previous, sequence, (b"%d;" % sequence).ljust(size, b"."), index, ends)


@given(st.lists(st.tuples(st.integers(1, 3), SIZES), min_size=1, max_size=40), st.data())
def test_a_block_gives_what_is_behind_each_of_its_positions_whatever_was_asked_before(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    given_: list[Piece[str]] = []
    block: Block[str] | None = None
    sequence = 5
    for step, size in steps:
        one = piece(sequence, sequence + step, size=size, index=len(given_))
        sequence += step
        if block is None:
            block = Block(one)
        elif not block.add(one):
            assert block.size + len(one.data) > BLOCK_BYTES
            break
        given_.append(one)
        place = data.draw(st.integers(0, len(given_) - 1))
        position = given_[place].previous
        assert block.follows(position)
        assert b"".join(there.data for there in given_[place:]) == block.behind(position)
        assert place == block.ordinal_behind(position)
    assert block is not None
    boundaries = {block.previous, *(there.sequence for there in given_)}
    assert boundaries == {position for position in range(sequence + 3) if block.follows(position)}


def test_a_block_takes_only_what_goes_on_with_it() -> None:
    block = Block(piece(1, 2))
    assert not block.add(piece(1, 3))
    assert not block.add(piece(2, 3, "b"))
    assert not block.add(piece(2, 3, size=BLOCK_BYTES))
    assert block.add(piece(2, 3, ends=True))
    assert not block.add(piece(3, 4))


def test_those_who_stand_at_the_tip_share_what_is_behind_it_and_so_do_those_who_want_all() -> None:
    block = Block(piece(1, 2))
    block.add(piece(2, 3))
    block.add(piece(3, 4))
    assert block.behind(2) is block.behind(2)
    block.settle()
    assert block.behind(1) is block.behind(1)


@dataclass
class Log:
    """A source: what it holds, what of it is gone, and how far it is known."""

    pieces: list[Piece[str]] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)

    def behind(self, position: int) -> list[Piece[str]]:
        return [one for one in self.pieces if one.sequence > position and one.sequence not in self.gone]


class Remembering(RuleBasedStateMachine):
    """Two sources that share a memory, read at random from anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory(LIMIT_BYTES)
        self.logs = [Log(), Log()]
        self.blocks = [Blocks[str](self.memory) for _ in self.logs]

    @rule(which=st.integers(0, 1), step=st.integers(1, 3), kind=KINDS, size=SIZES, ends=st.booleans())
    def push(self, which: int, step: int, kind: str, size: int, *, ends: bool) -> None:
        log = self.logs[which]
        last = log.pieces[-1].sequence if log.pieces else 0
        one = piece(last, last + step, kind, size, ends=ends)
        log.pieces.append(one)
        self.blocks[which].push(one)

    @rule(which=st.integers(0, 1), data=st.data())
    @precondition(lambda self: any(log.pieces for log in self.logs))
    def read(self, which: int, data: st.DataObject) -> None:
        log, blocks = self.logs[which], self.blocks[which]
        position = data.draw(st.sampled_from([0, *(one.sequence for one in log.pieces)]))
        block = blocks.near(position)
        if block is None:
            there = log.behind(position)
            block = blocks.fill(position, there[: data.draw(st.integers(1, 5))])
            if block is None:
                assert not there
                return
        if not block.follows(position):
            assert {one.sequence for one in log.pieces if position < one.sequence <= block.previous} <= log.gone
            return
        wanted = [one.data for one in log.pieces if position < one.sequence <= block.sequence]
        assert b"".join(wanted) == block.behind(position)

    @rule(which=st.integers(0, 1), data=st.data())
    @precondition(lambda self: any(log.pieces for log in self.logs))
    def purge(self, which: int, data: st.DataObject) -> None:
        log = self.logs[which]
        if log.pieces:
            upto = data.draw(st.sampled_from(log.pieces)).sequence
            log.gone |= {one.sequence for one in log.pieces if one.sequence < upto}

    @rule(which=st.integers(0, 1))
    def forget(self, which: int) -> None:
        self.blocks[which].clear()
        assert 0 == self.blocks[which].cost_bytes

    @invariant()
    def remembers_no_more_than_it_may(self) -> None:
        assert self.memory.used_bytes == sum(blocks.cost_bytes for blocks in self.blocks)
        largest = BLOCK_BYTES + PIECE_BYTES * BLOCK_BYTES
        assert self.memory.used_bytes <= max(LIMIT_BYTES, largest)


TestRemembering = Remembering.TestCase
TestRemembering.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_where_memory_is_full_what_was_not_read_for_longest_goes_first() -> None:
    memory = Memory(4 * (60_000 + PIECE_BYTES))
    one, other = Blocks[str](memory), Blocks[str](memory)
    for blocks in (one, other):
        for number in range(2):
            blocks.push(piece(number, number + 1, size=60_000, ends=True))
    assert one.near(0) is not None
    other.push(piece(2, 3, size=60_000, ends=True))
    assert one.near(1) is None
    assert one.near(0) is not None
    assert [True] * 3 == [other.near(position) is not None for position in range(3)]


def test_what_was_read_far_behind_is_there_for_who_reads_on_though_memory_is_full() -> None:
    memory = Memory(10 * (60_000 + PIECE_BYTES))
    blocks = Blocks[str](memory)
    for number in range(100, 110):
        blocks.push(piece(number, number + 1, size=60_000, ends=True))
    blocks.fill(0, [piece(number, number + 1, size=60_000, ends=True) for number in range(8)])
    assert [True] * 8 == [blocks.near(position) is not None for position in range(8)]
