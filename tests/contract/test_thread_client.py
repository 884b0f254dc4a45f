"""The browser library holds its rules, folds as the log does, and its package is what it says."""

import json
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from decopilot.contracts.chunks import RUN_REWIND, Chunk, transient
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, fold
from support.aisdk import HERE as AI_SDK
from support.aisdk import VERSIONS
from support.node import environment, installed, node, npm
from support.streams import valid_stream

LIBRARY = Path(__file__).parents[2] / "libs/thread-client"
FOLD = LIBRARY / "src/fold.js"
CORPUS = Path(__file__).parents[1] / "corpus"
ID = MessageId("msg_1")
SHOWN = ("type", "state", "text", "toolCallId", "toolName", "output", "errorText", "preliminary", "data", "url")
"""What of a part is compared besides inputs and approvals: what is shown."""
LENIENT = {
    # The library keeps such keys as mere keys.
    "metadata-named-like-a-prototype-is-not-merged.v6.ndjson",
    # Nothing of ours leaves parts open at the end; the library closes them.
    "run-is-aborted-with-its-parts-open.ndjson",
    # The library never parses half an input, so it has none to show when the call ends without the whole.
    "approval-comes-while-input-streams.newest.ndjson",
    "dynamic-is-said-at-the-start-only.v6.ndjson",
    "tool-fails-before-its-input-is-whole.ndjson",
    # The library lets a call's input go on where it began.
    "tool-input-goes-on-in-a-later-step.newest.ndjson",
}

STRICT = {
    "target": "es2023",
    "module": "nodenext",
    "lib": ["es2023", "dom"],
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "skipLibCheck": False,
    "noEmit": True,
    "types": [],
}
"""How strictly the user of a package may be compiled."""

FOLD_ALL = """
import { readFileSync } from "node:fs";
const { createFold, foldChunk } = await import(process.argv[1]);
const streams = JSON.parse(readFileSync(0, "utf8"));
const folded = streams.map((chunks) => {
  const fold = createFold("msg_1");
  for (const chunk of chunks) foldChunk(fold, chunk);
  return fold.message;
});
process.stdout.write(JSON.stringify(folded));
"""


