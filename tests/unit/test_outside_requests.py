"""Whatever comes in a request is understood, or refused by a problem of the table: no parser lets anything else out."""

import asyncio
import json
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import BaseModel

from decopilot.contracts.files import FILENAME_LENGTH, FileRef
from decopilot.contracts.ids import OrgId, ThreadId, UserId
from decopilot.contracts.problems import PROBLEMS
from decopilot.log.blobs import Blob
from decopilot_gateway import attaching, bodies, inspecting, serving, uploading, watching
from decopilot_gateway.attachments import given_in
from decopilot_gateway.auth import Caller, Doorman
from decopilot_gateway.auth.attach_tokens import AttachTokens
from decopilot_gateway.auth.settings import AuthSettings
from decopilot_gateway.auth.tokens import kid_of
from decopilot_gateway.automating import FireBody
from decopilot_gateway.branching import ForkBody, RegenerateBody
from decopilot_gateway.facts import InteractionsBody
from decopilot_gateway.links import EXPIRES, SIGNATURE, Links
from decopilot_gateway.listing import Asked
from decopilot_gateway.posting import MessagesBody
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.queries import number_in_query, sequence_in_query
from decopilot_gateway.replaying import form_of
from decopilot_gateway.wishing import CancelBody, ChangeBody

SECRET = "x" * 32
ANN = Caller(OrgId("acme"), UserId("ann"), "member", 4e9)
DOORMAN = Doorman(AuthSettings.model_validate({"jwt_secret": "x" * 32}))
FILE = FileRef(OrgId("acme"), ThreadId("t1"), "f1")
ANY = make_mocked_request("POST", "/")
FORMS: list[type[BaseModel]] = [
    MessagesBody, InteractionsBody, CancelBody, ChangeBody, RegenerateBody, ForkBody, FireBody,
]  # fmt: skip
NAMES = sorted(
    {str(field.alias or name) for form in FORMS for name, field in form.model_fields.items()}
    | {
        "role",
        "parts",
        "type",
        "id",
        "approvalId",
        "toolCallId",
        "approved",
        "output",
        "errorText",
        "state",
        "approval",
    }
)
WORDS = ["assistant", "user", "system", "text", "tool-x", "file", "output-available", "approval-responded", "plan"]
LEAVES = st.sampled_from(WORDS) | st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=5),
    max_leaves=12,
)
RAW = st.binary(max_size=60) | JSON.map(lambda body: json.dumps(body).encode()) | st.text().map(str.encode)
# As they come from the wire: bytes beyond ASCII are half characters in a header.
HEADERS = st.text(st.characters(codec=None, exclude_characters="\r\n")) | st.binary(max_size=40).map(
    lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").decode(errors="surrogateescape")
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["limit", "before", "q", "status", "archived", "cursor", "from", "replay", "rewind", "sdk"]),
        st.text(max_size=30)
        | st.sampled_from(["0", "1-1", "full", "true", "MjAyNiBmb28", "9" * 30, "٣", "completed,"]),
    ),
    max_size=4,
)


def code_of(parse: Callable[[], object]) -> str | None:
    """Return the code of the problem that parsing ends in; None where it was understood."""
    code = None
    try:
        parse()
    except ProblemError as problem:
        code = problem.code
    assert code is None or code in PROBLEMS
    return code


def asking(query: list[tuple[str, str]] = [], **headers: str) -> web.Request:  # noqa: B006  read only
    """Make a request."""
    said = "&".join(f"{name}={quote(text, safe='', errors='replace')}" for name, text in query)
    request = ANY.clone(rel_url=f"/?{said}")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    # As they are: making a request by aiohttp's own hands would encode them, which half characters can't be.
    request._headers = CIMultiDictProxy(CIMultiDict({"Host": "h:80", **names}))  # noqa: SLF001
    return request


@given(st.sampled_from(FORMS), RAW)
@example(MessagesBody, b'{"messages":[{"role":"user","parts":[{"type":"x"}],"metadata":{"a":1e999}}]}')
@example(MessagesBody, b"[" * 100_000)
@example(CancelBody, b'{"runId":"a","runId":1}')
def test_whatever_a_body_is_it_has_its_form_or_is_refused_without_being_repeated(
    form: type[BaseModel], raw: bytes
) -> None:
    def parse() -> None:
        body = bodies._parse(raw, form)  # noqa: SLF001  what all handlers read bodies with
        assert isinstance(body, form)
        if isinstance(body, MessagesBody):
            command = body.to_command(ANN, ThreadId("t1"))
            assert command == type(command).model_validate_json(command.model_dump_json())

    assert code_of(parse) in {None, "invalid_json", "invalid_body", "body_too_large", "thread_mismatch"}


