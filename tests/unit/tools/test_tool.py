"""What ``@tool`` reads from a function, and what it refuses to be told."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools.tool import Tool, ToolContext, tool
from agent_graph.verdicts import Absent, Landed, Probed

CONTEXT = ToolContext(run_id="r", step_id="s", idempotency_key="k", deadline=1.0)


class Weather(TypedDict):
    city: str
    degrees: float


@tool(risk="read_only")
def weather(city: Annotated[str, Field(description="Its name.")], days: int = 1) -> Weather:
    """Look up the weather."""
    return {"city": city, "degrees": days * 10.0}


def test_name_description_and_schemas_come_from_the_function() -> None:
    spec = weather.spec
    assert (spec.name, spec.description) == ("weather", "Look up the weather.")
    assert spec.args_schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["city"],
        "properties": {"city": {"type": "string", "description": "Its name."}, "days": {"type": "integer", "default": 1}},
    }
    assert spec.output_schema is not None
    assert spec.output_schema["properties"] == {"city": {"type": "string"}, "degrees": {"type": "number"}}
    assert (spec.risk, spec.recovery, spec.changes) == ("read_only", "rerun", False)


def test_the_call_converts_arguments_and_leaves_defaults_to_the_function() -> None:
    assert weather.call(CONTEXT, {"city": "Bonn"}) == {"city": "Bonn", "degrees": 10.0}


def test_arguments_that_do_not_fit_are_a_definite_failure() -> None:
    calls: list[str] = []

    @tool
    def send(text: str, times: int = 1) -> None:
        calls.append(text * times)

    with pytest.raises(NotDone, match=r"send was not called, its arguments do not fit: times: .*; more: this field is not known here"):
        send.call(CONTEXT, {"text": "x", "times": "often", "more": 1})
    assert calls == []


def test_the_context_is_filled_in_and_hidden_wherever_it_stands() -> None:
    @tool
    def first(context: ToolContext, text: str) -> str:
        return f"{context.idempotency_key} {text}"

    @tool
    def last(text: str, context: ToolContext) -> str:
        return f"{context.idempotency_key} {text}"

    @tool
    def maybe(text: str, context: ToolContext | None = None) -> str:
        assert context is not None
        return f"{context.idempotency_key} {text}"

    for one in (first, last, maybe):
        assert list(one.spec.args_schema["properties"]) == ["text"]
        assert one.call(CONTEXT, {"text": "x"}) == "k x"


def test_a_parameter_may_be_called_what_pydantic_calls_its_own() -> None:
    @tool(risk="read_only")
    def look(schema: str, copy: int, title: str) -> list[Any]:
        return [schema, copy, title]

    assert list(look.spec.args_schema["properties"]) == ["schema", "copy", "title"]
    assert look.call(CONTEXT, {"schema": "a", "copy": 1, "title": "t"}) == ["a", 1, "t"]


def test_a_write_that_says_nothing_is_blind() -> None:
    @tool
    def send(text: str) -> None: ...

    assert (send.spec.risk, send.spec.recovery, send.spec.changes) == ("write", "blind", True)


def test_a_probe_makes_a_write_probeable_and_gets_the_same_arguments() -> None:
    def probe(text: str, ctx: ToolContext) -> Probed:
        return Landed(f"{ctx.idempotency_key} {text}") if text == "sent" else Absent()

    @tool(risk="write", probe=probe)
    def send(text: str) -> str:
        return text

    assert send.spec.recovery == "probeable"
    assert send.probe is not None
    assert send.probe(CONTEXT, {"text": "sent"}) == Landed("k sent")
    assert send.probe(CONTEXT, {"text": "other"}) == Absent()


def test_a_probe_may_call_its_context_otherwise_than_the_tool() -> None:
    def probe(ctx: ToolContext, text: str) -> Probed:
        return Landed(ctx.idempotency_key + text)

    @tool(probe=probe)
    def send(context: ToolContext, text: str) -> str:
        return context.run_id + text

    assert send.probe is not None
    assert send.probe(CONTEXT, {"text": "!"}) == Landed("k!")


def test_async_functions_are_known_as_such_in_every_disguise() -> None:
    async def fetch(text: str, times: int) -> str:
        return text * times

    class Fetcher:
        async def __call__(self, text: str) -> str:
            return text

    twice = tool(functools.partial(fetch, times=2), name="twice", risk="read_only")
    by_object = tool(Fetcher(), name="by_object", risk="read_only")
    assert twice.is_async
    assert by_object.is_async
    assert asyncio.run(twice.call(CONTEXT, {"text": "a"})) == "aa"
    assert asyncio.run(by_object.call(CONTEXT, {"text": "a"})) == "a"


def test_a_partial_is_called_what_its_function_is_called() -> None:
    def read(text: str, times: int) -> str:
        """Repeat."""
        return text * times

    made = tool(functools.partial(read, times=2), risk="read_only")
    assert (made.name, made.spec.description) == ("read", "Repeat.")


def test_a_bound_method_keeps_its_object() -> None:
    @dataclass
    class Desk:
        answer: str

        def ask(self, text: str) -> str:
            return self.answer + text

    made = tool(Desk("yes ").ask, risk="read_only")
    assert list(made.spec.args_schema["properties"]) == ["text"]
    assert made.call(CONTEXT, {"text": "now"}) == "yes now"


def test_a_schema_can_be_given_for_a_function_of_context_and_anything() -> None:
    def anything(ctx: ToolContext, **args: Any) -> Any:
        return ctx.step_id, args

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert tool(anything, args_schema=schema, risk="read_only").call(CONTEXT, {"a": 1}) == ("s", {"a": 1})

    class Arguments(BaseModel):
        a: int = 5

    assert tool(anything, args_schema=Arguments, risk="read_only").call(CONTEXT, {}) == ("s", {"a": 5})


class Found(BaseModel):
    at: tuple[int, int]


def test_the_output_becomes_json_by_its_annotation() -> None:
    @tool(risk="read_only")
    def find() -> Found:
        return Found(at=(1, 2))

    assert find.dump is not None
    assert find.dump(find.call(CONTEXT, {})) == {"at": [1, 2]}


def test_a_type_that_pydantic_does_not_know_leaves_the_output_open() -> None:
    class Odd: ...

    def odd() -> Any: ...

    odd.__annotations__["return"] = Odd
    made = tool(odd, risk="read_only")
    assert (made.spec.output_schema, made.dump) == (None, None)


def test_calling_a_tool_calls_the_function_itself() -> None:
    assert weather("Bonn", days=2) == {"city": "Bonn", "degrees": 20.0}


def test_the_digest_changes_with_what_an_approval_is_bound_to() -> None:
    def send(text: str) -> str:
        return text

    def send_more(text: str, more: int) -> str:
        return text * more

    base = tool(send, risk="write").spec.digest
    assert tool(send, risk="write", description="other words", timeout=5).spec.digest == base
    assert tool(send, risk="money").spec.digest != base
    assert tool(send_more, name="send", risk="write").spec.digest != base


def test_a_tool_is_a_tool_already_and_refuses_to_be_declared_again() -> None:
    assert tool(weather) is weather
    with pytest.raises(InvalidToolError, match="is a tool already"):
        tool(weather, risk="write")
    with pytest.raises(InvalidToolError, match="is a tool already"):
        tool(weather, timeout=5.0)


def test_tools_are_typed_as_tools() -> None:
    assert isinstance(weather, Tool)


def echo(text: str) -> str:
    return text


def says_yes(text: str) -> Probed:
    return Landed(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"risk": "harmless"}, "risk 'harmless' is not one of"),
        ({"risk": "read_only", "recovery": "keyed"}, "leave recovery='keyed' out"),
        ({"recovery": "rerun"}, "is for read_only tools"),
        ({"recovery": "probeable"}, "needs probe="),
        ({"recovery": "keyed", "probe": says_yes}, "its recovery is 'probeable'"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"settle": -1.0}, "settle at least 0"),
        ({"name": "two words"}, "tool name 'two words'"),
        ({"args_schema": {"type": "string"}}, "JSON Schema of an object"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidToolError, match=said):
        tool(echo, **options)


def test_what_cannot_be_given_as_json_is_refused() -> None:
    class Odd: ...

    def odd(thing: Any) -> None: ...

    def many(*texts: str) -> None: ...

    def calls(back: Callable[[], int]) -> None: ...

    odd.__annotations__["thing"] = Odd
    with pytest.raises(InvalidToolError, match="cannot be given as JSON"):
        tool(odd)
    with pytest.raises(InvalidToolError, match="cannot be given as JSON"):
        tool(calls)
    with pytest.raises(InvalidToolError, match="cannot be given by name"):
        tool(many)
    with pytest.raises(InvalidToolError, match="is not a tool"):
        tool("weather")


def test_an_annotation_that_cannot_be_read_says_what_to_import() -> None:
    def odd(thing: Any) -> None: ...

    odd.__annotations__["thing"] = "Nowhere"
    with pytest.raises(InvalidToolError, match="'Nowhere' is not defined; import what they name"):
        tool(odd)
