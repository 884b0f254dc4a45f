"""The OpenAPI document: valid, and neither more nor less than what is served."""

import ast
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from openapi_spec_validator import validate

import decopilot.domain
import decopilot_command
import decopilot_gateway
from decopilot.contracts.problems import PROBLEMS
from decopilot_gateway.app import build
from decopilot_gateway.settings import GatewaySettings

NO_BROKER = "nats://127.0.0.1:9"


@asynccontextmanager
async def application(prefix: str = "") -> AsyncIterator[web.Application]:
    settings = GatewaySettings.model_validate({"jwt_secret": "x" * 32, "nats_url": NO_BROKER, "path_prefix": prefix})
    async with build(settings) as (app, _):
        yield app


@pytest.mark.parametrize("prefix", ["", "/chat"])
async def test_the_document_is_valid_and_says_what_is_served_and_nothing_else(prefix: str) -> None:
    async with application(prefix) as app, TestClient(TestServer(app)) as client:
        answer = await client.get(f"{prefix}/openapi.json")
        document = await answer.json()
        served = {
            (route.method, route.resource.canonical.removeprefix(prefix))
            for route in app.router.routes()
            if route.resource is not None and route.method != "HEAD" and not route.resource.canonical.endswith("{path}")
        }
    validate(document)
    declared = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert declared == served
    assert [{"url": prefix or "/"}] == document["servers"]


async def test_every_endpoint_that_asks_who_one_is_declares_what_it_says_to_strangers() -> None:
    async with application() as app, TestClient(TestServer(app)) as client:
        document = await (await client.get("/openapi.json")).json()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                assert bool(operation["security"]) == ("401" in operation["responses"]), path


@pytest.mark.parametrize(
    "room", [decopilot_gateway, decopilot_command, decopilot.domain], ids=lambda room: room.__name__
)
def test_every_problem_code_that_is_written_anywhere_is_in_the_table(room: ModuleType) -> None:
    used = {code for path in Path(room.__path__[0]).rglob("*.py") for code in _codes(path)}
    assert used
    assert set() == used - PROBLEMS.keys()


def _codes(path: Path) -> set[str]:
    raised = {"ProblemError", "RefusedError", "Refused", "problem_response"}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in raised:
            values = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
            found |= {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)}
    return found
