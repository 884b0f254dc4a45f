"""Run `command` as a process, configured by environment."""

from decopilot.kit.program import run
from decopilot_command.app import build
from decopilot_command.settings import CommandSettings

if __name__ == "__main__":
    run("command", CommandSettings, lambda settings: build(settings, quotas=settings.quotas).serve())
