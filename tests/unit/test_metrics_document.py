"""The table of metrics says what the code measures."""

import ast
from functools import cache
from pathlib import Path

from support.metrics import ATTRIBUTES, ROOT, ROWS, Row

KINDS = {
    "create_histogram": "histogram",
    "create_counter": "counter",
    "create_up_down_counter": "gauge",
    "create_observable_gauge": "gauge",
}
SUFFIXES = {"histogram": "_seconds", "counter": "_total", "gauge": ""}


@cache
def declared() -> dict[str, tuple[str, str, Path]]:
    """Every instrument in the code: its kind, unit and module."""
    found: dict[str, tuple[str, str, Path]] = {}
    for path in sorted([*ROOT.glob("libs/decopilot/**/*.py"), *ROOT.glob("services/**/*.py")]):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "get_meter" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS:
                told = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg == "unit"}
                name = ast.literal_eval(node.args[0])
                assert name not in found
                found[name] = (KINDS[node.func.attr], told["unit"], path)
    return found


def test_the_table_has_each_instrument_and_no_other() -> None:
    assert {row.name: (row.kind, row.unit) for row in ROWS} == {
        name: (kind, "" if unit.startswith("{") else unit) for name, (kind, unit, _) in declared().items()
    }


def test_each_is_in_the_room_of_who_tells_it() -> None:
    services = {"gateway", "command", "runner", "reactor"}
    for row in ROWS:
        room = {part.removeprefix("decopilot_") for part in declared()[row.name][2].parts} & services
        assert room <= set(row.who)


def test_prometheus_knows_each_by_the_name_that_the_table_says() -> None:
    def shown(row: Row) -> str:
        return row.name.replace(".", "_") + SUFFIXES[row.kind]

    assert [shown(row) for row in ROWS] == [row.shown for row in ROWS]


def test_no_attribute_is_an_id() -> None:
    assert {"outcome", "code", "kind", "reason", "status", "command", "consumer"} == set().union(*ATTRIBUTES.values())
