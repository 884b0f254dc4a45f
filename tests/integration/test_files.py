"""Files: taken as they come, served to whoever may read them, as slowly as they are read, never as a page of ours."""

import asyncio
import base64
import io
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.files import FileRef
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.kit.settings import Settings
from decopilot.log.blobs import Blobs
from decopilot.log.objects import STREAM
from decopilot.log.store import Store
from decopilot_command.app import build as build_command
from decopilot_gateway.links import Links
from decopilot_gateway.uploading import filename
from support.brokers import as_user
from support.gateways import ORG, SECRET, Gateway, Run, make_token, running_gateway
from support.services import running
from support.stack import free_port

FILES = f"/{ORG}/decopilot/threads/t1/files"
MESSAGES = f"/{ORG}/decopilot/threads/t1/messages"
LIMIT = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(300_000)
LINKED = base64.b64encode(PNG).decode()


class Person:
    """Somebody who uploads and reads."""

    def __init__(
        self, session: aiohttp.ClientSession, gateway: Gateway, sub: str | None, role: str = "member", org: str = ORG
    ) -> None:
        self._session = session
        self._url = gateway.url
        self._headers = {"Authorization": f"Bearer {make_token(sub=sub, orgs={org: role})}"} if sub else {}

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        **rest: Any,  # noqa: ANN401  aiohttp's own
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Ask; what comes back is decoded where it is JSON of the gateway's own."""
        async with self._session.request(
            method, self._url + path, headers=self._headers | (headers or {}), **rest
        ) as got:
            body = await got.read()
            is_json = got.content_type in {"application/json", "application/problem+json"}
            return got.status, await got.json(content_type=None) if is_json else body, got.headers

    async def upload(
        self, data: object = PNG, *, path: str = FILES, type_: str = "image/png", name: str = "a.png"
    ) -> tuple[int, dict[str, Any]]:
        """Upload a file as a form; returns the status and the answer."""
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("file", data, content_type=type_, filename=name)
        status, body, _ = await self.ask("POST", path, data=form)
        return status, body

    async def code(self, method: str, path: str, **rest: Any) -> tuple[int, str]:  # noqa: ANN401  aiohttp's own
        """Ask for what is refused."""
        status, body, _ = await self.ask(method, path, **rest)
        return status, body["code"]

    async def post(self, *files: dict[str, Any], message: str = "m1", path: str = MESSAGES) -> tuple[int, Any]:
        """Post a message with files."""
        parts = [{"type": "text", "text": "Look"}, *({"type": "file"} | file for file in files)]
        body = {"messages": [{"id": message, "role": "user", "parts": parts}]}
        status, answer, _ = await self.ask("POST", path, json=body)
        return status, answer


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def gateway(own_broker: EmbeddedBroker, store: Store) -> AsyncIterator[Gateway]:  # noqa: ARG001
    async with running_gateway(own_broker.url, file_limit_bytes=LIMIT) as running_:
        yield running_


@pytest.fixture
def ann(session: aiohttp.ClientSession, gateway: Gateway) -> Person:
    return Person(session, gateway, "ann", "member")


@pytest.fixture
async def command(settings: Settings, store: Store) -> AsyncIterator[None]:  # noqa: ARG001
    port = free_port()
    async with running(build_command(as_user(settings.model_copy(update={"health_port": port}), "command")), port):
        yield


async def stored(store: Store) -> int:
    return int((await store.js.stream_info(STREAM)).state.messages)


async def test_what_was_uploaded_is_served_as_it_was(ann: Person) -> None:
    status, file = await ann.upload(name="Ärger/../cat 1.png")
    assert (201, "image/png", len(PNG), "cat 1.png") == (status, file["mediaType"], file["size"], file["filename"])
    assert f"{FILES}/{file['id']}" == file["url"]
    status, body, headers = await ann.ask("GET", file["url"])
    assert (200, PNG) == (status, body)
    assert "image/png" == headers["Content-Type"]
    assert "inline; filename*=UTF-8''cat%201.png" == headers["Content-Disposition"]
    assert "nosniff" == headers["X-Content-Type-Options"]
    assert "sandbox" in headers["Content-Security-Policy"]
    status, body, _ = await ann.ask("GET", file["url"], headers={"If-None-Match": headers["ETag"]})
    assert (304, b"") == (status, body)


