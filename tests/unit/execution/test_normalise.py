"""Whatever a tool returns becomes plain JSON of bounded size. Nothing is raised: an outcome is never lost because of its output."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import subprocess
import sys
import time as time_module
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from agent_graph.execution.normalise import BRIEF, MAX_DEPTH, Kept, brief, keep, receive, receive_async
from agent_graph.redaction import WINDOW, Redaction
from agent_graph.verdicts import StepResult

LIMIT = 100_000


def normalise(value: Any, limit: int) -> tuple[Any, str | None]:
    kept = keep(value, limit)
    return kept.value, kept.remark


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    YES = "yes"


class Person(BaseModel):
    name: str
    born: date


@dataclass
class Point:
    x: int
    tag: Colour = Colour.RED


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  # what a tool may return


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Exits:
    def __str__(self) -> str:
        raise ValueError("\udc80")


class Hollow(UserDict[str, Any]):
    def __iter__(self) -> Any:
        raise OSError("gone")


class Treacherous:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Array:
    """As numpy's: neither a number nor a list, but it can say what it holds."""

    def tolist(self) -> list[Any]:
        return [1, [2.5, None]]


class Endless:
    """As a mock: whatever is asked of it is another one."""

    def model_dump(self) -> Endless:
        return Endless()


def nested(depth: int) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


def circle() -> Any:
    value: list[Any] = [1]
    value += [value, {"again": value}]
    return value


# ── plain JSON stays as it is ─────────────────────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_plain_json_is_kept_without_a_remark(value: Any) -> None:
    assert normalise(value, LIMIT * 10) == (value, None)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, (2,)), [1, [2]]),
        (Pair(1, 2), [1, 2]),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        (OrderedDict(a=1), {"a": 1}),
        (Word.YES, "yes"),
        (Level.LOW, 1),
    ],
    ids=repr,
)
def test_what_json_writes_as_well_is_kept_as_it_reads_back(value: Any, plain: Any) -> None:
    found, problem = normalise(value, LIMIT)
    assert (found, type(found), problem) == (plain, type(plain), None)


# ── what JSON does not know ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (float("nan"), None),
        ([1.5, float("inf"), float("-inf")], [1.5, None, None]),
        (b"bytes", "bytes"),
        (bytearray(b"\xff\x00"), "\ufffd\x00"),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ("half \ud800 a character", "half ? a character"),
        ({"key \udc80": 1}, {"key ?": 1}),
        (Decimal("1.10"), "1.10"),
        (Fraction(1, 2), 0.5),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/b"), "/a/b"),
        (datetime(2024, 1, 31, 12, 30, tzinfo=UTC), "2024-01-31T12:30:00+00:00"),
        ([date(2024, 1, 31), time(12, 30)], ["2024-01-31", "12:30:00"]),
        (timedelta(hours=1), "1:00:00"),
        (Colour.RED, "red"),
        (Point(1), {"x": 1, "tag": "red"}),
        (Person(name="ann", born=date(2000, 1, 1)), {"name": "ann", "born": "2000-01-01"}),
        ([Person(name="ann", born=date(2000, 1, 1))], [{"name": "ann", "born": "2000-01-01"}]),
        (Array(), [1, [2.5, None]]),
        ({(1, 2): "a"}, {"(1, 2)": "a"}),
        (UserDict(a=1), {"a": 1}),
        (1 + 2j, "(1+2j)"),
        ([10**5000], [hex(10**5000)]),
        (Point, f"<class '{__name__}.Point'>"),
        (deque([1]), [1]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.items(), [["a", 1]]),
        (memoryview(b"bytes"), "bytes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_does_not_know_becomes_what_comes_nearest_and_that_is_said(value: Any, plain: Any) -> None:
    found, problem = normalise(value, LIMIT)
    assert found == plain
    assert problem is not None
    assert "not plain JSON" in problem


def test_what_contains_itself_has_an_end() -> None:
    found, problem = normalise(circle(), LIMIT)
    assert found == [1, "… (contains itself)", {"again": "… (contains itself)"}]
    assert problem is not None


def test_what_stands_twice_but_not_in_itself_is_kept_twice() -> None:
    shared = {1}
    assert normalise([shared, shared], LIMIT)[0] == [[1], [1]]


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH])
def test_nesting_is_kept_to_a_depth(depth: int) -> None:
    assert normalise(nested(depth), LIMIT) == (nested(depth), None)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 300, 900, 100_000])
