"""The API's own description: every endpoint is declared here, and served because it is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic.json_schema import models_json_schema

from decopilot.contracts.commands import Receipt, RunStatus, ThreadStatus, Visibility
from decopilot.contracts.configuration import TIERS
from decopilot.contracts.events import FailureReason
from decopilot.contracts.messages import ApprovalLevel, Mode, UIMessage
from decopilot.contracts.problems import PROBLEMS
from decopilot_gateway.automating import FireBody
from decopilot_gateway.branching import ForkBody, RegenerateBody
from decopilot_gateway.facts import InteractionsBody
from decopilot_gateway.painting import PaintBody
from decopilot_gateway.posting import MessagesBody
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.wishing import CancelBody, ChangeBody

_ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
PATIENCE_S = 1.0
_REF = "#/components/schemas/"
_FILE_BODY: dict[str, dict[str, Any]] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
            "required": ["file"],
        }
    },
    "*/*": {},
}
_BODIES = (MessagesBody, InteractionsBody, CancelBody, ChangeBody, RegenerateBody, ForkBody, FireBody, PaintBody)
_EVERYWHERE = (
    "malformed_request",
    "request_too_slow",
    "uri_too_long",
    "headers_too_large",
    "too_many_connections",
)
"""What is said of any request, before anybody looks for what it is about."""
_OPTIONAL = {"Problem": {"outcome"}}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: what it is, and who handles it. `answers` maps a status to its description and schema.

    A `body` of a media type is a file's; any other is the name of a schema.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    answers: dict[int, tuple[str, str | None]]
    problems: tuple[str, ...] = ()
    query: dict[str, dict[str, Any]] = field(default_factory=dict)
    body: str | None = None
    needs_body: bool = True
    secured: bool = True


def document(endpoints: Sequence[Endpoint], version: str, prefix: str) -> dict[str, Any]:
    """Describe the endpoints as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Decopilot", "version": version, "summary": "Durable AI chat runs."},
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "decopilot_token"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    path_names = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _ID} for name in path_names]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in endpoint.query.items()]
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": _problems((*endpoint.problems, *_EVERYWHERE))
        | {str(status): _answer(*answer) for status, answer in endpoint.answers.items()},
        "security": [{"bearer": []}, {"cookie": []}] if endpoint.secured else [],
    }
    if endpoint.body is not None:
        is_file = "/" in endpoint.body
        content = _FILE_BODY if is_file else {"application/json": {"schema": _ref(endpoint.body)}}
        operation["requestBody"] = {"required": endpoint.needs_body, "content": content}
    return operation


def _answer(description: str, content: str | None) -> dict[str, Any]:
    if content is None:
        return {"description": description}
    if "/" in content:
        kind = "object" if content == "application/json" else "string"
        return {"description": description, "content": {content: {"schema": {"type": kind}}}}
    return {"description": description, "content": {"application/json": {"schema": _ref(content)}}}


