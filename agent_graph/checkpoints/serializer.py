"""How LangGraph's checkpoints become bytes and are read again: plain data only, whatever a row in the file says (CVE-2026-28277).

Reading a row that somebody edited is where LangGraph's own defaults call what the row names. So each saver is tried with rows that would call
something of ours, which does no harm, before a run of ours is kept in it.
"""

from __future__ import annotations

import json
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agent_graph.errors import StoreUnreadable, UsageError

HOW = "pass agent_graph.checkpoints.serializer.strict_serializer() to the saver as its serde, or use AgentGraph(store=…), which has its own"


def strict_serializer() -> JsonPlusSerializer:
    """Loads only LangGraph's and LangChain's own safe-listed types. Set in code, so that no environment variable can widen it."""
    return JsonPlusSerializer(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)


class OnlyEncrypted(EncryptedSerializer):
    """LangGraph's encryption, that takes no row which is not encrypted: the original hands such a row on, so that whoever can write the file
    needs no key.
    """

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, _ = data
        if "+" not in kind:
            raise StoreUnreadable(
                f"a checkpoint is not encrypted (its type is {kind}), although all that are written here are; nothing of it was used: drop "
                "the run's checkpoints, then resume it, and it goes on from the ledger: agent-graph purge RUN --checkpoints"
            )
        return super().loads_typed(data)


# ── the trial ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Trap:
    """Called by a row only where a serializer lets rows call things. It does nothing but to remember."""

    sprung = False

    def __init__(self, *_: Any, **__: Any) -> None:
        Trap.sprung = True

    @staticmethod
    def call(*_: Any, **__: Any) -> None:
        Trap.sprung = True

    model_validate_json = model_construct = construct = parse_obj = call


_ONE_AT_A_TIME = threading.Lock()


class _Pickled:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return Trap, ()


def _hostile_rows() -> Iterator[tuple[str, bytes]]:
    """Each way in which a row can ask for a call, as (type, bytes)."""
    here, name = Trap.__module__, Trap.__name__
    for kind in range(8):  # constructors, methods, pydantic's of both versions, and what LangGraph may come to
        for argument in ("it", ["it"], {"it": 1}):
            yield "msgpack", ormsgpack.packb(ormsgpack.Ext(kind, ormsgpack.packb([here, name, argument, "call"])))
    for version in (1, 2):
        yield "json", json.dumps({"lc": version, "type": "constructor", "id": [*here.split("."), name], "kwargs": {"it": 1}}).encode()
    yield "pickle", pickle.dumps(_Pickled())


def refuse_permissive(saver: Any) -> None:
    """Try the serializer that the saver has. Raises UsageError where a row in its storage could call code, or get past its encryption.

    ``saver``: any LangGraph checkpointer; one without a serializer of its own (its host loads the rows) passes.
    """
    serde = getattr(saver, "serde", None)
    if serde is None:
        return
    for row in _hostile_rows():
        with _ONE_AT_A_TIME:
            called = _calls(serde, row)
        if called:
            raise UsageError(
                f"the serializer of {type(saver).__name__} makes objects of whatever a stored row names (a row of type {row[0]!r} called a "
                f"function), so that whoever can write the storage runs code here; no run is kept in it: {HOW}"
            )
    if _takes_plain_rows_under_encryption(serde):
        raise UsageError(
            f"the serializer of {type(saver).__name__} encrypts what it writes, and takes rows that are not encrypted, so that whoever can write "
            "the storage needs no key; no run is kept in it: use agent_graph.checkpoints.serializer.OnlyEncrypted in its place"
        )


def _is_not_the_trial(record: logging.LogRecord) -> bool:
    """LangGraph warns of each type that it does not make again, which is what the trial is there to see."""
    return Trap.__module__ not in record.getMessage()


logging.getLogger(JsonPlusSerializer.__module__).addFilter(_is_not_the_trial)


def _calls(serde: SerializerProtocol, row: tuple[str, bytes]) -> bool:
    Trap.sprung = False
    with suppress(Exception):  # a refusal, in whatever words
        serde.loads_typed(row)
    sprung, Trap.sprung = Trap.sprung, False
    return sprung


def _takes_plain_rows_under_encryption(serde: SerializerProtocol) -> bool:
    try:
        kind, _ = serde.dumps_typed({"it": 1})
        if "+" not in kind:
            return False
        serde.loads_typed(("msgpack", ormsgpack.packb({"it": 1})))
    except Exception:
        return False
    return True
