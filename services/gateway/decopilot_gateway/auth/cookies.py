"""The cookie, for browsers: they send no header with a page or an `EventSource`."""

import time
from urllib.parse import urlsplit

from aiohttp import web

from decopilot_gateway.auth.caller import Claims
from decopilot_gateway.problems import ProblemError

COOKIE = "decopilot_token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Cookies:
    """Gives tokens to browsers as cookies, and takes them back from pages of our own only.

    Where browsers find us is `public_url`; without it, whatever they say themselves, which is good on one machine.
    """

    def __init__(self, public_url: str = "", prefix: str = "") -> None:
        self._public_url = public_url
        self._path = f"{prefix}/"

    def name(self, request: web.Request) -> str:
        """Name the cookie: one a port, because browsers share cookies between the ports of a host.

        By https the name has a prefix that keeps others of the domain from setting it (RFC 6265bis, 4.1.3).
        """
        port = _port(urlsplit(self._public_url).netloc if self._public_url else request.host)
        name = COOKIE if port is None else f"{COOKIE}_{port}"
        if not self._is_secure(request):
            return name
        return f"__Host-{name}" if self._path == "/" else f"__Secure-{name}"

    def take(self, request: web.Request) -> str | None:
        """Take the token out of a request's cookie, if it has one.

        Raises:
            ProblemError: another site writes with our cookie.

        """
        token = request.cookies.get(self.name(request))
        if token is not None and request.method not in _SAFE_METHODS and not self._is_ours(request):
            raise ProblemError("forbidden", "The request comes from another site.")
        return token

    def give(self, request: web.Request, response: web.Response, token: str, claims: Claims) -> None:
        """Give a token to the browser, for as long as it lasts."""
        response.set_cookie(
            self.name(request),
            token,
            max_age=max(0, int(min(claims.expires_at - time.time(), _YEAR_S))),
            path=self._path,
            httponly=True,
            samesite="Strict",
            secure=self._is_secure(request),
        )

    def _is_secure(self, request: web.Request) -> bool:
        return self._public_url.startswith("https:") if self._public_url else request.secure

    def _is_ours(self, request: web.Request) -> bool:
        """Tell whether a page of ours sent this: by its origin or what the browser says of it, never by silence."""
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        if site is not None and site != "same-origin":
            return False
        if origin is None:
            return site is not None
        if self._public_url:
            return origin == self._public_url
        return origin in {f"http://{request.host}", f"https://{request.host}"}


_YEAR_S = 365 * 86_400


def _port(host: str) -> int | None:
    try:
        return urlsplit(f"//{host}").port
    except ValueError:
        return None
