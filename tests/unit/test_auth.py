"""Who asks: what an org and a role may be, and which of several tokens counts."""

import time

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request

from decopilot.contracts.ids import OrgId, UserId
from decopilot_gateway.auth import Caller, Doorman
from decopilot_gateway.auth.settings import AuthSettings
from decopilot_gateway.problems import ProblemError

SECRET = "x" * 32
EXPIRES = 4_000_000_000
TOKEN = jwt.encode({"sub": "ann", "orgs": {"acme": "member", "other": "viewer"}, "exp": EXPIRES}, SECRET)


def doorman(**settings: object) -> Doorman:
    return Doorman(AuthSettings.model_validate({"jwt_secret": SECRET, "jwt_leeway_s": 0} | settings))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_caller_has_the_role_of_the_org_in_the_path(scheme: str) -> None:
    request = make_mocked_request(
        "GET", "/", {"Authorization": f"{scheme} {TOKEN}", "Host": "x"}, match_info={"org": "other"}
    )
    assert Caller(OrgId("other"), UserId("ann"), "viewer", EXPIRES) == doorman().caller(request)
    assert EXPIRES + 7 == doorman(jwt_leeway_s=7).caller(request).expires_at


@pytest.mark.parametrize(("org", "code"), [("elsewhere", "forbidden"), ("a.b", "invalid_id"), ("acme ", "invalid_id")])
def test_an_org_of_others_is_forbidden_and_what_is_no_org_is_refused(org: str, code: str) -> None:
    request = make_mocked_request(
        "GET", "/", {"Authorization": f"Bearer {TOKEN}", "Host": "x"}, match_info={"org": org}
    )
    with pytest.raises(ProblemError) as refused:
        doorman().caller(request)
    assert code == refused.value.code


def test_a_bearer_goes_before_a_cookie_even_if_it_is_worse() -> None:
    headers = {"Authorization": "Bearer nonsense", "Cookie": f"decopilot_token={TOKEN}", "Host": "x"}
    with pytest.raises(ProblemError) as refused:
        doorman().claims(make_mocked_request("GET", "/", headers))
    assert "unauthenticated" == refused.value.code


def test_a_token_that_was_good_is_refused_from_the_moment_it_expires_on() -> None:
    expires = int(time.time()) + 1
    token = jwt.encode({"sub": "ann", "orgs": {}, "exp": expires}, SECRET)
    door = doorman()
    assert "ann" == door.read(token).user
    time.sleep(max(0.0, expires - time.time()))
    with pytest.raises(ProblemError) as refused:
        door.read(token)
    assert "The token has expired." == refused.value.detail
