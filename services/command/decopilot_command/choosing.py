"""Choosing: how the run of a wish is done, as the configuration has it; what speaks against it waits for a new run."""

from collections.abc import Callable
from functools import partial
from typing import NoReturn

from decopilot.contracts.commands import Role
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.messages import AskedConfig, RunConfig, UIMessage
from decopilot.domain.choosing import check_still, choose
from decopilot.domain.commands import RefusedError

Check = Callable[[RunConfig], None]
"""Raises what speaks against a run that would begin."""


class Chooser:
    """Chooses by one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def choose(
        self, asked: AskedConfig, role: Role, message: UIMessage | None = None
    ) -> tuple[RunConfig, Check | None]:
        """Choose how a run is done, and what is to be checked if it is a new one: a repeat is granted as it was."""
        try:
            return choose(self._configuration, asked, role, message), None
        except RefusedError as refusal:
            return RunConfig(), partial(_refuse, refusal)

    def check_still(self, config: RunConfig) -> None:
        """Check that what was chosen before is still allowed.

        Raises:
            RefusedError: it is not.

        """
        check_still(self._configuration, config)


def _refuse(refusal: RefusedError, _: RunConfig) -> NoReturn:
    raise refusal
