"""Web addresses, read by one strict rule, and the origins that an operator allows.

What is checked and what is connected to must not be read by two parsers that differ. So an address is taken apart here, once, and
whatever two parsers are known to read in two ways is refused: a user before the host, a backslash, an escape in the host, a number that
some take for an IP address, a dot at the end, letters beyond ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

from agent_graph.errors import InvalidToolError
from agent_graph.visible import visible

MAX_ADDRESS = 8_000
PORTS = {"https": 443, "http": 80}

_PARTS = re.compile(r"(?s)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?:#.*)?")
_BRACKETED = re.compile(r"\[(?P<host>[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]{1,5}))?")
_PLAIN = re.compile(r"(?P<host>[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ODD = re.compile(r"[\x00-\x20\x7f\\]|[\u0080-\u00a0\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]")


class AddressRefused(ValueError):
    """A web address that cannot be asked for, and why."""


@dataclass(frozen=True, slots=True)
class Origin:
    scheme: str
    host: str
    """In lower case; an IP address as Python writes it, without brackets."""
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """As it stands in an address and in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        for kind in (IPv4Address, IPv6Address):
            try:
                return kind(self.host)
            except ValueError:
                continue
        return None


@dataclass(frozen=True, slots=True)
class Target:
    """A web address, taken apart."""

    origin: Origin
    path: str
    """With the query, in ASCII; begins with a slash."""

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


def target(text: str) -> Target:
    """Raises AddressRefused."""
    shown = visible(text[:200])
    if len(text) > MAX_ADDRESS:
        raise AddressRefused(f"{shown}…: an address of more than {MAX_ADDRESS:,} characters")
    if _ODD.search(text):
        raise AddressRefused(f"{shown}: it holds a space, a backslash or a character that is not seen; percent-encode it")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise AddressRefused(f"{shown}: not a whole web address; it begins with https:// and a host")
    scheme = parts["scheme"].lower()
    if scheme not in PORTS:
        raise AddressRefused(f"{shown}: the scheme {scheme} is not spoken here; http and https are")
    origin = _origin(scheme, parts["authority"], shown)
    rest = quote(parts["rest"], safe="!$%&'()*+,-./:;=?@_~[]|^{}\"<>`")
    return Target(origin, rest if rest.startswith("/") else f"/{rest}")


def redirected(base: Target, location: str) -> Target:
    """Where a redirect leads. Raises AddressRefused."""
    if _ODD.search(location):
        raise AddressRefused(f"{visible(location[:200])}: it holds a space, a backslash or a character that is not seen")
    return target(urljoin(str(base), location))


def _origin(scheme: str, authority: str, shown: str) -> Origin:
    if "@" in authority:
        raise AddressRefused(f"{shown}: a user or password stands before the host; leave it out, the tool adds its own credentials")
    if not authority.isascii():
        odd = ", ".join(sorted({f"{each} (U+{ord(each):04X})" for each in authority if not each.isascii()}))
        raise AddressRefused(f"{shown}: the host holds letters beyond ASCII: {odd}; write it in its ASCII form, xn--…, if it is meant")
    if "%" in authority:
        raise AddressRefused(f"{shown}: the host holds an escape; write it plainly")
    found = _BRACKETED.fullmatch(authority) or _PLAIN.fullmatch(authority)
    if found is None:
        raise AddressRefused(f"{shown}: {authority!r} is not a host, or a host with a port")
    port = int(found["port"]) if found["port"] else PORTS[scheme]
    if not 0 < port < 65536:
        raise AddressRefused(f"{shown}: there is no port {port}")
    return Origin(scheme, _host(found["host"].lower(), shown, bracketed=authority.startswith("[")), port)


def _host(host: str, shown: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            return str(IPv6Address(host))
        except ValueError:
            raise AddressRefused(f"{shown}: {host!r} is not an IPv6 address") from None
    if host.endswith("."):
        raise AddressRefused(f"{shown}: the host ends in a dot; leave the dot out")
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise AddressRefused(f"{shown}: {host!r} is not the name of a host")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):  # some read 2130706433, 0x7f.1 and 127.1 as addresses of this machine
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise AddressRefused(f"{shown}: {host!r} is a number and not an IPv4 address in its usual form, as in 192.0.2.1") from None
    return host


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the allow-list: an origin whose host may be ``*`` (any) or begin with ``*.`` (whatever is below)."""

    text: str
    scheme: str
    host: str
    port: int

    def covers(self, origin: Origin) -> bool:
        if (self.scheme, self.port) != (origin.scheme, origin.port):
            return False
        if self.host == "*":
            return True
        if self.host.startswith("*."):
            return origin.host.endswith(self.host[1:]) and origin.ip is None
        return self.host == origin.host


def entries(tool: str, hosts: Sequence[str]) -> tuple[Entry, ...]:
    """``host``, ``host:port``, ``http://host``, ``*.example.org``, ``*``; https where no scheme is said. Raises InvalidToolError."""
    if isinstance(hosts, str) or not hosts:
        raise InvalidToolError(
            f"tool {tool}: hosts is a list of those that may be asked, as in ['api.example.org', 'http://127.0.0.1:8080']"
        )
    return tuple(_entry(tool, each) for each in hosts)


def _entry(tool: str, text: str) -> Entry:
    scheme, said, rest = text.rpartition("://")
    scheme = scheme.lower() if said else "https"
    any_host = rest == "*" or rest.startswith("*:")
    below = rest.startswith("*.")
    if scheme not in PORTS or _ODD.search(rest) or any(each in rest for each in "/?#"):
        raise InvalidToolError(f"tool {tool}: hosts names {text!r}: give [http://]host[:port], without a path")
    try:
        origin = _origin(scheme, f"any{rest[1:]}" if any_host else rest[2:] if below else rest, text)
    except AddressRefused as error:
        raise InvalidToolError(f"tool {tool}: hosts names {error}") from None
    if below and origin.ip is not None:
        raise InvalidToolError(f"tool {tool}: hosts names {text!r}: there is nothing below an IP address")
    return Entry(text, scheme, "*" if any_host else f"*.{origin.host}" if below else origin.host, origin.port)
