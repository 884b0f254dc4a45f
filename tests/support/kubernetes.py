"""Kubernetes objects as `kubectl kustomize` makes them of deploy/k8s."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from referencing import Registry, Resource
from ruamel.yaml import YAML

from support.node import environment, installed, node

K8S = Path(__file__).parents[2] / "deploy" / "k8s"
SCHEMAS = Path(__file__).parent / "schemas"
SERVICES = ("command", "runner", "reactor", "gateway")

Object = dict[str, Any]


@cache
def rendered(folder: Path) -> str:
    """Render a folder with a `kustomization.yaml`."""
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    assert kubectl is not None, "kubectl is missing: the `test` extra brings it"
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def objects(folder: Path, *kinds: str) -> list[Object]:
    """Read the objects of some kinds, or of all."""
    return [each for each in _all(folder) if not kinds or each["kind"] in kinds]


@cache
def _all(folder: Path) -> list[Object]:
    return [*YAML(typ="safe").load_all(rendered(folder))]


def named(folder: Path, kind: str, name: str) -> Object:
    """Find an object."""
    (found,) = (each for each in objects(folder, kind) if each["metadata"]["name"] == name)
    return found


def pod_of(workload: Object) -> Object:
    """Take what a workload makes pods of."""
    template: Object = workload["spec"]["template"]
    return template


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Tell whether a selector that only knows `matchLabels` chooses these labels."""
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def faults(found: Iterable[Object], version: str) -> list[str]:
    """Tell what a version of Kubernetes would not take, or does not know, of objects.

    Raises:
        FileNotFoundError: it has no objects of such a kind.

    """
    schemas = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    definitions = Resource.from_contents(json.loads((schemas / "_definitions.json").read_text()))
    # Read once, and not once an object as the command line of the package does.
    registry = (definitions @ Registry()).crawl()
    said = []
    for each in found:
        group, _, name = each["apiVersion"].rpartition("/")
        file = "-".join(part for part in (each["kind"].lower(), group.partition(".")[0], name) if part)
        judge = Draft202012Validator(json.loads((schemas / f"{file}.json").read_text()), registry=registry)
        said += [f"{each['kind']} {error.json_path}: {error.message[:200]}" for error in judge.iter_errors(each)]
    return said


def keda_faults(scaled: list[Object]) -> list[str]:
    """Ask KEDA's own types what is wrong with its objects; one text for each, empty where nothing is.

    Raises:
        NodeError: they could not be fetched.

    """
    installed(SCHEMAS)
    done = subprocess.run(
        [node(), "keda.mjs"],
        cwd=SCHEMAS,
        env=environment(),
        input=json.dumps(scaled),
        capture_output=True,
        text=True,
        check=True,
    )
    faults: list[str] = json.loads(done.stdout)
    return faults
