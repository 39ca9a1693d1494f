"""One question to one host and its answer: connected to an address that was checked, bounded in time and size, nothing kept between two.

The name is resolved once, every address that it has is checked, and the connection goes to one of those; TLS and the header Host still speak
of the name. So a name that changes its addresses between the check and the call (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from agent_graph.errors import NotDone
from agent_graph.tools.addresses import Address, Network, why_refused
from agent_graph.tools.origins import Origin, Target

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host, as texts. Called on a thread, once for each connection."""

CONNECT_S = 10.0
"""Seconds for one address; the next is tried then."""
MAX_TRIED = 4
"""Addresses of one host that are tried."""
_RAW_SLACK = 1 << 16

_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""And how zlib is told; 47: with either header."""


class HttpFailed(RuntimeError):
    """No answer came, or not one that can be used. What was sent may have been carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    """There is more than may be kept."""


@dataclass(slots=True)
class Sending:
    """Whether anything of the request may have reached the other side; asked when the exchange fails."""

    begun: bool = False

    async def trace(self, event: str, _: Mapping[str, object]) -> None:
        if event.endswith(".send_request_headers.started"):
            self.begun = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """How all requests of one set of tools are made."""

    allowed: tuple[Network, ...]
    max_bytes: int
    resolve: Resolve
    tls: ssl.SSLContext = field(repr=False)

    async def __call__(self, method: str, target: Target, headers: Mapping[str, str], body: bytes | None, sending: Sending) -> Answered:
        """Raises NotDone when nothing was sent, HttpFailed when something may have been."""
        origin = target.origin
        addresses = await self._addresses(origin)
        wrong: list[str] = []
        for address in addresses[:MAX_TRIED]:
            try:
                return await self._ask(address, method, target, headers, body, sending)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                wrong.append(f"{address}: {str(error) or type(error).__name__}")
            except httpx.HTTPError as error:
                said = f"{method} {target}: {type(error).__name__}: {error}"
                if not sending.begun:
                    raise NotDone(f"{said}; nothing was sent") from None
                raise HttpFailed(said) from None
        raise NotDone(f"{origin} cannot be reached, nothing was sent: {'; '.join(wrong)}")

    async def _addresses(self, origin: Origin) -> list[Address]:
        """All of the host's, each of which may be connected to."""
        literal = origin.ip
        found: list[Address] = []
        if literal is not None:
            found = [literal]
        else:
            try:
                said = await asyncio.to_thread(self.resolve, origin.host, origin.port)
                found = list(dict.fromkeys(map(ipaddress.ip_address, said)))
            except (OSError, UnicodeError, ValueError) as error:
                raise NotDone(f"{origin.host} has no address, nothing was sent: {error}") from None
        if not found:
            raise NotDone(f"{origin.host} has no address, nothing was sent")
        for each in found:
            why = why_refused(each, self.allowed)
            if why is not None:
                leads = "is" if literal is not None else "leads to"
                raise NotDone(f"{origin.host} {leads} {each}, {why}: that is not connected to unless the operator allows it with private=…")
        return found

    async def _ask(
        self, address: Address, method: str, target: Target, headers: Mapping[str, str], body: bytes | None, sending: Sending
    ) -> Answered:
        origin = target.origin
        url = httpx.URL(scheme=origin.scheme, host=str(address), port=origin.port, raw_path=target.path.encode("ascii"))
        extensions: dict[str, object] = {"trace": sending.trace}
        if origin.ip is None:
            extensions["sni_hostname"] = origin.host
        transport = httpx.AsyncHTTPTransport(verify=self.tls, trust_env=False, http1=True, http2=False, retries=0)
        timeout = httpx.Timeout(None, connect=CONNECT_S)
        async with httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, timeout=timeout) as client:
            request = httpx.Request(
                method, url, headers={"Host": origin.authority, **headers, "Connection": "close"}, content=body, extensions=extensions
            )
            request.extensions["timeout"] = timeout.as_dict()
            response = await client.send(request, stream=True)
            try:
                kept, truncated = await self._body(response)
            finally:
                await response.aclose()
        return Answered(status=response.status_code, headers=response.headers, body=kept, truncated=truncated)

    async def _body(self, response: httpx.Response) -> tuple[bytes, bool]:
        """What it says, unpacked piece by piece, so that a bomb is never larger in memory than what may be kept."""
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity") and encoding not in _ENCODINGS:
            raise HttpFailed(f"{response.status_code} came packed as {encoding[:40]!r}, which was not asked for")
        unpack = zlib.decompressobj(_ENCODINGS[encoding]) if encoding in _ENCODINGS else None
        kept, came = bytearray(), 0
        async for chunk in response.aiter_raw():
            came += len(chunk)
            room = self.max_bytes + 1 - len(kept)
            if unpack is None:
                kept += chunk[:room]
            else:
                try:
                    kept += unpack.decompress(chunk, room)
                except zlib.error as error:
                    raise HttpFailed(f"{response.status_code} came packed as {encoding}, and cannot be unpacked: {error}") from None
                if unpack.unconsumed_tail and len(kept) <= self.max_bytes:
                    kept += unpack.decompress(unpack.unconsumed_tail, self.max_bytes + 1 - len(kept))
            if len(kept) > self.max_bytes or came > self.max_bytes + _RAW_SLACK:
                return bytes(kept[: self.max_bytes]), True
            if unpack is not None and unpack.eof:
                break
        return bytes(kept), False


def look_up(host: str, port: int) -> list[str]:
    """The system's resolver."""
    return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


_CHARSET = re.compile(
    r"(?i)charset=\"?(utf-?8|us-ascii|iso-8859-\d{1,2}|windows-\d{3,4}|utf-16(?:le|be)?|gb2312|gbk|gb18030|big5|euc-jp|euc-kr|shift_jis|koi8-[ru])\"?\s*(?:;|$)"
)


def text_of(answered: Answered) -> str | None:
    """The body as text; None for what is none."""
    kind = answered.headers.get("content-type", "")
    charset = _CHARSET.search(kind)
    if charset is None and b"\0" in answered.body[:1024]:
        return None
    return answered.body.decode(charset[1] if charset else "utf-8", "replace")
