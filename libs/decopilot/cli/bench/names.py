"""What the scenarios are called on the command line."""

from enum import StrEnum


class GatewayScenario(StrEnum):
    """Of `bench gateway`."""

    IDLE = "idle"
    FANOUT = "fanout"
    REPLAY = "replay"
    SLOW = "slow"


class RunsScenario(StrEnum):
    """Of `bench runs`."""

    ACCEPT = "accept"
    LIVE = "live"
    PUMP = "pump"
    PUMPS = "pumps"
    TOGETHER = "together"


class RecoveryScenario(StrEnum):
    """Of `bench recovery`."""

    RUNNER_KILLED = "runner-killed"
    RUNNER_LEAVES = "runner-leaves"
    GATEWAY_KILLED = "gateway-killed"
