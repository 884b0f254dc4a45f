"""Kubernetes gets services one by one, in the order that the rules of upgrading ask for."""

import re

import pytest

from support.kubernetes import K8S, matches, objects

DOCS = K8S.parents[1] / "docs"


@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_each_service_is_upgraded_by_itself_readers_before_writers(overlay: str) -> None:
    page = (DOCS / "kubernetes.md").read_text()
    (order,) = re.findall(r"for service in ([a-z ]+); do", page)
    rules = (DOCS / "upgrading.md").read_text()
    assert f"readers before writers:** {', '.join(f'`{name}`' for name in order.split())}." in rules
    for name in order.split():
        alone = {"matchLabels": {"app.kubernetes.io/name": f"decopilot-{name}"}}
        (found,) = (o for o in objects(K8S / "overlays" / overlay) if matches(alone, o["metadata"].get("labels", {})))
        assert ("Deployment", f"decopilot-{name}") == (found["kind"], found["metadata"]["name"])
