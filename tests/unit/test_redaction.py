"""Redaction: secrets are masked by their form, by their name and by their value, and all else stays as it was."""

import json
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.kit.redaction import MASK, redact, redact_field

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlc2lnbmF0dXJl"
SECRETS = {
    JWT: JWT,
    f"Authorization: Bearer {JWT}": JWT,
    "authorization: bearer abc.def-123": "abc.def-123",
    "headers={'Authorization': 'Basic dXNlcjpwYXNz'}": "dXNlcjpwYXNz",
    "nats://user:hunter22@broker:4222": "hunter22",
    "nats://s3cr3t-token@broker:4222 refused": "s3cr3t-token",
    f"GET /?token={JWT}&org=a": JWT,
    "/files/f?expires=1&signature=AbCdEf123456": "AbCdEf123456",
    "Incorrect API key provided: sk-proj-abcdefghij0123456789": "sk-proj-abcdefghij0123456789",
    "key AIzaSyA0123456789abcdefghijklmnopqrstu": "AIzaSyA0123456789abcdefghijklmnopqrstu",
    "aws AKIAIOSFODNN7EXAMPLE": "AKIAIOSFODNN7EXAMPLE",
    "x-api-key: abcd1234efgh": "abcd1234efgh",
    '{"api_key": "abcd1234efgh"}': "abcd1234efgh",
    "password=correct-horse": "correct-horse",
    '{\\"api_key\\": \\"abcd1234efgh\\"}': "abcd1234efgh",
    "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG": "wJalrXUtnFEMI",
    "private_key: abcd1234efgh": "abcd1234efgh",
    "passwd=correct-horse": "correct-horse",
    "DB_PWD=correct-horse": "correct-horse",
    "credential = correct-horse": "correct-horse",
    "https://a.org/?key=abcd1234efgh": "abcd1234efgh",
    "https://a.org/?a=1&sig=abcd1234efgh": "abcd1234efgh",
    "token%3Dabcd1234efgh": "abcd1234efgh",
    "password='correct horse battery'": "battery",
    '"password": "a,correct;horse"': "horse",
    "nats://user:p@ss@word@broker:4222": "word",
    "Cookie: theme=dark; session=abcd1234efgh": "abcd1234efgh",
    "github_pat_11ABCDEFG0123456789_abcdef": "11ABCDEFG0123456789",
    "seed SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY": "SUACSSL3UAHUD",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----": "MIIEvQIBADANBg",
    "-----BEGIN EC PRIVATE KEY-----\\nMIIEvQIBADANBg\\n": "MIIEvQIBADANBg",
    "Set-Cookie: decopilot_token_80=abcdefgh": "abcdefgh",
}
PLAIN = [
    "",
    "There is no order 7.",
    "The tool is not a secret any more; tokens: 300",
    "https://example.com/a@b?q=1#x",
    "inputTokens=12 outputTokens=3",
    "a task-force of desk-based people",
    "token expired",
    "Cookie: a biscuit that is baked",
    "press any key: the secret is patience",
    "https://a.org/?monkey=1234&design=5678",
    "日本語 \x00\n",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_masked_and_what_is_around_it_stays(text: str) -> None:
    shown = redact(text)
    assert SECRETS[text] not in shown
    assert MASK in shown
    assert shown == redact(shown)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert text == redact(text)


def test_a_field_that_is_named_like_a_secret_is_masked_whole_and_so_is_one_within_it() -> None:
    assert MASK == redact_field("nats_token", "abc")
    assert 12 == redact_field("token", 12)
    said = {"headers": {"Authorization": "x", "Accept": "y"}, "urls": ["http://a:b@c"]}
    assert {"headers": {"Authorization": MASK, "Accept": "y"}, "urls": [f"http://{MASK}@c"]} == redact_field("e", said)


class RefusalError(Exception):
    """What is logged as it is."""


def test_nor_does_a_secret_pass_as_bytes_as_an_exception_or_as_a_part_of_something_named_like_one() -> None:
    assert f"token={MASK}" in str(redact_field("error", RefusalError("token=abcd1234")))
    assert f"token={MASK}" in str(redact_field("said", b"token=abcd1234"))
    assert {"password": MASK} == redact_field("e", {"password": {"value": "abcd1234"}})
    assert {"e": {"password": MASK}} == redact_field("e", {"e": {"password": ["abcd1234"]}})
    assert "abcd1234" not in str(redact_field("e", {f"token=abcd1234{n}": n for n in range(2)}))
    deep: object = "token=abcd1234"
    for _ in range(20):
        deep = [deep]
    assert "abcd1234" not in str(redact_field("e", deep))


@pytest.mark.parametrize(
    "piece",
    [
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "://a@",
        "'password'='a",
        "cookie: a;",
        "secret_",
        "S",
        "://",
        "Bearer ",
        "sk-",
        "token=",
        "eyJaaaaaaaa.",
        "password: '",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    begun = time.monotonic()
    redact(piece * (200_000 // len(piece)))
    assert time.monotonic() - begun < 3


@given(st.text())
def test_any_text_can_be_redacted(text: str) -> None:
    redact(text)


@given(st.lists(st.sampled_from([*"eyJ.-_%sS3=: ", "eyJ", "sk-", "AKIA", "A1B2C3D4E5F6", "token", "%3D"])).map("".join))
def test_a_word_is_searched_for_all_that_a_word_can_hold(text: str) -> None:
    assert redact(f" {text}") == f" {redact(text)}"


def test_what_the_environment_holds_as_a_secret_is_masked_wherever_it_stands() -> None:
    code = "from decopilot.kit.redaction import redact; print(redact('the key is 0penSesame!, short abc, /usr/bin'))"
    env = {"OPENAI_API_KEY": "0penSesame!", "SHORT_KEY": "abc", "PATH": "/usr/bin"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert "the key is ***, short abc, /usr/bin\n" == ran.stdout


SCRIPT = """
import structlog
from decopilot.kit.logging import configure
from decopilot.kit.settings import Settings
configure(Settings(log_format=FORMAT), "test")
try:
    raise ValueError("refused: Bearer abcdefgh12345 \\x1b[2J")
except ValueError:
    structlog.get_logger().exception(
        "failed", path="/?token=abcdefgh12345", nats_token="abcdefgh12345", title="a\\nforged \\x1b[31m\\u2028", n=[1]
    )
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_in_logs_too_and_nothing_in_them_drives_a_terminal_or_begins_a_line(form: str) -> None:
    script = SCRIPT.replace("FORMAT", repr(form))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "abcdefgh12345" not in ran.stderr
    assert "failed" in ran.stderr
    assert "\x1b[2J" not in ran.stderr
    assert "\x1b[31mforged" not in ran.stderr
    assert not [line for line in ran.stderr.splitlines() if line.startswith("forged")]
    if form == "json":
        assert "a\nforged \x1b[31m\u2028" == json.loads(ran.stderr)["title"]