@given(QUERIES)
def test_whatever_a_query_says_it_is_read_or_refused(query: list[tuple[str, str]]) -> None:
    request = asking(query)
    assert code_of(lambda: Asked.of(request)) in {None, "invalid_query"}
    assert code_of(lambda: form_of(request)) in {None, "invalid_query"}
    assert code_of(lambda: number_in_query(request, "limit", 1, 1_000)) in {None, "invalid_query"}
    assert code_of(lambda: sequence_in_query(request, "from")) in {None, "invalid_query"}
    assert code_of(lambda: inspecting._cursor(request)) in {None, "invalid_query", "invalid_cursor"}  # noqa: SLF001
    for read in (attaching._cursor, watching._position):  # noqa: SLF001
        assert code_of(partial(read, request)) in {None, "invalid_cursor"}


@given(HEADERS)
def test_whatever_stands_where_a_cursor_belongs_is_one_or_refused(said: str) -> None:
    request = asking(Last_Event_ID=said)
    for read in (attaching._cursor, watching._position):  # noqa: SLF001
        assert code_of(partial(read, request)) in {None, "invalid_cursor"}


TOKEN = jwt.encode({"sub": "ann", "orgs": {}, "exp": 4_000_000_000}, SECRET)
SEGMENTS = st.sampled_from([*TOKEN.split("."), "e30", "bnVsbA"])


@given(HEADERS | st.lists(SEGMENTS | HEADERS, min_size=1, max_size=4).map(".".join), st.sampled_from(["Bearer ", ""]))
def test_whatever_stands_where_a_token_belongs_lets_nobody_in(said: str, scheme: str) -> None:
    for headers in ({"Authorization": scheme + said}, {"Cookie": f"decopilot_token_80={said}"}):
        code = code_of(partial(DOORMAN.claims, asking([], **headers)))
        assert code == "unauthenticated" or (code is None and said.strip() == TOKEN)
    with suppress(ValueError):
        kid_of(said)
    attach_tokens = AttachTokens(SECRET, lasts_s=60)
    assert "unauthenticated" == code_of(lambda: attach_tokens.check(said, ANN.org, ThreadId("t1")))


@given(st.dictionaries(st.sampled_from(["sub", "orgs", "exp", "nbf", "iat", "aud", "iss"]), JSON))
@example({"sub": "ann", "orgs": {"acme": "owner"}, "exp": float("inf")})
@example({"sub": "ann", "orgs": {"acme": "owner"}, "exp": "9" * 5_000})
def test_whatever_a_token_of_ours_claims_it_makes_a_caller_or_none(claims: dict[str, Any]) -> None:
    try:
        token = jwt.encode(claims, SECRET)
    except (TypeError, ValueError, UnicodeEncodeError):
        return
    found = code_of(lambda: DOORMAN.read(token))
    assert found in {None, "unauthenticated"}


@given(HEADERS, st.integers(0, 1_000))
@example("bytes=0-99999999999999999999", 10)
@example("bytes=-0", 10)
def test_whatever_range_is_asked_for_it_is_one_of_the_file_or_refused(said: str, size: int) -> None:
    blob = Blob(size, "d", "text/plain", None, datetime.now(UTC))
    found: list[tuple[int, int]] = []
    code = code_of(lambda: found.append(serving._range(asking(Range=said), blob, '"d"')))  # noqa: SLF001
    assert code in {None, "range_not_satisfiable"}
    assert all((0, size) == (start, stop) or 0 <= start < stop <= size for start, stop in found)


@given(st.text(st.characters(codec=None)) | st.none())
def test_whatever_a_file_is_called_its_name_is_short_and_fit_for_a_header(said: str | None) -> None:
    name = uploading.filename(said)
    assert name is None or (0 < len(name) <= FILENAME_LENGTH and not {*name} & {*"/\\\r\n\0"})
    assert name == uploading.filename(name)
    blob = Blob(1, "d", "text/plain", name, datetime.now(UTC))
    disposition = serving._headers(blob)["Content-Disposition"]  # noqa: SLF001
    assert disposition.isascii()
    assert disposition.isprintable()


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_whatever_is_said_for_a_media_type_is_one_or_refused(said: str, name: str) -> None:
    assert code_of(lambda: uploading.media_type(said, name)) in {None, "unsupported_media_type"}


