"""The README's commands, copied as they are."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from support.stack import running_stack

README = Path(__file__).parents[2] / "README.md"
MARK = "<!-- run by tests/e2e/test_readme.py -->\n```sh\n"


async def test_the_lines_of_the_readme_post_a_message_and_show_its_chunks_with_ids(tmp_path: Path) -> None:
    lines = README.read_text(encoding="utf-8").partition(MARK)[2].partition("```")[0]
    opened = running_stack(tmp_path, data_dir=tmp_path / ".decopilot")
    stack = await asyncio.to_thread(opened.__enter__)
    try:
        # As in a clone: `.venv` in the current folder. Only the port may differ, as the README says.
        (tmp_path / ".venv").symlink_to(Path(sys.prefix))
        ran = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-eu", "-c", lines.replace(":8080/", f":{stack.port}/").replace("--max-time 10", "--max-time 5")],
            cwd=tmp_path,
            env={**os.environ},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)
    assert '"taskId": "first"' in ran.stdout, ran.stderr
    deltas = re.findall(r'id: (\d+-\d+)\ndata: {"type":"text-delta","id":"[^"]+","delta":"([^"]+)"}', ran.stdout)
    assert "1 2 3 4 5" == "".join(text for _, text in deltas)
    assert len(deltas) == len({id_ for id_, _ in deltas})
    assert '{"type":"finish","finishReason":"stop"}' in ran.stdout