def test_nesting_beyond_it_is_cut_and_that_is_said(depth: int) -> None:
    found, problem = normalise(nested(depth), LIMIT)
    assert problem is not None
    assert json.dumps(found, ensure_ascii=False).count("[") == MAX_DEPTH + 1
    assert "nested too deeply" in json.dumps(found)
    assert StepResult(step_id="a", status="succeeded", output=found).output == found  # what is kept can be recorded


def test_breadth_is_not_taken_for_depth() -> None:
    value = [{"n": [n]} for n in range(1000)]
    assert normalise(value, LIMIT) == (value, None)


@pytest.mark.parametrize(
    "value",
    [Unspeakable(), Exits(), Hollow(a=1), Treacherous(), Endless(), {Unspeakable(): 1}, [Unspeakable()], (each for each in [1]), lambda: 1],
    ids=lambda value: type(value).__name__,
)
def test_nothing_that_is_returned_can_make_it_raise(value: Any) -> None:
    found, problem = normalise(value, LIMIT)
    json.dumps(found, ensure_ascii=False).encode()
    assert problem is not None


def test_the_same_output_gives_the_same_bytes_in_each_process() -> None:
    code = (
        "from agent_graph.execution.normalise import keep; print(keep([{'b', ('a', 1), 'c', 'd'}, object(), (x for x in [])], 1000).value)"
    )
    printed = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(3)}
    assert len(printed) == 1
    assert "0x" not in printed.pop()


# ── size ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_too_large_is_kept_as_its_size_hash_and_beginning() -> None:
    text = "x" * 5000
    found, problem = normalise(text, 1024)
    written = json.dumps(text)
    assert found == {
        "truncated": True,
        "bytes": len(written),
        "sha256": hashlib.sha256(written.encode()).hexdigest(),
        "whole": True,
        "head": written[:128],
    }
    assert problem == "the output has 5,002 bytes; at most 1,024 are kept"


def test_size_is_counted_in_bytes() -> None:
    text = "☂" * 400  # three bytes each, and two quotes
    assert normalise(text, 1202) == (text, None)
    assert normalise(text, 1201)[0]["bytes"] == 1202


@pytest.mark.parametrize("length", [1022, 1023])
def test_the_limit_itself_is_kept(length: int) -> None:
    _, problem = normalise("x" * length, 1024)
    assert (problem is None) is (length == 1022)  # two quotes beside it


def test_a_large_value_that_is_not_json_is_cut_as_well() -> None:
    found, _ = normalise([b"x" * 5000], 1024)
    assert (found["truncated"], found["bytes"]) == (True, 5004)


# ── as evidence ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [None, True, 5, 2.5, "text", [1, 2], {"a": 1}, "x" * BRIEF], ids=repr)
def test_a_small_value_is_shown_as_it_is(value: Any) -> None:
    assert brief(value) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [(list(range(500)), "500 items, "), ({str(n): n for n in range(500)}, "500 items, "), ("x" * 300, "(300 characters)")],
    ids=["list", "dict", "text"],
)
def test_a_large_value_is_shown_by_its_size_and_beginning(value: Any, said: str) -> None:
    shown = brief(value)
    assert said in shown
    assert len(shown) < BRIEF + 50


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({1: "a", "1": "b"}, {"1": "a", "1 (2)": "b"}),
        ({True: "a", "true": "b", "true (2)": "c"}, {"true": "a", "true (2)": "b", "true (2) (2)": "c"}),
        ({date(2024, 1, 31): "a", "2024-01-31": "b"}, {"2024-01-31": "a", "2024-01-31 (2)": "b"}),
    ],
    ids=["number", "bool", "date"],
)
def test_keys_that_read_the_same_are_told_apart(value: Any, plain: Any) -> None:
    found, problem = normalise(value, LIMIT)
    assert found == plain
    assert "told apart" in str(problem)


