"""All measurements of one peer, one after the other."""

import shutil
from collections.abc import Callable
from pathlib import Path

from bench.peers.peer import Peer, PeerError
from bench.peers.recovering import PACES, drops, killed
from bench.peers.results import Found, Kills
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
    folder.chmod(0o755)
    try:
        await peer.start(folder)
    except PeerError as error:
        tell(f"!! NOT MEASURED: {about.name}: {error}")
        return found.model_copy(update={"skipped": str(error)})
    try:
        return found.model_copy(update=await _all(Stage(peer, folder, sizes), tell))
    except BaseException:
        for log in folder.glob("*.log"):
            tell(f"-- {log.name}\n{log.read_text(errors='replace')[-2000:]}")
        raise
    finally:
        await peer.stop()
        shutil.rmtree(folder / "streams", ignore_errors=True)


async def _all(stage: Stage, tell: Tell) -> dict[str, object]:
    fanned = []
    for readers in stage.sizes.readers:
        fanned.append(await fan_out(stage, readers))
        tell(f"   {fanned[-1]}")
    first = await first_events(stage)
    tell(f"   first event: {first}")
    read = await replays(stage)
    for replay in read:
        tell(f"   {replay}")
    dropped = []
    for pace in PACES:
        dropped.append(await drops(stage, pace))
        tell(f"   {dropped[-1]}")
    kills = []
    for part, process in stage.peer.about.parts.items():
        kills.append(
            Kills(
                part=part, process=process, kills=tuple([await killed(stage, part) for _ in range(stage.sizes.kills)])
            )
        )
        tell(f"   {kills[-1]}")
    return {
        "fanout": tuple(fanned),
        "first_event_ms": first,
        "replays": tuple(read),
        "drops": tuple(dropped),
        "kills": tuple(kills),
    }
