"""The measurements beside peers, of ourselves: little of everything, and all of it exact."""

from pathlib import Path

import pytest

from bench.peers.measuring import measure
from bench.peers.ours import Decopilot
from bench.peers.scenarios import Sizes

LITTLE = Sizes(
    readers=(3,),
    rate=200.0,
    fanout_chunks=60,
    replay_chunks=300,
    reads=1,
    attaches=2,
    drops=3,
    kills=0,
    silence_s=60.0,
)


@pytest.mark.timeout(300)
async def test_of_ourselves_every_measurement_finds_every_chunk_once_and_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    found = await measure(Decopilot(), tmp_path, LITTLE, said.append)

    assert "" == found.skipped, said
    counted = [fanned.counted for fanned in found.fanout]
    counted += [replay.counted for replay in found.replays] + [drops.counted for drops in found.drops]
    assert [] == [flawed for flawed in counted if not flawed.is_exact], said
    assert ["written", "open", "ended"] == [replay.when for replay in found.replays]
    assert {"told"} == {drops.end for drops in found.drops}
    assert ["front", "producer", "store"] == [kills.part for kills in found.kills]
