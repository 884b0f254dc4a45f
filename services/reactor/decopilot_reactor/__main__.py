"""Run `reactor` as a process, configured by environment."""

from decopilot.kit.program import run
from decopilot_reactor.app import build
from decopilot_reactor.settings import ReactorSettings

if __name__ == "__main__":
    run("reactor", ReactorSettings, lambda settings: build(settings).serve())
