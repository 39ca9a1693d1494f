"""What a tool returns, made plain JSON of bounded size: whatever it is, the outcome is never lost because of it.

A small plain value takes a short way. Everything else is written piece by piece, and not beyond a bound: it may be endless, contain itself,
or share parts in such a way that writing it out would fill the memory.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import hashlib
import inspect
import json
import math
import numbers
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, ItemsView, Iterator, KeysView, Mapping, Sized, ValuesView
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import Enum
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from agent_graph.redaction import NOTHING, WINDOW, Redaction
from agent_graph.verdicts import Failure

MAX_DEPTH = 100
"""Levels of nesting that are kept; pydantic and SQLite stop at a few hundred."""

MOST_VALUES = 100_000
"""Values of one output that are looked at, or as many as its limit has bytes: what fits has no more, and a million take a second or two."""

MOST_BYTES = 1 << 25
"""Bytes of it that are looked at, for its hash."""

BRIEF = 200
TOO_LARGE = "output_too_large"

_MOST_TEXT = 10_000
"""Characters of what only ``str`` can show."""

_CHUNK = 1 << 16
_SCALARS = frozenset({str, int, float, bool, type(None)})
_CONTAINERS = (list, tuple, set, frozenset, deque)
_BUILT_IN = _SCALARS | {dict, list, tuple}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Kept(NamedTuple):
    """What is kept of a returned value."""

    value: Any
    """Plain JSON. Of one that was too large ``{truncated, bytes, sha256, whole, head}``: its size, hash and beginning as JSON, secrets
    replaced; ``whole`` says whether size and hash are of all of it, or of its first ``bytes`` only."""
    remark: str | None = None
    """What was changed, for the trace."""
    failure: Failure | None = None
    """Why the step cannot succeed with it."""
    redacted: bool = False


UNREADABLE = Kept(
    value=None,
    failure=Failure(code="unexpected_output", message="the call returned, but what it returned could not be read before its deadline"),
)


def receive(
    value: Any,
    dump: Callable[[Any], Any] | None,
    limit: int,
    redaction: Redaction = NOTHING,
    *,
    to_the_end: bool = False,
    late: Callable[[], bool] | None = None,
) -> Kept:
    """
    What a call returned, as it is kept. ``dump`` makes it JSON by its tool's annotation.

    A tool that is a generator does its work while its items are taken: what is raised then is the tool's own, and passes. When more has
    come than is kept, it is ended, unless ``to_the_end``: a change must not be cut off half done. ``late`` says that nobody waits any more.
    """
    if is_lazy(value):
        writer = _Writer(limit, redaction)
        return writer.kept(lambda: writer.taken(value, to_the_end=to_the_end, late=late or (lambda: False)))
    failure = None
    if dump is not None and _is_bounded(value, limit):
        try:
            value = dump(value)
        except BaseException as error:
            failure = Failure(
                code="unexpected_output", message=f"the tool returned {_kind(value)}, which is not what it declares: {_why(error)}"
            )
    kept = keep(value, limit, redaction)
    return kept if failure is None else kept._replace(failure=kept.failure or failure)


async def receive_async(value: AsyncIterator[Any], limit: int, redaction: Redaction = NOTHING, *, to_the_end: bool = False) -> Kept:
    """As ``receive``, for an async generator; on its event loop, where its deadline cancels it."""
    writer = _Writer(limit, redaction)
    complete = await writer.taken_async(value, to_the_end=to_the_end)
    return writer.kept(lambda: complete)


def is_lazy(value: Any) -> bool:
    """Whether its items only come when they are asked for, so that the call is not over yet."""
    try:
        return type(value) not in _BUILT_IN and isinstance(value, Iterator)
    except BaseException:  # isinstance asks the value for its class
        return False


def is_awaited(value: Any) -> bool:
    """Whether it only comes on an event loop, although its tool did not look like it."""
    try:
        return type(value) not in _BUILT_IN and (isinstance(value, AsyncIterator) or inspect.iscoroutine(value))
    except BaseException:  # isinstance asks the value for its class
        return False


def is_plain(value: Any, limit: int) -> bool:
    """Whether the value is made of JSON's own types only, and surely not much larger than what is kept. Runs no code of the value's."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind in _SCALARS:
        return kind is not str or len(value) <= limit
    if kind is not dict and kind is not list:
        return False
    room, level = limit, [value]
    for depth in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for each in level:
            room -= len(each)
            if room < 0 or (depth == MAX_DEPTH and each):
                return False
            if type(each) is dict:
                for key, item in each.items():
                    if type(key) is not str:
                        return False  # two keys may be the same text
                    room -= len(key)
                    kind = type(item)
                    if kind is str:
                        room -= len(item)
                    elif kind is dict or kind is list:
                        below.append(item)
                    elif kind not in _SCALARS or (kind is float and not math.isfinite(item)):
                        return False
            else:
                for item in each:
                    kind = type(item)
                    if kind is str:
                        room -= len(item)
                    elif kind is dict or kind is list:
                        below.append(item)
                    elif kind not in _SCALARS or (kind is float and not math.isfinite(item)):
                        return False
        if not below:
            return room >= 0
        level = below
    return False


