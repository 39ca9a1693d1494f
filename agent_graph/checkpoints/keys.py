"""The key of a sealed store: from the caller, the environment, or a command that prints it. Never from a file beside the store."""

from __future__ import annotations

import hmac
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from agent_graph.errors import UsageError

KEY = "AGENT_GRAPH_STORE_KEY"
KEY_COMMAND = "AGENT_GRAPH_STORE_KEY_COMMAND"

SHORTEST = 32
"""Bytes of a key; what ``openssl rand -hex 32`` prints is 64."""

PATIENCE = 30.0
"""Seconds that the command may take: it may ask a vault."""

HOW_TO_MAKE = "make one with: openssl rand -hex 32"


@dataclass(frozen=True)
class Key:
    secret: bytes = field(repr=False)

    @cached_property
    def _extracted(self) -> bytes:
        return hmac.digest(b"agent-graph store seals", self.secret, "sha256")

    @cached_property
    def name(self) -> str:
        """Which key sealed a row; it tells nothing of the key."""
        return self.of("name").hex()[:8]

    def of(self, what: str) -> bytes:
        """A key for one purpose, as HKDF derives it (RFC 5869): a seal of one table means nothing in another."""
        return hmac.digest(self._extracted, what.encode() + b"\x01", "sha256")


Keys = tuple[Key, ...]
"""The first seals, each verifies: a new key goes before the old one until every row is sealed with it."""

Given = str | bytes | Iterable[str | bytes]


def read_keys(given: Given) -> Keys:
    """One key, or several; a text may hold several, separated by commas or white space. Raises UsageError for one that is too short."""
    parts = [given] if isinstance(given, str | bytes) else list(given)
    secrets = [secret for part in parts for secret in ([part] if isinstance(part, bytes) else _in_text(part))]
    if not secrets:
        raise UsageError(f"the key of the store is empty; {HOW_TO_MAKE}, or give none")
    short = [secret for secret in secrets if len(secret) < SHORTEST]
    if short:
        raise UsageError(f"a key of the store has {len(short[0])} bytes, and less than {SHORTEST} can be guessed; {HOW_TO_MAKE}")
    return tuple(Key(secret) for secret in dict.fromkeys(secrets))


def _in_text(text: str) -> list[bytes]:
    return [word.encode() for word in re.split(r"[,\s]+", text) if word]


def keys_of_environment(environment: Mapping[str, str]) -> Keys:
    """None of both variables: no key. Raises UsageError where one of them says what cannot be used."""
    said, command = environment.get(KEY), environment.get(KEY_COMMAND)
    if said is not None and command is not None:
        raise UsageError(f"both {KEY} and {KEY_COMMAND} are set; which one holds is not guessed: unset one of them")
    if said is not None:
        return read_keys(said)
    return () if command is None else read_keys(_printed_by(command))


def _printed_by(command: str) -> str:
    """What the command prints, run without a shell."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{KEY_COMMAND} cannot be read as a command ({error}); quote it as for a shell") from None
    if not words:
        raise UsageError(f"{KEY_COMMAND} is empty; name a command that prints the key, or unset it")
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False, text=True)  # noqa: S603  # the operator's own words
    except subprocess.TimeoutExpired:
        raise UsageError(f"{KEY_COMMAND}: {words[0]} printed no key within {PATIENCE:g} s and was ended") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{KEY_COMMAND}: {words[0]} cannot be run: {getattr(error, 'strerror', None) or 'it printed what is no text'}"
        ) from None
    if done.returncode != 0:
        said = done.stderr.strip().partition("\n")[0][:200]
        raise UsageError(f"{KEY_COMMAND}: {words[0]} ended with {done.returncode}{f': {said}' if said else ''}; no key was taken from it")
    return done.stdout
