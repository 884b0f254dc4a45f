"""The cookie: its name, what a browser is told of it, and from which pages it is taken."""

import time

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from decopilot.contracts.ids import UserId
from decopilot_gateway.auth.caller import Claims
from decopilot_gateway.auth.cookies import Cookies
from decopilot_gateway.problems import ProblemError

HTTPS = "https://chat.example"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8080", "decopilot_token_8080"),
        ("[::1]:9000", "decopilot_token_9000"),
        ("chat.example", "decopilot_token"),
        ("a:b:c", "decopilot_token"),
        ("x:99999999", "decopilot_token"),
    ],
)
def test_each_port_of_a_host_has_a_cookie_of_its_own(host: str, name: str) -> None:
    assert name == Cookies().name(make_mocked_request("GET", "/", {"Host": host}))


@pytest.mark.parametrize(
    ("public_url", "prefix", "name", "path", "secure"),
    [
        (HTTPS, "", "__Host-decopilot_token", "/", True),
        (HTTPS + ":8443", "", "__Host-decopilot_token_8443", "/", True),
        (HTTPS, "/chat", "__Secure-decopilot_token", "/chat/", True),
        ("http://chat.example", "", "decopilot_token", "/", False),
    ],
)
def test_by_https_the_cookie_is_secure_and_named_so_whatever_the_proxy_says(
    public_url: str, prefix: str, name: str, path: str, *, secure: bool
) -> None:
    request = make_mocked_request("GET", "/", {"Host": "10.0.0.7:8080", "X-Forwarded-Proto": "http"})
    response = web.Response()
    Cookies(public_url, prefix).give(request, response, "token", Claims(UserId("ann"), {}, time.time() + 600))
    (cookie,) = response.cookies.values()
    assert (name, path, secure) == (cookie.key, cookie["path"], bool(cookie["secure"]))
    assert (True, "Strict") == (cookie["httponly"], cookie["samesite"])
    assert "" == cookie["domain"]
    assert 590 < int(cookie["max-age"]) <= 600


OWN = "http://x:1"
SAID = [
    # Origin, Sec-Fetch-Site, whether it is taken: here, and behind a proxy at HTTPS.
    (OWN, None, True, False),
    (OWN, "same-origin", True, False),
    (HTTPS, None, False, True),
    (HTTPS, "same-origin", False, True),
    (None, "same-origin", True, True),
    (None, None, False, False),
    (None, "none", False, False),
    (None, "same-site", False, False),
    (None, "cross-site", False, False),
    (OWN, "cross-site", False, False),
    (HTTPS, "same-site", False, False),
    ("null", None, False, False),
    ("null", "same-origin", False, False),
    ("https://evil.example", None, False, False),
    (HTTPS + ".evil.example", None, False, False),
]


@pytest.mark.parametrize(("origin", "site", "here", "behind"), SAID)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_a_write_by_cookie_is_taken_from_pages_of_our_own_only(
    method: str, origin: str | None, site: str | None, *, here: bool, behind: bool
) -> None:
    headers = {"Host": "x:1", "Cookie": "decopilot_token_1=t; __Host-decopilot_token=t"}
    headers |= {} if origin is None else {"Origin": origin}
    headers |= {} if site is None else {"Sec-Fetch-Site": site}
    for cookies, is_taken in ((Cookies(), here), (Cookies(HTTPS), behind)):
        request = make_mocked_request(method, "/", headers)
        if is_taken:
            assert "t" == cookies.take(request)
        else:
            with pytest.raises(ProblemError) as refused:
                cookies.take(request)
            assert "forbidden" == refused.value.code
        assert "t" == cookies.take(make_mocked_request("GET", "/", headers))
