"""The doorman: tells who asks, by a token as bearer, as cookie, or, of attach alone, in the address."""

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from decopilot.contracts.ids import OrgId
from decopilot_gateway.auth.attach_tokens import AttachToken, AttachTokens
from decopilot_gateway.auth.caller import Caller, Claims, id_in_path, thread_in_path
from decopilot_gateway.auth.claims import ClaimsMap
from decopilot_gateway.auth.cookies import Cookies
from decopilot_gateway.auth.jwks import IssuerKeys
from decopilot_gateway.auth.keys import Keys, OneKey, read_public_key, secret_key
from decopilot_gateway.auth.refusing import RefusedTokenError, logged
from decopilot_gateway.auth.settings import AuthSettings
from decopilot_gateway.auth.tokens import Rules, Tokens, kid_of
from decopilot_gateway.problems import ProblemError

TOKEN = "token"  # noqa: S105  a parameter's name
"""The parameter of the page's address, and of attach's."""

log = structlog.get_logger()


class Doorman:
    """Tells who asks."""

    def __init__(self, settings: AuthSettings, prefix: str = "") -> None:
        """Read the key where it is a file's.

        Raises:
            UnfitKeyError: it can't be used.

        """
        self.issuer: IssuerKeys | None = None
        if settings.jwt_jwks_url:
            self.issuer = IssuerKeys(settings.jwt_jwks_url, on_change=self._forget)
            _warn(settings)
        self._tokens = Tokens(
            self.issuer or _one_key(settings),
            Rules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_leeway_s),
            ClaimsMap(
                settings.jwt_user_claim,
                settings.jwt_orgs_claim,
                settings.jwt_role_claim,
                settings.jwt_default_role,
                settings.jwt_roles,
            ),
        )
        self.cookies = Cookies(settings.public_url, prefix)
        self.attach_tokens = AttachTokens(settings.own_secret, lasts_s=settings.attach_token_s)

    @property
    def has_keys(self) -> bool:
        """Whether tokens can be checked: not before an issuer's keys were read."""
        return self.issuer is None or self.issuer.are_there

    def _forget(self) -> None:
        self._tokens.forget()

    def read(self, token: str) -> Claims:
        """Check a token.

        Raises:
            ProblemError: it is not ours, has expired, or says nothing useful; or the keys can't be had.

        """
        with logged():
            return self._tokens.read(token)

    def claims(self, request: web.Request) -> Claims:
        """Read the request's token: the bearer header, else the cookie.

        Raises:
            ProblemError: there is no valid one, or another site wrote with our cookie.

        """
        token = _bearer(request)
        if token is None:
            token = self.cookies.take(request)
        if token is not None:
            return self.read(token)
        with logged():
            raise RefusedTokenError("no_token", "The request carries no token.")

    def caller(self, request: web.Request) -> Caller:
        """Tell who asks in the org that the path names.

        Raises:
            ProblemError: unauthenticated, a malformed org, or no member of it.

        """
        claims = self.claims(request)
        org = OrgId(id_in_path(request, "org"))
        role = claims.orgs.get(org)
        if role is None:
            raise ProblemError("forbidden", "The token is for other orgs.")
        return Caller(org, claims.user, role, claims.expires_at)

    def attaching(self, request: web.Request) -> tuple[Caller, AttachToken | None]:
        """Tell who attaches to the thread that the path names; also the attach token, if it is by one.

        Raises:
            ProblemError: as `caller`; or what the address has is no attach token for this thread.

        """
        if TOKEN not in request.query:
            return self.caller(request), None
        org, thread = OrgId(id_in_path(request, "org")), thread_in_path(request)
        with logged():
            return self.attach_tokens.check(",".join(request.query.getall(TOKEN)), org, thread)

    @web.middleware
    async def knowing_keys(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Have what the request's token is to be checked with: of an issuer, the key that the token names."""
        if self.issuer is not None:
            bearer = _bearer(request)
            said = bearer if bearer is not None else request.cookies.get(self.cookies.name(request))
            for token in (said, request.query.get(TOKEN)):
                if token is not None:
                    await self._look_for(self.issuer, token)
        return await handler(request)

    async def _look_for(self, issuer: IssuerKeys, token: str) -> None:
        try:
            kid = kid_of(token)
        except ValueError:
            return
        await issuer.look_for(kid)


def _warn(settings: AuthSettings) -> None:
    """Say which tokens of an issuer are believed though they were meant for others."""
    if not settings.jwt_issuer:
        log.warning("issuer_unchecked", set="DECOPILOT_JWT_ISSUER", url=settings.jwt_jwks_url)
    if not settings.jwt_audience:
        log.warning("audience_unchecked", set="DECOPILOT_JWT_AUDIENCE", url=settings.jwt_jwks_url)


def _one_key(settings: AuthSettings) -> Keys:
    if settings.jwt_public_key_file is not None:
        return OneKey(read_public_key(settings.jwt_public_key_file))
    assert settings.jwt_secret is not None  # noqa: S101  one of three is there
    return OneKey(secret_key(settings.jwt_secret.get_secret_value()))


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