@pytest.mark.parametrize("unit", sorted(path.name for path in LIBRARY.glob("test/*.test.mjs")))
def test_the_library_holds_its_rules(unit: str) -> None:
    installed(LIBRARY)
    command = [node(), "--test", f"test/{unit}"]
    done = subprocess.run(command, cwd=LIBRARY, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_library_folds_every_stream_to_what_the_log_makes_of_it() -> None:
    streams = {path.name: _read(path) for path in sorted(CORPUS.glob("*.ndjson")) if path.name not in LENIENT}
    streams |= {f"random {seed}": valid_stream(Random(seed), ID) for seed in range(100)}
    streams |= {f"rewound {seed}": _rewound(seed) for seed in range(100)}
    folded = _fold_in_library(list(streams.values()))
    for (name, chunks), mine in zip(streams.items(), folded, strict=True):
        wanted = fold(ID, chunks).model_dump(mode="json", exclude_none=True)
        assert [name, *_shown(wanted)] == [name, *_shown(mine)]


def test_the_library_is_sound_in_its_types() -> None:
    assert "" == _compiled(LIBRARY)


def test_the_package_is_used_by_a_typescript_program_as_it_comes(tmp_path: Path) -> None:
    told = _packed(tmp_path)
    names = {file["path"] for file in told["files"]}
    assert {
        "LICENSE",
        "README.md",
        "package.json",
        "src/index.js",
        "src/react.js",
        "types/index.d.ts",
        "types/react.d.ts",
    } <= names
    assert set() == {name for name in names if name.split("/")[0] not in ("src", "types")} - {
        "LICENSE",
        "README.md",
        "package.json",
    }
    modules = installed(LIBRARY)
    user = _user(tmp_path, told["filename"], STRICT)
    for borrowed in ("react", "@types", "csstype"):
        (user / "node_modules" / borrowed).symlink_to(modules / borrowed)
    (user / "use.ts").write_bytes(LIBRARY.joinpath("test/use.ts").read_bytes())
    assert "" == _compiled(user)


@pytest.mark.node
def test_the_transport_is_one_of_every_line_of_the_ai_sdk(tmp_path: Path) -> None:
    modules = installed(AI_SDK)
    # What the AI SDK's own declarations lack is not ours to judge.
    user = _user(tmp_path, _packed(tmp_path)["filename"], STRICT | {"skipLibCheck": True})
    for version in VERSIONS:
        (user / "node_modules" / version).symlink_to(modules / version)
    (user / "use_chat.ts").write_bytes(LIBRARY.joinpath("test/use_chat.ts").read_bytes())
    assert "" == _compiled(user)


def _packed(folder: Path) -> dict[str, Any]:
    """Pack the library into a folder, as for its registry; returns what npm tells of it."""
    installed(LIBRARY)
    packed = _npm("pack", "--json", "--pack-destination", str(folder), cwd=LIBRARY)
    (told,) = json.loads(packed[packed.index("[") :])
    return dict(told)


def _user(folder: Path, archive: str, options: dict[str, object]) -> Path:
    """Make a TypeScript project that has the packed library."""
    user = folder / "user"
    unpacked = user / "node_modules" / "decopilot-client"
    unpacked.mkdir(parents=True)
    (user / "package.json").write_text('{"name": "user", "private": true, "type": "module"}')
    (user / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.ts"]}))
    unpacking = ["tar", "-xzf", str(folder / archive), "-C", str(unpacked), "--strip-components=1"]
    subprocess.run(unpacking, check=True)
    return user


def _compiled(folder: Path) -> str:
    compiler = installed(LIBRARY) / ".bin" / "tsc"
    ran = subprocess.run(
        [str(compiler), "-p", "."],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _npm(*arguments: str, cwd: Path) -> str:
    ran = subprocess.run(
        [*npm(), *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _read(path: Path) -> list[Chunk]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def _rewound(seed: int) -> list[Chunk]:
    """Make a stream whose attempt died: what came behind a cut is taken back, and said anew."""
    rng = Random(seed)
    chunks = valid_stream(rng, ID)
    growing, cuts = Fold(ID), list[tuple[int, UIMessage]]()
    for index, chunk in enumerate(chunks, 1):
        growing.add(chunk)
        if growing.is_settled and index > 1:
            cuts.append((index, growing.message()))
    cut, message = rng.choice(cuts)
    died = rng.randint(cut, len(chunks))
    told = message.model_dump(mode="json", exclude_none=True)
    rewind = transient(RUN_REWIND, {"runId": "run_1", "attempt": 2, "message": told})
    return [*chunks[:died], rewind, *chunks[cut:]]


def _fold_in_library(streams: list[list[Chunk]]) -> list[dict[str, Any]]:
    command = [node(), "--input-type=module", "-e", FOLD_ALL, FOLD.as_uri()]
    ran = subprocess.run(command, input=json.dumps(streams), capture_output=True, text=True, timeout=60, check=False)
    assert 0 == ran.returncode, ran.stderr
    folded: list[dict[str, Any]] = json.loads(ran.stdout)
    return folded


def _shown(message: dict[str, Any]) -> list[Any]:
    return [message["id"], message.get("metadata"), *map(_shown_part, message["parts"])]


def _shown_part(part: dict[str, Any]) -> dict[str, Any]:
    shown = {name: part[name] for name in SHOWN if part.get(name) is not None}
    if not shown.get("preliminary"):
        shown.pop("preliminary", None)
    if "approval" in part:
        shown["approval"] = [part["approval"].get(name) for name in ("id", "approved", "reason", "requestReason")]
    # Half an input is shown as it streams in: the library does not parse it.
    if part.get("state") != "input-streaming" and part.get("input") is not None:
        shown["input"] = part["input"]
    return shown
