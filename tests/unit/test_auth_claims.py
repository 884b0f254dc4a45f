"""The claims map: which claims name the user, the orgs and the roles, in the forms that issuers give them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from decopilot_gateway.auth.claims import ClaimError, ClaimsMap

NAMESPACED = "https://chat.example/orgs"
GOOD: list[tuple[ClaimsMap, dict[str, Any], dict[str, str]]] = [
    (ClaimsMap(), {"orgs": {"acme": "owner", "b": "viewer"}}, {"acme": "owner", "b": "viewer"}),
    (ClaimsMap(), {"orgs": {"acme": ["viewer", "owner", "offline_access"]}}, {"acme": "owner"}),
    (ClaimsMap(), {"orgs": {}}, {}),
    (ClaimsMap(), {"orgs": []}, {}),
    (ClaimsMap(default_role="member"), {"orgs": ["acme", "b"]}, {"acme": "member", "b": "member"}),
    (ClaimsMap(default_role="member"), {"orgs": {"acme": None, "b": "owner"}}, {"acme": "member", "b": "owner"}),
    (
        ClaimsMap(orgs="org_id", role="realm_access.roles", roles={"chat-admin": "owner", "chat-user": "member"}),
        {"org_id": "acme", "realm_access": {"roles": ["uma_authorization", "chat-user", "chat-admin"]}},
        {"acme": "owner"},
    ),
    (ClaimsMap(orgs=NAMESPACED), {NAMESPACED: {"acme": "service"}}, {"acme": "service"}),
    (ClaimsMap(orgs=f"{NAMESPACED}.mine"), {NAMESPACED: {"mine": {"acme": "viewer"}}}, {"acme": "viewer"}),
    (ClaimsMap(orgs="a.b", default_role="viewer"), {"a.b": "acme", "a": {"b": "other"}}, {"acme": "viewer"}),
]


@pytest.mark.parametrize(("claims_map", "claims", "orgs"), GOOD)
def test_orgs_and_roles_are_found_where_the_map_says(
    claims_map: ClaimsMap, claims: dict[str, Any], orgs: dict[str, str]
) -> None:
    assert orgs == claims_map.orgs_in(claims)


@pytest.mark.parametrize(
    ("claims_map", "claims"),
    [
        (ClaimsMap(), {"orgs": {"acme": "root"}}),
        (ClaimsMap(), {"orgs": {"acme": "Owner"}}),
        (ClaimsMap(), {"orgs": {"acme": None}}),
        (ClaimsMap(), {"orgs": {"acme": 1}}),
        (ClaimsMap(), {"orgs": ["acme"]}),
        # What has a name that nobody knows is not made the default.
        (ClaimsMap(default_role="viewer"), {"orgs": {"acme": "root"}}),
        (ClaimsMap(default_role="viewer"), {"orgs": {"acme": ["root"]}}),
        (ClaimsMap(role="role"), {"orgs": "acme", "role": "root"}),
        # With names of the issuer's own, ours mean nothing.
        (ClaimsMap(roles={"admin": "owner"}), {"orgs": {"acme": "owner"}}),
    ],
)
def test_a_role_that_means_nothing_here_is_refused(claims_map: ClaimsMap, claims: dict[str, Any]) -> None:
    with pytest.raises(ClaimError) as refused:
        claims_map.orgs_in(claims)
    assert "unknown_role" == refused.value.reason


@pytest.mark.parametrize("said", ["a b", "a.*", 7, True, ["acme", 7], [["acme"]], {"a.b": "owner"}, ["a.b"], "x" * 65])
def test_what_is_no_org_is_refused(said: object) -> None:
    with pytest.raises(ClaimError, match=r"`orgs` has no org|`orgs` is no object") as refused:
        ClaimsMap(default_role="owner").orgs_in({"orgs": said})
    assert "bad_orgs" == refused.value.reason


def test_an_org_that_nobody_can_ask_for_is_passed_over_beside_others() -> None:
    claims_map = ClaimsMap(default_role="member")
    with capture_logs() as logs:
        assert {"acme": "member"} == claims_map.orgs_in({"orgs": ["a.b", "acme", "x" * 65]})
        # Its role, too: whatever that may mean to others.
        assert {"acme": "owner"} == claims_map.orgs_in({"orgs": {"Überorg": "root", "acme": "owner"}})
    assert [("debug", "a.b"), ("debug", "x" * 65), ("debug", "Überorg")] == [
        (entry["log_level"], entry["org"]) for entry in logs
    ]


@pytest.mark.parametrize("path", ["orgs", "https://chat.example/orgs", "ext.orgs"])
def test_a_claim_that_is_not_there_is_named_as_it_was_set(path: str) -> None:
    with pytest.raises(ClaimError) as refused:
        ClaimsMap(orgs=path).orgs_in({"org": "acme", "ext": {}})
    assert ("no_orgs", f"The token has no claim `{path}`.") == (refused.value.reason, refused.value.detail)
    with pytest.raises(ClaimError) as refused:
        ClaimsMap(user=path).user_in({})
    assert ("no_user", f"The token has no claim `{path}`.") == (refused.value.reason, refused.value.detail)


def test_nobody_is_an_automation() -> None:
    with pytest.raises(ValueError, match="automation"):
        ClaimsMap().user_in({"sub": "automation:weekly"})


def test_the_user_is_the_claim_that_the_map_names() -> None:
    assert "ann" == ClaimsMap(user="ext.login").user_in({"sub": "uuid", "ext": {"login": "ann"}})
    for claims in ({}, {"sub": ""}, {"sub": 7}, {"sub": None}, {"sub": "x" * 257}):
        with pytest.raises(ClaimError, match="`sub`"):
            ClaimsMap().user_in(claims)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["orgs", "role", "a", "a.b", "orgs.x"]), JSON), st.sampled_from(["a.b.c", "orgs"])
)
def test_whatever_an_issuer_says_is_understood_or_refused(claims: dict[str, Any], path: str) -> None:
    try:
        orgs = ClaimsMap(orgs=path, role="role", default_role="viewer").orgs_in(claims)
    except ClaimError:
        return
    assert {*orgs.values()} <= {"owner", "member", "viewer", "service"}
