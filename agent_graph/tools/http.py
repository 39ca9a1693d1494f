"""``http_get`` and ``http_send``: questions to hosts that the operator has named, and to no other address that a plan could think of.

A plan gives a path and what to send; the operator's code decides hosts, ports, methods and credentials. Each redirect is looked at like a
first address. What comes back is untrusted, and bounded in time and size.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import httpx
from pydantic import Field, JsonValue

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools.addresses import networks
from agent_graph.tools.http_calls import Fetched, Web
from agent_graph.tools.http_credentials import HeadersFromEnv, credentials, header_name
from agent_graph.tools.http_exchange import Exchange, Resolve, look_up
from agent_graph.tools.origins import entries
from agent_graph.tools.tool import Tool, ToolContext, tool

MAX_BYTES = 128 * 1024
"""Of an answer, unpacked; half of what one step's output may hold."""
MAX_REDIRECTS = 5
SECONDS = 20.0
GRACE_S = 5.0

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
READS = ("GET", "HEAD")

REFUSED = (400, 401, 403, 404, 405, 406, 410, 411, 413, 414, 415, 417, 421, 422, 426, 428, 429, 431)
"""Answers to ``http_send`` by which a server says that it did not do it. Not among them: 408 and 409, which may come after it was done."""


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
    web = Web(
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


def _description(verb: str, web: Web) -> str:
    return f"{verb} a web address at one of: {', '.join(each.text for each in web.hosts)}. Credentials are added where they are needed; give none."


Url = Annotated[str, Field(max_length=8_000, description="The whole address: https://host/path?query.")]


def _get(web: Web, methods: Sequence[str]) -> Callable[..., Any]:
    async def http_get(
        context: ToolContext,
        url: Url,
        method: str = methods[0],
        accept: Annotated[str, Field(max_length=200, pattern=r"^[\x20-\x7e]+$", description="Media types that are wanted.")] = "*/*",
    ) -> Fetched:
        return await web.get(context, method, url, accept)

    http_get.__annotations__["method"] = Literal[*methods]
    return http_get


def _send(web: Web, methods: Sequence[str]) -> Callable[..., Any]:
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
