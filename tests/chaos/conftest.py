import secrets

import pytest

from decopilot.cli.chaos.schedule import Schedule, draw

SECONDS = 80.0
_REPORT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="module")
def schedule(request: pytest.FixtureRequest) -> Schedule:
    """What `--chaos-seed` and `--chaos-seconds` say; by default another one every time."""
    seed = request.config.getoption("--chaos-seed")
    seconds = request.config.getoption("--chaos-seconds")
    drawn = secrets.randbelow(1_000_000) if seed is None else seed
    return draw(drawn, SECONDS if seconds is None else seconds)


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> list[str]:
    """Lines that are shown at the end, whatever comes of the tests."""
    return request.config.stash.setdefault(_REPORT, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was found."""
    if lines := config.stash.get(_REPORT, []):
        terminalreporter.section("chaos")
        for line in lines:
            terminalreporter.write_line(line)
