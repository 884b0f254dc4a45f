from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stack import Stack, running_stack
from support.viewer import Api


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything as processes, shared by the tests of this folder: each has threads of its own."""
    folder: Path = tmp_path_factory.mktemp("stack")
    with running_stack(folder) as running:
        yield running


@pytest.fixture(scope="package")
def token(stack: Stack) -> str:
    return stack.token()


@pytest.fixture
def api(stack: Stack, token: str) -> Api:
    return Api(stack.url, token)


@pytest.fixture
def thread(request: pytest.FixtureRequest) -> str:
    """A thread of the test's own."""
    return str(request.node.name)[:56].replace("[", "-").replace("]", "")
