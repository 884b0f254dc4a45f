import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from faststream import FastStream
from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI
from openapi_spec_validator import validate

from decopilot.contracts import subjects
from decopilot.contracts.configuration import Configuration
from decopilot.kit.pulling import PULL_S
from decopilot.kit.settings import Settings
from decopilot.log.permissions import Permissions
from decopilot.log.store import Store
from decopilot_command.app import build as build_command
from decopilot_reactor.app import build as build_reactor
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.app import build as build_runner
from decopilot_runner.settings import RunnerSettings
from support.brokers import login
from support.kubernetes import SCHEMAS
from support.node import installed
from support.services import running
from support.stack import free_port

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

import api_documents  # noqa: E402  a program, and no package
import asyncapi_document  # noqa: E402  what it stands on

LOOKS = 20
BUILD: dict[str, Callable[[dict[str, object]], FastStream]] = {
    "command": lambda told: build_command(Settings.model_validate(told), Configuration()),
    "runner": lambda told: build_runner(RunnerSettings.model_validate(told), Configuration()),
    "reactor": lambda told: build_reactor(ReactorSettings.model_validate(told), Configuration()),
}


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return api_documents.documents()


@pytest.fixture(scope="module")
def asyncapi(documents: dict[str, str]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(documents["asyncapi.json"])
    return loaded


def test_what_is_published_is_what_the_code_says(documents: dict[str, str]) -> None:
    published = {file.name: file.read_text(encoding="utf-8") for file in api_documents.FOLDER.iterdir()}
    assert set(documents) == set(published)
    changed = [name for name, text in documents.items() if published[name] != text]
    assert [] == changed, "run `make docs`, and look at what it changes: others may rely on what was there"


def test_the_http_api_is_valid_openapi(documents: dict[str, str]) -> None:
    validate(json.loads(documents["openapi.json"]))


@pytest.mark.node
@pytest.mark.timeout(300)
def test_the_document_of_subjects_is_valid_asyncapi(asyncapi: dict[str, Any]) -> None:
    schema = json.loads((installed(SCHEMAS) / "@asyncapi" / "specs" / "schemas" / "3.0.0.json").read_text())
    judge = jsonschema.Draft7Validator(schema)
    assert [] == [f"{error.json_path}: {error.message[:200]}" for error in judge.iter_errors(asyncapi)]
    broken = {**asyncapi, "channels": {**asyncapi["channels"], "more": {"adress": "decopilot.more"}}}
    assert not judge.is_valid(broken)


def test_whatever_the_document_refers_to_is_in_it(asyncapi: dict[str, Any]) -> None:
    def references(told: object) -> Iterator[str]:
        if isinstance(told, dict):
            yield from (value for key, value in told.items() if key == "$ref" and isinstance(value, str))
            for value in told.values():
                yield from references(value)
        elif isinstance(told, list):
            for value in told:
                yield from references(value)

    def is_there(reference: str) -> bool:
        at: object = asyncapi
        for step in reference.removeprefix("#/").split("/"):
            if not isinstance(at, dict) or step not in at:
                return False
            at = at[step]
        return True

    found = set(references(asyncapi))
    assert len(found) > 100
    assert [] == [reference for reference in found if not is_there(reference)]


@pytest.mark.parametrize("name", BUILD)
async def test_what_a_running_service_takes_is_what_the_document_says(
    name: str, settings: Settings, store: Store, asyncapi: dict[str, Any]
) -> None:
    assert store.nc.is_connected
    port = free_port()
    program = BUILD[name]({"nats_url": settings.nats_url, "health_port": port} | login(name))
    async with running(program, port):
        broker = program.broker
        assert isinstance(broker, NatsBroker)
        told = AsyncAPI(broker, schema_version="3.0.0").to_specification().to_jsonable()
        pulled = await _pulled(store)
    taken = {(None, channel["address"]) for channel in told["channels"].values()} | pulled
    said = {
        (operation.get("x-jetstream", {}).get("consumer"), asyncapi["channels"][_last(operation["channel"])]["address"])
        for key, operation in asyncapi["operations"].items()
        # What a service hears beside its intake, FastStream does not know of.
        if operation["action"] == "receive"
        and key.startswith(f"{name}_")
        and not key.endswith(("_signal", "_given_up"))
    }
    same = {
        (one, other)
        for one in taken
        for other in said
        if one[0] == other[0] and asyncapi_document.overlaps(one[1], other[1])
    }
    assert (taken, said) == ({one for one, _ in same}, {other for _, other in same})


async def _pulled(store: Store) -> set[tuple[str | None, str]]:
    """Tell from which consumers somebody pulls, and what these are of; between two pulls there is a moment of none."""
    pulled: set[tuple[str | None, str]] = set()
    for _ in range(LOOKS):
        for stream in (subjects.EVENTS_STREAM, subjects.BLOBS_STREAM):
            for told in await store.js.consumers_info(stream):
                if told.num_waiting:
                    filters = told.config.filter_subjects or [told.config.filter_subject or ""]
                    pulled |= {(told.name, str(filter_)) for filter_ in filters}
        await asyncio.sleep(2 * PULL_S / LOOKS)
    return pulled


def _last(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]


def test_a_subject_that_stands_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = asyncapi_document.SERVED["gateway"]
    more = Permissions(publish=(*gateway.publish, "decopilot.unheard.of"))
    monkeypatch.setattr(asyncapi_document, "SERVED", {"gateway": more})
    with pytest.raises(LookupError, match=r"decopilot\.unheard\.of"):
        asyncapi_document.document("0")


@pytest.mark.parametrize(
    ("filter_", "address", "expected"),
    [
        ("decopilot.event.*.*.run_failed", "decopilot.event.{org}.{thread}.run_failed", True),
        ("decopilot.event.*.*.run_failed", "decopilot.event.{org}.{thread}.run_queued", False),
        ("decopilot.event.>", "decopilot.event.{org}.{thread}.run_failed", True),
        ("decopilot.event.>", "decopilot.event", False),
        ("decopilot.command.*", "decopilot.command.send_message", True),
        ("decopilot.command.*", "decopilot.command.send.message", False),
        ("$O.b.M.*", "$O.b.C.{org}.{thread}.{blob}.{writing}", False),
    ],
)
def test_filters_choose_addresses_as_the_broker_does(filter_: str, address: str, expected: bool) -> None:  # noqa: FBT001
    assert expected == asyncapi_document.overlaps(filter_, address)
