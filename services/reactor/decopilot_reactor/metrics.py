"""What is measured of what follows from the log (docs/metrics.md)."""

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

_METER = get_meter("decopilot")

PURGES = _METER.create_counter("decopilot.purges", unit="{run}", description="Ended runs whose chunks were purged")
REACTION = _METER.create_histogram(
    "decopilot.reaction.duration",
    unit="s",
    description="From an event's being stored until the views and the watchers have it",
    explicit_bucket_boundaries_advisory=(
        0.0025,
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        5.0,
        10.0,
        30.0,
        60.0,
    ),
)

lags: dict[str, int] = {}
"""How far each durable consumer is behind, as far as the broker says; what is not in it is not shown."""


def _lags(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(lag, {"consumer": consumer}) for consumer, lag in dict(lags).items()]


_METER.create_observable_gauge(
    "decopilot.consumer.lag",
    callbacks=[_lags],
    unit="{message}",
    description="Messages that a durable consumer has yet to finish",
)
