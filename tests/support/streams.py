"""Valid streams by the rules of the protocol, made up at random, in chunks that every client since `ai` 5 takes."""

from copy import deepcopy
from random import Random

from decopilot.contracts.chunks import Chunk, encode_chunk, transient

_WORDS = ("", " ", "Hello", ", ", "wörld", "日本語", "👩‍💻", '"', "\\", "\n", "<b>", "\u2028", "0", "null", "e\u0301")
_REASONS = ("stop", "length", "content-filter", "tool-calls", "error", "other")
_PROVIDER = {"providerMetadata": {"acme": {"k": 1}}}
_JSON: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -7,
    12.5,
    "",
    "x",
    "t\\u00e9, [1, tr",
    [],
    {},
    [1, [2, None]],
    {"a": {"b": ["c", 1e3]}},
)


def valid_stream(rng: Random, message_id: str) -> list[Chunk]:
    """Make the chunks of a run that ended well, from `start` to `finish`."""
    chunks: list[Chunk] = [{"type": "start", "messageId": message_id} | _metadata(rng)]
    chunks += [transient("data-run", {"runId": "r1"})] * rng.randint(0, 1)
    for step in range(rng.randint(1, 3)):
        strands = [_strand(rng, f"{step}-{nth}") for nth in range(rng.randint(0, 5))]
        chunks += [{"type": "start-step"}, *_woven(rng, strands), {"type": "finish-step"}]
    chunks.append({"type": "finish", "finishReason": rng.choice(_REASONS)} | _metadata(rng))
    # A fold that changes what it was given would else change the streams made after this one, and hide it.
    return deepcopy(chunks)


def _woven(rng: Random, strands: list[list[Chunk]]) -> list[Chunk]:
    """Mix strands, each in its own order: parallel tools, text between their deltas."""
    turns = [nth for nth, strand in enumerate(strands) for _ in strand]
    rng.shuffle(turns)
    rest = [iter(strand) for strand in strands]
    return [next(rest[nth]) for nth in turns]


def _strand(rng: Random, name: str) -> list[Chunk]:
    make = rng.choice((_block, _block, _tool, _tool, _tool, _whole, _data))
    return make(rng, name)


def _block(rng: Random, name: str) -> list[Chunk]:
    kind = rng.choice(("text", "reasoning"))
    deltas: list[Chunk] = [
        {"type": f"{kind}-delta", "id": name, "delta": rng.choice(_WORDS)} | _provider(rng)
        for _ in range(rng.randint(0, 6))
    ]
    return [
        {"type": f"{kind}-start", "id": name} | _provider(rng),
        *deltas,
        {"type": f"{kind}-end", "id": name} | _provider(rng),
    ]


def _tool(rng: Random, name: str) -> list[Chunk]:
    call = {"toolCallId": f"call-{name}"}
    flags = rng.choice(({}, {}, {"dynamic": True}))
    named = call | {"toolName": rng.choice(("search", "get-weather"))} | flags
    own = rng.choice(({}, {}, {"providerExecuted": True}))
    value = {"q": rng.choice(_JSON), rng.choice(("n", "é")): rng.choice(_JSON)}
    chunks: list[Chunk] = []
    if rng.random() < 0.7:
        chunks = [{"type": "tool-input-start"} | named | own]
        chunks += [{"type": "tool-input-delta", "inputTextDelta": cut} | call for cut in _cut(rng, value)]
    if rng.random() < 0.15:
        return [*chunks, {"type": "tool-input-error", "input": value, "errorText": "no such field"} | named | own]
    chunks.append({"type": "tool-input-available", "input": value} | named | own | _provider(rng))
    for _ in range(rng.choice((0, 0, 2))):
        chunks.append(
            {"type": "tool-output-available", "output": rng.choice(_JSON), "preliminary": True} | call | flags
        )
    if rng.random() < 0.2:
        return [*chunks, {"type": "tool-output-error", "errorText": "it broke"} | call | flags]
    return [*chunks, {"type": "tool-output-available", "output": rng.choice(_JSON)} | call | flags]


def _cut(rng: Random, value: object) -> list[str]:
    text = encode_chunk({"value": value}).decode().removeprefix('{"value":')[:-1]
    cuts = sorted(rng.randint(0, len(text)) for _ in range(rng.randint(0, 6)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _whole(rng: Random, name: str) -> list[Chunk]:
    url: Chunk = {"type": "source-url", "sourceId": name, "url": "https://example.org/"}
    document: Chunk = {"type": "source-document", "sourceId": name, "mediaType": "text/plain", "title": "Notes"}
    file: Chunk = {"type": "file", "url": "data:text/plain,hi", "mediaType": "text/plain"}
    titled: Chunk = url | {"title": "Example"}
    metadata: Chunk = {"type": "message-metadata", "messageMetadata": rng.choice(_METADATA)}
    return [rng.choice((url, document, document | {"filename": "n.txt"}, file, titled, metadata))]


def _data(rng: Random, name: str) -> list[Chunk]:
    kind = {"type": rng.choice(("data-chart", "data-note"))} | rng.choice(({}, {"id": name}, {"id": "shared"}))
    flags = rng.choice(({}, {}, {"transient": True}, {"transient": False}))
    return [kind | {"data": rng.choice(_JSON)} | flags for _ in range(rng.randint(1, 3))]


_METADATA: tuple[Chunk, ...] = (
    {},
    {"a": {"b": 1, "c": [1]}},
    {"a": {"c": [2], "d": None}},
    {"a": None},
    {"usage": {"inputTokens": 3}},
)


def _metadata(rng: Random) -> Chunk:
    return rng.choice(({}, {"messageMetadata": rng.choice(_METADATA)}))


def _provider(rng: Random) -> Chunk:
    return rng.choice(({}, {}, {}, _PROVIDER))
