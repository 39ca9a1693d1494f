"""What ``http_get`` and ``http_send`` do: follow a read through its redirects, send a thing once, and say what came of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from typing_extensions import TypedDict

from agent_graph.errors import NotDone
from agent_graph.redaction import Redaction
from agent_graph.tools.deadline import seconds_left
from agent_graph.tools.http_credentials import Credential, filled_in, values_in
from agent_graph.tools.http_exchange import Answered, Exchange, HttpFailed, Sending, text_of
from agent_graph.tools.named import redaction_of
from agent_graph.tools.origins import AddressRefused, Entry, Origin, Target, redirected, target
from agent_graph.tools.tool import ToolContext

MAX_SENT = 1 << 20

_REDIRECTS = (301, 302, 303, 307, 308)
_KEPT = ("content-type", "content-length", "etag", "last-modified", "location", "retry-after", "link")
_SAID = 500


class Fetched(TypedDict):
    status: int
    url: str
    """What answered, after redirects."""
    headers: dict[str, str]
    json: JsonValue
    """Of an answer that is JSON, and whole."""
    text: str
    """Of any other; empty for what is no text."""
    truncated: bool
    """There was more than is given here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """What the operator has said, for both tools."""

    name: str
    hosts: tuple[Entry, ...]
    credentials: tuple[Credential, ...]
    headers: Mapping[str, str]
    environment: Mapping[str, str]
    exchange: Exchange
    seconds: float
    max_redirects: int
    refused: frozenset[int]
    key_header: str

    async def get(self, context: ToolContext, method: str, url: str, accept: str) -> Fetched:
        redaction = redaction_of(f"{self.name}_get", values_in(self.credentials, self.environment), self.environment)
        asked = self._target(url)
        sending = Sending()
        try:
            async with asyncio.timeout(seconds_left(context.deadline, self.seconds)):
                at, answered = await self._follow(method, asked, {"Accept": accept}, sending)
        except TimeoutError:
            raise HttpFailed(
                redaction.text(f"{method} {asked}: the answer was not there, whole, in its time ({self.seconds:g} s)")
            ) from None
        except (NotDone, HttpFailed) as error:
            raise type(error)(redaction.text(str(error))) from None
        if answered.status >= 400:
            raise HttpFailed(redaction.text(f"{method} {at}: {_answer(answered)}"))
        return _fetched(at, answered, redaction)

    async def _follow(self, method: str, asked: Target, headers: Mapping[str, str], sending: Sending) -> tuple[Target, Answered]:
        """Through redirects, each looked at like a first address. Credentials stay with the origin that was asked first."""
        at, left = asked, self.max_redirects
        own = filled_in(f"{self.name}_get", self.credentials, asked.origin, self.environment)
        while True:
            answered = await self.exchange(method, at, {**self.headers, **headers, **own}, None, sending)
            location = answered.headers.get("location")
            if answered.status not in _REDIRECTS or location is None:
                return at, answered
            if not left:
                raise HttpFailed(f"{asked} was redirected more than {self.max_redirects} times, at last to {location[:200]}")
            try:
                after = redirected(at, location)
            except AddressRefused as error:
                raise NotDone(f"{at} redirects to an address that is refused: {error}") from None
            if at.origin.scheme == "https" and after.origin.scheme == "http":
                raise NotDone(f"{at} redirects to {after}, which is not encrypted; that is not followed")
            self._allowed(after.origin, f"{at} redirects to {after}: ")
            if after.origin != at.origin:
                own = {}
            at, left = after, left - 1

    async def send(self, context: ToolContext, method: str, url: str, body: bytes | None, kind: str | None) -> Fetched:
        tool_name = f"{self.name}_send"
        redaction = redaction_of(tool_name, values_in(self.credentials, self.environment), self.environment)
        if not context.idempotency_key:
            raise NotDone(f"{tool_name} needs an idempotency key, so that the same thing is not sent twice; the executor gives one")
        if body is not None and len(body) > MAX_SENT:
            raise NotDone(f"{tool_name}: {len(body):,} bytes are to be sent, and {MAX_SENT:,} may be; nothing was sent")
        asked = self._target(url)
        own = filled_in(tool_name, self.credentials, asked.origin, self.environment)
        headers = {**self.headers, "Accept": "*/*", self.key_header: context.idempotency_key, **own}
        if kind is not None:
            headers["Content-Type"] = kind
        sending = Sending()
        what = f"{method} {asked}"
        try:
            async with asyncio.timeout(seconds_left(context.deadline, self.seconds)):
                answered = await self.exchange(method, asked, headers, body, sending)
        except TimeoutError:
            if not sending.begun:
                raise NotDone(redaction.text(f"{what}: it was not connected in its time ({self.seconds:g} s); nothing was sent")) from None
            raise HttpFailed(
                redaction.text(f"{what}: sent, and the answer was not there, whole, in its time ({self.seconds:g} s)")
            ) from None
        except (NotDone, HttpFailed) as error:
            raise type(error)(redaction.text(str(error))) from None
        if answered.status in (307, 308):
            to = answered.headers.get("location", "")[:200]
            raise NotDone(
                redaction.text(f"{what}: answered {answered.status}, it is to be sent to {to!r} instead; that is not done by itself")
            )
        if answered.status in self.refused:
            raise NotDone(redaction.text(f"{what}: refused, {_answer(answered)}"))
        if answered.status >= 400:
            raise HttpFailed(redaction.text(f"{what}: {_answer(answered)}"))
        return _fetched(asked, answered, redaction)

    def _target(self, url: str) -> Target:
        try:
            found = target(url)
        except AddressRefused as error:
            raise NotDone(f"{error}; nothing was sent") from None
        self._allowed(found.origin, "")
        return found

    def _allowed(self, origin: Origin, why: str) -> None:
        if not any(each.covers(origin) for each in self.hosts):
            listed = ", ".join(each.text for each in self.hosts)
            raise NotDone(f"{why}{origin} is not among the hosts that may be asked ({listed}; https unless said); nothing was sent to it")


def _answer(answered: Answered) -> str:
    said = (text_of(answered) or "").strip()
    return f"answered {answered.status}" + (f": {said[:_SAID]}{'…' if len(said) > _SAID else ''}" if said else "")


def _fetched(at: Target, answered: Answered, redaction: Redaction) -> Fetched:
    """As it is given back: without what is ours alone, JSON where it is JSON."""
    text = redaction.text(text_of(answered) or "")
    parsed: JsonValue = None
    if "json" in answered.headers.get("content-type", "").lower() and not answered.truncated:
        try:
            parsed = _clean(json.loads(text, parse_constant=_no_number), redaction)
            text = ""
        except (ValueError, RecursionError):
            parsed = None
    return {
        "status": answered.status,
        "url": redaction.text(str(at)),
        "headers": {each: redaction.text(answered.headers[each])[:2_000] for each in _KEPT if each in answered.headers},
        "json": parsed,
        "text": text,
        "truncated": answered.truncated,
    }


def _no_number(said: str) -> Any:
    raise ValueError(f"{said} is no JSON")


def _clean(value: Any, redaction: Redaction) -> Any:
    """Once more, for a secret that the server had written with escapes of its own."""
    if isinstance(value, str):
        return redaction.text(value)
    if isinstance(value, list):
        return [_clean(each, redaction) for each in value]
    if isinstance(value, dict):
        return {redaction.text(key): _clean(each, redaction) for key, each in value.items()}
    return value
