"""Which chunks are dated, and what is made of the reports of them."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.store import Stored
from decopilot_gateway import sse
from decopilot_gateway.painting import CHUNKS_MAX, LONGEST_MS, PaintBody
from decopilot_gateway.sampling import TIME, Sampling
from decopilot_gateway.settings import GatewaySettings

STORED_AT = "2026-01-02T03:04:05.678901234Z"
STORED_MS = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC).timestamp() * 1000


def events(sampling: Sampling, sequence: int = 7) -> bytes:
    """Encode a frame of two chunks as it comes live."""
    headers = {"Decopilot-Frame": "f", "Decopilot-Attempt": "1", "Decopilot-Index": "0", "Decopilot-Previous": "0"}
    headers["Nats-Time-Stamp"] = STORED_AT
    stored = Stored(
        sequence,
        "decopilot.chunk.acme.t1.run_1",
        headers,
        b'{"type":"a"}\n{"type":"b"}',
    )
    source = sampling.source(OrgId("acme"), ThreadId("t1"))
    return source.piece(source.decode(stored), 0).data


def test_without_a_share_no_chunk_is_dated_and_no_time_is_told() -> None:
    assert b'id: 7-0\ndata: {"type":"a"}\n\nid: 7-1\ndata: {"type":"b"}\n\n' == events(Sampling(0))
    assert {} == Sampling(0).headers


def test_all_chunks_of_a_frame_are_dated_in_a_comment_that_leaves_cursors_and_chunks_as_they_are() -> None:
    dated = events(Sampling(1))
    assert 2 == dated.count(b"\n: stored %.1f\ndata: " % STORED_MS)
    assert ["7-0", "7-1"] == [str(sse.cursor_of(event)) for event in sse.split(dated)]
    assert [{"type": "a"}, {"type": "b"}] == sse.chunks_of(dated)
    assert 2 == sse.count(dated)
    assert [TIME] == [*Sampling(1).headers]


def test_a_share_is_about_so_many_frames_and_the_same_ones_everywhere() -> None:
    taken = [sequence for sequence in range(10_000) if Sampling(0.1).takes(sequence)]
    assert 900 < len(taken) < 1_100
    assert taken == [sequence for sequence in taken if Sampling(0.3).takes(sequence)]
    assert b"stored" in events(Sampling(0.1), taken[0])
    assert b"stored" not in events(Sampling(0.1), taken[0] + 1)


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan", "inf", "much"])
def test_a_share_that_is_none_is_refused_at_the_start(share: str) -> None:
    with pytest.raises(ValidationError, match="paint_sample"):
        GatewaySettings.model_validate({"jwt_secret": "x" * 32, "paint_sample": share})


def report(*paints: tuple[int, int]) -> dict[str, object]:
    told = [{"ms": ms, "chunks": chunks} for ms, chunks in paints]
    return {"threadId": "t1", "runId": "run_1", "errorMs": 2, "paints": told}


@pytest.mark.parametrize(
    ("paints", "median"),
    [([(5, 1)], 5), ([(9, 1), (5, 1)], 5), ([(9, 2), (5, 1)], 9), ([(100, 1), (20, 3), (20, 3), (1, 2)], 20)],
)
def test_the_median_is_that_of_all_chunks(paints: list[tuple[int, int]], median: int) -> None:
    assert median == PaintBody.model_validate(report(*paints)).median_ms()


def test_a_report_is_full_and_no_fuller() -> None:
    assert LONGEST_MS == PaintBody.model_validate(report((LONGEST_MS, CHUNKS_MAX))).median_ms()
    for many in ([(1, CHUNKS_MAX), (2, 1)], [(LONGEST_MS + 1, 1)], [(-1, 1)], [(1, 0)], []):
        with pytest.raises(ValidationError):
            PaintBody.model_validate(report(*many))
