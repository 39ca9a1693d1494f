"""``http_get`` and ``http_send``: questions to hosts that the operator has named, and to no other address that a plan could think of.

A plan gives a path and what to send; the operator's code decides hosts, ports, methods and credentials. Each redirect is looked at like a
first address. What comes back is untrusted, and bounded in time and size.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import httpx
from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.redaction import Redaction
from agent_graph.tools.addresses import networks
from agent_graph.tools.deadline import seconds_left
from agent_graph.tools.http_credentials import Credential, HeadersFromEnv, credentials, filled_in, header_name, values_in
from agent_graph.tools.http_exchange import Answered, Exchange, HttpFailed, Resolve, Sending, look_up, text_of
from agent_graph.tools.named import redaction_of
from agent_graph.tools.origins import AddressRefused, Entry, Origin, Target, entries, redirected, target
from agent_graph.tools.tool import Tool, ToolContext, tool

MAX_BYTES = 128 * 1024
"""Of an answer, unpacked; half of what one step's output may hold."""
MAX_SENT = 1 << 20
MAX_REDIRECTS = 5
SECONDS = 20.0
GRACE_S = 5.0

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
READS = ("GET", "HEAD")

REFUSED = (400, 401, 403, 404, 405, 406, 410, 411, 413, 414, 415, 417, 421, 422, 426, 428, 429, 431)
"""Answers to ``http_send`` by which a server says that it did not do it. Not among them: 408 and 409, which may come after it was done."""

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


def http_tools(
    hosts: Sequence[str],
    *,
    methods: Sequence[Method] = ("GET", "HEAD"),
    private: bool | Sequence[str] = False,
    headers_from_env: HeadersFromEnv | None = None,
    headers: Mapping[str, str] | None = None,
    environment: Mapping[str, str] = os.environ,
    max_bytes: int = MAX_BYTES,
    timeout: float = SECONDS,
    max_redirects: int = MAX_REDIRECTS,
    honours_keys: bool = False,
    key_header: str = "Idempotency-Key",
    refused: Collection[int] = REFUSED,
    ca_file: str | Path | None = None,
    resolve: Resolve = look_up,
    name: str = "http",
    scopes: Sequence[str] = (),
    rate: float | None = None,
) -> list[Tool]:
    """
    The tools ``http_get`` (for GET and HEAD) and ``http_send`` (for the others), as ``methods`` say.

    ``hosts``: ``"api.example.org"`` (https, port 443), ``"api.example.org:8443"``, ``"http://10.1.2.3:8080"``, ``"*.example.org"`` (what is below
    it), ``"*"`` (any). ``private``: False: public addresses only; True: this machine and private networks too; or the networks that are
    allowed, as in ``["10.1.0.0/16"]``. ``headers_from_env``: credentials by the name of a variable of ``environment``, for the only host or
    by host: ``{"api.example.org": {"Authorization": "Bearer {API_TOKEN}"}}``. ``max_bytes`` of an answer are kept; ``timeout`` seconds are for
    all of a call. ``honours_keys``: the servers drop what comes a second time with the same ``key_header``; else, after a lost answer, a
    person is asked. ``refused``: statuses that say that nothing was done. ``ca_file``: certificates to trust instead of the usual ones.
    Raises InvalidToolError.
    """
    listed = entries(name, hosts)
    if not methods or not set(methods) <= set(get_args(Method)):
        raise InvalidToolError(f"tool {name}: methods is a list out of {', '.join(get_args(Method))}")
    if timeout <= 0 or max_bytes < 1 or max_redirects < 0:
        raise InvalidToolError(f"tool {name}: timeout and max_bytes must be above 0, max_redirects at least 0")
    fixed = {header_name(name, each): value for each, value in (headers or {}).items()}
    if not all(re.fullmatch(r"[\x20-\x7e]*", value) for value in fixed.values()):
        raise InvalidToolError(f"tool {name}: the values of headers are ASCII without line breaks")
    web = _Web(
        name=name,
        hosts=listed,
        credentials=credentials(name, headers_from_env or {}, listed),
        headers={"User-Agent": "agent-graph", **fixed},
        environment=environment,
        exchange=Exchange(allowed=networks(name, private), max_bytes=max_bytes, resolve=resolve, tls=_tls(name, ca_file)),
        seconds=timeout,
        max_redirects=max_redirects,
        refused=frozenset(refused),
        key_header=header_name(name, key_header),
    )
    reads = [each for each in get_args(Method) if each in methods and each in READS]
    sends = [each for each in get_args(Method) if each in methods and each not in READS]
    made = []
    if reads:
        made.append(
            tool(
                _get(web, reads),
                name=f"{name}_get",
                description=_description("Ask", web),
                risk="read_only",
                outbound=True,  # an address can carry anything out
                scopes=scopes,
                rate=rate,
                timeout=timeout + GRACE_S,
            )
        )
    if sends:
        made.append(
            tool(
                _send(web, sends),
                name=f"{name}_send",
                description=_description("Send something to", web),
                risk="external_communication",
                recovery="keyed" if honours_keys else "blind",
                outbound=True,
                scopes=scopes,
                rate=rate,
                timeout=timeout + GRACE_S,
            )
        )
    return made


def _tls(name: str, ca_file: str | Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise InvalidToolError(f"tool {name}: ca_file {ca_file} cannot be read: {error}") from None


def _description(verb: str, web: _Web) -> str:
    return f"{verb} a web address at one of: {', '.join(each.text for each in web.hosts)}. Credentials are added where they are needed; give none."


Url = Annotated[str, Field(max_length=8_000, description="The whole address: https://host/path?query.")]


def _get(web: _Web, methods: Sequence[str]) -> Callable[..., Any]:
    async def http_get(
        context: ToolContext,
        url: Url,
        method: str = methods[0],
        accept: Annotated[str, Field(max_length=200, pattern=r"^[\x20-\x7e]+$", description="Media types that are wanted.")] = "*/*",
    ) -> Fetched:
        return await web.get(context, method, url, accept)

    http_get.__annotations__["method"] = Literal[*methods]
    return http_get


def _send(web: _Web, methods: Sequence[str]) -> Callable[..., Any]:
    async def http_send(
        context: ToolContext,
        url: Url,
        method: str = methods[0],
        json_body: Annotated[JsonValue, Field(description="What is sent, as JSON.")] = None,
        text_body: Annotated[str | None, Field(description="What is sent, as text; instead of json_body.")] = None,
        content_type: Annotated[
            str, Field(max_length=200, pattern=r"^[\x20-\x7e]+$", description="Of text_body.")
        ] = "text/plain; charset=utf-8",
    ) -> Fetched:
        if json_body is not None and text_body is not None:
            raise NotDone(f"{web.name}_send: give json_body or text_body, not both; nothing was sent")
        body, kind = None, None
        if text_body is not None:
            body, kind = text_body.encode("utf-8", "replace"), content_type
        elif json_body is not None:
            body, kind = json.dumps(json_body, ensure_ascii=False).encode("utf-8", "replace"), "application/json"
        return await web.send(context, method, url, body, kind)

    http_send.__annotations__["method"] = Literal[*methods]
    return http_send


@dataclass(frozen=True, slots=True, kw_only=True)
class _Web:
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
