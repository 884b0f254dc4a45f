"""How far a tool is, as viewers see it while it is executed."""

from dataclasses import dataclass

from pydantic_ai.messages import CustomEvent

from decopilot.contracts.chunks import Chunk, transient

TOOL_PROGRESS = "data-tool-progress"
_LENGTH = 1_000


@dataclass(kw_only=True)
class ToolProgress(CustomEvent):
    """How far a tool says that it is; of `total`, where it knows."""

    progress: float
    total: float | None = None
    message: str | None = None

    def chunk(self) -> Chunk:
        """Make what is shown, and kept nowhere."""
        told = {"toolCallId": self.tool_call_id, "progress": self.progress, "total": self.total}
        if self.message is not None:
            told["message"] = self.message[:_LENGTH].encode(errors="replace").decode()
        return transient(TOOL_PROGRESS, {name: value for name, value in told.items() if value is not None})
