"""Whatever streams say and whatever becomes of them, the browser library ends with what the log folds to."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.node import node
from support.stories import story

LIBRARY = Path(__file__).parents[2] / "libs/thread-client"
CASES = 320


def test_every_thread_ends_as_the_log_has_it_whatever_is_cut_reset_or_lost(pytestconfig: pytest.Config) -> None:
    given = pytestconfig.getoption("--seed")
    seeds = range(CASES) if given is None else [given]
    told = {seed: story(seed) for seed in seeds}
    lived = _live_through(list(told.values()))
    wrong = {seed: why for seed, one in told.items() if (why := _wrong(one, lived[seed]))}
    # The one with the least to read first: `--seed N` lives through it alone.
    shortest = sorted(wrong, key=lambda seed: sum(len(run["frames"]) for run in told[seed]["runs"]))
    assert [] == [f"--seed {seed}: {wrong[seed]}" for seed in shortest[:5]], f"{len(wrong)} of {len(told)} threads"


def _live_through(stories: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    given = "\n".join(map(json.dumps, stories))
    command = [node(), str(LIBRARY / "test/live_through.mjs")]
    ran = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == ran.returncode, ran.stderr
    return {one["seed"]: one for one in map(json.loads, filter(None, ran.stdout.split("\n")))}


def _wrong(told: dict[str, Any], lived: dict[str, Any]) -> str | None:
    if lived["faults"]:
        return str(lived["faults"][:3])
    wanted, got = [_shown(message) for message in told["runs"][-1]["history"]], [*map(_shown, lived["messages"])]
    differing = [pair for pair in zip(wanted, got, strict=True) if pair[0] != pair[1]]
    return f"{differing[0][1]}, not {differing[0][0]}" if differing else None


def _shown(message: dict[str, Any]) -> list[Any]:
    return [message["id"], message.get("metadata"), *map(_shown_part, message["parts"])]


def _shown_part(part: dict[str, Any]) -> dict[str, Any]:
    names = (
        "type",
        "state",
        "text",
        "toolCallId",
        "toolName",
        "input",
        "output",
        "errorText",
        "data",
        "url",
        "approval",
    )
    return {name: part[name] for name in names if part.get(name) is not None}
