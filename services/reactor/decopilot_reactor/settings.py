"""What the reactor is told beyond what every service is."""

from pydantic import Field

from decopilot.domain.judging import Limits
from decopilot.kit.settings import Settings
from decopilot.log.topology import ACK_WAIT_S

_DAY_S = 86_400.0
_DEFAULT = Limits()


class ReactorSettings(Settings):
    """Settings of the reactor; times in seconds.

    `purge_grace_s`: how long a run's chunks stay after its end. `purge_wait_s`: how long after its end they stay at
    most because somebody still reads them; up to the grace: nobody is waited for. `cancel_deadline_s`: how long a
    runner has to end a run that is to end; then the reactor ends it. `start_limit_s`: how long a run waits for its
    first attempt. `idle_limit_s`: how long a run that is driven may say nothing. `run_limit_s`: how long a run may
    take; less than its chunks are kept for. `attempts`: how many attempts at a run may die (the runner is told the
    same). `erase_again_s`: when a deleted thread is erased once more; longer than any write may be on its way.
    `unused_files_s`: how long a file waits for the first message of its thread; then it goes.
    `look_s`: how often what waits for none of these times is looked at.
    """

    purge_grace_s: float = Field(default=30.0, ge=0)
    purge_wait_s: float = Field(default=600.0, ge=0, le=_DAY_S)
    events_at_once: int = Field(default=16, ge=2, le=1_000)
    attempts: int = Field(default=_DEFAULT.attempts, ge=1, le=100)
    cancel_deadline_s: float = Field(default=_DEFAULT.cancel_deadline_s, ge=0, le=_DAY_S)
    start_limit_s: float = Field(default=_DEFAULT.start_limit_s, gt=0, le=_DAY_S)
    idle_limit_s: float = Field(default=_DEFAULT.idle_limit_s, gt=0, le=_DAY_S)
    run_limit_s: float = Field(default=_DEFAULT.run_limit_s, gt=0, le=_DAY_S)
    erase_again_s: float = Field(default=60.0, ge=0, le=_DAY_S)
    unused_files_s: float = Field(default=_DAY_S, ge=0, le=30 * _DAY_S)
    look_s: float = Field(default=_DEFAULT.look_s, gt=0, le=600)

    @property
    def limits(self) -> Limits:
        """What runs are judged by."""
        return Limits(
            attempts=self.attempts,
            cancel_deadline_s=self.cancel_deadline_s,
            start_limit_s=self.start_limit_s,
            idle_limit_s=self.idle_limit_s,
            run_limit_s=self.run_limit_s,
            silence_s=ACK_WAIT_S + 1,
            look_s=self.look_s,
        )
