import os
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from decopilot.cli.broker import MAX_PAYLOAD_BYTES
from decopilot.cli.nats_server import Server, write
from decopilot.contracts.configuration import Configuration
from decopilot.kit.configuration import read_configuration
from decopilot.kit.messaging import GRACE_S
from decopilot.kit.settings import Settings
from decopilot_command.settings import CommandSettings
from decopilot_gateway.app import DRAIN_S
from decopilot_gateway.settings import GatewaySettings
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.settings import RunnerSettings
from support.brokers import IMAGE
from support.kubernetes import (
    K8S,
    SCHEMAS,
    SERVICES,
    Object,
    faults,
    keda_faults,
    matches,
    named,
    objects,
    pod_of,
)
from support.node import installed

DEV, PRODUCTION = K8S / "overlays" / "dev", K8S / "overlays" / "production"
OVERLAYS = (DEV, PRODUCTION)
ROOT = K8S.parents[1]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SETTINGS: Mapping[str, type[Settings]] = {
    "provision": Settings,
    "command": CommandSettings,
    "runner": RunnerSettings,
    "reactor": ReactorSettings,
    "gateway": GatewaySettings,
}
FLUSH_S = 10.0
"""OTEL_EXPORTER_OTLP_TIMEOUT's default: how long the last export may take."""
VERSION = "1.34"
"""The oldest Kubernetes that knows all of it for good (preStop's sleep)."""

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)


def workloads(overlay: Path) -> dict[str, Object]:
    found = objects(overlay, "Deployment", "Job")
    return {each["metadata"]["name"].removeprefix("decopilot-"): each for each in found}


