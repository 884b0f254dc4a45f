"""Rules, dashboards, Prometheus' configuration: understood by its own tool, and of metrics that there are."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from decopilot_reactor.lagging import CONSUMERS
from support.metrics import ATTRIBUTES, ROOT
from support.promtool import promtool

OBSERVABILITY = ROOT / "deploy" / "observability"
RULES = OBSERVABILITY / "rules" / "decopilot.yml"
DASHBOARDS = sorted((OBSERVABILITY / "dashboards").glob("*.json"))
OF_SCRAPING = {"instance", "job"}
BESIDE = {
    "target_info": {"service_name", "service_instance_id", "service_version"},
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
    "process_open_fds": set[str](),
}
"""What is queried besides what the table has."""
_NO_METRICS = {"sum", "rate", "by", "le", "on", "or", "and", "max", "count", "absent", "increase", "vector"}
_NO_METRICS |= {"histogram_quantile", "clamp_min", "group_left"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(RULES)["groups"] for rule in group["rules"]]


def panels(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["panels"]
    return found


def queries(path: Path) -> list[str]:
    return [target["expr"].replace("$__rate_interval", "5m") for panel in panels(path) for target in panel["targets"]]


def asked_of(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of a query, and the labels that are asked of it."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    grouped = {
        label for group in re.findall(r"\b(?:by|on|group_left) ?\(([^)]*)\)", bare) for label in re.split(r", ?", group)
    }
    bare = re.sub(r"\b(?:by|on|group_left) ?\([^)]*\)", "", bare)
    for name, matchers in re.findall(r"\b([a-z_][a-z0-9_:]*)\b(?:\{([^}]*)\})?", re.sub(r"\[\w+\]", "", bare)):
        if name in _NO_METRICS:
            continue
        yield name, set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers)) | (grouped - OF_SCRAPING)


EXPRESSIONS = [
    *((f"rule {rule.get('record') or rule['alert']}", rule["expr"]) for rule in rules()),
    *((f"dashboard {path.stem}", query) for path in DASHBOARDS for query in queries(path)),
]


def test_each_query_is_of_a_metric_and_of_labels_that_there_are() -> None:
    recorded = {rule["record"]: set[str]() for rule in rules() if "record" in rule}
    known = ATTRIBUTES | BESIDE | recorded
    asked = 0
    for where, expression in EXPRESSIONS:
        labels_of_all = set[str]()
        found = list(asked_of(expression))
        for name, _ in found:
            assert name in known, f"{where}: {name}"
            labels_of_all |= known[name] | ({"le"} if name.endswith("_bucket") else set())
        for name, labels in found:
            asked += 1
            assert labels <= labels_of_all, f"{where}: {name} has no {labels - labels_of_all}"
    assert asked > 100


def test_a_query_is_held_against_what_it_names() -> None:
    assert [("decopilot_viewers", {"kind"})] == list(asked_of('sum by (kind, instance) (decopilot_viewers{kind="x"})'))
    assert [("a_total", {"of"}), ("b", {"of"})] == list(asked_of("sum by (of) (rate(a_total[5m])) / on (job) b"))


def test_each_bound_that_is_asked_for_is_a_buckets() -> None:
    code = "\n".join(path.read_text() for path in ROOT.glob("**/metrics.py") if ".venv" not in path.parts)
    bounds = {float(number) for number in re.findall(r"\b\d+\.\d+\b", code)}
    asked = {float(le) for _, expression in EXPRESSIONS for le in re.findall(r'le="([\d.]+)"', expression)}
    assert {0.25, 5.0} == asked & bounds == asked


def test_each_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    text = (ROOT / "docs" / "slo.md").read_text()
    sections = {f"docs/slo.md#{title.lower()}" for title in re.findall(r"^### (\w+)$", text, re.MULTILINE)}
    alerts = [rule for rule in rules() if "alert" in rule]
    assert all(alert["annotations"]["summary"] for alert in alerts)
    assert all(alert["labels"]["severity"] in {"page", "ticket"} for alert in alerts)
    assert sections == {alert["annotations"]["runbook_url"] for alert in alerts}
    assert sections == {f"docs/slo.md#{alert['alert'].lower()}" for alert in alerts}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_dashboard_is_whole(path: Path) -> None:
    board = json.loads(path.read_text())
    assert f"decopilot-{path.stem}" == board["uid"]
    assert [] == [number for number, count in Counter(panel["id"] for panel in board["panels"]).items() if count > 1]
    assert ["datasource"] == [variable["name"] for variable in board["templating"]["list"]]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in panel["targets"]:
            assert {"type": "prometheus", "uid": "${datasource}"} == target["datasource"] == panel["datasource"]


def test_there_is_a_dashboard_of_each_service_and_one_of_all() -> None:
    assert ["command", "gateway", "overview", "reactor", "runner"] == [path.stem for path in DASHBOARDS]


def test_a_lag_that_nobody_tells_is_told_of_every_consumer() -> None:
    (alert,) = [rule for rule in rules() if rule.get("alert") == "DecopilotLagUnknown"]
    assert [name for _, name in CONSUMERS] == re.findall(
        r'absent\(decopilot_consumer_lag{consumer="(\w+)"}\)', alert["expr"]
    )


def test_prometheus_takes_the_rules() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES)


def test_the_alerts_are_those_that_the_histories_ask_for() -> None:
    histories = OBSERVABILITY / "rules_test.yml"
    tried = {
        one["alertname"]
        for test in YAML(typ="safe").load(histories)["tests"]
        for one in test["alert_rule_test"]
        if one["exp_alerts"] or one["alertname"] in {"DecopilotAcceptSlow", "DecopilotFirstChunkSlow"}
    }
    assert {rule["alert"] for rule in rules() if "alert" in rule} == tried
    assert "SUCCESS" in promtool("test", "rules", histories)


def test_prometheus_takes_each_query_of_the_dashboards(tmp_path: Path) -> None:
    asked = [query for path in DASHBOARDS for query in queries(path)]
    file = tmp_path / "queries.yml"
    recorded = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(asked)]
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": recorded}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", file)


def test_prometheus_takes_its_configuration() -> None:
    file = OBSERVABILITY / "prometheus.yml"
    if file.exists():
        promtool("check", "config", file)
