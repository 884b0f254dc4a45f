"""Run `command` as a process, configured by environment."""

from decopilot.kit.program import run
from decopilot.kit.settings import Settings
from decopilot_command.app import build

if __name__ == "__main__":
    run("command", Settings, lambda settings: build(settings).run())