def _problems(codes: tuple[str, ...]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {
        str(status): {"description": "Refused: " + ", ".join(names), "content": content}
        for status, names in sorted(by_status.items())
    }


def _schemas() -> dict[str, Any]:
    _, models = models_json_schema(
        [*((body, "validation") for body in _BODIES), (UIMessage, "serialization")], ref_template=_REF + "{model}"
    )
    text, maybe_text, flag = {"type": "string"}, {"type": ["string", "null"]}, {"type": "boolean"}
    number = {"type": "integer", "minimum": 0}
    status = {"enum": [*get_args(ThreadStatus)]}
    cursor = {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}
    summary: dict[str, Any] = dict.fromkeys(("id", "title", "agentId", "createdBy", "createdAt", "updatedAt"), text)
    visibility = {"enum": [*get_args(Visibility)]}
    summary |= {
        "archived": flag,
        "visibility": visibility,
        "status": status,
        "failureReason": {"enum": [*get_args(FailureReason), None]},
    }
    time, maybe_time = {"type": "string", "format": "date-time"}, {"type": ["string", "null"], "format": "date-time"}
    run: dict[str, Any] = {
        "runId": text,
        "status": {"enum": [*get_args(RunStatus)]},
        "reason": {"enum": [*get_args(FailureReason), None]},
        "userId": text,
        "messageId": maybe_text,
        "answerId": text,
        "continues": maybe_text,
        "regenerates": maybe_text,
        "requestedAt": time,
        "startedAt": maybe_time,
        "endedAt": maybe_time,
        "attempts": number,
        "steps": number,
        "usage": {"anyOf": [_ref("Usage"), {"type": "null"}]},
        "agentId": text,
        "tier": {"enum": [*TIERS]},
        "model": maybe_text,
        "mode": {"enum": [*get_args(Mode)]},
        "traceId": maybe_text,
    }
    pending = {"pending": _list_of("Interaction")}
    own: dict[str, dict[str, Any]] = {
        "Accepted": {
            "taskId": text,
            "runId": text,
            "messageId": text,
            "status": {"enum": [*get_args(RunStatus)]},
            "cursor": cursor,
        },
        "Receipt": {
            "taskId": text,
            "runId": maybe_text,
            "status": {"enum": [*get_args(Receipt.model_fields["status"].annotation)]},
        },
        "ThreadSummary": summary,
        "Thread": summary
        | pending
        | {
            "activeRun": {"anyOf": [_ref("ActiveRun"), {"type": "null"}]},
            "queued": number,
            "usage": _ref("Usage"),
            "forkedFrom": {"anyOf": [_ref("ForkedFrom"), {"type": "null"}]},
        },
        "Usage": dict.fromkeys(("inputTokens", "outputTokens", "totalTokens"), number),
        "ForkedFrom": {"taskId": text, "messageId": text},
        "Fork": {"taskId": text, "forkedFrom": _ref("ForkedFrom")},
        "ActiveRun": {"runId": text, "attempt": number, "cancelRequested": flag},
        "Interaction": {
            "kind": {"enum": ["approval", "answer"]},
            "id": text,
            "toolCallId": text,
            "toolName": text,
        },
        "Threads": {"threads": _list_of("ThreadSummary"), "next": maybe_text},
        "Messages": {"messages": _list_of("UIMessage"), "cursor": cursor, "status": status} | pending,
        "Runs": {"runs": _list_of("Run"), "next": maybe_text},
        "Run": run,
        "RunInspection": run
        | {
            "trace": {"anyOf": [_ref("Trace"), {"type": "null"}]},
            "chunks": number,
            "chunksGone": flag,
            "events": _list_of("StoredEvent"),
            "frames": _list_of("Frame"),
            "next": {"type": ["integer", "null"]},
        },
        "StoredEvent": {"sequence": number, "storedAt": time, "type": text, "at": time},
        "Trace": {"id": text, "url": maybe_text},
        "Frame": {
            "sequence": number,
            "attempt": number,
            "firstIndex": number,
            "chunks": number,
            "bytes": number,
            "at": maybe_time,
            "void": flag,
            "voidChunks": number,
            "closing": flag,
            "kinds": {"type": "object", "additionalProperties": number},
            "tools": _list_of("ToolChunk"),
        },
        "ToolChunk": {"index": number, "type": text, "toolCallId": text, "toolName": maybe_text},
        "RunChunks": {"chunks": _list_of("StoredChunk"), "next": maybe_text, "chunksGone": flag},
        "StoredChunk": {
            "cursor": cursor,
            "index": number,
            "attempt": number,
            "void": flag,
            "chunk": {"type": "object"},
        },
        "Queue": {"queue": _list_of("QueuedMessage")},
        "QueuedMessage": {
            "messageId": text,
            "runId": text,
            "message": _ref("UIMessage"),
            "queuedAt": {"type": "string", "format": "date-time"},
            "interrupts": flag,
        },
        "AllowedModels": {
            "allowAll": flag,
            "models": {"type": "object", "additionalProperties": {"type": "array", "items": text}},
            "tiers": {
                "type": "object",
                "propertyNames": {"enum": [*TIERS]},
                "additionalProperties": _ref("TierOfModels"),
            },
        },
        "TierOfModels": {"title": text, "model": text, "vision": flag, "allowed": flag},
        "Agents": {"agents": _list_of("Agent"), "modes": {"type": "array", "items": {"enum": [*get_args(Mode)]}}},
        "Agent": {
            "id": text,
            "title": text,
            "description": text,
            "tier": {"enum": [*TIERS]},
            "toolApprovalLevel": {"enum": [*get_args(ApprovalLevel)]},
        },
        "File": {"id": text, "url": text, "mediaType": text, "size": number, "filename": maybe_text},
        "AttachToken": {"token": text, "expiresAt": {"type": "string", "format": "date-time"}, "url": text},
        "FileLink": {"url": text, "expiresAt": {"type": "string", "format": "date-time"}},
        "Automations": {"automations": _list_of("Automation")},
        "Automation": {
            "name": text,
            "schedule": maybe_text,
            "timezone": text,
            "isActive": flag,
            "nextDueAt": maybe_text,
            "visibility": visibility,
            "lastFired": {"anyOf": [_ref("Fired"), {"type": "null"}]},
            "lastSkipped": {"anyOf": [_ref("Skipped"), {"type": "null"}]},
            "threads": {"type": "array", "items": text, "description": "Those of its runs that go on."},
        },
        "Fired": {"at": text, "taskId": text},
        "Skipped": {"dueAt": text, "reason": text},
        "Health": {"status": text},
        "Problem": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "code": {"enum": sorted(PROBLEMS)},
            "detail": text,
            "outcome": {"type": "object", "description": "What stands instead of what was asked for."},
        },
    }
    objects = {
        name: {
            "type": "object",
            "properties": properties,
            "required": [one for one in properties if one not in _OPTIONAL.get(name, ())],
        }
        for name, properties in own.items()
    }
    schemas: dict[str, Any] = models["$defs"]
    return schemas | objects


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"{_REF}{name}"}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}


def route(endpoint: Endpoint, prefix: str, found_broker: asyncio.Event) -> web.RouteDef:
    """Make the route of an endpoint; one that can't do without the broker waits a moment until that is first found."""
    needs_broker = "broker_unavailable" in endpoint.problems

    async def handle(request: web.Request) -> web.StreamResponse:
        if needs_broker and not found_broker.is_set():
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await found_broker.wait()
            except TimeoutError as error:
                raise ProblemError("broker_unavailable", "The broker has not been found yet; try again.") from error
        return await endpoint.handler(request)

    path = prefix + endpoint.path
    if any(content == "text/event-stream" for _, content in endpoint.answers.values()):
        return web.get(path, handle, allow_head=False)
    return web.route(endpoint.method, path, handle)
