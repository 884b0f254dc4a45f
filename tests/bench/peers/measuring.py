"""All measurements of one peer, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bench.peers.peer import Peer, PeerError
from bench.peers.reading import RefusedError
from bench.peers.recovering import PACES, drops, killed
from bench.peers.results import Drops, FanOut, Found, Kills
from bench.peers.scenarios import Sizes, Stage, fan_out, first_events, replays

Tell = Callable[[str], None]


async def measure(peer: Peer, folder: Path, sizes: Sizes, tell: Tell) -> Found:
    """Measure everything; a peer that can't be had here is told so, loudly, and skipped."""
    about = peer.about
    found = Found(
        name=about.name,
        version=about.version,
        docs=about.docs,
        durability=about.durability,
        hops=about.hops,
        cant=dict(about.cant),
    )
    tell(f"== {about.name}")
    await asyncio.to_thread(folder.chmod, 0o755)
    try:
        await peer.start(folder)
        async for figures in _all(Stage(peer, folder, sizes)):
            ((what, said),) = figures.items()
            tell(f"   {what}: {said[-1] if isinstance(said, tuple) else said}")
            found = found.model_copy(update=figures)
    except (PeerError, RefusedError, OSError, TimeoutError) as error:
        tell(f"!! NOT MEASURED (any further): {about.name}: {error}")
        return found.model_copy(update={"skipped": str(error) or type(error).__name__})
    finally:
        await peer.stop()
    return found


async def _all(stage: Stage) -> AsyncIterator[dict[str, object]]:
    fanned: tuple[FanOut, ...] = ()
    for readers in stage.sizes.readers:
        fanned = (*fanned, await fan_out(stage, readers))
        yield {"fanout": fanned}
    yield {"first_event_ms": await first_events(stage)}
    yield {"replays": tuple(await replays(stage))}
    dropped: tuple[Drops, ...] = ()
    for pace in PACES:
        dropped = (*dropped, await drops(stage, pace))
        yield {"drops": dropped}
    kills: tuple[Kills, ...] = ()
    for part, process in stage.peer.about.parts.items():
        ended = [await killed(stage, part) for _ in range(stage.sizes.kills)]
        kills = (*kills, Kills(part=part, process=process, kills=tuple(ended)))
        yield {"kills": kills}