def container(overlay: Path, name: str) -> Object:
    (found,) = pod_of(workloads(overlay)[name])["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Secrets by name, made as docs/kubernetes.md has them made."""
    folder = tmp_path_factory.mktemp("k8s") / "secrets"
    shutil.copytree(K8S / "secrets", folder, ignore=lambda _, names: set(names) - {"kustomization.yaml"})
    write(folder / "nats", Server(), url="nats://nats.decopilot.svc:4222")
    (folder / "door.env").write_text(f"DECOPILOT_JWT_SECRET={'x' * 43}\n")
    (folder / "providers.env").write_text("OPENAI_API_KEY=sk-example\n")
    return {each["metadata"]["name"]: each["data"] for each in objects(folder, "Secret")}


@overlays
def test_an_overlay_is_what_kubernetes_knows_and_nothing_else(overlay: Path) -> None:
    found = [each for each in objects(overlay) if "keda.sh" not in each["apiVersion"]]
    assert len(found) > 20
    assert [] == faults(found, VERSION)
    deployment = objects(overlay, "Deployment")[0]
    assert [] != faults([{**deployment, "spec": {**deployment["spec"], "replica": 2}}], VERSION)


@pytest.mark.node
@pytest.mark.timeout(300)
def test_scaled_objects_are_what_keda_knows_and_nothing_else() -> None:
    scaled = objects(PRODUCTION, "ScaledObject")
    assert ["gateway", "reactor", "runner"] == sorted(each["metadata"]["name"].split("-")[1] for each in scaled)
    assert [""] * 3 == keda_faults(scaled)
    wrong = [{**scaled[0], "spec": {**scaled[0]["spec"], "minReplicaCount": "two"}}]
    assert [""] != keda_faults(wrong)

    types = installed(SCHEMAS) / "@kubernetes-models" / "keda" / "keda.sh" / "v1alpha1"

    def fields(name: str) -> set[str]:
        return set(re.findall(r'^    "(\w+)"\??:', (types / f"{name}.d.ts").read_text(), re.MULTILINE))

    for each in scaled:
        assert set() == set(each["spec"]) - fields("ScaledObjectSpec")
        assert set() == set(each["spec"].get("fallback", {})) - fields("Fallback")
        assert set() == set(each["spec"].get("advanced", {})) - fields("AdvancedConfig")
        for trigger in each["spec"]["triggers"]:
            assert set() == set(trigger) - fields("ScaleTriggers")


def test_each_service_is_scaled_by_one_and_no_overlay_says_how_many_there_are_of_what_is_scaled() -> None:
    scalers = objects(PRODUCTION, "HorizontalPodAutoscaler", "ScaledObject")
    targets = [each["spec"]["scaleTargetRef"]["name"] for each in scalers]
    assert sorted(f"decopilot-{name}" for name in SERVICES) == sorted(targets)
    assert [] == [each for each in objects(PRODUCTION, "Deployment") if "replicas" in each["spec"]]
    least = [each["spec"].get("minReplicas", each["spec"].get("minReplicaCount")) for each in scalers]
    assert {2} == set(least)


def test_runners_scale_before_they_are_full_and_gateways_long_before() -> None:
    def trigger(name: str) -> dict[str, str]:
        found: dict[str, str] = named(PRODUCTION, "ScaledObject", name)["spec"]["triggers"][0]["metadata"]
        return found

    at_once = RunnerSettings.model_fields["runs_at_once"].default
    assert at_once / 2 < int(trigger("decopilot-runner")["lagThreshold"]) < at_once
    assert int(trigger("decopilot-gateway")["threshold"]) <= GatewaySettings.model_fields["streams"].default / 2


@overlays
def test_images_are_targets_of_the_dockerfile_and_users_and_ports_those_of_the_images(overlay: Path) -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert {*SERVICES, "provision"} == set(workloads(overlay))
    for name in workloads(overlay):
        image = container(overlay, name)["image"].rpartition("/")[2].rpartition(":")[0]
        assert f"decopilot-{name}" == image
        assert name in targets
        pod = pod_of(workloads(overlay)[name])["spec"]["securityContext"]
        assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in DOCKERFILE
    http = {port["name"]: port["containerPort"] for port in container(overlay, "gateway")["ports"]}
    assert re.search(rf"DECOPILOT_HTTP_PORT={http['http']}\b", DOCKERFILE)
    assert re.search(rf"DECOPILOT_HEALTH_PORT={http['health']}\b", DOCKERFILE)


@overlays
@pytest.mark.parametrize("name", [*SERVICES, "provision"])
def test_a_service_accepts_what_it_is_told(
    overlay: Path, name: str, secrets: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, str] = {}
    for source in container(overlay, name)["envFrom"]:
        if "configMapRef" in source:
            told |= named(overlay, "ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            data = secrets[source["secretRef"]["name"]]
            told |= {key: b64decode(value).decode() for key, value in data.items()}
    told |= {entry["name"]: "pod" for entry in container(overlay, name).get("env", ())}

    fields = {f"DECOPILOT_{key.upper()}" for kind in (SETTINGS[name], Configuration) for key in kind.model_fields}
    everybody = {f"DECOPILOT_{key.upper()}" for kind in SETTINGS.values() for key in kind.model_fields}
    shared = set(named(overlay, "ConfigMap", container(overlay, name)["envFrom"][0]["configMapRef"]["name"])["data"])
    assert set() == {key for key in shared if key.startswith("DECOPILOT_")} - everybody
    assert set() == {key for key in set(told) - shared if key.startswith("DECOPILOT_")} - fields

    for key in [key for key in os.environ if key.startswith("DECOPILOT_")]:
        monkeypatch.delenv(key)
    for key, value in told.items():
        monkeypatch.setenv(key, value)
    settings = SETTINGS[name]()
    assert ("nats://nats.decopilot.svc:4222", name) == (settings.nats_url, settings.nats_user)
    assert ("0.0.0.0", 8081) == (settings.health_host, settings.health_port)
    if overlay == PRODUCTION:
        assert 3 == settings.replicas


@overlays
def test_secrets_that_are_referred_to_are_made_and_each_pod_has_its_own_password(
    overlay: Path, secrets: dict[str, dict[str, str]]
) -> None:
    referred = {
        name: {source["secretRef"]["name"] for source in container(overlay, name)["envFrom"] if "secretRef" in source}
        for name in workloads(overlay)
    }
    assert set() == set().union(*referred.values()) - set(secrets)
    assert {name: {f"decopilot-nats-{name}"} for name in referred} == {
        name: {each for each in found if each.startswith("decopilot-nats-")} for name, found in referred.items()
    }
    assert {"users.conf"} == set(secrets["decopilot-nats-users"])


@overlays
def test_what_comes_first_at_an_upgrade_is_the_job_and_what_all_are_told(overlay: Path) -> None:
    stage = {"matchLabels": {"decopilot/stage": "first"}}
    first = {
        (o["kind"], o["metadata"]["name"]) for o in objects(overlay) if matches(stage, o["metadata"].get("labels", {}))
    }
    needed = {("ConfigMap", o["metadata"]["name"]) for o in objects(overlay, "ConfigMap")}
    assert {("Job", "decopilot-provision"), ("ServiceAccount", "decopilot-provision")} | needed == first


@overlays
def test_pods_are_restricted_and_have_no_token(overlay: Path) -> None:
    assert "restricted" == objects(overlay, "Namespace")[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    for name, workload in workloads(overlay).items():
        pod = pod_of(workload)["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert named(overlay, "ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False
        assert f"decopilot-{name}" == pod["serviceAccountName"]
        assert {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}.items() <= pod[
            "securityContext"
        ].items()
        context = container(overlay, name)["securityContext"]
        assert {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        } == context
        resources = container(overlay, name)["resources"]
        assert ({"cpu", "memory"}, {"memory"}) == (set(resources["requests"]), set(resources["limits"]))


@overlays
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_time_to_leave_that_it_takes(overlay: Path, name: str) -> None:
    pod = pod_of(workloads(overlay)[name])["spec"]
    wait = container(overlay, name).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = 2 * DRAIN_S if name == "gateway" else GRACE_S
    assert pod["terminationGracePeriodSeconds"] >= wait + drain + FLUSH_S
    assert (5 if name == "gateway" else 0) == wait


@overlays
@pytest.mark.parametrize("name", SERVICES)
def test_ready_live_and_started_are_asked_for_apart(overlay: Path, name: str) -> None:
    found = container(overlay, name)
    asked = {probe: found[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"} == {
        probe: get["path"] for probe, get in asked.items()
    }
    assert {"health"} == {get["port"] for get in asked.values()}
    # Two connections are asked one after the other, a second each.
    assert found["readinessProbe"]["timeoutSeconds"] > 2


@overlays
def test_every_service_has_a_disruption_budget_and_is_spread(overlay: Path) -> None:
    budgets = objects(overlay, "PodDisruptionBudget")
    for name in SERVICES:
        labels = pod_of(workloads(overlay)[name])["metadata"]["labels"]
        assert [1] == [b["spec"]["maxUnavailable"] for b in budgets if matches(b["spec"]["selector"], labels)]
        spread = pod_of(workloads(overlay)[name])["spec"]["topologySpreadConstraints"]
        assert all(matches(each["labelSelector"], labels) for each in spread)
        assert {"topology.kubernetes.io/zone", "kubernetes.io/hostname"} == {each["topologyKey"] for each in spread}


@overlays
def test_walls_stand_around_every_pod_and_have_the_doors_that_it_needs(overlay: Path) -> None:
    policies = objects(overlay, "NetworkPolicy")

    def doors(labels: dict[str, str], way: str) -> Iterator[int]:
        for policy in policies:
            if matches(policy["spec"]["podSelector"], labels):
                for rule in policy["spec"].get(way, ()):
                    yield from (port["port"] for port in rule["ports"])

    traced = {4318} if overlay == PRODUCTION else set()
    for name, workload in workloads(overlay).items():
        labels = pod_of(workload)["metadata"]["labels"]
        walled = [p["spec"] for p in policies if matches(p["spec"]["podSelector"], labels)]
        assert any(["Ingress", "Egress"] == p["policyTypes"] and not {"ingress", "egress"} & set(p) for p in walled)
        assert {4222, 53} | traced | ({443} if name == "runner" else set()) == set(doors(labels, "egress"))
        assert ({8081, 8080} if name == "gateway" else {8081}) == set(doors(labels, "ingress"))
    broker = {"app.kubernetes.io/name": "nats", "app.kubernetes.io/component": "nats"}
    assert {4222, 6222, 8222} == set(doors(broker, "ingress"))


def test_the_broker_of_its_own_chart_is_the_one_that_is_tested() -> None:
    values: dict[str, Any] = YAML(typ="safe").load((K8S / "nats" / "values.yaml").read_text())
    assert IMAGE == f"nats:{values['container']['image']['tag']}"
    assert MAX_PAYLOAD_BYTES == values["config"]["merge"]["max_payload"]
    assert "always" == values["config"]["jetstream"]["merge"]["sync_interval"]
    mount = values["container"]["patch"][0]["value"]["mountPath"]
    assert f"/etc/nats-config/{values['config']['merge']['00$include']}" == f"{mount}/users.conf"
    volume = values["podTemplate"]["patch"][0]["value"]
    assert "decopilot-nats-users" == volume["secret"]["secretName"]
    settings = named(PRODUCTION, "ConfigMap", container(PRODUCTION, "provision")["envFrom"][0]["configMapRef"]["name"])
    assert str(values["config"]["cluster"]["replicas"]) == settings["data"]["DECOPILOT_REPLICAS"]


def test_the_configuration_that_is_mounted_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(K8S / "base")
    assert Configuration() == read_configuration()


def test_no_secret_is_in_git() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "deploy/k8s/secrets"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert {f"deploy/k8s/secrets/{name}" for name in (".gitignore", "kustomization.yaml")} >= set(tracked)
