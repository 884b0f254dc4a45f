"""Does a promise break while versions are mixed? In full: `make rolling` (docs/upgrading.md)."""

from typing import Any

import pytest

from decopilot.cli.chaos.verdict import PROMISES
from rolling.launching import launch
from rolling.versions import PREVIOUS, following, has_previous, present, previous

pytestmark = pytest.mark.timeout(600)
SEED = 3


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of replacing every service, one copy after another, by this version and then by the one after it."""
    folder = tmp_path_factory.mktemp("rolling")
    versions = [present(), following(folder)]
    if has_previous():
        versions.insert(0, previous(folder))
    return launch(folder, versions, seed=SEED)


def test_no_promise_is_broken_while_every_service_is_replaced_one_by_one(report: dict[str, Any]) -> None:
    assert [] == report["violations"]
    assert set(PROMISES) >= set(report["checks"])


def test_what_only_the_newer_version_can_read_is_left_to_it(report: dict[str, Any]) -> None:
    assert report["found"]["renamed"] > 0
    assert report["found"]["headers"] > 0
    assert report["found"]["fields"] > 0
    assert report["left_to_newer"] > 0
    assert [] == report["lost"]


def test_nothing_that_an_older_version_meets_is_an_error_to_it(report: dict[str, Any]) -> None:
    assert [] == report["errors"]


def test_the_previous_version_is_among_those_that_are_mixed() -> None:
    if not has_previous():
        pytest.skip(f"the history does not reach back to {PREVIOUS[:7]}: only this version and the next were mixed")
