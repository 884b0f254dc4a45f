"""The tools of the demo model: one that reads, one that takes its time, and two with an effect that can be counted."""

import asyncio
import json
import os
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic_ai import RunContext, Tool

from decopilot_runner.default_agent.asking import destructive, read_only

SKIES = ("clear", "cloudy", "foggy", "rainy", "snowy", "stormy")
NOTES = "notes.jsonl"


def get_weather(city: str) -> dict[str, str | int]:
    """Tell the weather in a city (made up, and the same for ever)."""
    seed = zlib.crc32(city.casefold().encode(errors="replace"))
    return {"city": city, "sky": SKIES[seed % len(SKIES)], "temperature_c": seed // 7 % 45 - 10}


async def take_time(seconds: float) -> dict[str, float]:
    """Do nothing for some seconds."""
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


class Notebook:
    """A file of notes, one line of JSON each, that is only ever appended to: what was done twice stands there twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def note(self, ctx: RunContext[Any], text: str) -> dict[str, str]:
        """Write a note down."""
        self._append({"call": ctx.tool_call_id, "text": text})
        return {"noted": text}

    async def delete_note(self, ctx: RunContext[Any], name: str) -> dict[str, str]:
        """Delete a note."""
        self._append({"call": ctx.tool_call_id, "deleted": name})
        return {"deleted": name}

    def _append(self, entry: dict[str, str | None]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = json.dumps(entry | {"at": datetime.now(UTC).isoformat()}, ensure_ascii=False) + "\n"
        # The default folder is in a place where everybody may make links.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        file = os.open(self._folder / NOTES, flags, 0o600)
        try:
            # One write: several runners on one machine share the file.
            os.write(file, line.encode(errors="replace"))
        finally:
            os.close(file)


def demo_tools(folder: Path) -> list[Tool[Any]]:
    """Make the tools; notes are kept in `folder`."""
    notebook = Notebook(folder)
    return [
        Tool(get_weather, metadata=read_only()),
        Tool(take_time, metadata=read_only()),
        Tool(notebook.note),
        Tool(notebook.delete_note, metadata=destructive()),
    ]
