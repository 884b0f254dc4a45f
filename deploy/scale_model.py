"""What so many viewers and runs at once would take, counted from measured costs; the page is docs/scale.md."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from decopilot.log.capacity import NEARLY_FULL
from decopilot.log.heartbeats import HEARTBEAT_S
from decopilot.log.topology import MAX_ACK_PENDING, Sizes
from decopilot_gateway.settings import GatewaySettings
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.settings import RunnerSettings

ROOT = Path(__file__).parents[1]
COSTS = Path(__file__).with_name("scale_costs.toml")
SCALING = ROOT / "deploy" / "k8s" / "components" / "autoscaling"
MEASURED_CHUNKS, MEASURED_SHARING, SILENT_S = 200, 20, 15
"""What the costs were measured with: chunks of a run, viewers of a thread, seconds of silence."""
REPLICAS = 3
RUNS_AT_ONCE: int = RunnerSettings.model_fields["runs_at_once"].default
STREAMS: int = GatewaySettings.model_fields["streams"].default
KIB, GIB = 1 << 10, 1 << 30
DAY_S = 86_400
EVENT_TYPES = 6
"""Subjects of a thread in the event log: one for each type of event that it ever had."""

End = Literal["low", "value", "high"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured costs at one end of what they may be; in seconds and bytes, of one of each."""

    gateway_run_s: float
    command_run_s: float
    runner_chunk_s: float
    reactor_run_s: float
    nats_frame_s: float
    follow_s: float
    """What a gateway takes for a frame of a thread that it follows, whoever looks on."""
    send_s: float
    """What it takes for each of those who do."""
    silent_share: float
    viewer_bytes: float
    sent_bytes: float
    stored_bytes: float
    leader_s: float
    subject_bytes: float
    replicas: float
    delivery_s: float
    kept: float


@dataclass(frozen=True, slots=True)
class Load:
    """What goes on at once."""

    viewers: int
    runs: int
    chunks_s: float
    run_s: float
    events: float
    text_bytes: float
    threads_a_run: float
    day: float
    watching: float = 1.0
    """The share of viewers whose threads have a run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How it is built."""

    name: str
    is_gathered: bool = False
    is_sticky: bool = False
    has_cells: bool = False


SHIPPED = Plan("more of what is shipped")
PLANS = (
    SHIPPED,
    replace(SHIPPED, name="+ frames gathered, streams by hash", is_gathered=True),
    replace(SHIPPED, name="+ viewers routed by thread", is_gathered=True, is_sticky=True),
    Plan("+ cells of organizations", is_gathered=True, is_sticky=True, has_cells=True),
)
"""What is built one after the other, each with what was before it."""


@dataclass(frozen=True, slots=True)
class Wall:
    """A bound, how many runs at once meet it, and what takes it away."""

    name: str
    runs: float
    removed_by: str


@dataclass(frozen=True, slots=True)
class Need:
    """What it takes; all of it a second, or in cores, where nothing else is said."""

    frames: float
    deliveries: float
    gateway_cores: float
    gateways: float
    command_cores: float
    runner_cores: float
    runners: float
    reactor_cores: float
    nats_cores: float
    servers: float
    chunk_leaders: float
    event_leaders: float
    heartbeats: float
    nats_messages: float
    stored_bytes: float
    sent_bytes: float
    kept_day_bytes: float
    connections: float
    routes: float
    subscriptions: float


def told() -> dict[str, Any]:
    """Read what the model counts with."""
    return tomllib.loads(COSTS.read_text())


def costs(found: Mapping[str, Any], end: End = "value") -> Costs:
    """Take the costs apart: what was measured per thousand of something, as what one of it takes."""
    of = {name: float(cost[end]) for name, cost in found["costs"].items()}
    shared, alone = (of[name] / 1_000 / MEASURED_CHUNKS for name in ("viewer_shared", "viewer_alone"))
    # Two measurements, two unknowns: follow / 20 + send = shared, follow + send = alone.
    follow = (alone - shared) / (1 - 1 / MEASURED_SHARING)
    return Costs(
        gateway_run_s=of["gateway_run"] / 1_000,
        command_run_s=of["command_run"] / 1_000,
        runner_chunk_s=of["runner_run"] / 1_000 / MEASURED_CHUNKS,
        reactor_run_s=of["reactor_run"] / 1_000,
        nats_frame_s=of["nats_run"] / 1_000 / MEASURED_CHUNKS,
        follow_s=follow,
        send_s=alone - follow,
        silent_share=of["viewer_silent"] / 1_000 / SILENT_S,
        viewer_bytes=of["viewer_memory"] * KIB,
        sent_bytes=of["viewer_bytes"] * KIB / MEASURED_CHUNKS,
        stored_bytes=of["disk_run"] * KIB / MEASURED_CHUNKS,
        leader_s=of["leader"],
        subject_bytes=of["subject"],
        replicas=of["replicas"],
        delivery_s=of["delivery"] / 1e6,
        kept=of["kept"],
    )


def gateway_cores(cost: Costs, frames_s: float, viewers: float, sharing: float) -> float:
    """Tell what gateways take for viewers who each see so many frames a second, so many of them on a thread."""
    return viewers * frames_s * (cost.follow_s / sharing + cost.send_s)


