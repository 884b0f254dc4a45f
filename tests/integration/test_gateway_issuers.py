"""An issuer's keys: fetched, rotated, withdrawn, forged by the thousand, and not to be had."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import web

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from decopilot_gateway.app import listening
from decopilot_gateway.auth import doorman
from decopilot_gateway.auth.jwks import IssuerKeys
from decopilot_gateway.problems import ProblemError
from support.gateways import ORG, SECRET, Gateway, gateway_settings, make_token, running_gateway, until
from support.issuer import Issuer, running_issuer
from support.keys import SigningKey
from support.viewer import Api

OLD, NEW = SigningKey.make("RS256", "old"), SigningKey.make("ES256", "new")
MORE = SigningKey.make("EdDSA", "more")


@asynccontextmanager
async def behind(broker: EmbeddedBroker, issuer: Issuer, **more: object) -> AsyncIterator[Gateway]:
    """A gateway that believes this issuer."""
    async with running_gateway(broker.url, **believing(issuer), **more) as gateway:
        yield gateway


def believing(issuer: Issuer) -> dict[str, object]:
    """Settings of a gateway that believes this issuer."""
    return {"jwt_secret": None, "jwt_jwks_url": issuer.url, "signing_secret": SECRET}


async def asked(gateway: Gateway, token: str) -> tuple[int, str | None]:
    """Ask for the threads; tell status and code."""
    api = Api(gateway.url, token, ORG)
    status, body = await api.call("GET", api.path("decopilot/threads"))
    return status, body.get("code")


async def test_tokens_of_an_issuer_open_and_those_of_others_do_not(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    async with running_issuer(OLD, NEW, MORE) as issuer, behind(own_broker, issuer, jwt_issuer=issuer.url) as gateway:
        for key in (OLD, NEW, MORE):
            assert (200, None) == await asked(gateway, key.token(iss=issuer.url))
            assert (401, "unauthenticated") == await asked(gateway, key.token(iss="https://other.example"))
            forged = SigningKey.make(key.algorithm, key.kid)
            assert (401, "unauthenticated") == await asked(gateway, forged.token(iss=issuer.url))
        # One key's token under the name of another, and what is signed as if a public key were a secret.
        assert (401, "unauthenticated") == await asked(gateway, OLD.token(kid="new", iss=issuer.url))
        assert (401, "unauthenticated") == await asked(gateway, make_token(iss=issuer.url))
        assert 1 == issuer.asked


async def test_a_rotated_key_is_read_when_the_first_token_names_it(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doorman, "IssuerKeys", partial(IssuerKeys, refetch_s=0.0))
        async with running_issuer(OLD) as issuer, behind(own_broker, issuer) as gateway:
            good = OLD.token()
            assert (200, None) == await asked(gateway, good)
            issuer.keys = [NEW]
            assert (200, None) == await asked(gateway, NEW.token())
            # What was checked with the key that has gone is checked anew.
            assert (401, "unauthenticated") == await asked(gateway, good)


async def test_a_flood_of_forged_keys_does_not_reach_the_issuer(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    async with running_issuer(NEW) as issuer, behind(own_broker, issuer) as gateway:
        good = NEW.token()
        assert (200, None) == await asked(gateway, good)
        for _ in range(10):
            flood = [asked(gateway, NEW.token(kid=os.urandom(8).hex())) for _ in range(50)]
            assert {(401, "unauthenticated")} == set(await asyncio.gather(*flood))
            assert (200, None) == await asked(gateway, good)
        assert issuer.asked <= 2


async def test_an_issuer_that_was_never_there_is_a_503_that_heals_and_not_ready(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doorman, "IssuerKeys", partial(IssuerKeys, refetch_s=0.1))
        async with running_issuer(NEW) as issuer:
            issuer.answer = web.Response(status=500)
            async with listening(gateway_settings(own_broker.url, **believing(issuer))) as port:
                gateway, token = Gateway(f"http://127.0.0.1:{port}"), NEW.token()
                api = Api(gateway.url, token, ORG)
                status, problem = await api.call("GET", api.path("decopilot/threads"))
                assert (503, "keys_unavailable") == (status, problem["code"])
                assert 503 == await ready(gateway)
                issuer.answer = None

                async def opens() -> bool:
                    return (200, None) == await asked(gateway, token)

                await until(opens)
                await until(lambda: is_ready(gateway))
                # The keys that it has are good for a while yet.
                issuer.answer = web.Response(status=500)
                before = issuer.asked

                async def is_asked() -> bool:
                    await asked(gateway, NEW.token(kid="other"))
                    return issuer.asked > before

                await until(is_asked)
                assert 200 == await ready(gateway)


async def ready(gateway: Gateway) -> int:
    """Ask whether it is ready; tell the status."""
    return (await gateway.api.call("GET", f"{gateway.url}/readyz"))[0]


async def is_ready(gateway: Gateway) -> bool:
    """Tell whether it is ready."""
    return 200 == await ready(gateway)


BAD_ANSWERS = {
    "a refusal": web.Response(status=500),
    "a redirect": web.Response(status=302, headers={"Location": "/elsewhere"}),
    "no JSON": web.Response(body=b"<html>"),
    "no set": web.Response(body=b"[1]"),
    "no keys": web.Response(body=b'{"keys": []}'),
    "a shared secret": web.Response(body=b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "new"}]}'),
    "odd keys": web.Response(body=b'{"keys": [7, null, {"kty": "RSA"}, {"kty": "EC", "crv": "X", "kid": []}]}'),
    "a key for no signature": web.Response(body=b'{"keys": [{"kty": "RSA", "alg": "none"}]}'),
    "a key to encrypt with": web.json_response({"keys": [NEW.jwk | {"key_ops": ["encrypt"]}]}),
    "too much": web.Response(body=b" " * 300_000),
}


@asynccontextmanager
async def kept(issuer: Issuer, **times: float) -> AsyncIterator[tuple[IssuerKeys, list[bool]]]:
    """Keys that are kept while the context is open, and a note of each change."""
    changes: list[bool] = []
    keys = IssuerKeys(issuer.url, on_change=lambda: changes.append(True), **times)
    keeping = asyncio.create_task(keys.keep())
    try:
        yield keys, changes
    finally:
        keeping.cancel()
        await asyncio.wait((keeping,))


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_what_is_no_set_of_public_keys_leaves_the_known_ones_for_a_while(name: str) -> None:
    async with running_issuer(NEW) as issuer, kept(issuer, refetch_s=0.02, refresh_s=0.02, kept_s=3600) as (keys, _):
        await keys.look_for("new")
        known = keys.key_of({"kid": "new"})
        issuer.answer = BAD_ANSWERS[name]
        before = issuer.asked
        await until(lambda: issuer.asked >= before + 3)
        assert known is keys.key_of({"kid": "new"})
        keys._clock = lambda: time.monotonic() + 3601  # noqa: SLF001  an hour goes by

        def is_forgotten() -> bool:
            try:
                keys.key_of({"kid": "new"})
            except ProblemError as problem:
                return problem.code == "keys_unavailable"
            return False

        await until(is_forgotten)
        issuer.answer = None
        await until(lambda: not is_forgotten())


async def test_a_key_that_is_withdrawn_is_gone_at_the_next_reading() -> None:
    async with running_issuer(OLD, NEW) as issuer, kept(issuer, refetch_s=0.02, refresh_s=0.02) as (keys, changes):
        await keys.look_for("old")
        issuer.keys = [NEW]

        def is_withdrawn() -> bool:
            try:
                keys.key_of({"kid": "old"})
            except ProblemError as problem:
                return problem.code == "unauthenticated"
            return False

        await until(is_withdrawn)
        assert 2 == len(changes)
        # A token that names no key can only be signed with the one that there is.
        assert keys.key_of({"kid": "new"}) is keys.key_of({})


async def test_who_asks_while_the_keys_are_on_their_way_waits_for_them_though_the_first_has_gone() -> None:
    async with running_issuer(NEW) as issuer:
        issuer.closed = asyncio.Event()
        async with kept(issuer) as (keys, _):
            first, second = (asyncio.create_task(keys.look_for("new")) for _ in range(2))
            await until(lambda: issuer.asked)
            first.cancel()
            issuer.closed.set()
            await second
            assert ("ES256",) == keys.key_of({"kid": "new"}).algorithms
            assert 1 == issuer.asked
