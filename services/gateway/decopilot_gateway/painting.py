"""Painting: what clients report of how long chunks took until they were painted, as a metric and in the run's trace."""

import time
from collections import Counter, OrderedDict
from typing import Annotated

from aiohttp import web
from opentelemetry.util.types import AttributeValue
from pydantic import BaseModel, ConfigDict, Field, model_validator

from decopilot.contracts.ids import OrgId, Run, RunId, Thread, ThreadId
from decopilot.kit import telemetry
from decopilot.log.inspection import Inspector
from decopilot_gateway.access import Access
from decopilot_gateway.auth import Caller, Doorman
from decopilot_gateway.bodies import read_body
from decopilot_gateway.metrics import PAINT
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.sampling import Sampling

REPORT_BYTES = 16 << 10
CHUNKS_MAX = 1_000
"""Chunks of a report: each is counted by itself."""
VALUES_MAX = 400
LONGEST_MS = 60_000
REPORTS_PER_MINUTE = 120
"""Reports of one user: a tab makes one in ten seconds, and one more when it is left."""
_TRACES = 1_000
_MINUTE_S = 60


class Paints(BaseModel):
    """So many chunks that took so long, in whole milliseconds."""

    model_config = ConfigDict(strict=True)
    ms: Annotated[int, Field(ge=0, le=LONGEST_MS)]
    chunks: Annotated[int, Field(ge=1, le=CHUNKS_MAX)]


class PaintBody(BaseModel):
    """Body of `POST …/paint`: of one run what was painted since the last report; `errorMs` is how wrong it may be."""

    thread_id: Thread = Field(alias="threadId")
    run_id: Run = Field(alias="runId")
    error_ms: Annotated[int, Field(strict=True, ge=0, le=LONGEST_MS, alias="errorMs")]
    paints: Annotated[list[Paints], Field(min_length=1, max_length=VALUES_MAX)]

    @model_validator(mode="after")
    def _check_chunks(self) -> "PaintBody":
        if sum(one.chunks for one in self.paints) > CHUNKS_MAX:
            msg = f"a report tells of at most {CHUNKS_MAX} chunks"
            raise ValueError(msg)
        return self

    def median_ms(self) -> int:
        """How long half of the chunks took at most."""
        counted = Counter[int]()
        for one in self.paints:
            counted[one.ms] += one.chunks
        left = (counted.total() + 1) // 2
        for ms in sorted(counted):
            left -= counted[ms]
            if left <= 0:
                return ms
        raise AssertionError


class Painting:
    """Handles `POST /{org}/decopilot/paint`: whoever may read a thread may tell how fast they saw it."""

    def __init__(self, doorman: Doorman, access: Access, inspector: Inspector, sampling: Sampling) -> None:
        self._doorman = doorman
        self._access = access
        self._inspector = inspector
        self._sampling = sampling
        self._traces: OrderedDict[tuple[OrgId, ThreadId, RunId], str | None] = OrderedDict()
        self._minute, self._reports = 0, Counter[tuple[str, str]]()

    async def handle(self, request: web.Request) -> web.Response:
        """Count what is reported; where nothing is measured any more it is checked, and counts for nothing."""
        caller = self._doorman.caller(request)
        headers = self._sampling.headers
        self._count(caller)
        body = await read_body(request, PaintBody, limit_bytes=REPORT_BYTES)
        state = await self._access.readable(caller, body.thread_id)
        if body.run_id not in state.runs:
            raise ProblemError("run_not_found", f"The thread has no run {body.run_id}.")
        if self._sampling:
            self._record(caller.org, body, await self._trace(caller.org, body.thread_id, body.run_id))
        return web.Response(status=204, headers=headers)

    def _count(self, caller: Caller) -> None:
        now = time.monotonic()
        if (minute := int(now // _MINUTE_S)) != self._minute:
            self._minute = minute
            self._reports.clear()
        who = caller.org, caller.user
        if self._reports[who] >= REPORTS_PER_MINUTE:
            detail = f"You have sent {REPORTS_PER_MINUTE} reports in a minute, which is the limit."
            raise ProblemError("too_many_reports", detail, retry_after_s=int(_MINUTE_S - now % _MINUTE_S) + 1)
        self._reports[who] += 1

    def _record(self, org: OrgId, body: PaintBody, traceparent: str | None) -> None:
        attributes: dict[str, AttributeValue] = {
            telemetry.ORG: org,
            telemetry.THREAD: body.thread_id,
            telemetry.RUN: body.run_id,
            "decopilot.paint.chunks": sum(one.chunks for one in body.paints),
            "decopilot.paint.p50_ms": body.median_ms(),
            "decopilot.paint.max_ms": max(one.ms for one in body.paints),
            "decopilot.paint.error_ms": body.error_ms,
        }
        # Within the run's trace the metric's exemplars lead there.
        headers = None if traceparent is None else {"traceparent": traceparent}
        with telemetry.span("paint", attributes, headers=headers):
            for one in body.paints:
                for _ in range(one.chunks):
                    PAINT.record(one.ms / 1000)

    async def _trace(self, org: OrgId, thread: ThreadId, run: RunId) -> str | None:
        key = org, thread, run
        if key not in self._traces:
            self._traces[key] = await self._inspector.traceparent(org, thread, run)
            if len(self._traces) > _TRACES:
                self._traces.popitem(last=False)
        return self._traces[key]