def test_a_key_that_is_no_number_is_kept_as_text() -> None:
    assert normalise({float("nan"): 1, float("inf"): 2}, LIMIT)[0] == {"nan": 1, "inf": 2}


def test_what_looks_like_a_class_of_langchain_is_only_data() -> None:
    value = {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}}
    assert normalise([value], LIMIT) == ([value], None)


# ── its own code ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Breaking(list[Any]):
    """Breaks off after the first."""

    def __iter__(self) -> Iterator[Any]:
        yield 1
        raise OSError("gone")


class Exiting:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error


class Huge:
    def __str__(self) -> str:
        return "x" * 1_000_000


class Column:
    """As a large array of numpy's."""

    size = 10**9

    def __iter__(self) -> Iterator[int]:
        return itertools.count()

    def tolist(self) -> list[int]:
        raise AssertionError("it would fill the memory")


def test_what_breaks_off_keeps_what_came_before() -> None:
    assert normalise([Breaking()], LIMIT)[0] == [[1, "… (breaks off here: OSError)"]]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), RecursionError(), MemoryError()], ids=repr)
def test_what_its_own_text_raises_is_contained(error: BaseException) -> None:
    assert normalise([1, Exiting(error)], LIMIT)[0] == [1, f"<Exiting that cannot be shown: {type(error).__name__}>"]


def test_a_text_that_is_made_for_it_is_cut() -> None:
    assert normalise(Huge(), LIMIT)[0] == "x" * 10_000


def test_a_large_array_is_not_made_a_list() -> None:
    assert keep(Column(), 1024).value["truncated"] is True


# ── without end ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Node(BaseModel):
    left: Any
    right: Any


@dataclass
class Twin:
    left: Any
    right: Any


def shared(levels: int, both: Any) -> Any:
    """Two to the power of ``levels`` values when it is written out; a few hundred bytes as it is."""
    value: Any = "leaf"
    for _ in range(levels):
        value = both(value)
    return value


SHARING = {
    "list": lambda each: [each, each],
    "dict": lambda each: {"left": each, "right": each},
    "tuple": lambda each: (each, each),
    "set": lambda each: frozenset({(each, 1), (each, 2)}),
    "model": lambda each: Node(left=each, right=each),
    "dataclass": lambda each: Twin(each, each),
    "mapping": lambda each: UserDict(left=each, right=each),
}


@pytest.mark.parametrize("kind", SHARING)
def test_what_shares_its_parts_is_not_written_out(kind: str) -> None:
    began = time_module.process_time()
    kept = receive(shared(30, SHARING[kind]), TypeAdapter(Any).dump_python, LIMIT)
    assert (kept.value["truncated"], kept.value["whole"]) == (True, False)
    assert kept.failure is not None
    assert kept.failure.code == "output_too_large"
    assert time_module.process_time() - began < 10  # all of it would take days


def test_what_shares_little_is_written_out() -> None:
    assert normalise(shared(5, SHARING["list"]), LIMIT) == (shared(5, SHARING["list"]), None)


@pytest.mark.parametrize(
    "make", [itertools.count, lambda: iter(lambda: "x" * 1000, 0), lambda: itertools.repeat([1])], ids=["n", "text", "list"]
)
def test_an_iterator_without_end_is_taken_as_far_as_is_kept(make: Any) -> None:
    kept = receive(make(), None, LIMIT)
    assert LIMIT < kept.value["bytes"] < LIMIT * 2
    assert kept.value["whole"] is False


def test_one_inside_of_a_value_as_well() -> None:
    assert normalise({"rows": itertools.count()}, LIMIT)[0]["whole"] is False


def items(ended: list[str], many: int) -> Iterator[int]:
    try:
        yield from range(many)
        ended.append("at its end")
    finally:
        ended.append("closed")


