"""Credentials of web hosts: named after environment variables, read at each call, and sent to the origin that they belong to only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools.named import checked_names, values_of
from agent_graph.tools.origins import Entry, Origin

HeadersFromEnv = Mapping[str, str | Mapping[str, str]]
"""``{"Authorization": "API_TOKEN"}``, or by host: ``{"api.example.org": {"Authorization": "Bearer {API_TOKEN}"}}``."""

OURS = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept", "accept-encoding", "te", "upgrade", "expect")
)
"""Headers that the tool itself sets, or that decide where a message ends."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLACE = re.compile(r"\{([^{}]*)\}")
_VALUE = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class Credential:
    entry: Entry
    header: str
    form: str
    """With ``{NAME}`` where the value of the variable goes."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(_PLACE.findall(self.form))


def header_name(tool: str, name: str) -> str:
    """Raises InvalidToolError."""
    if not _TOKEN.fullmatch(name) or name.lower() in OURS:
        raise InvalidToolError(f"tool {tool}: {name!r} is no header that can be set here")
    return name


def credentials(tool: str, given: HeadersFromEnv, hosts: Sequence[Entry]) -> tuple[Credential, ...]:
    """Raises InvalidToolError for what does not say clearly which host gets what."""
    plain = {name: value for name, value in given.items() if isinstance(value, str)}
    by_host = {name: value for name, value in given.items() if not isinstance(value, str)}
    if plain and (len(hosts) != 1 or "*" in hosts[0].host):
        raise InvalidToolError(
            f"tool {tool}: headers_from_env must say which host each credential belongs to, since there is more than one: "
            f'{{"{hosts[0].text}": {{"{next(iter(plain))}": …}}}}'
        )
    found = [_credential(tool, hosts[0], header, form) for header, form in plain.items()]
    known = {each.text: each for each in hosts}
    for host, headers in by_host.items():
        entry = known.get(host)
        if entry is None:
            raise InvalidToolError(f"tool {tool}: headers_from_env names {host!r}, which is not one of hosts: {', '.join(known)}")
        if "*" in entry.host:
            raise InvalidToolError(
                f"tool {tool}: headers_from_env gives a credential to {host!r}, which is any host; name the one that is meant"
            )
        found += [_credential(tool, entry, header, form) for header, form in headers.items()]
    return tuple(found)


def _credential(tool: str, entry: Entry, header: str, form: str) -> Credential:
    form = form if "{" in form else f"{{{form}}}"
    names = _PLACE.findall(form)
    if not names or "{" in _PLACE.sub("", form) or "}" in _PLACE.sub("", form):
        raise InvalidToolError(
            f"tool {tool}: the header {header} is a variable's name, or a text with it in braces: 'Bearer {{API_TOKEN}}'"
        )
    checked_names(tool, names)
    return Credential(entry, header_name(tool, header), form)


def filled_in(tool: str, given: Sequence[Credential], origin: Origin, environment: Mapping[str, str]) -> dict[str, str]:
    """The headers for this origin. Raises NotDone when a value is missing, or cannot stand in a header."""
    headers: dict[str, str] = {}
    for each in given:
        if each.entry.covers(origin):
            values = {name: value.strip() for name, value in values_of(tool, each.names, environment).items()}
            for name, value in values.items():
                if not _VALUE.fullmatch(value):
                    raise NotDone(
                        f"{tool} was not called: the value of {name} cannot stand in a header; it has a line break or is not ASCII"
                    )
            headers[each.header] = _PLACE.sub(lambda match, values=values: values[match[1]], each.form)  # type: ignore[misc]
    return headers


def values_in(given: Sequence[Credential], environment: Mapping[str, str]) -> dict[str, str]:
    """What is to be kept out of every answer, also of another host's."""
    names = dict.fromkeys(name for each in given for name in each.names)
    return {name: environment[name] for name in names if environment.get(name)}
