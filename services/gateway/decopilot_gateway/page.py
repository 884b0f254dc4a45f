"""The page: the web app's files, and the link that brings its token into a cookie."""

import html
import re
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from pathlib import Path

from aiohttp import hdrs, web

from decopilot_gateway.auth import Doorman
from decopilot_gateway.problems import SERVER, ProblemError

WEB = Path(str(files("decopilot_gateway"))) / "web"
CLIENT = (WEB / "client").resolve()
"""The modules of the browser library: a symbolic link in a checkout, a folder in a wheel."""
_HARDENING = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HTTPS = {"Strict-Transport-Security": "max-age=31536000"}
_REVALIDATED = {"Cache-Control": "no-cache"}
_PLACEHOLDER = re.compile("__ORG__|__USER__")
_NO_ENTRY = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Decopilot: a token is needed</title>
<h1>A token is needed here</h1>
<p>{detail}</p>
<p>Open the link that <code>decopilot up</code> printed. Or make a token with
<code>decopilot token --org local --user me</code> and open <code>{prefix}/?token=…</code> with it.</p></html>"""


def hardening(public_url: str) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Add to every response what keeps browsers from doing more with it than was meant."""
    fields = _HARDENING | (_HTTPS if public_url.startswith("https:") else {})

    async def harden(_request: web.Request, response: web.StreamResponse) -> None:
        # A file of ours has an ETag and is asked for again; what is said of a thread is kept nowhere.
        response.headers[hdrs.SERVER] = SERVER
        cached = "no-cache" if hdrs.ETAG in response.headers else "no-store"
        for name, value in ({hdrs.CACHE_CONTROL: cached} | fields).items():
            response.headers.setdefault(name, value)

    return harden


class Files:
    """Handles `GET /web/…`: the files that are there when the gateway starts, and nothing else."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """`folders` by the prefix, empty or with a slash at its end, under which their files are served."""
        self._files = {
            prefix + path.relative_to(folder).as_posix(): path
            for prefix, folder in folders.items()
            for path in folder.rglob("*")
            if path.is_file()
        }

    async def handle(self, request: web.Request) -> web.FileResponse:
        """Serve a file."""
        path = self._files.get(request.match_info["path"])
        if path is None:
            raise ProblemError("not_found", "There is no such file.")
        return web.FileResponse(path)


class Page:
    """Handles `GET /`."""

    def __init__(self, doorman: Doorman, prefix: str) -> None:
        self._doorman = doorman
        self._prefix = prefix
        self._index = (WEB / "index.html").read_text(encoding="utf-8")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve the page; a token in the query becomes a cookie and leaves the address bar."""
        try:
            if "token" in request.query:
                return self._let_in(request, request.query["token"])
            claims = self._doorman.claims(request)
        except ProblemError as problem:
            if problem.code != "unauthenticated":
                raise
            body = _NO_ENTRY.format(detail=html.escape(problem.detail), prefix=self._prefix)
            return web.Response(status=401, text=body, content_type="text/html")
        org = request.query.get("org") or next(iter(claims.orgs), "")
        if org not in claims.orgs:
            raise ProblemError("forbidden", "The token is for other orgs.")
        said = {"__ORG__": org, "__USER__": claims.user}
        page = _PLACEHOLDER.sub(lambda found: html.escape(said[found[0]]), self._index)
        return web.Response(text=page, content_type="text/html", headers=_REVALIDATED)

    def _let_in(self, request: web.Request, token: str) -> web.Response:
        claims = self._doorman.read(token)
        response = web.Response(status=303, headers={"Location": f"{self._prefix}/"})
        self._doorman.cookies.give(request, response, token, claims)
        return response
