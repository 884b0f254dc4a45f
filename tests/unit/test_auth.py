"""Who asks: the names of cookies, and what an org and a role may be."""

import time

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request

from decopilot_gateway.auth import Caller, Doorman, cookie_name
from decopilot_gateway.problems import ProblemError

SECRET = "x" * 32
TOKEN = jwt.encode({"sub": "ann", "orgs": {"acme": "member", "other": "viewer"}, "exp": 4_000_000_000}, SECRET)


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
    assert name == cookie_name(make_mocked_request("GET", "/", {"Host": host}))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_caller_has_the_role_of_the_org_in_the_path(scheme: str) -> None:
    request = make_mocked_request(
        "GET", "/", {"Authorization": f"{scheme} {TOKEN}", "Host": "x"}, match_info={"org": "other"}
    )
    assert Caller("other", "ann", "viewer") == Doorman(SECRET).caller(request)  # type: ignore[arg-type]


@pytest.mark.parametrize(("org", "code"), [("elsewhere", "forbidden"), ("a.b", "invalid_id"), ("acme ", "invalid_id")])
def test_an_org_of_others_is_forbidden_and_what_is_no_org_is_refused(org: str, code: str) -> None:
    request = make_mocked_request(
        "GET", "/", {"Authorization": f"Bearer {TOKEN}", "Host": "x"}, match_info={"org": org}
    )
    with pytest.raises(ProblemError) as refused:
        Doorman(SECRET).caller(request)
    assert code == refused.value.code


def test_a_bearer_goes_before_a_cookie_even_if_it_is_worse() -> None:
    headers = {"Authorization": "Bearer nonsense", "Cookie": f"decopilot_token={TOKEN}", "Host": "x"}
    with pytest.raises(ProblemError) as refused:
        Doorman(SECRET).claims(make_mocked_request("GET", "/", headers))
    assert "unauthenticated" == refused.value.code


def test_a_token_that_was_good_is_refused_from_the_moment_it_expires_on() -> None:
    expires = int(time.time()) + 1
    token = jwt.encode({"sub": "ann", "orgs": {}, "exp": expires}, SECRET)
    doorman = Doorman(SECRET)
    assert "ann" == doorman.read(token).sub
    time.sleep(max(0.0, expires - time.time()))
    with pytest.raises(ProblemError) as refused:
        doorman.read(token)
    assert "The token has expired." == refused.value.detail
