"""What operators are told where the broker is away, or knows more than they do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from nats.errors import AuthorizationError

from decopilot.cli import operating
from decopilot.cli.errors import CliError
from decopilot.cli.provision import reason
from decopilot.cli.reaching import UnreachableError, reaching
from decopilot.contracts.events import UnknownEventError
from decopilot.kit.settings import Settings

SECRET = "hunter2-and-more"
AWAY = Settings(nats_url=f"nats://operator:{SECRET}@127.0.0.1:1")


def test_no_refusal_tells_the_password_of_an_address() -> None:
    async def reach() -> None:
        async with reaching(AWAY, "test"):
            pass

    with pytest.raises(UnreachableError) as refused:
        asyncio.run(reach())
    for said in (str(refused.value), reason(AWAY, [])):
        assert "127.0.0.1:1" in said
        assert SECRET not in said


def test_who_is_refused_and_then_hung_up_on_is_told_of_the_refusal() -> None:
    hung_up = ConnectionResetError(104, "Connection reset by peer")
    said = reason(AWAY, [hung_up, AuthorizationError(), hung_up])
    assert "127.0.0.1:1 refuses user 'operator'." in said


def test_an_event_of_a_newer_version_is_a_refusal_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def store(*_: object) -> AsyncIterator[Any]:
        yield SimpleNamespace(js=None)

    async def work(_: object) -> None:
        raise UnknownEventError("decopilot.event.local.t1.song_sung", 7)

    async def look(*_: object) -> None:
        """All streams are there, and no restore is unfinished."""

    monkeypatch.setattr(operating, "_store", store)
    monkeypatch.setattr(operating, "ensure_restored", look)
    monkeypatch.setattr(operating, "_ensure_provisioned", look)
    monkeypatch.setattr("decopilot.kit.logging.configure", lambda *_: None)
    with pytest.raises(CliError, match=r"newer version of decopilot wrote event 7 .*Say it once more"):
        operating.operate(AWAY, work, hint="Say it once more.")
