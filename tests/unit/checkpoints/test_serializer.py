"""No row of LangGraph's checkpoints can make the process call something, and a saver that would let one is refused before a run is kept in it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from agent_graph.checkpoints import sqlite
from agent_graph.checkpoints.serializer import OnlyEncrypted, refuse_permissive, strict_serializer
from agent_graph.errors import StoreUnreadable, UsageError


class Cipher(CipherProtocol):
    """A stream cipher with a tag, of the standard library only: which one it is makes no difference here."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def _stream(self, nonce: bytes, text: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(text, hashlib.shake_256(self._key + nonce).digest(len(text)), strict=True))

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        nonce = os.urandom(16)
        hidden = nonce + self._stream(nonce, plaintext)
        return "shake", hmac.digest(self._key, hidden, "sha256") + hidden

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        tag, hidden = ciphertext[:32], ciphertext[32:]
        if not hmac.compare_digest(tag, hmac.digest(self._key, hidden, "sha256")):
            raise ValueError("another key, or changed")
        return self._stream(hidden[:16], hidden[16:])


PERMISSIVE: dict[str, Callable[[], Any]] = {
    "as LangGraph makes it": lambda: JsonPlusSerializer(allowed_msgpack_modules=True),
    "any constructor in JSON": lambda: JsonPlusSerializer(allowed_msgpack_modules=None, allowed_json_modules=True),
    "pickles": lambda: JsonPlusSerializer(allowed_msgpack_modules=None, pickle_fallback=True),
    "encrypted, and permissive inside": lambda: EncryptedSerializer(Cipher(), JsonPlusSerializer(allowed_msgpack_modules=True)),
}


@pytest.mark.parametrize("how", PERMISSIVE)
def test_a_saver_whose_rows_could_call_code_is_refused(how: str) -> None:
    with pytest.raises(UsageError, match=r"InMemorySaver makes objects of whatever a stored row names.*strict_serializer"):
        refuse_permissive(InMemorySaver(serde=PERMISSIVE[how]()))


def test_langgraph_s_saver_with_its_own_defaults_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGGRAPH_STRICT_MSGPACK", raising=False)
    connection = sqlite3.connect(tmp_path / "theirs.db", check_same_thread=False)
    with pytest.raises(UsageError, match="SqliteSaver"):
        refuse_permissive(SqliteSaver(connection))
    connection.close()


@pytest.mark.parametrize("serde", [strict_serializer(), OnlyEncrypted(Cipher(), strict_serializer())], ids=["plain", "encrypted"])
def test_a_strict_saver_is_taken(serde: Any) -> None:
    refuse_permissive(InMemorySaver(serde=serde))


def test_a_host_that_brings_no_serializer_is_taken() -> None:
    refuse_permissive(object())


def test_encryption_that_takes_plain_rows_is_refused() -> None:
    with pytest.raises(UsageError, match=r"takes rows that are not encrypted.*OnlyEncrypted"):
        refuse_permissive(InMemorySaver(serde=EncryptedSerializer(Cipher(), strict_serializer())))


def test_a_plain_row_among_encrypted_ones_is_refused_and_an_encrypted_one_is_read() -> None:
    serde = OnlyEncrypted(Cipher(), strict_serializer())
    assert serde.loads_typed(serde.dumps_typed({"it": 1})) == {"it": 1}
    with pytest.raises(StoreUnreadable, match=r"not encrypted.*purge RUN --checkpoints"):
        serde.loads_typed(("msgpack", ormsgpack.packb({"it": 1})))


def test_our_own_saver_is_tried_when_it_is_made(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a new LangGraph had made the strict setting permissive."""
    monkeypatch.setattr(sqlite, "strict_serializer", lambda: JsonPlusSerializer(allowed_msgpack_modules=True))
    with pytest.raises(UsageError, match="makes objects of whatever a stored row names"):
        sqlite.Saver(str(store_path))
    with pytest.raises(UsageError, match="makes objects of whatever a stored row names"):
        sqlite.memory_saver()


def test_the_trial_itself_says_nothing_and_does_nothing(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG):
        refuse_permissive(InMemorySaver(serde=strict_serializer()))
    assert caplog.records == []
