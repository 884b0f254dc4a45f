"""Doors: who is let in, with what, and what a browser is told to keep to itself."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any

import aiohttp
import jwt
import pytest
from yarl import URL

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from support.gateways import SECRET, Gateway, gateway_settings, make_token, running_gateway

THREADS = "/acme/decopilot/threads"
DEEP = jwt.utils.base64url_encode(b"[" * 5_000).decode()


def _lasting(**more: Any) -> str:  # noqa: ANN401  claims
    """Make a token that is not refused for its age, however long the tests before have taken."""
    return make_token(**({"exp": int(time.time()) + 86_400} | more))


BAD_TOKENS = {
    "no token": "",
    "nonsense": "nonsense",
    "no ASCII": "ÿ.þ.ü",
    "a header nested deeply": f"{DEEP}.e30.AA",
    "expired": _lasting(exp=int(time.time()) - 1),
    "signed by someone else": _lasting(secret="x" * 32),
    "not signed": _lasting(algorithm="none", secret=""),
    "signed by another method": _lasting(algorithm="HS512", secret=SECRET * 2),
    "for ever": _lasting(exp=None),
    "an expiry that is no time": _lasting(exp="soon"),
    "an expiry that never comes": _lasting(exp=float("inf")),
    "nobody": _lasting(sub=None),
    "an empty user": _lasting(sub=""),
    "no orgs": _lasting(orgs=None),
    "a role of its own": _lasting(orgs={"acme": "root"}),
    "an org that is no id": _lasting(orgs={"a.*": "owner"}),
}


@asynccontextmanager
async def browser(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that keeps cookies and follows no redirects by itself."""
    async with aiohttp.ClientSession(gateway.url + "/", cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_opens_nothing_as_bearer_as_cookie_and_in_the_link(
    own_broker: EmbeddedBroker, store: Store, name: str
) -> None:
    del store
    token = BAD_TOKENS[name]
    async with running_gateway(own_broker.url) as gateway, browser(gateway) as session:
        port = gateway.url.rpartition(":")[2]
        for headers in (
            {"Authorization": f"Bearer {token}"},
            {"Cookie": f"decopilot_token_{port}={token}"},
            {"Authorization": token},
        ):
            async with session.get(THREADS, headers=headers) as response:
                problem = await response.json(content_type="application/problem+json")
            assert (401, 401, "unauthenticated") == (response.status, problem["status"], problem["code"])
            assert "Bearer" == response.headers["WWW-Authenticate"]
        async with session.get("/", params={"token": token}, allow_redirects=False) as response:
            assert (401, "text/html") == (response.status, response.content_type)
            assert "Set-Cookie" not in response.headers


async def test_the_link_gives_its_token_to_a_cookie_of_this_port_and_drops_it_from_the_address(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway, browser(gateway) as session:
        port = gateway.url.rpartition(":")[2]
        token = make_token()
        async with session.get("/", params={"token": token}, allow_redirects=False) as response:
            assert (303, "/") == (response.status, response.headers["Location"])
        cookie = response.cookies[f"decopilot_token_{port}"]
        assert (token, True, "Strict", "/") == (cookie.value, cookie["httponly"], cookie["samesite"], cookie["path"])
        assert 590 < int(cookie["max-age"]) <= 600
        async with session.get("/") as response:
            assert (200, "/") == (response.status, str(response.url.relative()))
        async with session.get(THREADS) as response:
            assert 200 == response.status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "http://127.0.0.1", "file://"])
async def test_another_site_cannot_write_with_the_cookie(own_broker: EmbeddedBroker, store: Store, origin: str) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway, browser(gateway) as session:
        cookie = {"Cookie": f"decopilot_token_{gateway.url.rpartition(':')[2]}={make_token()}"}
        for method, path, taken in (
            ("POST", f"{THREADS}/t1/messages", "invalid_body"),
            ("POST", f"{THREADS}/t1/interactions", "invalid_body"),
            ("PATCH", f"{THREADS}/t1", "invalid_body"),
            ("POST", "/acme/decopilot/cancel/t1?runId=.", "invalid_id"),
            ("DELETE", f"{THREADS}/.t1", "invalid_id"),
            ("DELETE", f"{THREADS}/t1/queue/.m1", "invalid_id"),
        ):
            for sent, code in ((origin, "forbidden"), (gateway.url, taken)):
                headers = cookie | {"Origin": sent}
                async with session.request(method, path, json={}, headers=headers) as response:
                    assert code == (await response.json(content_type=None))["code"], path


