"""Outbound: what is not of the open internet is connected to only where somebody allowed it."""

from ipaddress import ip_address

import aiohttp
import pytest

from decopilot.agent import outbound_session
from decopilot.agent.outbound import ForbiddenAddressError, Reach, is_numeric, is_public
from decopilot.contracts.configuration import Configuration

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
    "::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
    "2001:db8::1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:a00:1::", "2002:7f00:1::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_private_local_or_reserved_is_not_public_however_it_is_written(address: str) -> None:
    assert not is_public(ip_address(address))
    with pytest.raises(ForbiddenAddressError, match="private_hosts"):
        Reach().check("evil.example", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_reached(address: str) -> None:
    assert is_public(ip_address(address))
    Reach().check("fine.example", address)


def test_what_is_allowed_is_reached_by_name_by_address_or_by_network_and_nothing_beside_it() -> None:
    reach = Reach.of(["Tools.Internal", "10.1.0.0/16", "fd12::/16", "192.168.0.7"])
    reach.check("tools.internal.", "10.9.9.9")
    reach.check("x.example", "10.1.2.3")
    reach.check("x.example", "fd12::1")
    reach.check("192.168.0.7", "192.168.0.7")
    for host, address in (
        ("x.tools.internal", "10.9.9.9"),
        ("x.example", "10.2.0.1"),
        ("x.example", "192.168.0.7"),
        ("169.254.169.254", "169.254.169.254"),
    ):
        with pytest.raises(ForbiddenAddressError):
            reach.check(host, address)


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1", "0", "127.0.0.01"])
def test_what_only_a_connect_takes_for_an_address_is_none(host: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        Reach.of(["0.0.0.0/0"]).check(host, host)
    assert is_numeric(host)


def test_an_address_that_the_operator_wrote_down_is_allowed_and_a_name_is_not() -> None:
    Reach().with_literal("127.0.0.1").check("127.0.0.1", "127.0.0.1")
    Reach().with_literal("[::1]").check("::1", "::1")
    Reach().with_literal("localhost").check("localhost", "127.0.0.1")
    with pytest.raises(ForbiddenAddressError):
        Reach().with_literal("tools.internal").check("tools.internal", "10.0.0.1")
    with pytest.raises(ForbiddenAddressError):
        Reach().with_literal("127.0.0.1").check("elsewhere.example", "127.0.0.1")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "http://169.254.169.254/latest/meta-data/",
     "http://[::ffff:127.0.0.1]:1/"],
)  # fmt: skip
async def test_a_session_for_addresses_of_others_connects_to_none_of_ours(url: str) -> None:
    async with outbound_session() as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="no public address"):
            await session.get(url)


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "a b", "", "http://x", "x/y"])
def test_what_is_neither_host_nor_network_is_a_mistake_of_the_configuration(entry: str) -> None:
    with pytest.raises(ValueError, match="private_hosts"):
        Configuration.model_validate({"private_hosts": [entry]})
