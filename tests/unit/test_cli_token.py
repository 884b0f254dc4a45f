from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from decopilot.cli import app
from decopilot.cli.errors import CliError
from decopilot.cli.plan import parse_scale
from decopilot.cli.tokens import Role, issue_token

SECRET = "a secret of at least thirty-two bytes"
NOW = datetime(2100, 1, 1, tzinfo=UTC)


def issue(*, org: str = "acme", user: str = "ann", secret: str = SECRET) -> str:
    return issue_token(secret, org=org, user=user, role=Role.VIEWER, hours=2, now=NOW)


def test_a_token_names_the_user_their_role_per_org_and_when_it_ends() -> None:
    claims = jwt.decode(issue(), SECRET, algorithms=["HS256"], options={"verify_iat": False})

    seconds = int(NOW.timestamp())
    assert claims == {"sub": "ann", "orgs": {"acme": "viewer"}, "iat": seconds, "exp": seconds + 7200}


@pytest.mark.parametrize("org", ["", "a.b", "a b", "*", "a>", "x" * 65, "ünï", "acme\n"])
def test_an_org_that_can_not_be_a_subject_token_is_refused(org: str) -> None:
    with pytest.raises(CliError, match="The org id must be 1 to 64 of"):
        issue(org=org)


@pytest.mark.parametrize("user", ["", "x" * 257])
def test_a_user_of_no_or_too_many_characters_is_refused(user: str) -> None:
    with pytest.raises(CliError, match="A user has"):
        issue(user=user)


def test_a_secret_that_could_be_guessed_signs_nothing() -> None:
    with pytest.raises(CliError, match="shorter than 32 bytes"):
        issue(secret="x" * 31)


def test_the_command_prints_a_token_and_says_where_it_had_to_make_the_secret(tmp_path: Path) -> None:
    command = ["token", "--org", "acme", "--user", "ann", "--role", "owner", "--data-dir", str(tmp_path)]
    first, second = (CliRunner().invoke(app, command, env={"DECOPILOT_JWT_SECRET": ""}) for _ in range(2))

    assert [0, 0] == [first.exit_code, second.exit_code]
    assert f"a new secret was made in {tmp_path}" in first.stderr
    assert "" == second.stderr
    secret = (tmp_path / "jwt-secret").read_text()
    for ran in (first, second):
        assert 1 == ran.stdout.count("\n")
        assert {"acme": "owner"} == jwt.decode(ran.stdout.strip(), secret, algorithms=["HS256"])["orgs"]


def test_the_environment_s_secret_comes_before_the_file_s(tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        app,
        ["token", "--org", "acme", "--user", "ann", "--data-dir", str(tmp_path / "none")],
        env={"DECOPILOT_JWT_SECRET": SECRET},
    )

    assert jwt.decode(ran.output.strip(), SECRET, algorithms=["HS256"])["orgs"] == {"acme": "member"}
    assert not (tmp_path / "none").exists()


def test_copies_are_read_per_service() -> None:
    assert parse_scale(["runner=2,gateway=3", "reactor=0"]) == {"runner": 2, "gateway": 3, "reactor": 0}


@pytest.mark.parametrize("text", ["runner", "runner=", "runner=x", "runner=-1", "nats=2", "gateway=0", "runner=65"])
def test_a_scale_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="SERVICE=COPIES"):
        parse_scale([text])
