"""The issuer's keys: fetched from its JWKS address, and again where a token names one that is not known."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import structlog
from pydantic_core import from_json

from decopilot_gateway.auth.keys import Key, keys_in, unknown_key
from decopilot_gateway.problems import ProblemError

FETCH_S = 5.0
REFRESH_S = 300.0
"""A key that the issuer has withdrawn is good for so long at most, while it answers."""
REFETCH_S = 10.0
"""Between two fetches lies so long at least, whatever tokens say: forged ones must not have us pester the issuer."""
KEPT_S = 6 * 3_600.0
"""For so long the keys are good of an issuer that does not answer."""
LIMIT_BYTES = 256 * 1024

log = structlog.get_logger()


class IssuerKeys:
    """The keys of a JWKS address, as they were last read; `keep` reads them."""

    def __init__(
        self,
        url: str,
        *,
        on_change: Callable[[], None],
        refetch_s: float = REFETCH_S,
        refresh_s: float = REFRESH_S,
        kept_s: float = KEPT_S,
    ) -> None:
        self._url = url
        self._on_change = on_change
        self._refetch_s, self._refresh_s, self._kept_s = refetch_s, refresh_s, kept_s
        self._clock = time.monotonic
        self._keys: dict[str | None, Key] = {}
        self._raw = b""
        self._read_at = 0.0
        self._asked_at = -refetch_s
        self._is_asking = True
        self._wanted = asyncio.Event()
        self._asked = asyncio.Event()

    @property
    def are_there(self) -> bool:
        """Whether there are any: also those that were read before the issuer stopped answering."""
        return bool(self._keys)

    def key_of(self, header: Mapping[str, Any]) -> Key:
        """Tell the key of the header's `kid`; without one the only key that there is.

        Raises:
            ProblemError: it is not known, or no keys are.

        """
        if not self._keys:
            raise ProblemError("keys_unavailable", "The issuer's keys can't be read; try again.")
        kid = header.get("kid")
        key = next(iter(self._keys.values())) if kid is None and len(self._keys) == 1 else self._keys.get(kid)
        if key is None:
            raise unknown_key(header)
        return key

    async def look_for(self, kid: str | None) -> None:
        """Have the keys read again if this one is not known, unless that was done a moment ago."""
        if self._keys and (kid is None or kid in self._keys):
            return
        if not self._is_asking and self._clock() < self._asked_at + self._refetch_s:
            return
        self._wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(FETCH_S + 1):
                await self._asked.wait()

    async def keep(self) -> None:
        """Read the keys, and again now and then, and when one is wanted, until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_S)) as session:
            while True:
                self._is_asking, self._asked_at = True, self._clock()
                await self._ask(session)
                self._is_asking = False
                # Who waited for this reading is told, and who comes later waits for the next one.
                self._asked.set()
                self._asked = asyncio.Event()
                self._wanted.clear()
                has_answered = self._read_at >= self._asked_at
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._refresh_s if has_answered else self._refetch_s):
                        await self._wanted.wait()

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        try:
            raw = await self._fetch(session)
            keys = keys_in(from_json(raw)) if raw != self._raw else self._keys
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.warning("issuer_keys_not_read", url=self._url, error=repr(error), known=len(self._keys))
            if self._keys and self._clock() > self._read_at + self._kept_s:
                self._take({}, b"")
            return
        self._read_at = self._clock()
        if raw != self._raw:
            self._take(keys, raw)
            log.info("issuer_keys_read", url=self._url, keys=len(keys))

    async def _fetch(self, session: aiohttp.ClientSession) -> bytes:
        # A redirect could lead off https, or to wherever somebody would have it.
        async with session.get(self._url, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004  HTTP
                msg = f"status {response.status}"
                raise ValueError(msg)
            raw = bytearray()
            async for piece in response.content.iter_any():
                raw += piece
                if len(raw) > LIMIT_BYTES:
                    msg = f"more than {LIMIT_BYTES} bytes"
                    raise ValueError(msg)
            return bytes(raw)

    def _take(self, keys: dict[str | None, Key], raw: bytes) -> None:
        self._keys, self._raw = keys, raw
        # What was checked with a key that has gone is to be checked anew.
        self._on_change()
