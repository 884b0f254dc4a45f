"""Run `runner` as a process, configured by environment."""

from decopilot.kit.program import run
from decopilot_runner.app import build
from decopilot_runner.settings import RunnerSettings

if __name__ == "__main__":
    run("runner", RunnerSettings, lambda settings: build(settings).serve())