async def test_who_asks_for_the_head_of_a_file_is_given_nothing_of_it(gateway: Gateway, ann: Person) -> None:
    # Else whatever a file holds is taken for the answer to who comes next on the connection, as that may be a proxy's.
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    _, file = await ann.upload(forged, type_="text/plain")
    host, port = gateway.url.removeprefix("http://").split(":")
    asked = f"Host: {host}\r\nAuthorization: Bearer {make_token(orgs={ORG: 'viewer'})}\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(10):
        writer.write(f"HEAD {file['url']} HTTP/1.1\r\n{asked}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HEAD {file['url']} HTTP/1.1\r\n{asked}Range: bytes=0-3\r\n\r\n".encode())
        part = await reader.readuntil(b"\r\n\r\n")
        writer.write(f"GET /livez HTTP/1.1\r\n{asked}Connection: close\r\n\r\n".encode())
        rest = await reader.read()
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Length: {len(forged)}\r\n".encode() in head
    assert part.startswith(b"HTTP/1.1 206 ")
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert b"forged" not in rest


async def test_a_body_may_be_the_file_itself(ann: Person) -> None:
    status, file, headers = await ann.ask(
        "POST", f"{FILES}?filename=notes.md", data=b"# Notes", headers={"Content-Type": "text/markdown; charset=utf-8"}
    )
    assert (201, "text/markdown", "notes.md", 7) == (status, file["mediaType"], file["filename"], file["size"])
    assert file["url"] == headers["Location"]


async def test_an_empty_file_is_a_file(ann: Person) -> None:
    _, file = await ann.upload(b"", type_="text/plain", name="empty")
    status, body, _ = await ann.ask("GET", file["url"])
    assert (200, b"") == (status, body)


