"""Which addresses ``http`` may connect to. What is not public is refused, unless the operator has named it.

The lists are written out, from IANA's special-purpose registries, since ``ipaddress.is_global`` says different things in different versions
of Python. Of IPv6, only what is handed out to anybody (2000::/3) is public.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from agent_graph.errors import InvalidToolError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PRIVATE: tuple[Network, ...] = tuple(
    map(ip_network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"))
)
"""What ``private=True`` allows: this machine and the networks behind it. Never a link's own addresses, nor what a cloud tells a machine."""

_SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this machine"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a provider's inner network"),
        ("127.0.0.0/8", "this machine"),
        ("169.254.0.0/16", "the link's own, where clouds tell a machine its credentials"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "set aside for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a relay of 6to4"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "a multicast group"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "this machine"),
        ("::1/128", "this machine"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "the link's own"),
        ("ff00::/8", "a multicast group"),
        ("2001::/23", "set aside for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
    )
)
_METADATA = frozenset(
    map(str, ("169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"))
)
"""Where clouds answer a machine's questions about itself, with its credentials. One has to be named by itself to be allowed."""

_PUBLIC_6 = IPv6Network("2000::/3")
_HOLDS_IPV4: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of a network of one's own
    (IPv6Network("2002::/16"), 80),  # 6to4
    (IPv6Network("2001::/32"), 0),  # Teredo; its client is written inverted
)
"""Networks of IPv6 whose addresses lead to one of IPv4, and how many bits stand after that one."""


def networks(tool: str, private: bool | Sequence[str]) -> tuple[Network, ...]:
    """What the operator allows beside public addresses. Raises InvalidToolError."""
    if isinstance(private, bool):
        return PRIVATE if private else ()
    if isinstance(private, str):
        raise InvalidToolError(f"tool {tool}: private is True, False, or a list of networks, as in ['10.1.0.0/16']")
    found = []
    for each in private:
        try:
            found.append(ip_network(each))
        except ValueError as error:
            raise InvalidToolError(f"tool {tool}: private names {each!r}, which is no network: {error}") from None
    return tuple(found)


def why_refused(address: Address, allowed: Sequence[Network]) -> str | None:
    """Why nothing may be connected to at this address, in words; None when it may."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return "the link's own"
        for holder, after in _HOLDS_IPV4:
            if address in holder:
                inner = _inner(address, holder, after)
                if not any(address in each for each in allowed):
                    return f"an IPv6 form of the IPv4 address {inner}"
                return why_refused(inner, allowed)
    within = [each for each in allowed if address in each]
    if str(address) in _METADATA:
        alone = any(each.prefixlen == address.max_prefixlen for each in within)
        return None if alone else "where a cloud tells a machine its credentials"
    if within:
        return None
    for network, what in _SPECIAL:
        if address in network:
            return what
    if isinstance(address, IPv6Address) and address not in _PUBLIC_6:
        return "not a public one"
    return None


def _inner(address: IPv6Address, network: IPv6Network, after: int) -> IPv4Address:
    number = (int(address) >> after) & 0xFFFFFFFF
    return IPv4Address(number ^ 0xFFFFFFFF if network.prefixlen == 32 else number)
