"""The page on security: each wall names tests that are there, and says which where a name is there twice."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_whatever_is_said_to_hold_a_wall_is_one_file_of_tests() -> None:
    named = {*re.findall(r"(?:tests/\w+/)?test_\w+", PAGE)}
    paths = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    found = {name: [path for path in paths if f"/{path}".endswith(f"/{name}.py")] for name in named}
    assert len(named) > 30
    assert {} == {name: where for name, where in found.items() if len(where) != 1}


def test_every_border_has_a_wall_and_every_wall_a_border_that_is_drawn() -> None:
    drawn = {*re.findall(r"(?<![\w-])(\d)(?![\w-])", "".join(re.findall(r"^    .*$", PAGE, re.MULTILINE)))}
    rows = re.findall(r"^\| (\d[\d, ]*) \| .* \| .* \| .* \|$", PAGE, re.MULTILINE)
    assert drawn == {number for row in rows for number in re.findall(r"\d", row)} != set()
