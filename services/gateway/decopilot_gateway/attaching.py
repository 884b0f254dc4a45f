"""Attaching: a thread's chunks from a cursor on, each once and in order, across runs, for as long as one likes."""

from aiohttp import web

from decopilot.contracts.frames import Cursor, Frame
from decopilot.log.readers import Readers
from decopilot.log.tail import Stretch, Tails
from decopilot_gateway.admitting import Admission
from decopilot_gateway.announcing import Announcer
from decopilot_gateway.auth import Doorman, thread_in_path
from decopilot_gateway.entering import Gates, Visit
from decopilot_gateway.following import follow
from decopilot_gateway.granting import lease_of
from decopilot_gateway.locating import Locators
from decopilot_gateway.metrics import viewing
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.replaying import form_of
from decopilot_gateway.sampling import Sampling
from decopilot_gateway.streaming import Channel, Leaving, Pulse, stream
from decopilot_gateway.viewing import Viewer


class Attach:
    """Handles `GET /{org}/decopilot/attach/{thread}`."""

    def __init__(
        self,
        doorman: Doorman,
        admission: Admission,
        leaving: Leaving,
        pulse: Pulse,
        *,
        tails: Tails[Frame, Stretch],
        locators: Locators,
        readers: Readers,
        gates: Gates,
        sampling: Sampling,
    ) -> None:
        self._doorman = doorman
        self._admission = admission
        self._tails = tails
        self._locators = locators
        self._readers = readers
        self._gates = gates
        self._sampling = sampling
        self._leaving = leaving
        self._pulse = pulse

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stream the thread's chunks."""
        caller, attach_token = self._doorman.attaching(request)
        org, thread = caller.org, thread_in_path(request)
        cursor, form = _cursor(request), form_of(request)
        with self._admission.admit(caller.org, caller.user), viewing("attach"):
            async with self._tails.follow(self._sampling.source(org, thread)) as feed:
                # The feed listens before the start is looked up: nothing can fall between the two.
                locator = self._locators.on(org, thread, feed)
                announcer = Announcer(self._readers, org, thread)
                visit = Visit(self._gates.at(org, thread), caller)
                start = await visit.begin(feed, lambda: locator.locate(cursor, form), lambda: locator.nowhere(cursor))
                viewer = Viewer(feed, start, form, locator, announcer, visit=visit)

                async def write(channel: Channel) -> None:
                    channel.write(viewer.opening())
                    await follow(feed, viewer, channel, self._leaving)

                lease = lease_of(caller, thread, attach_token, self._doorman.attach_tokens)
                headers = self._sampling.headers
                return await stream(request, self._leaving, self._pulse, lease, write, headers=headers)


def _cursor(request: web.Request) -> Cursor | None:
    # A browser that reconnects repeats the URL it began with: what it has seen since is in the header.
    text = request.headers.get("Last-Event-ID") or ",".join(request.query.getall("cursor", []))
    if not text:
        return None
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise ProblemError("invalid_cursor", "A cursor reads <sequence>-<index>, as the stream's ids do.") from error