async def test_the_page_shows_who_one_is_without_letting_names_write_markup(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    name = "\"><script>alert(1)</script>__ORG__ &amp; '"
    token = make_token(sub=name, orgs={"__USER__": "owner", "acme": "viewer"})
    async with running_gateway(own_broker.url) as gateway, browser(gateway) as session:
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get("/", headers=headers) as response:
            body = _body_of(await response.text())
        assert {"data-org": "__USER__", "data-user": name} == body
        async with session.get("/?org=acme", headers=headers) as response:
            assert "acme" == _body_of(await response.text())["data-org"]
        async with session.get("/?org=elsewhere", headers=headers) as response:
            assert 403 == response.status


async def test_every_answer_forbids_what_a_page_of_ours_never_does(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway, browser(gateway) as session:
        headers = {"Authorization": f"Bearer {make_token()}"}
        caching = {
            "/": "no-cache",
            "/web/app.js": "no-cache",
            "/web/vendor/marked.esm.js": "no-cache",
            THREADS: "no-store",
            "/nothing": "no-store",
            "/?token=bad": "no-store",
        }
        for path, cache in caching.items():
            async with session.get(path, headers=headers) as response:
                assert cache == response.headers["Cache-Control"], path
                assert "decopilot" == response.headers["Server"]
                assert "nosniff" == response.headers["X-Content-Type-Options"]
                assert "no-referrer" == response.headers["Referrer-Policy"]
                assert "DENY" == response.headers["X-Frame-Options"]
                assert "same-origin" == response.headers["Cross-Origin-Opener-Policy"]
                assert "same-origin" == response.headers["Cross-Origin-Resource-Policy"]
                assert "camera=()" in response.headers["Permissions-Policy"]
                policy = response.headers["Content-Security-Policy"].split("; ")
                assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
                assert "Strict-Transport-Security" not in response.headers
    async with (
        running_gateway(own_broker.url, public_url="https://chat.example") as gateway,
        browser(gateway) as session,
        session.get("/livez") as response,
    ):
        assert "max-age=31536000" == response.headers["Strict-Transport-Security"]


@pytest.mark.parametrize(
    "path",
    ["", "/", "/.", "/vendor", "/vendor/", "/..", "/../auth.py", "/%2e%2e/auth.py", "/..%2fauth.py", "//etc/passwd",
     "/%00", "/app.js/", "/app.js%00.css", "/" + "a" * 5_000, "/vendor/../../auth.py", "/%5c..%5cauth.py"],
)  # fmt: skip
async def test_only_the_files_of_the_page_are_served(own_broker: EmbeddedBroker, store: Store, path: str) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway, browser(gateway) as session:
        url = URL(f"{gateway.url}/web{path}", encoded=True)
        async with session.get(url) as response:
            problem = await response.json(content_type="application/problem+json")
    assert (404, "not_found") == (response.status, problem["code"])


async def test_under_a_prefix_everything_moves_there_links_redirect_and_cookie_too(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    async with running_gateway(own_broker.url, path_prefix="/chat/v1") as gateway, browser(gateway) as session:
        async with session.get("/chat/v1/", params={"token": make_token()}, allow_redirects=False) as response:
            assert "/chat/v1/" == response.headers["Location"]
            assert {"/chat/v1/"} == {cookie["path"] for cookie in response.cookies.values()}
        async with session.get("/chat/v1/") as response:
            links = _Links.of(await response.text())
            assert links
            page = response.url
        for link in links:
            async with session.get(page.join(URL(link))) as response:
                assert 200 == response.status, link
        async with session.get("/chat/v1/openapi.json") as response:
            document = await response.json()
        assert ["/chat/v1"] == [server["url"] for server in document["servers"]]
        for path in document["paths"]:
            real = re.sub(r"\{\w+\}", "x1", path.replace("{org}", "acme"))
            async with session.get(f"/chat/v1{real}") as response:
                assert response.status != 404 or "not_found" != (await response.json(content_type=None))["code"]
            async with session.get(real) as response:
                assert 404 == response.status


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.body: dict[str, str | None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self.body = dict(attrs)
        named = dict(attrs)
        found = named.get("src") or named.get("href")
        if found and not found.startswith("#"):
            self.links.append(found)

    @classmethod
    def of(cls, page: str) -> list[str]:
        parser = cls()
        parser.feed(page)
        return parser.links


def _body_of(page: str) -> dict[str, str | None]:
    parser = _Links()
    parser.feed(page)
    return parser.body


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
FRIEND = "https://app.example.com"


async def test_no_other_origin_is_told_anything_unless_it_is_named(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    bearer = {"Authorization": f"Bearer {make_token()}"}
    for named, origin in (("", FRIEND), (FRIEND, "https://evil.example"), (FRIEND, "https://app.example.com.evil.example"),
                          (FRIEND, "http://app.example.com"), (FRIEND, "null"), (FRIEND, "")):  # fmt: skip
        async with running_gateway(own_broker.url, cors_origins=named) as gateway, browser(gateway) as session:
            async with session.options(THREADS, headers=PREFLIGHT | {"Origin": origin}) as response:
                assert 405 == response.status
                assert not [name for name in response.headers if name.startswith("Access-Control")]
            async with session.get(THREADS, headers=bearer | {"Origin": origin}) as response:
                assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_a_named_origin_may_call_with_a_bearer_token_and_never_with_the_cookie(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    named = f"http://other.example, {FRIEND}"
    async with running_gateway(own_broker.url, cors_origins=named) as gateway, browser(gateway) as session:
        origin = {"Origin": FRIEND}
        for path in (THREADS, f"{THREADS}/t1/messages", "/acme/decopilot/attach/t1", "/acme/watch"):
            async with session.options(path, headers=PREFLIGHT | origin) as response:
                assert 204 == response.status
                assert FRIEND == response.headers["Access-Control-Allow-Origin"]
                assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        bearer = {"Authorization": f"Bearer {make_token()}"}
        cookie = {"Cookie": f"decopilot_token_{gateway.url.rpartition(':')[2]}={make_token()}"}
        for method, path, headers, status in (
            ("GET", THREADS, bearer, 200),
            ("GET", f"{THREADS}/t1", bearer, 404),
            ("GET", THREADS, {}, 401),
            ("GET", "/acme/decopilot/attach/t1", bearer, 200),
            ("POST", f"{THREADS}/t1/messages", cookie, 403),
        ):
            async with session.request(method, path, headers=headers | origin) as response:
                assert status == response.status
                assert FRIEND == response.headers["Access-Control-Allow-Origin"]
                assert "Origin" in response.headers["Vary"]
                assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
                assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "named", ["*", "app.example.com", "https://app.example.com/", "https://a/b", "null", "ftp://x"]
)
def test_what_is_no_origin_is_a_mistake_of_the_settings(named: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        gateway_settings("nats://x", cors_origins=named)
