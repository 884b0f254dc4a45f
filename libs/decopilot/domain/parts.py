"""A part of a message while it grows, and the error of a chunk that does not fit."""

from dataclasses import dataclass

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.messages import Part
from decopilot.domain.partial_json import parse_partial


class FoldError(Exception):
    """A chunk does not fit what came before it: the `rule` is broken by a chunk of `chunk_type` about `ref`."""

    def __init__(self, chunk_type: str, ref: str, rule: str) -> None:
        super().__init__(f"{chunk_type} {ref!r}: {rule}")
        self.chunk_type = chunk_type
        self.ref = ref
        self.rule = rule


@dataclass(slots=True)
class Growing:
    """A part of a message; what streams into it waits in `pieces` until somebody looks.

    So a delta costs the same however long its part is: text is joined, and partial input parsed, once per look.
    """

    fields: Part
    pieces: list[str] | None = None

    def join(self) -> Part:
        """Bring the fields up to date, but for the input that is read from what has streamed in, and return them."""
        if self.pieces is None:
            return self.fields
        text = "".join(self.pieces)
        self.pieces[:] = [text]
        self.fields["text" if self.is_prose else "rawInput"] = text
        return self.fields

    def settle(self) -> Part:
        """Bring the fields up to date and return them."""
        fields = self.join()
        if self.pieces is None or self.is_prose:
            return fields
        text = fields["rawInput"]
        try:
            fields["input"] = text if fields.get("inputEncoding") == "text" else parse_partial(text)
        except ValueError:
            fields.pop("input", None)
        return fields

    @property
    def is_prose(self) -> bool:
        """Whether this is no call."""
        return self.fields["type"] in {"text", "reasoning"}

    def freeze(self) -> Part:
        """Settle for good: from here on nothing streams into this part."""
        fields = self.settle()
        self.pieces = None
        return fields


def given(chunk: Chunk, *names: str) -> Part:
    """Return the fields of these names that the chunk has."""
    return {name: chunk[name] for name in names if name in chunk}
