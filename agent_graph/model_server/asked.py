"""A request to a chat model, as it came."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_DATA = re.compile(r'<data of="([^"]*)">\n?(.*?)\n?</data>', re.DOTALL)

INPUT = ("tools", "response_format", "messages")
"""The parts of a request that a model reads, in the order in which it does: what a server caches begins with the tools."""


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    raw: bytes
    at: float
    """By the monotonic clock."""

    @cached_property
    def body(self) -> dict[str, Any]:
        """Raises ValueError when it is no JSON object."""
        read = json.loads(self.raw)
        if not isinstance(read, dict):
            raise ValueError("not an object")  # noqa: TRY004  # as for other texts that are no request
        return read

    @property
    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body.get("messages", [])
        return found

    @property
    def last(self) -> str:
        """The text of the last message."""
        return _text(self.messages[-1]) if self.messages else ""

    @property
    def text(self) -> str:
        """The texts of all messages."""
        return "\n".join(_text(message) for message in self.messages)

    @property
    def form(self) -> dict[str, Any]:
        """The JSON Schema that the reply is held to; empty where it is held to none."""
        found: dict[str, Any] = (self.body.get("response_format") or {}).get("json_schema", {}).get("schema", {})
        return found

    @property
    def tools(self) -> list[str]:
        """Names of the tools that are offered."""
        return [tool["function"]["name"] for tool in self.body.get("tools", ())]

    @property
    def results(self) -> list[str]:
        """What the tools said that were called since the last words of the user, oldest first."""
        last = max((index for index, message in enumerate(self.messages) if message["role"] == "user"), default=-1)
        return [_text(message) for message in self.messages[last + 1 :] if message["role"] == "tool"]

    @cached_property
    def input(self) -> bytes:
        """What a model reads of it, byte by byte as it came: messages, tools and the form of the reply."""
        return b"".join(self._parts.get(name, b"") for name in INPUT)

    @cached_property
    def _parts(self) -> dict[str, bytes]:
        """The values of the outermost object, as they are written."""
        text, decoder, found = self.raw.decode(), json.JSONDecoder(), {}
        at = text.index("{") + 1
        while (key := text.find('"', at)) >= 0:
            name, end = decoder.raw_decode(text, key)
            start = text.index(":", end) + 1
            start += len(text[start:]) - len(text[start:].lstrip())
            _, at = decoder.raw_decode(text, start)
            found[name] = text[start:at].encode()
        return found


def data(text: str) -> list[tuple[str, str]]:
    """What stands between ``<data of="…">`` and ``</data>``, with what it is of: so our prompts show what tools and models have returned."""
    return [(of, inside.replace("\\u003c", "<")) for of, inside in _DATA.findall(text)]


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content or "")
