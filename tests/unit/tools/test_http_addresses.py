"""Which addresses may be connected to."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.errors import InvalidToolError
from agent_graph.tools.addresses import PRIVATE, networks, why_refused

REFUSED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.1.1", "172.16.0.1", "172.31.255.255"),  # noqa: S104  # nothing is bound
    *("192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.1.1.1"),
    *("240.0.0.1", "255.255.255.255"),
    *("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"),
    *(
        "::",
        "::1",
        "::127.0.0.1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "3fff::1",
    ),
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1"),
    *("2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:20::1", "5f00::1"),
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "99.255.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_public_is_refused_by_default(address: str) -> None:
    assert why_refused(ip_address(address), ())


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_allowed(address: str) -> None:
    assert why_refused(ip_address(address), ()) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "100.64.0.1", "::1", "fd12::1"])
def test_private_addresses_are_allowed_when_the_operator_says_so(address: str) -> None:
    assert why_refused(ip_address(address), networks("http", private=True)) is None


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "168.63.129.16", "fe80::1", "224.0.0.1", "0.0.0.0", "::ffff:10.0.0.1"],  # noqa: S104  # nothing is bound
)
def test_a_machine_s_credentials_and_the_like_are_not_among_private_addresses(address: str) -> None:
    assert why_refused(ip_address(address), networks("http", private=True))


def test_what_a_cloud_tells_a_machine_has_to_be_named_by_itself() -> None:
    address = ip_address("169.254.169.254")
    assert why_refused(address, networks("http", private=["169.254.0.0/16"]))
    assert why_refused(address, networks("http", private=["169.254.169.254/32"])) is None


def test_one_network_that_is_allowed_allows_no_other() -> None:
    allowed = networks("http", private=["10.1.0.0/16"])
    assert why_refused(ip_address("10.1.2.3"), allowed) is None
    assert why_refused(ip_address("10.2.0.1"), allowed)
    assert why_refused(ip_address("127.0.0.1"), allowed)


def test_an_ipv6_form_is_no_way_round_the_rule_for_the_ipv4_address_inside() -> None:
    nat64 = networks("http", private=["64:ff9b::/96"])
    assert why_refused(ip_address("64:ff9b::808:808"), nat64) is None
    assert why_refused(ip_address("64:ff9b::7f00:1"), nat64)


@pytest.mark.parametrize("private", ["10.0.0.0/8", ["10.0.0.1/8"], ["localhost"]])
def test_a_network_that_is_none_is_refused_when_the_tool_is_made(private: list[str]) -> None:
    with pytest.raises(InvalidToolError, match="private"):
        networks("http", private)


@given(st.ip_addresses())
def test_nothing_is_allowed_that_python_knows_to_be_set_aside(address: object) -> None:
    """Another list than ours, made by others."""
    found = ip_address(str(address))
    unusual = (
        found.is_private or found.is_loopback or found.is_link_local or found.is_multicast or found.is_reserved or found.is_unspecified
    )
    as112 = any(found in ip_network(each) for each in ("192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24") if found.version == 4)
    if unusual and not as112:
        assert why_refused(found, ())


@given(st.ip_addresses(v=4))
def test_what_is_allowed_can_only_grow_with_what_the_operator_names(address: object) -> None:
    found = ip_address(str(address))
    if why_refused(found, ()) is None:
        assert why_refused(found, PRIVATE) is None
