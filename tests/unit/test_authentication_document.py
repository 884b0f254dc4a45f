"""The page on tokens: its examples work, and it tells of every setting."""

import json
import re
from pathlib import Path

import pytest

from decopilot_gateway.auth.claims import ClaimsMap
from decopilot_gateway.auth.settings import AuthSettings
from decopilot_gateway.settings import GatewaySettings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "authentication.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sh\n(DECOPILOT_.*?)```\s+```json\n(.*?)```", PAGE, flags=re.DOTALL)


def test_every_setting_of_the_door_is_told_of() -> None:
    names = AuthSettings.model_fields.keys() - GatewaySettings.__mro__[2].model_fields.keys()
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


def test_there_are_examples() -> None:
    assert 3 == len(EXAMPLES)