def keep(value: Any, limit: int, redaction: Redaction = NOTHING) -> Kept:
    """The value as plain JSON of at most ``limit`` bytes. Raises nothing."""
    try:
        if is_plain(value, limit):
            raw = to_json(value)
            if len(raw) <= limit and not redaction.touches(raw.decode()):
                return Kept(value if type(value) is str else from_json(raw))  # the tool may change its own later
    except Exception:  # noqa: S110  # NaN, half a character, a number of thousands of digits, a dict that changes under us
        pass
    writer = _Writer(limit, redaction)
    return writer.kept(lambda: writer.whole(value))


class _Enough(BaseException):
    """As much was seen as is looked at. Passes whatever a value's own code catches."""


class _Writer:
    """JSON, piece by piece. Up to ``limit`` bytes it is kept; what comes after is only counted and hashed."""

    def __init__(self, limit: int, redaction: Redaction, seen: list[int] | None = None) -> None:
        self._limit = limit
        self._most = max(limit, MOST_VALUES)
        self._redaction = redaction
        self._pieces: list[str] = []
        self._length = 0
        """Of the pieces, in characters."""
        self._size = 0
        """Of what was hashed and let go, in bytes."""
        self._hash = hashlib.sha256()
        self._head: str | None = None
        """The beginning, once it is too large to be kept."""
        self._seen = seen if seen is not None else [0]
        """How many values were looked at; shared with the writers of parts."""
        self._changed = False
        self._doubled = False
        self._redacted = False

    # ── what comes of it ──────────────────────────────────────────────────────────────────────────────────────────────

    def kept(self, write: Callable[[], bool]) -> Kept:
        """``write`` says whether it wrote all there is."""
        complete = write()
        remarks = []
        if self._changed:
            remarks.append(f"the output was not plain JSON, or nested deeper than {MAX_DEPTH}; what cannot be kept became text or null")
        if self._doubled:
            remarks.append("keys of the output that read the same were told apart by a number")
        text = "".join(self._pieces)
        size = self._size + len(text.encode())
        if self._head is None and size <= self._limit and complete:
            return Kept(value=json.loads(text), remark="; ".join(remarks) or None, redacted=self._redacted)
        self._let_go()
        value = {"truncated": True, "bytes": self._size, "sha256": self._hash.hexdigest(), "whole": complete, "head": self._head}
        has = (
            f"the output has {self._size:,} bytes"
            if complete
            else f"the output was not read to its end, of which {self._size:,} bytes came"
        )
        return Kept(
            value=value,
            remark="; ".join([*remarks, f"{has}; at most {self._limit:,} are kept"]),
            failure=Failure(code=TOO_LARGE, message=f"{has}; raise limits.max_output_bytes, or return less"),
            redacted=self._redacted,
        )

    def whole(self, value: Any) -> bool:
        try:
            self.write(value, ())
        except _Enough:
            return False
        return True

    def taken(self, items: Iterator[Any], *, to_the_end: bool, late: Callable[[], bool]) -> bool:
        """The items of a call that is not over before they are taken."""
        self._put("[")
        try:
            for number, item in enumerate(items):
                if late():
                    raise TimeoutError("nobody waits for its items any more")
                if not self._item(item, number) and not to_the_end:
                    return False
        finally:
            _close(items)
        self._put("]")
        return self._seen[0] <= self._most

    async def taken_async(self, items: AsyncIterator[Any], *, to_the_end: bool) -> bool:
        import asyncio

        self._put("[")
        number = 0
        try:
            async for item in items:
                if not self._item(item, number) and not to_the_end:
                    return False
                number += 1
                if number % 100 == 0:
                    await asyncio.sleep(0)  # one that never waits would hold the loop, and its own cancellation, for ever
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()
        self._put("]")
        return self._seen[0] <= self._most

    def _item(self, item: Any, number: int) -> bool:
        """False: more has come than is kept."""
        if self._seen[0] <= self._most:
            try:
                if number:
                    self._put(", ")
                self.write(item, ())
            except _Enough:
                self._seen[0] = self._most + 1
        return self._head is None and self._seen[0] <= self._most

    # ── pieces ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, piece: str) -> None:
        self._pieces.append(piece)
        self._length += len(piece)
        if self._length > self._limit and (self._head is None or self._length > _CHUNK):
            self._let_go()
            if self._size > MOST_BYTES:
                raise _Enough

    def _let_go(self) -> None:
        text = "".join(self._pieces)
        if self._head is None:
            self._head = text[: min(1000, self._limit // 8)]
        raw = text.encode()
        self._hash.update(raw)
        self._size += len(raw)
        self._pieces, self._length = [], 0

    def _text(self, text: str) -> None:
        if len(text) <= _CHUNK:
            self._put(encode_basestring(self._clean(text)))
            return
        self._put('"')
        for piece, redacted in self._redaction.pieces(text):
            self._redacted |= redacted
            for at in range(0, len(piece), _CHUNK):
                self._put(encode_basestring(self._storable(piece[at : at + _CHUNK]))[1:-1])
        self._put('"')

    def _clean(self, text: str) -> str:
        said = self._storable(text)
        shown = self._redaction.text(said)
        self._redacted |= shown != said
        return shown

    def _storable(self, text: str) -> str:
        """Half a character cannot be written down."""
        try:
            text.isascii() or text.encode()
        except UnicodeEncodeError:
            self._changed = True
            return text.encode("utf-8", "replace").decode()
        return text

    def _bytes(self, raw: memoryview) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        if len(raw) <= _CHUNK:
            self._text(decoder.decode(raw, final=True))
            return
        self._put('"')
        for at in range(0, len(raw), WINDOW):
            piece = decoder.decode(raw[at : at + WINDOW], final=at + WINDOW >= len(raw))
            self._put(encode_basestring(self._clean(piece))[1:-1])
        self._put('"')

    def _number(self, value: int) -> None:
        known = self._redaction.number(value)
        if isinstance(known, str):
            self._redacted = True
            self._put(encode_basestring(known))
            return
        try:
            self._put(str(value))
        except ValueError:  # Python refuses to write numbers of thousands of digits
            self._changed = True
            self._put(f'"{value:#x}"')

    # ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, value: Any, above: tuple[int, ...]) -> None:
        """``above`` holds the ids of what the value stands in: one that contains itself has no end. Raises nothing but _Enough."""
        self._seen[0] += 1
        if self._seen[0] > self._most:
            raise _Enough
        kind = type(value)
        if len(above) > MAX_DEPTH:
            self._instead("… (nested too deeply)")
        elif kind is str:
            self._text(value)
        elif value is None or kind is bool:
            self._put("null" if value is None else "true" if value else "false")
        elif kind is int:
            self._number(value)
        elif kind is float:
            self._float(value)
        elif id(value) in above:
            self._instead("… (contains itself)")
        elif kind is list:
            self._array(iter(value), (*above, id(value)))
        elif kind is dict:
            self._object(iter(value.items()), (*above, id(value)))
        else:
            self._other(value, (*above, id(value)))

    def _float(self, value: float) -> None:
        if math.isfinite(value):
            self._put(float.__repr__(value))
        else:
            self._changed = True
            self._put("null")

    def _instead(self, text: str) -> None:
        self._changed = True
        self._put(encode_basestring(text))

    def _other(self, value: Any, here: tuple[int, ...]) -> None:
        """``here`` ends with the value itself. Its own code runs, and may raise anything."""
        try:
            found = self._simpler(value)
        except _Enough:
            raise
        except BaseException as error:
            self._instead(f"<{_kind(value)} that cannot be shown: {_kind(error)}>")
            return
        match found:
            case _Pairs(items):
                self._object(items, here)
            case _Items(items):
                self._array(items, here)
            case memoryview():
                self._bytes(found)
            case _:
                self.write(found, here)

    def _simpler(self, value: Any) -> Any:
        """What the value is written as."""
        match value:
            # What json knows as well is no remark worth.
            case str():
                return str.__str__(value)
            case Enum() if not isinstance(value, int | float):
                self._changed = True
                return value.value
            case int():
                return int.__add__(value, 0)
            case float():
                return float.__add__(value, 0.0)
            case dict():
                return _Pairs(iter(value.items()))
            case list() | tuple():
                return _Items(iter(value))
            case _:
                self._changed = True
        match value:
            case numbers.Integral():
                return int(value)
            case numbers.Real():
                return float(value)
            case datetime() | date() | time():
                return value.isoformat()
            case bytes() | bytearray():
                return memoryview(value)
            case memoryview():
                return value.cast("B") if value.contiguous else memoryview(value.tobytes())
            case Mapping():
                return _Pairs(iter(value.items()))
            case ItemsView() | KeysView() | ValuesView() | deque() | range():
                return _Items(iter(value))
            case AbstractSet():
                return _Items(iter(self._sorted(value)))
            case BaseModel() if not _is_bounded(value, self._limit):
                return _Pairs(iter(vars(value).items()))
            case Iterator():
                return _Items(value)
            case type():
                return _text_of(value)
            case _:
                pass
        if dataclasses.is_dataclass(value):
            return _Pairs((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        for name in ("model_dump", "tolist"):  # pydantic; numpy and pandas
            dump = getattr(value, name, None)
            if callable(dump):
                size = getattr(value, "size", None)
                if name == "tolist" and isinstance(size, int) and size > self._limit:
                    return _Items(iter(value))  # a list of it all would take many times its memory
                return dump()
        return _text_of(value)

    def _sorted(self, values: AbstractSet[Any]) -> list[Any]:
        """The same bytes in each process."""
        kinds = {type(value) for value in values}
        if kinds <= {str} or kinds <= {int, float}:
            return sorted(values)

        def beginning(value: Any) -> str:
            writer = _Writer(1024, self._redaction, self._seen)
            writer._most = self._most
            writer.whole(value)
            return writer._head or "".join(writer._pieces)

        return sorted(values, key=beginning)

    def _array(self, items: Iterator[Any], here: tuple[int, ...]) -> None:
        self._put("[")
        first = True
        for item in self._guarded(items):
            if not first:
                self._put(", ")
            first = False
            self.write(item, here)
        self._put("]")

    def _object(self, items: Iterator[tuple[Any, Any]], here: tuple[int, ...]) -> None:
        taken: set[str] = set()
        self._put("{")
        first = True
        for item in self._guarded(items):
            if not first:
                self._put(", ")
            first = False
            key, inner = item if isinstance(item, tuple) and len(item) == 2 else ("…", item)
            self._put(encode_basestring(self._key(key, taken)) + ": ")
            self.write(inner, here)
        self._put("}")

    def _guarded(self, items: Iterator[Any]) -> Iterator[Any]:
        """What breaks off in the middle loses nothing of what came before, and says why."""
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except BaseException as error:
                self._changed = True
                item = f"… (breaks off here: {_kind(error)})"
                yield item
                return
            yield item

    def _key(self, key: Any, taken: set[str]) -> str:
        """As JSON writes it; one that reads like another before it gets a number."""
        kind = type(key)
        if kind is str:
            text = self._clean(key)
        elif key is None or kind is bool:
            text = "null" if key is None else str(key).lower()
        elif isinstance(key, str):
            text = self._clean(str.__str__(key))
        elif isinstance(key, int | float) and key == key and abs(key) < 1e300:  # noqa: PLR0124  # it is not NaN
            text = int.__repr__(key) if isinstance(key, int) else float.__repr__(key)
        else:
            self._changed = True
            text = self._clean(_text_of(key))
        if self._head is not None:
            return text  # no more than its hash is wanted
        plain, number = text, 1
        while text in taken:
            number += 1
            text = f"{plain} ({number})"
            self._doubled = True
        taken.add(text)
        return text


@dataclass(frozen=True, slots=True)
class _Pairs:
    items: Iterator[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class _Items:
    items: Iterator[Any]


def _is_bounded(value: Any, room: int) -> bool:
    """Whether it is no deeper than is kept, and has no more than so many parts, each as often as it stands there: ``dump`` writes them all."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for each in level:
            kind = type(each)
            if kind is str or kind is bytes:
                room -= len(each)
            elif kind in _SCALARS:
                continue
            elif kind is list:
                below += each
            elif kind is dict:
                below += each.values()
            elif isinstance(each, _CONTAINERS):
                below += each
            elif isinstance(each, BaseModel):
                below += vars(each).values()
            elif dataclasses.is_dataclass(each) and not isinstance(each, type):
                below += (getattr(each, field.name, None) for field in dataclasses.fields(each))
            if len(below) > room:
                return False
        room -= len(below)
        if room < 0:
            return False
        if not below:
            return True
        level = below
    return False


def _close(items: Any) -> None:
    with contextlib.suppress(BaseException):
        close = getattr(items, "close", None)
        if close is not None:
            close()


def _kind(value: Any) -> str:
    return type(value).__name__[:100]


def _why(error: BaseException) -> str:
    try:
        return f"{_kind(error)}: {str(error)[:500]}"
    except BaseException:
        return _kind(error)


def _text_of(value: Any) -> str:
    try:
        return _ADDRESS.sub("", str(value)[:_MOST_TEXT])
    except BaseException as error:
        return f"<{_kind(value)} that cannot be shown: {_kind(error)}>"


def brief(value: Any) -> Any:
    """A value as evidence: as it is when small, else its size and its beginning."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= BRIEF:
        return value
    count = f"{len(value)} items, " if isinstance(value, Sized) and not isinstance(value, str) else ""
    return f"{text[:BRIEF]}… ({count}{len(text)} characters)"