def need(cost: Costs, load: Load, plan: Plan, sizes: Mapping[str, float]) -> Need:
    """Count what a plan takes under a load."""
    rate = load.runs / load.run_s
    frame_rate = min(load.chunks_s, 1 / sizes["gather_s"]) if plan.is_gathered else load.chunks_s
    frames = load.runs * frame_rate
    watching = load.viewers * load.watching
    sharing = max(1.0, watching / load.runs)
    watched = min(load.runs, watching)
    gateways, spread = 2.0, 1.0
    for _ in range(100):  # the more gateways, the further the viewers of a thread are apart
        spread = 1.0 if plan.is_sticky else gateways * (1 - (1 - 1 / gateways) ** sharing)
        looking = gateway_cores(cost, frame_rate, watching, sharing / spread)
        cores = looking + rate * cost.gateway_run_s + (load.viewers - watching) * cost.silent_share
        gateways = max(2.0, math.ceil(cores / sizes["busy"]), math.ceil(load.viewers / STREAMS))
    deliveries = watched * frame_rate * spread
    runners = math.ceil(load.runs / (RUNS_AT_ONCE * 0.75))
    nats_cores = frames * cost.nats_frame_s * cost.replicas + deliveries * cost.delivery_s
    servers = max(3, math.ceil(nats_cores / sizes["server_cores"] / sizes["server_busy"]))
    command, reactor = rate * cost.command_run_s, rate * cost.reactor_run_s
    pods = gateways + runners + max(2, command / sizes["busy"]) + max(2, reactor / sizes["busy"])
    together = min(sizes["cell_servers"], servers) if plan.has_cells else servers
    heartbeats = load.runs / HEARTBEAT_S
    return Need(
        frames=frames,
        deliveries=deliveries,
        gateway_cores=cores,
        gateways=gateways,
        command_cores=command,
        runner_cores=load.runs * load.chunks_s * cost.runner_chunk_s,
        runners=runners,
        reactor_cores=reactor,
        nats_cores=nats_cores,
        servers=servers,
        chunk_leaders=math.ceil(frames / cost.leader_s),
        event_leaders=math.ceil(rate * load.events / cost.leader_s),
        heartbeats=heartbeats,
        # A frame and its acknowledgement, a heartbeat and its own, and each gateway that a frame goes to.
        nats_messages=2 * frames + 2 * heartbeats + 2 * rate * load.events + deliveries,
        stored_bytes=load.runs * load.chunks_s * cost.stored_bytes * REPLICAS,
        sent_bytes=watching * load.chunks_s * cost.sent_bytes,
        kept_day_bytes=load.runs * load.chunks_s * load.text_bytes * cost.kept * REPLICAS * DAY_S * load.day,
        connections=2 * pods / servers,
        routes=together - 1,
        subscriptions=watched * spread,
    )


def walls(cost: Costs, load: Load, sizes: Mapping[str, float]) -> list[Wall]:
    """Tell at how many runs at once each bound of what is shipped is met, the nearest first."""
    run_bytes = load.chunks_s * load.run_s * cost.stored_bytes
    # A run is half written on the average, and its chunks stay for a moment.
    held = run_bytes * (0.5 + ReactorSettings().purge_grace_s / load.run_s)
    thousand = replace(load, viewers=load.viewers * 1_000 // load.runs, runs=1_000)
    each = need(cost, thousand, SHIPPED, sizes)
    by_hash, copies = "chunk streams by the hash of the thread", "`maxReplicaCount`"
    found = [
        Wall(
            "one chunk stream's leader, a frame a chunk", cost.leader_s / load.chunks_s, f"frames gathered; {by_hash}"
        ),
        Wall("the same, frames gathered", cost.leader_s * sizes["gather_s"], by_hash),
        Wall("runners that autoscaling may add", RUNS_AT_ONCE * ceiling("runner"), copies),
        Wall(
            "gateways that autoscaling may add",
            1_000 * ceiling("gateway") * sizes["busy"] / each.gateway_cores,
            f"viewers routed by thread; {copies}",
        ),
        Wall(
            "the cores of three servers",
            1_000 * REPLICAS * sizes["server_cores"] * sizes["server_busy"] / each.nats_cores,
            "frames gathered; more servers",
        ),
        Wall("work items in hand (`MAX_ACK_PENDING`)", MAX_ACK_PENDING, "event streams by the same hash"),
        Wall(
            "80 % of the chunk log", NEARLY_FULL * Sizes().chunks_max_bytes / held, "`chunks_max_bytes`, more streams"
        ),
        Wall("one event stream's leader", cost.leader_s / load.events * load.run_s, "event streams by the same hash"),
    ]
    return sorted(found, key=lambda wall: wall.runs)


def threads_of(cost: Costs, memory_bytes: float) -> float:
    """Tell how many threads the event log holds before its subjects fill so much memory of a server."""
    return memory_bytes / (cost.subject_bytes * EVENT_TYPES)


def ceiling(service: str) -> int:
    """Read how many copies of a service autoscaling may have."""
    _, _, told = (SCALING / f"{service}.yaml").read_text().partition("maxReplicaCount:")
    return int(told.split()[0])
