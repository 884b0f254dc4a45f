import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "observability"
PROVISIONING = FOLDER / "grafana" / "provisioning"
SERVICES = {"gateway", "command", "runner", "reactor"}


@cache
def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return found


def containers() -> dict[str, Any]:
    found: dict[str, Any] = read(ROOT / "docker-compose.yml")["services"]
    return found


def test_prometheus_asks_every_copy_of_every_service_at_its_health_port() -> None:
    jobs = {job["job_name"]: job["dns_sd_configs"] for job in read(FOLDER / "prometheus.yml")["scrape_configs"]}
    (port,) = re.findall(r"DECOPILOT_HEALTH_PORT=(\d+)", (ROOT / "deploy" / "Dockerfile").read_text())
    found = {name: (one["names"], one["type"], one["port"]) for name, (one,) in jobs.items()}
    assert {name: ([name], "A", int(port)) for name in SERVICES} == found
    assert set(containers()) >= SERVICES


def test_traces_find_the_collector_and_the_collector_finds_jaeger() -> None:
    collector = read(FOLDER / "otel-collector.yaml")
    example = (ROOT / "deploy" / ".env.example").read_text()
    (said,) = re.findall(r"^#OTEL_EXPORTER_OTLP_ENDPOINT=(\S+)$", example, re.MULTILINE)
    listens = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert ("otel-collector", urlsplit(f"//{listens}").port) == (urlsplit(said).hostname, urlsplit(said).port)
    assert {"otel-collector", urlsplit(f"//{collector['exporters']['otlp']['endpoint']}").hostname} <= set(containers())
    for pipeline in collector["service"]["pipelines"].values():
        for part, names in pipeline.items():
            assert set(names) <= set(collector[part])


def test_grafana_asks_what_is_there_and_finds_the_dashboards() -> None:
    sources = read(PROVISIONING / "datasources" / "decopilot.yaml")["datasources"]
    assert {"prometheus", "jaeger"} == {source["uid"] for source in sources}
    assert {urlsplit(source["url"]).hostname for source in sources} <= set(containers())
    metrics = next(source for source in sources if source["uid"] == "prometheus")
    exemplars = [one["datasourceUid"] for one in metrics["jsonData"]["exemplarTraceIdDestinations"]]
    assert ["jaeger"] == exemplars
    (provider,) = read(PROVISIONING / "dashboards" / "decopilot.yaml")["providers"]
    mounted = [volume.split(":") for volume in containers()["grafana"]["volumes"]]
    assert ["./deploy/observability", "/etc/decopilot", "ro"] in mounted
    assert "/etc/decopilot/dashboards" == provider["options"]["path"]


def test_what_compose_mounts_from_the_repository_is_there() -> None:
    sources = {volume.split(":")[0] for found in containers().values() for volume in found.get("volumes", ())}
    assert set() == {source for source in sources if source.startswith("./") and not (ROOT / source).exists()}
