import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.errors import BrokerError
from decopilot.log.permissions import OPERATOR, USERS

PASSWORDS = {user: f"what only {user} knows" for user in USERS}  # also: spaces must survive the configuration file


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "nats", passwords=PASSWORDS) as started:
        yield started


@asynccontextmanager
async def connected(broker: EmbeddedBroker, password: str | None = PASSWORDS[OPERATOR]) -> AsyncIterator[Client]:
    async def heard(_error: Exception) -> None:
        pass

    client = Client()
    try:
        # Without reconnecting a refusal is raised instead of retried.
        await client.connect(broker.url, user=OPERATOR, password=password, allow_reconnect=False, error_cb=heard)
        yield client
    finally:
        await client.close()


async def store(broker: EmbeddedBroker, count: int) -> None:
    async with connected(broker) as client:
        stream = client.jetstream()
        await stream.add_stream(name="LOG", subjects=["log.>"])
        for number in range(count):
            await stream.publish("log.line", str(number).encode())


async def stored(broker: EmbeddedBroker) -> list[bytes | None]:
    async with connected(broker) as client:
        stream = client.jetstream()
        count = (await stream.stream_info("LOG")).state.messages
        return [(await stream.get_msg("LOG", seq)).data for seq in range(1, count + 1)]


async def test_a_client_with_the_password_is_let_in_and_may_send_eight_mebibytes(broker: EmbeddedBroker) -> None:
    async with connected(broker) as client:
        assert client.max_payload == 8 * 1024 * 1024


@pytest.mark.parametrize("password", [None, "wrong", PASSWORDS["gateway"]])
async def test_a_client_without_the_password_is_refused(broker: EmbeddedBroker, password: str | None) -> None:
    with pytest.raises(nats.errors.Error):
        async with connected(broker, password):
            pass


def test_the_file_that_holds_the_passwords_is_private_and_the_command_line_is_clean(broker: EmbeddedBroker) -> None:
    assert stat.S_IMODE((broker.store_dir / "nats.conf").stat().st_mode) == 0o600
    if sys.platform.startswith("linux"):
        shown = b"".join(Path(f"/proc/{broker.pid}/{file}").read_bytes() for file in ("cmdline", "environ"))
        assert [] == [user for user, password in PASSWORDS.items() if password.encode() in shown]


def test_a_folder_in_use_is_refused_to_a_second_broker(broker: EmbeddedBroker) -> None:
    with pytest.raises(BrokerError, match=f"in use by another nats-server .pid {broker.pid}"):
        EmbeddedBroker(broker.store_dir).start()

    assert broker.pid is not None


def test_a_folder_stays_taken_while_its_server_lives_even_without_its_parent(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "nats").start()
    try:
        broker.release()

        with pytest.raises(BrokerError, match="in use"):
            EmbeddedBroker(broker.store_dir).start()
    finally:
        broker.stop()

    EmbeddedBroker(broker.store_dir).start().stop()


async def test_a_restart_keeps_port_and_data(broker: EmbeddedBroker) -> None:
    await store(broker, 3)
    before = (broker.port, broker.monitor_port, broker.pid)

    broker.restart()

    assert await stored(broker) == [b"0", b"1", b"2"]
    assert (broker.port, broker.monitor_port) == before[:2]
    assert broker.pid != before[2]


async def test_a_kill_loses_nothing_that_was_acknowledged(broker: EmbeddedBroker) -> None:
    await store(broker, 50)
    port = broker.port

    broker.kill()
    assert broker.pid is None
    broker.start()

    assert broker.port == port
    assert await stored(broker) == [str(number).encode() for number in range(50)]


async def test_a_second_broker_finds_the_data_of_the_first(broker: EmbeddedBroker) -> None:
    await store(broker, 2)
    broker.stop()

    with EmbeddedBroker(broker.store_dir, passwords=PASSWORDS) as second:
        assert await stored(second) == [b"0", b"1"]


async def test_what_a_test_wants_otherwise_is_merged_into_the_configuration(tmp_path: Path) -> None:
    config = {"max_payload": 1024, "jetstream": {"max_mem": 1 << 20}}
    with EmbeddedBroker(tmp_path / "nats", sync_interval=None, config=config) as broker:
        async with connected(broker, None) as client:
            assert client.max_payload == 1024
            assert (await client.jetstream().account_info()).memory == 0


def test_a_server_that_does_not_start_says_why_and_gives_its_folder_back(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="no_such_option"):
        EmbeddedBroker(tmp_path / "nats", config={"no_such_option": 1}).start()

    EmbeddedBroker(tmp_path / "nats").start().stop()


def test_a_wanted_port_that_is_taken_is_refused(broker: EmbeddedBroker, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="address already in use"):
        EmbeddedBroker(tmp_path / "other", port=broker.port).start()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent died")
def test_the_server_does_not_outlive_a_program_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from decopilot.cli.broker import EmbeddedBroker\n"
        "EmbeddedBroker(pathlib.Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "nats")], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        program.kill()

    # Waits until the lock is free, which it is when the server is gone.
    EmbeddedBroker(tmp_path / "nats").start().stop()