def test_a_generator_is_its_items() -> None:
    ended: list[str] = []
    assert receive(items(ended, 3), None, LIMIT) == Kept([0, 1, 2])
    assert ended == ["at its end", "closed"]


def test_a_generator_of_which_enough_came_is_closed() -> None:
    ended: list[str] = []
    receive(items(ended, 10**9), None, LIMIT)
    assert ended == ["closed"]


@pytest.mark.parametrize("many", [1000, 300_000])
def test_one_that_changes_something_is_not_cut_off_in_the_middle(many: int) -> None:
    ended: list[str] = []
    kept = receive(items(ended, many), None, 1024, to_the_end=True)
    assert ended == ["at its end", "closed"]
    assert kept.value["whole"] is (many == 1000)  # so many values are looked at, and no more


def test_what_a_generator_raises_is_its_tool_s_failure() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        receive(breaking(), None, LIMIT)


def test_one_that_nobody_waits_for_any_more_is_ended() -> None:
    ended: list[str] = []
    with pytest.raises(TimeoutError):
        receive(items(ended, 10**9), None, LIMIT, to_the_end=True, late=iter([False, False, True]).__next__)
    assert ended == ["closed"]


def test_an_async_generator_is_its_items() -> None:
    async def made() -> AsyncIterator[int]:
        for n in range(3):
            yield n

    assert asyncio.run(receive_async(made(), LIMIT)) == Kept([0, 1, 2])


def test_an_async_generator_that_never_waits_can_be_cancelled() -> None:
    async def endless() -> AsyncIterator[int]:
        while True:
            yield 1

    async def main() -> None:
        async with asyncio.timeout(0.2):
            await receive_async(endless(), 1024, to_the_end=True)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_what_its_tool_does_not_declare_fails_and_is_kept_all_the_same() -> None:
    kept = receive({"n": "five"}, lambda value: {"n": int(value["n"])}, LIMIT)
    assert kept.value == {"n": "five"}
    assert kept.failure is not None
    assert (kept.failure.code, "ValueError" in kept.failure.message) == ("unexpected_output", True)


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SECRET = "correct-horse-9-battery"  # noqa: S105
SECRETS = Redaction.of({"SHOP_API_KEY": SECRET, "VAULT_TOKEN": "8417230941"})
NAMED = "[redacted: SHOP_API_KEY]"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (SECRET, NAMED),
        ([1, {"a": f"key={SECRET};"}], [1, {"a": f"key={NAMED};"}]),
        ({SECRET: 1, NAMED: 2}, {NAMED: 1, f"{NAMED} (2)": 2}),
        (SECRET.encode(), NAMED),
        (Point(1, SECRET), {"x": 1, "tag": NAMED}),  # type: ignore[arg-type]
        ({"n": 8417230941}, {"n": "[redacted: VAULT_TOKEN]"}),
        ({"n": 18417230941}, {"n": 18417230941}),
        (Exits.__new__(type("Secretive", (), {"__str__": lambda _: SECRET})), NAMED),
    ],
    ids=["text", "inside", "key", "bytes", "dataclass", "number", "another number", "its text"],
)
def test_a_secret_is_replaced_by_its_name(value: Any, plain: Any) -> None:
    kept = keep(value, LIMIT, SECRETS)
    assert kept.value == plain
    assert kept.redacted is ("[redacted" in str(plain))


@pytest.mark.parametrize("at", [0, 100, WINDOW - 10, WINDOW - len(SECRET), WINDOW, 2 * WINDOW - 1])
def test_a_secret_is_found_wherever_it_stands_in_a_long_text(at: int) -> None:
    kept = keep("." * at + SECRET + "." * 100, 4 * WINDOW, SECRETS)
    assert kept.value == "." * at + NAMED + "." * 100
    assert kept.redacted


def test_neither_beginning_nor_hash_of_what_is_too_large_know_the_secret() -> None:
    kept = keep(SECRET + "." * 5000, 1024, SECRETS)
    written = json.dumps(NAMED + "." * 5000)
    assert kept.value["head"] == written[:128]
    assert kept.value["sha256"] == hashlib.sha256(written.encode()).hexdigest()
