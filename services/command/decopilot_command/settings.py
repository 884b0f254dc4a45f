"""What `command` is told beyond what every service is."""

from pydantic import Field

from decopilot.domain.quotas import Quotas
from decopilot.kit.settings import Settings


class CommandSettings(Settings):
    """Settings of `command`: what one user and one org may ask for.

    Messages per minute, runs that go on at once; both are counted over all copies, which are told the same.
    """

    messages_per_user: int = Field(default=300, ge=1)
    messages_per_org: int = Field(default=6_000, ge=1)
    runs_per_user: int = Field(default=50, ge=1)
    runs_per_org: int = Field(default=1_000, ge=1)

    @property
    def quotas(self) -> Quotas:
        """What wishes are measured by."""
        return Quotas(
            messages_per_user=self.messages_per_user,
            messages_per_org=self.messages_per_org,
            runs_per_user=self.runs_per_user,
            runs_per_org=self.runs_per_org,
        )
