"""Run `gateway` as a process, configured by environment."""

from decopilot.kit.program import run
from decopilot_gateway.app import serve
from decopilot_gateway.settings import GatewaySettings

if __name__ == "__main__":
    run("gateway", GatewaySettings, serve)