async def test_what_a_browser_might_run_is_only_ever_saved(ann: Person) -> None:
    for type_, shown, disposition in (
        ("text/html", "application/octet-stream", "attachment"),
        ("application/xhtml+xml", "application/octet-stream", "attachment"),
        ("text/javascript", "application/octet-stream", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("text/plain", "text/plain; charset=utf-8", "inline"),
        ("application/pdf", "application/pdf", "inline"),
        ("IMAGE/JPEG; q=1", "image/jpeg", "inline"),
        ("application/vnd.ms-excel", "application/octet-stream", "attachment"),
    ):
        _, file, _ = await ann.ask("POST", FILES, data=b"<script>alert(1)</script>", headers={"Content-Type": type_})
        _, _, headers = await ann.ask("GET", file["url"])
        assert (shown, disposition) == (headers["Content-Type"], headers["Content-Disposition"])


async def test_a_range_is_served(ann: Person) -> None:
    _, file = await ann.upload()
    for asked, start, stop in (
        ("bytes=0-9", 0, 10),
        ("bytes=131070-131079", 131070, 131080),
        ("bytes=300000-", 300_000, len(PNG)),
        ("bytes=-5", len(PNG) - 5, len(PNG)),
        ("bytes=-999999", 0, len(PNG)),
        (f"bytes={len(PNG) - 1}-999999999", len(PNG) - 1, len(PNG)),
    ):
        status, body, headers = await ann.ask("GET", file["url"], headers={"Range": asked})
        assert PNG[start:stop] == body
        if (start, stop) == (0, len(PNG)):
            assert 200 == status
        else:
            assert (206, f"bytes {start}-{stop - 1}/{len(PNG)}") == (status, headers["Content-Range"])


async def test_a_range_that_is_none_gets_the_whole_and_one_behind_the_end_a_refusal(ann: Person) -> None:
    _, file = await ann.upload()
    for asked in ("bytes=", "bytes=5-1", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes=-"):
        status, body, _ = await ann.ask("GET", file["url"], headers={"Range": asked})
        assert (200, PNG) == (status, body), asked
    status, body, _ = await ann.ask("GET", file["url"], headers={"Range": "bytes=0-1", "If-Range": '"another"'})
    assert (200, PNG) == (status, body)
    for asked in (f"bytes={len(PNG)}-", "bytes=-0"):
        assert (416, "range_not_satisfiable") == await ann.code("GET", file["url"], headers={"Range": asked})


async def test_who_may_not_write_to_the_thread_may_not_upload_to_it(
    session: aiohttp.ClientSession, gateway: Gateway, store: Store
) -> None:
    await Run(store, "t1").record_request()
    for who, refusal in (
        ((None,), (401, "unauthenticated")),
        (("ann", "viewer"), (403, "forbidden")),
        (("ann", "owner", "other"), (403, "forbidden")),
        (("bob", "member"), (403, "forbidden")),
    ):
        assert refusal == await Person(session, gateway, *who).code(
            "POST", FILES, data=PNG, headers={"Content-Type": "image/png"}
        )
    for who in (("ann", "member"), ("bob", "owner")):
        status, _ = await Person(session, gateway, *who).upload()
        assert 201 == status


async def test_a_file_is_read_by_its_org_alone(session: aiohttp.ClientSession, gateway: Gateway, ann: Person) -> None:
    _, file = await ann.upload()
    viewer = Person(session, gateway, "vic", "viewer")
    assert 200 == (await viewer.ask("GET", file["url"]))[0]
    stranger = Person(session, gateway, "ann", "owner", "other")
    assert (403, "forbidden") == await stranger.code("GET", file["url"])
    assert (404, "file_not_found") == await stranger.code("GET", file["url"].replace(f"/{ORG}/", "/other/"))
    assert (404, "file_not_found") == await ann.code("GET", file["url"].replace("/t1/", "/t2/"))
    assert (401, "unauthenticated") == await Person(session, gateway, None).code("GET", file["url"])


async def test_a_link_is_good_without_a_token_for_this_file_until_it_expires(
    session: aiohttp.ClientSession, gateway: Gateway, ann: Person
) -> None:
    (_, file), (_, other) = await ann.upload(), await ann.upload()
    status, link, _ = await ann.ask("POST", f"{file['url']}/link")
    assert 200 == status
    nobody = Person(session, gateway, None)
    status, body, _ = await nobody.ask("GET", link["url"])
    assert (200, PNG) == (status, body)
    _, _, query = link["url"].partition("?")
    expires = query.partition("&")[0]
    for path in (
        f"{other['url']}?{query}",
        link["url"].replace("expires=", "expires=9"),
        link["url"].replace(f"{expires}&", ""),
        link["url"][:-1],
        f"{file['url']}?{expires}&signature=%C3%BC",
        f"{file['url']}?signature=",
    ):
        assert (403, "link_invalid") == await nobody.code("GET", path), path
    expired, _ = Links(SECRET, "", lasts_s=-1).link(FileRef(ORG, ThreadId("t1"), file["id"]))
    assert (403, "link_invalid") == await nobody.code("GET", expired)
    forged, _ = Links(SECRET + "?", "", lasts_s=60).link(FileRef(ORG, ThreadId("t1"), file["id"]))
    assert (403, "link_invalid") == await nobody.code("GET", forged)
    assert (404, "file_not_found") == await ann.code("POST", f"{FILES}/none/link")


async def test_what_is_too_large_is_refused_before_it_has_come_and_leaves_nothing(ann: Person, store: Store) -> None:
    status, _ = await ann.upload(bytes(LIMIT))
    assert 201 == status
    there = await stored(store)

    async def endless() -> AsyncIterator[bytes]:
        # Whoever reads all of it before it refuses never does.
        while True:
            yield bytes(100_000)

    raw = {"Content-Type": "image/png"}
    async with asyncio.timeout(20):
        assert (413, "body_too_large") == await ann.code("POST", FILES, data=io.BytesIO(bytes(LIMIT + 1)), headers=raw)
        assert (413, "body_too_large") == await ann.code("POST", FILES, data=endless(), headers=raw)
    # What was announced stays until it is certain that nobody writes it any more.
    assert there + 1 == await stored(store)


async def test_what_is_no_file_is_refused(ann: Person, store: Store) -> None:
    form = aiohttp.FormData({"other": "text"}, default_to_multipart=True)
    assert (400, "invalid_body") == await ann.code("POST", FILES, data=form)
    broken = {"Content-Type": "multipart/form-data"}
    assert (400, "invalid_body") == await ann.code("POST", FILES, data=b"abc", headers=broken)
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"abc", b"--b\r\n\r\n", b"--b--", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc'):
        status, _ = await ann.code("POST", FILES, data=body, headers=broken)
        assert 400 == status, body
    for type_ in ("image", "image/", "a b/c", "é/x"):
        refusal = await ann.code("POST", FILES, data=b"abc", headers={"Content-Type": type_})
        assert (415, "unsupported_media_type") == refusal, type_
    assert 0 == len([name async for name in names(store)])


BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\x02\0\0\0"


@pytest.mark.usefixtures("command")
async def test_a_picture_that_would_fill_the_memory_of_who_looks_at_it_is_not_taken(ann: Person, store: Store) -> None:
    for kind in ("image/png", "text/plain"):
        refusal = await ann.code("POST", FILES, data=BOMB, headers={"Content-Type": kind})
        assert (422, "invalid_file") == refusal
    late = b"\xff\xd8" + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 9 + b"\xff\xc0\0\x0b\x08\xff\xff\xff\xff\1\0\x11\0"
    refusal = await ann.code("POST", FILES, data=late + bytes(100), headers={"Content-Type": "image/jpeg"})
    assert (422, "invalid_file") == refusal
    url = f"data:image/png;base64,{base64.b64encode(BOMB).decode()}"
    body = {"messages": [{"role": "user", "parts": [{"type": "file", "url": url, "mediaType": "image/png"}]}]}
    assert (422, "invalid_file") == await ann.code("POST", "/acme/decopilot/threads/t1/messages", json=body)
    assert 0 == len([name async for name in names(store)])


async def names(store: Store) -> AsyncIterator[str]:
    """Yield what the store has blobs of."""
    async for batch in store.read(STREAM, "$O.*.M.*", 0):
        for one in batch:
            if b'"deleted":false' in one.data:
                yield one.subject


async def test_a_client_that_breaks_off_leaves_no_file(ann: Person, store: Store) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(400_000)
        raise ConnectionResetError

    with pytest.raises(aiohttp.ClientError):
        await ann.ask("POST", FILES, data=broken(), headers={"Content-Type": "image/png"})

    async def is_clean() -> bool:
        info = await store.js.stream_info(STREAM, subjects_filter="$O.*.C.>")
        return not info.state.subjects

    async with asyncio.timeout(10):
        while not await is_clean():
            await asyncio.sleep(0.02)
    assert [] == [name async for name in names(store)]


@pytest.mark.usefixtures("command")
async def test_a_message_with_a_data_url_posted_twice_is_one_run_with_one_file(ann: Person, store: Store) -> None:
    file = {"url": f"data:image/png;base64,{LINKED}", "mediaType": "image/png", "filename": "cat.png"}
    (status, first), (again, second) = await ann.post(file, file), await ann.post(file, file)
    assert (202, 202) == (status, again)
    assert first["runId"] == second["runId"]
    assert 1 == len([name async for name in names(store)])
    _, history, _ = await ann.ask("GET", f"/{ORG}/decopilot/threads/t1/messages")
    _, *attached = history["messages"][0]["parts"]
    part = {"type": "file", "filename": "cat.png", "mediaType": "image/png", "url": attached[0]["url"]}
    assert [part, part] == attached
    status, body, _ = await ann.ask("GET", attached[0]["url"])
    assert (200, PNG) == (status, body)


@pytest.mark.usefixtures("command")
async def test_a_message_may_name_what_was_uploaded_and_is_told_its_type(ann: Person) -> None:
    _, file = await ann.upload()
    status, _ = await ann.post({"url": file["url"] + "?expires=1", "mediaType": "text/plain"})
    assert 202 == status
    _, history, _ = await ann.ask("GET", f"/{ORG}/decopilot/threads/t1/messages")
    part = {"type": "file", "url": file["url"], "mediaType": "image/png", "filename": "a.png"}
    assert part == history["messages"][0]["parts"][1]


@pytest.mark.usefixtures("command")
async def test_of_a_file_of_another_thread_a_message_brings_a_copy(ann: Person, store: Store) -> None:
    _, file = await ann.upload(path=FILES.replace("t1", "t2"))
    for _ in range(2):
        status, _ = await ann.post({"url": file["url"], "mediaType": "image/png"})
        assert 202 == status
    await Blobs(store).erase(OrgId(ORG), ThreadId("t2"))
    _, history, _ = await ann.ask("GET", f"/{ORG}/decopilot/threads/t1/messages")
    own = history["messages"][0]["parts"][1]["url"]
    assert f"{FILES}/{file['id']}" == own
    status, body, _ = await ann.ask("GET", own)
    assert (200, PNG) == (status, body)


@pytest.mark.usefixtures("command")
async def test_an_address_elsewhere_is_kept_as_it_is(ann: Person, store: Store) -> None:
    status, _ = await ann.post({"url": "https://example.org/cat.png", "mediaType": "image/png"})
    assert 202 == status
    assert 0 == await stored(store)


async def test_a_file_that_can_not_be_taken_refuses_the_message_and_stores_none(ann: Person, store: Store) -> None:
    refused: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({}, (422, "invalid_file")),
        ({"url": 7}, (422, "invalid_file")),
        ({"url": "data:image/png;base64,a?b"}, (422, "invalid_file")),
        ({"url": "data:image/png;base64,abc"}, (422, "invalid_file")),
        ({"url": "data:image/png"}, (422, "invalid_file")),
        ({"url": "javascript:alert(1)"}, (422, "invalid_file")),
        ({"url": "file:///etc/passwd"}, (422, "invalid_file")),
        ({"url": "//example.org/cat.png"}, (422, "invalid_file")),
        ({"url": "data:x,abc", "mediaType": "nonsense"}, (415, "unsupported_media_type")),
        ({"url": f"{FILES}/file_none"}, (404, "file_not_found")),
        ({"url": f"/{ORG}/decopilot/threads/t2/files/file_1"}, (404, "file_not_found")),
        ({"url": "/other/decopilot/threads/t1/files/file_1"}, (404, "file_not_found")),
    ]
    for file, refusal in refused:
        status, problem = await ann.post({"url": "data:,good"}, file)
        assert refusal == (status, problem["code"])
        assert 0 == await stored(store)


async def test_whoever_may_not_write_to_the_thread_stores_nothing_in_it_by_a_message(
    session: aiohttp.ClientSession, gateway: Gateway, store: Store
) -> None:
    await Run(store, "t1").record_request()
    bob = Person(session, gateway, "bob", "member")
    status, problem = await bob.post({"url": "data:,good"})
    assert (403, "forbidden") == (status, problem["code"])
    assert 0 == await stored(store)


async def test_a_file_that_is_erased_while_it_is_read_ends_short(
    session: aiohttp.ClientSession, gateway: Gateway, store: Store
) -> None:
    blobs, thread = Blobs(store), ThreadId("t1")
    await blobs.put(OrgId(ORG), thread, "large", bytes(30 << 20))
    headers = {"Authorization": f"Bearer {make_token()}"}
    async with session.get(gateway.url + f"{FILES}/large", headers=headers, read_bufsize=1024) as got:
        await got.content.readexactly(1000)
        await blobs.erase(OrgId(ORG), thread)
        with pytest.raises(aiohttp.ClientError):
            await got.content.read()


def test_names_of_files_are_made_harmless() -> None:
    for said, name in (
        (None, None),
        ("", None),
        ("..", ".."),
        ("/etc/passwd", "passwd"),
        ("C:\\pictures\\cat.png", "cat.png"),
        ("a\r\nSet-Cookie: b.png", "aSet-Cookie: b.png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
        ("x" * 300, "x" * 255),
        ("x." + "y" * 300, "x." + "y" * 237 + "." + "y" * 15),
    ):
        assert name == filename(said), said
