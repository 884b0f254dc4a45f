"""The tools and the configuration in docs/tools.md, exactly as they stand there, in a real runner."""

import re
import sys
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.events import RunCompleted
from decopilot.log.store import Store
from support.services import Record, Services

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"
BLOCK = re.compile(r"<!-- run by tests/integration/test_tools_page.py -->\n```\w+\n# (\S+)\n(.*?)```", re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the page's files in it."""
    files = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    assert ["shop_tools.py", "decopilot.toml"] == list(files)
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace('"python"', f'"{sys.executable}"'), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_the_tools_of_the_page_are_called_by_a_runner_that_reads_its_configuration(
    own_broker: EmbeddedBroker, store: Store, folder: Path
) -> None:
    record, services = Record.of(store), Services(folder, own_broker.url)
    runner = services.start("runner", demo_delay_ms=0, demo_dir=folder / "demo")
    try:
        await runner.ready()
        told: dict[str, tuple[str, object]] = {
            'order {"name": "apple"}': ("output-available", {"ordered": "apple", "count": 1}),
            'order {"name": "pear"}': ("output-error", "There are only 0 of pear."),
            'stock {"name": "apple"}': ("output-available", 3),
            'convert_time {"source_timezone": "x", "time": "12:00", "target_timezone": "UTC"}': ("output-error", None),
        }
        for number, (text, (state, expected)) in enumerate(told.items()):
            run = await record.send("t1", f"/tool {text}", f"m{number}")
            end = await record.end_of("t1", run, 60)
            assert isinstance(end, RunCompleted)
            assert end.message is not None
            (part,) = [part for part in end.message.parts if "toolCallId" in part]
            assert state == part["state"]
            assert expected in (part.get("output"), part.get("errorText"), None)
        run = await record.send("t1", "/tool cancel_orders", "m9")
        assert "run_requires_action" == (await record.end_of("t1", run)).type
    finally:
        services.end()
    assert [] == runner.complaints()
