"""The claims map: which claims name the user, the orgs and the roles, in the forms that issuers give them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot_gateway.auth.claims import ClaimsMap, UnknownRoleError

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
    with pytest.raises(UnknownRoleError):
        claims_map.orgs_in(claims)


@pytest.mark.parametrize("said", [None, "a b", "a.*", 7, True, ["acme", 7], [["acme"]], {"a.b": "owner"}, "x" * 65])
def test_what_is_no_org_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match="valid"):
        ClaimsMap(default_role="owner").orgs_in({"orgs": said})


def test_nobody_is_an_automation() -> None:
    with pytest.raises(ValueError, match="automation"):
        ClaimsMap().user_in({"sub": "automation:weekly"})


def test_the_user_is_the_claim_that_the_map_names() -> None:
    assert "ann" == ClaimsMap(user="ext.login").user_in({"sub": "uuid", "ext": {"login": "ann"}})
    for claims in ({}, {"sub": ""}, {"sub": 7}, {"sub": None}, {"sub": "x" * 257}):
        with pytest.raises(ValueError, match="valid"):
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
    except ValueError:
        return
    assert {*orgs.values()} <= {"owner", "member", "viewer", "service"}
