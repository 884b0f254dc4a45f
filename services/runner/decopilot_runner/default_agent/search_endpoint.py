"""A search endpoint of the operator's own: one GET for a query, whose JSON answer may have any of the common shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import structlog
from pydantic_core import from_json
from yarl import URL

from decopilot.agent.outbound import Reach, session_within
from decopilot.contracts.configuration import Search
from decopilot.kit.configuration import read_variable

TIMEOUT_S = 30.0
ANSWER_BYTES = 4 << 20
RESULTS = 10
TEXT_LENGTH = 2_000
"""So much of the text of one result is taken."""

NOT_REACHED = "The search endpoint could not be reached, or did not answer in time."
NOT_OK = "The search endpoint answered with status {status}."
NO_RESULTS = "The search endpoint gave no JSON with a list of results."
TOO_LARGE = "The answer of the search endpoint is too large."

_LISTS = (("results",), ("web", "results"), ("items",))
_URLS = ("url", "link")
_TEXTS = ("content", "description", "snippet", "text")

log = structlog.get_logger()


class SearchFailedError(Exception):
    """The endpoint gave no results that can be read; its text may be told."""


@dataclass(frozen=True, slots=True)
class Result:
    """Something that was found."""

    url: str
    title: str
    text: str


class SearchEndpoint:
    """Asks the endpoint."""

    def __init__(self, search: Search, private_hosts: Sequence[str] = ()) -> None:
        """Take it, with its keys from the environment.

        Raises:
            MissingVariableError: one of them is not set.

        """
        self._url = search.url
        host = URL(search.url.replace("{query}", ""), encoded=True).host
        self._reach = Reach.of(private_hosts).with_literal(host)
        self._headers = {"Accept": "application/json"}
        if search.api_key_env is not None:
            self._headers["Authorization"] = f"Bearer {read_variable(search.api_key_env, needed_by='search')}"
        for name, variable in search.headers_env.items():
            self._headers[name] = read_variable(variable, needed_by="search")

    async def search(self, query: str) -> list[Result]:
        """Search; redirects are not followed.

        Raises:
            SearchFailedError: it failed.

        """
        try:
            body = await self._get(quote(query, safe=""))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("search_failed", error=repr(error))
            raise SearchFailedError(NOT_REACHED) from error
        try:
            return results(from_json(body))
        except ValueError as error:
            raise SearchFailedError(NO_RESULTS) from error

    async def _get(self, query: str) -> bytes:
        # As it is: the query is encoded, and what is around it is the operator's.
        url = URL(self._url.replace("{query}", query), encoded=True)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            session_within(self._reach, timeout=timeout) as session,
            session.get(url, headers=self._headers, allow_redirects=False) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise SearchFailedError(NOT_OK.format(status=response.status))
            return await _read(response)


def results(answer: object) -> list[Result]:
    """Read the results out of an answer: those that have a web address, each address once.

    Raises:
        ValueError: there is no list of results in it.

    """
    found: dict[str, Result] = {}
    for entry in _list(answer):
        if not isinstance(entry, Mapping):
            continue
        url, title, text = _first(entry, _URLS), _first(entry, ("title",)), _first(entry, _TEXTS)
        # It becomes a link.
        if url.startswith(("http://", "https://")):
            found.setdefault(url, Result(url, title or url, text[:TEXT_LENGTH]))
    return list(found.values())[:RESULTS]


def _list(answer: object) -> list[Any]:
    if isinstance(answer, list):
        return answer
    for path in _LISTS:
        inner = answer
        for name in path:
            inner = inner.get(name) if isinstance(inner, Mapping) else None
        if isinstance(inner, list):
            return inner
    msg = "no list of results"
    raise ValueError(msg)


def _first(entry: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((value.strip() for name in names if isinstance(value := entry.get(name), str)), "")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for piece in response.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > ANSWER_BYTES:
            raise SearchFailedError(TOO_LARGE)
    return body
