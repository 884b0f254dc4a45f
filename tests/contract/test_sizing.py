"""The page on sizing and deploy/k8s say the same."""

from typing import Any

from ruamel.yaml import YAML

from support.kubernetes import K8S, SERVICES, named, pod_of

PRODUCTION = K8S / "overlays" / "production"
PAGE = K8S.parents[1] / "docs" / "sizing.md"


def test_what_pods_request_and_are_scaled_by_is_what_the_page_on_sizing_says() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if "Mi |" in line or "Gi |" in line]
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    nats: dict[str, Any] = YAML(typ="safe").load((K8S / "nats" / "values.yaml").read_text())
    resources = {
        name: pod_of(named(PRODUCTION, "Deployment", f"decopilot-{name}"))["spec"]["containers"][0]["resources"]
        for name in SERVICES
    }
    resources["NATS"] = nats["container"]["merge"]["resources"]
    assert {name: [cpu_and_memory, limit] for name, cpu_and_memory, limit, *_ in table} == {
        name: [f"{of['requests']['cpu']}, {of['requests']['memory']}", of["limits"]["memory"]]
        for name, of in resources.items()
    }
    scaled = {row[0]: int(row[4].split()[0].replace(",", "")) for row in table if row[0] in SERVICES}
    lags = {name: named(PRODUCTION, "ScaledObject", f"decopilot-{name}") for name in ("gateway", "runner", "reactor")}
    triggers = {name: found["spec"]["triggers"][0]["metadata"] for name, found in lags.items()}
    (cpu,) = named(PRODUCTION, "HorizontalPodAutoscaler", "decopilot-command")["spec"]["metrics"]
    assert scaled == {
        "command": cpu["resource"]["target"]["averageUtilization"],
        **{name: int(found.get("threshold") or found["lagThreshold"]) for name, found in triggers.items()},
    }
    copies = {row[0]: int(row[3]) for row in table}
    assert copies == dict.fromkeys(SERVICES, 2) | {"NATS": nats["config"]["cluster"]["replicas"]}
