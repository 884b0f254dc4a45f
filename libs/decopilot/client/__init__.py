"""The Python client: send messages, follow what comes, wait for ends, whatever dies meanwhile.

async with Client("http://127.0.0.1:8080", token, "local") as client:
    result = await client.run_and_wait("my-thread", "/count 20")
    print(result.status, result.message.text)
"""

from decopilot.client.api import Client
from decopilot.client.attaching import Event, Replay
from decopilot.client.bodies import AnswerOptions, SendOptions
from decopilot.client.conversation import Conversation, RunEnd
from decopilot.client.errors import ApiError, ArgumentError, ClientError, StreamLostError, UnreachableError
from decopilot.client.models import (
    Accepted,
    ActiveRun,
    Agent,
    AllowedModels,
    AttachToken,
    Automation,
    File,
    Fired,
    Fork,
    ForkedFrom,
    History,
    Link,
    Queued,
    Receipt,
    Run,
    RunFrame,
    RunInspection,
    RunResult,
    Skipped,
    Thread,
    ThreadSummary,
    TierModel,
    Trace,
    Usage,
)
from decopilot.client.watching import Connected, WatchEvent
from decopilot.contracts.interactions import Answer, Approval, Interaction
from decopilot.contracts.messages import UIMessage

__all__ = [
    "Accepted",
    "ActiveRun",
    "Agent",
    "AllowedModels",
    "Answer",
    "AnswerOptions",
    "ApiError",
    "Approval",
    "ArgumentError",
    "AttachToken",
    "Automation",
    "Client",
    "ClientError",
    "Connected",
    "Conversation",
    "Event",
    "File",
    "Fired",
    "Fork",
    "ForkedFrom",
    "History",
    "Interaction",
    "Link",
    "Queued",
    "Receipt",
    "Replay",
    "Run",
    "RunEnd",
    "RunFrame",
    "RunInspection",
    "RunResult",
    "SendOptions",
    "Skipped",
    "StreamLostError",
    "Thread",
    "ThreadSummary",
    "TierModel",
    "Trace",
    "UIMessage",
    "UnreachableError",
    "Usage",
    "WatchEvent",
]
