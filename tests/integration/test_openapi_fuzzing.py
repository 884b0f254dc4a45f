"""Fuzzing by the document: all is answered as it tells, and what is refused appends nothing."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from decopilot.log.store import Store
from support.gateways import ORG, make_token
from support.whole import Whole, whole

EXAMPLES = 10
"""Of each endpoint, of good data and of bad, in CI; `--fuzz` multiplies them."""
CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]
STREAMS = {"attach", "watch"}
ELSEWHERE = {404: "not_found", 405: "method_not_allowed"}
"""What is another path than the document's, because an id in it was none at all."""
READS = {"GET", "HEAD"}

ResultT = TypeVar("ResultT")
Case = schemathesis.Case[Any]
Operation = APIOperation[Any, Any, Any, Any]


@dataclass
class Fuzzer:
    """Sends what hypothesis makes of the document, and holds every answer against it."""

    whole: Whole
    loop: asyncio.AbstractEventLoop
    head: int = 0
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    session: requests.Session = field(default_factory=requests.Session)

    def wait(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Wait for what the loop of the test does."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(90)

    def send(self, case: Case) -> None:
        """Send one request."""
        name = str(case.operation.definition.raw["operationId"])
        told = case.as_transport_kwargs(base_url=self.whole.gateway.url)
        told["headers"] = {**told["headers"], "Authorization": f"Bearer {make_token()}"}
        told["cookies"] = None
        try:
            response = self.session.request(**told, timeout=20, stream=name in STREAMS, allow_redirects=False)
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
            return  # no HTTP that this client can send
        with response:
            self.answered[name, response.status_code] += 1
            self._check(case, name, response)
        accepted = response.ok and case.method not in READS
        head = self.wait(self.whole.rest() if accepted else self.whole.head())
        assert accepted or self.head == head, f"{case.method} {response.url} was {response.status_code} and appended"
        self.head = head

    def _check(self, case: Case, name: str, response: requests.Response) -> None:
        status = response.status_code
        assert status < 500, f"{case.method} {response.url} {case.body!r:.2000}: {status} {response.text[:500]}"
        if name in STREAMS and response.ok:
            assert "text/event-stream" == response.headers["Content-Type"].partition(";")[0]
            assert next(response.iter_content(64)).startswith((b"id: ", b": ", b"retry: ", b"event: "))
            return
        if status in ELSEWHERE and response.json()["code"] == ELSEWHERE[status]:
            return
        case.validate_response(response, checks=[*CHECKS])


def operations(gateway_url: str) -> list[Operation]:
    """Read every operation out of the document that the gateway serves."""
    document = requests.get(f"{gateway_url}/openapi.json", timeout=10).json()
    found = schemathesis.openapi.from_dict(document).get_all_operations()
    return [result.ok() for result in found if isinstance(result, Ok)]


def cases(operation: Operation, known: dict[str, str], mode: GenerationMode) -> st.SearchStrategy[Case]:
    """Make requests of one endpoint: of our org most of the time, and half of them of what there is in it."""
    names = {parameter.name for parameter in operation.path_parameters}
    ours, there = ({name: known[name] for name in names & wanted} for wanted in ({"org"}, {*known}))
    is_all = not operation.query and not operation.body
    told = [{}, ours, there, there] if mode == GenerationMode.POSITIVE or not is_all else [{}, ours]
    made: st.SearchStrategy[Case] = st.one_of(
        [operation.as_strategy(mode, path_parameters=fixed or None) for fixed in told]
    )
    return made


async def prepare(running: Whole, thread: str) -> dict[str, str]:
    """Have one of everything in the org; returns their ids by their names in paths."""
    api = running.gateway.api
    status, run = await api.post(thread, "Hello", message_id="m1")
    assert 202 == status
    url, headers = api.path(f"decopilot/threads/{thread}/files?filename=a.txt"), {"Content-Type": "text/plain"}
    status, file = await api.call("POST", url, data=b"abc", headers=headers)
    assert 201 == status
    return {"org": ORG, "thread": thread, "run": run["runId"], "message": "m1", "file": file["id"], "name": "report"}


@pytest.mark.timeout(600)
async def test_whatever_is_sent_is_answered_as_the_document_tells_and_what_is_refused_appends_nothing(
    request: pytest.FixtureRequest, broker_url: str, store: Store, tmp_path: Path
) -> None:
    examples = int(EXAMPLES * request.config.getoption("--fuzz"))
    drawn = request.config.getoption("--seed") or 0
    automations = {"report": {"org": ORG, "message": "Sum up."}}
    async with whole(broker_url, store, tmp_path, automations) as running:
        fuzzer = Fuzzer(running, asyncio.get_running_loop())

        def fuzz() -> None:
            for number, operation in enumerate(operations(running.gateway.url)):
                known = fuzzer.wait(prepare(running, f"t{number}"))
                fuzzer.head = fuzzer.wait(running.rest())
                modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
                for mode in modes if operation.path_parameters or operation.query else modes[:1]:
                    _fuzzing(fuzzer, cases(operation, known, mode), examples, drawn)()

        await asyncio.to_thread(fuzz)
        print(sorted(fuzzer.answered.items()))  # noqa: T201  shown where the test fails
        assert [] == running.complaints()


def _fuzzing(fuzzer: Fuzzer, made: st.SearchStrategy[Case], examples: int, drawn: int) -> Callable[[], None]:
    @seed(drawn)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(made)
    def run(case: Case) -> None:
        fuzzer.send(case)

    return run
