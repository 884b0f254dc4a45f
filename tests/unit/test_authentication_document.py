"""The page on tokens: its examples work, and it tells of every setting."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast, get_args

import pytest

from decopilot.contracts.commands import Role
from decopilot.domain.access import Room, may_change, may_read, may_set_visibility, may_write
from decopilot.kit.settings import Settings
from decopilot_gateway.auth import tokens
from decopilot_gateway.auth.claims import ClaimsMap
from decopilot_gateway.auth.settings import AuthSettings

DOCS = Path(__file__).parents[2] / "docs"
AUTH = Path(tokens.__file__).parent
PAGE = (DOCS / "authentication.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sh\n(DECOPILOT_.*?)```\s+```json\n(.*?)```", PAGE, flags=re.DOTALL)


def test_every_setting_of_the_door_is_told_of() -> None:
    names = AuthSettings.model_fields.keys() - Settings.model_fields.keys()
    assert "jwt_secret" in names
    assert [] == [name for name in names if f"DECOPILOT_{name.upper()}" not in PAGE]


@pytest.mark.parametrize(("environment", "claims"), EXAMPLES)
def test_an_example_reads_the_tokens_that_it_is_for(
    environment: str, claims: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in environment.strip().splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    told, said = AuthSettings(), json.loads(claims)
    claims_map = ClaimsMap(
        told.jwt_user_claim, told.jwt_orgs_claim, told.jwt_role_claim, told.jwt_default_role, told.jwt_roles
    )
    assert said["sub"] == claims_map.user_in(said)
    assert {"owner", "member"} & {*claims_map.orgs_in(said).values()}
    assert told.jwt_issuer == said.get("iss", "")


RIGHTS: dict[str, Callable[[Role], bool]] = {
    "read a thread that all of the org read": lambda role: may_read(role, "ann", None),
    "read one's own private thread": lambda role: may_read(role, "ann", "ann"),
    "read another's private thread": lambda role: may_read(role, "ann", "bob"),
    "begin a thread, also as a fork of one that is read": may_change,
    "write to one's own thread": lambda role: may_write(role, "ann", Room("ann", "private")),
    "write to another's thread that all of the org read": lambda role: may_write(role, "ann", Room("bob")),
    "write to another's private thread": lambda role: may_write(role, "ann", Room("bob", "private")),
    "say who reads one's own thread": lambda role: may_set_visibility(role, "ann", Room("ann")),
    "say who reads another's thread": lambda role: may_set_visibility(role, "ann", Room("bob")),
    "fire an automation": may_change,
}


def test_the_table_of_roles_says_what_access_does() -> None:
    head, *rows = re.findall(
        r"^\| (.*?) \|$", PAGE.partition("## What a role may do")[2].partition("##")[0], re.MULTILINE
    )
    roles = re.findall(r"`(\w+)`", head)
    assert {*get_args(Role)} == {*roles}
    told = {what: said for what, *said in (row.split(" | ") for row in rows)}
    assert {
        what: ["yes" if may(cast("Role", role)) else "no" for role in roles] for what, may in RIGHTS.items()
    } == told


def test_every_reason_of_a_refusal_is_told_of() -> None:
    sources = "".join(path.read_text() for path in AUTH.glob("*.py"))
    reasons = {*re.findall(r'(?:RefusedTokenError|ClaimError)\(\s*"(\w+)"', sources), "no_exp", "no_iss", "no_aud"}
    reasons |= {reason for reason, _ in tokens._TOLD.values()} | {"no_user", "no_orgs", "malformed"}  # noqa: SLF001
    told = PAGE.partition("## Why a token is refused")[2].partition("\n## ")[0]
    assert len(reasons) > 15
    assert reasons == {
        name for row in re.findall(r"^\| (`.*?) \|", told, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    } - {"reason"}


def test_there_are_examples() -> None:
    assert 3 == len(EXAMPLES)
