"""The tour in ARCHITECTURE.md, walked with one real POST."""

import asyncio
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from decopilot.cli.tokens import Role, issue_token
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from support.in_one import SECRET, all_services
from support.viewer import Api, Viewer

ROOT = Path(__file__).parents[2]
STOP = re.compile(r"^\| \d \| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)


def stops() -> list[tuple[str, str]]:
    """Read the tour: files with the function to enter at."""
    return STOP.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))


async def test_the_tour_names_at_most_eight_files_and_one_post_enters_them_in_order(
    settings: Settings, store: Store
) -> None:
    assert store.nc.is_connected
    tour = stops()
    assert 8 >= len({file for file, _ in tour}) == len(tour)
    wanted = {(str(ROOT / file), name): (file, name) for file, name in tour}
    entered: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            stop = wanted.get((frame.f_code.co_filename, frame.f_code.co_qualname))
            if stop is not None and stop not in entered:
                entered.append(stop)

    async with asyncio.timeout(60), all_services(settings) as url:
        token = issue_token(SECRET, org="local", user="me", role=Role.OWNER, hours=1, now=datetime.now(UTC))
        api = Api(url, token)
        viewer = Viewer(url, api.token, "tour")
        async with viewer.attached() as chunks:
            sys.setprofile(note)
            try:
                assert 202 == (await api.post("tour", "/count 3 0"))[0]
                async for chunk in chunks:
                    if chunk["type"] == "finish":
                        break
                while len(entered) < len(tour):
                    await asyncio.sleep(0.01)
            finally:
                sys.setprofile(None)
    assert "1 2 3" == viewer.text
    # The reactor hears every event, so it is on its way beside the others; all the rest follow one another.
    *path, reaction = tour
    assert path == [stop for stop in entered if stop != reaction]
    assert reaction in entered
