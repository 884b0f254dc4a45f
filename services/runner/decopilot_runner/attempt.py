"""One attempt at a run: what its parts pass to one another."""

from dataclasses import dataclass

from decopilot.contracts.events import RunRequested
from decopilot.contracts.ids import OrgId, RunId, ThreadId


@dataclass(frozen=True, slots=True)
class Attempt:
    """One runner's try at a run. `previous` is the sequence of the thread's last frame before the run."""

    org: OrgId
    thread: ThreadId
    requested: RunRequested
    number: int
    previous: int

    @property
    def run(self) -> RunId:
        """The run's id."""
        return self.requested.run_id