@given(st.dictionaries(st.sampled_from([EXPIRES, SIGNATURE]), st.text(st.characters(codec=None)) | st.just("9")))
def test_a_link_is_good_if_we_made_it_and_nothing_else_is(query: dict[str, str]) -> None:
    links = Links(SECRET, "", lasts_s=60)
    assert "link_invalid" == code_of(lambda: links.check(FILE, query))
    url, _ = links.link(FILE)
    made = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
    assert code_of(lambda: links.check(FILE, made)) is None
    assert made == made | query or "link_invalid" == code_of(lambda: links.check(FILE, made | query))


NAMED = b"Content-Disposition: form-data; name=file"
LINES = st.sampled_from(
    [
        *(b"--b", b"--b--", b"--c", b"", b"abc", b"\0\x01", b"no header", b"X: \x03", b"x: " + b"y" * 9_000),
        *(b"Content-Type: text/plain", b"Content-Type: multipart/mixed; boundary=c", b"Content-Encoding: gzip"),
        *(b"Content-Length: -1", b"Content-Length: x", b"Content-Transfer-Encoding: base64"),
        *(NAMED + more for more in (b"", b"; filename=a", b"; filename*0=a'b", b"; filename*=punycode''%ff")),
        b"Content-Disposition: form-data; name*=none''file",
    ]
) | st.binary(max_size=20)
FORM = b'--b\r\nContent-Disposition: form-data; name="file"%b\r\n\r\nabc\r\n--b--\r\n'


@given(
    st.lists(LINES, max_size=12).map(b"\r\n".join) | st.lists(LINES).map(lambda lines: b"--b\r\n" + b"\r\n".join(lines))
)
@example(FORM % b"; filename*0=a'b")
@example(FORM % b"; filename*=idna''%ff")
@example(FORM % b"\r\nX: \x03")
@example(b"--b\r\nno header\r\n\r\nabc\r\n--b--\r\n")
async def test_whatever_a_form_is_its_file_is_taken_or_it_is_refused(body: bytes) -> None:
    loop = asyncio.get_running_loop()
    payload = StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
    payload.feed_data(body)
    payload.feed_eof()
    request = make_mocked_request("POST", "/", {"Content-Type": "multipart/form-data; boundary=b"}, payload=payload)
    code = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # aiohttp says so where a name can't be read
            async with asyncio.timeout(5):
                _, _, pieces = await uploading._multipart(request)  # noqa: SLF001
                async for _ in pieces:
                    pass
    except ProblemError as problem:
        code = problem.code
    assert code in {None, "invalid_body", "unsupported_media_type"}


@pytest.mark.parametrize(
    ("name", "parse"),
    [
        ("deep JSON", lambda n: bodies._parse(b"[" * n, CancelBody)),  # noqa: SLF001
        ("wide JSON", lambda n: bodies._parse(b"{" + b'"b":2,' * n + b'"c":3}', CancelBody)),  # noqa: SLF001
        ("many parts", lambda n: bodies._parse(b'{"messages":[' + b"{}," * n + b"{}]}", MessagesBody)),  # noqa: SLF001
        ("a file's address", lambda n: given_in({"url": "/a" * n}, ANN)),
        ("a data URL", lambda n: given_in({"url": "data:x" + ";a=b" * n}, ANN)),
        ("a data URL of percents", lambda n: given_in({"url": "data:," + "%41" * n}, ANN)),
        ("a name", lambda n: uploading.filename("a." * n)),
        ("a media type", lambda n: uploading.media_type("a" * n + "/")),
        ("a range", lambda n: serving._RANGE.fullmatch("bytes=" + "1" * n)),  # noqa: SLF001
        ("a token", lambda n: DOORMAN.read("a." * n)),
    ],
)  # fmt: skip
def test_what_is_long_is_read_in_time_that_grows_with_its_length(name: str, parse: Callable[[int], object]) -> None:
    short, long = (_quickest(parse, n) for n in (20_000, 200_000))
    # Ten times as long may take ten times as long; what is quadratic takes a hundred times.
    assert long < max(40 * short, 0.1), (name, short, long)


def _quickest(parse: Callable[[int], object], size: int) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        code_of(lambda: parse(size))
        times.append(time.process_time() - start)
    return min(times)
