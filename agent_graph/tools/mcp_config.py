"""Which MCP servers there are, and what the operator says of their tools: one YAML or JSON file.

The file decides which programs are started and to whom keys are sent. It is read by the host's own code, and nothing of a plan, a model or a
server can name or change it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from agent_graph.errors import UsageError
from agent_graph.plan import Model, Recovery, Risk

ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
"""It begins the names of the server's tools."""

VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_HEADER = re.compile(r"(?i)auth|cookie|key|token|secret|password")
_HEADER_NAME = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")


class ToolRules(Model):
    """What the operator says of one tool. It stands above whatever the server says."""

    name: str | None = None
    """What it is called here; unless said, the server's prefix, a dot, and the server's name for it."""
    description: str | None = None
    """What planners read instead of the server's text."""
    risk: Risk | None = None
    recovery: Recovery | None = None
    scopes: tuple[str, ...] = ()
    """Permissions that a call needs, beside those of the server."""
    sensitive: tuple[str, ...] = ()
    outbound: bool | None = None
    price: float | str | None = None
    timeout: float | None = Field(default=None, gt=0)
    trusted_output: bool | None = None
    definite_errors: bool | None = None
    """Whether an error result says that nothing happened. Unless said, the outcome of a change that ends in one is not known."""
    key: str | None = None
    """The argument that takes the idempotency key, for ``recovery: keyed``. Planners do not see it."""
    parallel: bool | int = False
    rate: float | None = Field(default=None, gt=0)
    ttl: float | None = Field(default=None, gt=0)
    """Of a read: seconds for which what it gave is given again to the same arguments."""
    needs: dict[str, str] = {}
    """By argument, the kind of fact that it takes; for the chain planner."""
    gives: dict[str, str] = {}
    """By kind of fact that it gives, the JMESPath of it in the output, empty for the whole."""
    cost: float = Field(default=1.0, ge=0)
    """What a call costs a plan of the chain planner."""

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        if self.recovery == "probeable":
            raise ValueError("recovery 'probeable' needs a probe, which a file cannot hold; use 'idempotent', 'keyed' or 'blind'")
        if (self.recovery == "keyed") != (self.key is not None):
            raise ValueError("recovery 'keyed' and key, the argument that takes the idempotency key, belong together; give both or neither")
        return self


class McpServer(Model):
    """One server: a program that speaks over its stdin and stdout, or an address."""

    command: str | None = None
    """The program. It is looked up on the PATH and started as it is, by no shell."""
    args: tuple[str, ...] = ()
    env: tuple[VariableName, ...] = ()
    """Names of the variables that it is given, beside PATH. Their values stay out of this file."""
    cwd: str = "."
    """Where it runs, seen from the folder of this file."""
    url: str | None = None
    """The address of a streamable-HTTP server."""
    headers: dict[str, str] = {}
    """Sent with each request. ``${NAME}`` stands for a variable of the environment."""
    plain_http: bool = False
    """Allows http, which anybody on the way can read, to a host that is not this machine."""

    prefix: str | None = None
    """What the names of its tools begin with, before the dot; empty: nothing. Unless said, the server's name."""
    allow: tuple[str, ...] | None = None
    """The tools that are used, by the server's names for them; unless said, all."""
    deny: tuple[str, ...] = ()
    """Tools that are not."""
    tools: dict[str, ToolRules] = {}
    """What is said of single tools, by the server's names for them."""

    trust_annotations: bool = False
    """Whether what the server says of its own tools may lower their risk. Unless True it can only raise it."""
    trusted_output: bool = False
    definite_errors: bool = False
    outbound: bool | None = None
    """Whether its tools carry their arguments out of the house; unless said, they do."""
    scopes: tuple[str, ...] = ()
    timeout: float = Field(default=60.0, gt=0)
    """Seconds for one call."""
    connect_timeout: float = Field(default=30.0, gt=0)
    """Seconds in which it starts and says what it has."""

    @field_validator("headers")
    @classmethod
    def _no_secret_in_the_file(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.match(name) or not value.isprintable():
                raise ValueError(f"{name!r}: {value!r} cannot be sent as a header")
            if _SECRET_HEADER.search(name) and not _VARIABLE.search(value):
                raise ValueError(f"the value of {name} looks like a secret; put it into the environment and write ${{ITS_NAME}} here")
        return headers

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address begins with https:// or http:// and a host")
        if parts.username or parts.password:
            raise ValueError("an address is no place for a password; send it as a header: Authorization: ${NAME}")
        return url

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("give command, for a program, or url, for an address; one of the two")
        if self.url is not None and (self.args or self.env or self.cwd != "."):
            raise ValueError("args, env and cwd are for a command; this server has a url")
        if self.command is not None and (self.headers or self.plain_http):
            raise ValueError("headers and plain_http are for a url; this server has a command")
        if self.url is not None and self.url.startswith("http:") and not self.plain_http and not self.on_this_machine:
            raise ValueError(
                "over http, anybody on the way reads and changes what is sent; use https, or say plain_http: true for a network that you trust"
            )
        return self

    @property
    def on_this_machine(self) -> bool:
        """Whether the address is this machine's own."""
        host = urlsplit(self.url or "").hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def variables(self) -> frozenset[str]:
        """Names of the variables whose values are sent as headers."""
        return frozenset(name for value in self.headers.values() for name in _VARIABLE.findall(value))

    def filled_headers(self, server: str, environment: Mapping[str, str]) -> dict[str, str]:
        """The headers as they are sent. Raises UsageError when a variable is not set."""

        def fill(match: re.Match[str]) -> str:
            value = environment.get(match[1], "")
            if not value:
                raise UsageError(f"MCP server {server!r} needs the variable {match[1]} for a header; set it in the environment")
            if not value.isprintable():
                raise UsageError(f"MCP server {server!r}: the variable {match[1]} holds a line break or control; no header can carry it")
            return value

        return {name: _VARIABLE.sub(fill, value) for name, value in self.headers.items()}

    def passed_environment(self, server: str, environment: Mapping[str, str]) -> dict[str, str]:
        """The variables that its program gets. Raises UsageError when one is not set."""
        missing = [name for name in self.env if name not in environment]
        if missing:
            raise UsageError(f"MCP server {server!r} is to get {', '.join(missing)}, which the environment does not hold; set it")
        names = {*self.env, *({"PATH"} & environment.keys())}
        return {name: environment[name] for name in sorted(names)}


class McpConfig(Model):
    """The file as a whole."""

    servers: dict[ServerName, McpServer]
    pins: str | None = None
    """The file that holds the definitions of all tools as they were looked at (``mcp.lock.json``), seen from the folder of this file."""
    logs: str | None = None
    """The folder for what servers write to stderr, seen from the folder of this file; unless said ``.agent-graph/mcp``."""

    @field_validator("pins")
    @classmethod
    def _is_json(cls, pins: str | None) -> str | None:
        if pins is not None and not pins.endswith(".json"):
            raise ValueError("the file of the pins is JSON: let its name end with .json, as in mcp.lock.json")
        return pins

    @field_validator("servers")
    @classmethod
    def _at_least_one(cls, servers: dict[str, McpServer]) -> dict[str, McpServer]:
        if not servers:
            raise ValueError("name at least one server")
        return servers
