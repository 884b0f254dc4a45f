"""Files in messages, as anybody may send them: each is taken for what it is, or refused by its code."""

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.files import FileRef
from decopilot.contracts.ids import OrgId, ThreadId, UserId
from decopilot_gateway.attachments import Data, given_in
from decopilot_gateway.auth import Caller
from decopilot_gateway.problems import ProblemError

ANN = Caller(OrgId("acme"), UserId("ann"), "member", 4e9)
JSON = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2)
URLS = (
    JSON | st.from_regex(r"(data|DATA|https?|javascript|blob):.{0,40}") | st.from_regex(r"/?/\w*/decopilot/threads/.*")
)


@given(st.dictionaries(st.sampled_from(["mediaType", "filename"]), JSON), URLS)
def test_whatever_is_said_of_a_file_is_understood_or_refused(part: dict[str, Any], url: object) -> None:
    code = "taken"
    try:
        given_in({"type": "file", "url": url} | part, ANN)
    except ProblemError as problem:
        code = problem.code
    assert code in {"taken", "invalid_file", "unsupported_media_type", "file_not_found"}


@given(st.binary(max_size=200), st.sampled_from(["image/png", "text/plain"]))
def test_what_a_data_url_holds_is_taken_as_it_is_and_named_by_it(content: bytes, kind: str) -> None:
    encoded = base64.b64encode(content).decode()
    first = given_in({"url": f"data:{kind};base64,{encoded}"}, ANN)
    second = given_in({"url": f"data:x/y;charset=utf-8;base64,{encoded}", "mediaType": kind, "filename": "a"}, ANN)
    assert isinstance(first, Data)
    assert isinstance(second, Data)
    assert (content, kind, first.id) == (second.content, second.media_type, second.id)
    other = given_in({"url": f"data:{kind};base64,{encoded}", "mediaType": "a/b"}, ANN)
    assert isinstance(other, Data)
    assert first.id != other.id


def test_a_data_url_may_be_text() -> None:
    found = given_in({"url": "data:,a%20b"}, ANN)
    assert isinstance(found, Data)
    assert (b"a b", "text/plain") == (found.content, found.media_type)


@pytest.mark.parametrize("piece", [";a=b", ";base64", "a;", ";=", "a"])
def test_no_data_url_takes_long_to_be_refused(piece: str) -> None:
    begun = time.process_time()
    with pytest.raises(ProblemError, match="invalid_file"):
        given_in({"url": f"data:{piece * (4_000_000 // len(piece))}"}, ANN)
    assert time.process_time() - begun < 0.3


def test_an_address_of_ours_is_one_whatever_stands_before_and_behind_it() -> None:
    ref = FileRef(OrgId("acme"), ThreadId("t1"), "f1")
    for url in (ref.path, f"/chat{ref.path}", f"{ref.path}?expires=1&signature=x"):
        assert ref == given_in({"url": url}, ANN)
    assert given_in({"url": f"https://example.org{ref.path}"}, ANN) is None
    with pytest.raises(ProblemError, match="file_not_found"):
        given_in({"url": ref._replace(org=OrgId("other")).path}, ANN)
