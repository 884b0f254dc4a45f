"""The real AI SDK, every version that `ai_sdk/package.json` names, as the judge of our streams and folds."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decopilot.contracts.chunks import Chunk, encode_chunk
from support.node import environment, installed, node

HERE = Path(__file__).parent / "ai_sdk"
VERSIONS: tuple[str, ...] = ("ai5-oldest", "ai5", "ai6-strict", "ai6", "ai7-strict", "ai7")
"""Oldest first; `strict` ones refuse unknown fields, as every version of its time did."""


class AiSdkError(Exception):
    """The AI SDK could not be run."""


@dataclass(frozen=True, slots=True)
class Job:
    """One stream to fold: either its chunks, or the SSE text that a client received.

    It goes on with `message`, if there is one.
    """

    id: str
    chunks: Sequence[Chunk] = ()
    sse: str | None = None
    versions: tuple[str, ...] = VERSIONS
    message: Mapping[str, Any] | None = None

    def line(self) -> bytes:
        """Encode for `fold.mjs`, each chunk as it goes over the wire."""
        told = {"sse": self.sse, "message": self.message}
        head = json.dumps({"id": self.id, "versions": self.versions} | {k: v for k, v in told.items() if v})
        return head[:-1].encode() + b',"chunks":[' + b",".join(map(encode_chunk, self.chunks)) + b"]}\n"


@dataclass(frozen=True, slots=True)
class Folded:
    """What one version of the AI SDK made of a job: no `errors` means that it took every chunk.

    `messages` has one message per run of an SSE text, and one for chunks; None where a run showed nothing.
    """

    id: str
    version: str
    errors: list[str] = field(default_factory=list)
    messages: list[dict[str, Any] | None] = field(default_factory=list)
    is_valid: bool = False
    """Whether `validateUIMessages` takes the last message."""

    @property
    def message(self) -> dict[str, Any] | None:
        """The last message."""
        return self.messages[-1] if self.messages else None


def fold_with_sdk(jobs: Iterable[Job]) -> list[Folded]:
    """Fold each job with each of its versions, in one run of Node.

    Raises:
        NodeError: the packages could not be fetched.
        AiSdkError: the script broke.

    """
    installed(HERE)
    given = b"".join(job.line() for job in jobs)
    done = subprocess.run(
        [node(), str(HERE / "fold.mjs")], input=given, env=environment(), capture_output=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise AiSdkError(done.stderr.decode()[-2000:])
    results: list[Mapping[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    return [Folded(*(result[name] for name in ("id", "version", "errors", "messages", "valid"))) for result in results]
