"""The Python client: send messages, follow what comes, wait for ends, whatever dies meanwhile.

async with Client("http://127.0.0.1:8080", token, "local") as client:
    result = await client.run_and_wait("my-thread", "/count 20")
    print(result.status, result.message.text)
"""

from decopilot.client.api import Client
from decopilot.client.attaching import Event
from decopilot.client.bodies import AnswerOptions, SendOptions
from decopilot.client.errors import ApiError, ArgumentError, ClientError, UnreachableError
from decopilot.client.models import (
    Accepted,
    ActiveRun,
    Automation,
    File,
    Fired,
    Fork,
    ForkedFrom,
    History,
    Queued,
    Receipt,
    Run,
    RunFrame,
    RunInspection,
    RunResult,
    Skipped,
    Thread,
    Trace,
    Usage,
)
from decopilot.contracts.interactions import Answer, Approval, Interaction
from decopilot.contracts.messages import UIMessage

__all__ = [
    "Accepted",
    "ActiveRun",
    "Answer",
    "AnswerOptions",
    "ApiError",
    "Approval",
    "ArgumentError",
    "Automation",
    "Client",
    "ClientError",
    "Event",
    "File",
    "Fired",
    "Fork",
    "ForkedFrom",
    "History",
    "Interaction",
    "Queued",
    "Receipt",
    "Run",
    "RunFrame",
    "RunInspection",
    "RunResult",
    "SendOptions",
    "Skipped",
    "Thread",
    "Trace",
    "UIMessage",
    "UnreachableError",
    "Usage",
]
