"""``@tool``: a function, a bound method or a LangChain tool, with what the executor must know before it dares to call it."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import typing
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError

from agent_graph.documents import describe, describe_path
from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.identity import digest
from agent_graph.letters import spell
from agent_graph.plan import RISKS, Recovery, Risk
from agent_graph.ports import Isolation, ToolSpec
from agent_graph.tools.facts import given, needed
from agent_graph.verdicts import Probed, Undo

DEFAULT_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Given by the executor to every parameter annotated ``ToolContext``; planners never see it."""

    run_id: str = ""
    step_id: str = ""
    idempotency_key: str = ""
    """The same for each attempt of one effect, and after a crash. Send it along, and look it up in the probe."""
    deadline: float = 0.0
    """Seconds since the epoch at which the call is given up."""


Function = Callable[..., Any]
Probe = Callable[..., Probed]
UndoFunction = Callable[[dict[str, Any], Any], Undo | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A callable with its contract. ``call`` and ``probe`` take the context and the JSON arguments."""

    spec: ToolSpec
    call: Callable[[ToolContext, Mapping[str, Any]], Any]
    is_async: bool
    probe: Callable[[ToolContext, Mapping[str, Any]], Probed] | None = None
    definite: tuple[type[BaseException], ...] = ()
    """Exceptions after which the effect certainly did not happen."""
    dump: Callable[[Any], Any] | None = None
    """The returned value as plain JSON, by its annotation."""
    undo: UndoFunction | None = None
    """What takes the effect back, from the arguments and the output."""
    function: Function | None = field(default=None, repr=False)
    made_from: tuple[Any, Any] = field(default=(None, None), repr=False)
    """The function or LangChain tool, and its args_schema: from these a worker process makes it again."""

    @property
    def name(self) -> str:
        return self.spec.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function itself, past every check: for tests of the tool."""
        if self.function is None:
            raise TypeError(f"{self.name} wraps a LangChain tool; call that one")
        return self.function(*args, **kwargs)


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")


@overload
def tool(
    thing: None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    args_schema: dict[str, Any] | type[BaseModel] | None = None,
    risk: Risk | None = None,
    recovery: Recovery | None = None,
    scopes: Sequence[str] = (),
    trusted_output: bool = False,
    sensitive: Sequence[str] = (),
    outbound: bool | None = None,
    price: float | str | None = None,
    unsafe: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    probe: Probe | None = None,
    settle: float = 0.0,
    parallel: bool | int = False,
    rate: float | None = None,
    isolation: Isolation = "thread",
    undo: UndoFunction | None = None,
    definite: Sequence[type[BaseException]] = (),
    ttl: float | None = None,
    needs: Mapping[str, str] | None = None,
    gives: Sequence[str] | Mapping[str, str] = (),
    cost: float = 1.0,
) -> Callable[[Any], Tool]: ...
@overload
def tool(
    thing: Any,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    args_schema: dict[str, Any] | type[BaseModel] | None = None,
    risk: Risk | None = None,
    recovery: Recovery | None = None,
    scopes: Sequence[str] = (),
    trusted_output: bool = False,
    sensitive: Sequence[str] = (),
    outbound: bool | None = None,
    price: float | str | None = None,
    unsafe: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    probe: Probe | None = None,
    settle: float = 0.0,
    parallel: bool | int = False,
    rate: float | None = None,
    isolation: Isolation = "thread",
    undo: UndoFunction | None = None,
    definite: Sequence[type[BaseException]] = (),
    ttl: float | None = None,
    needs: Mapping[str, str] | None = None,
    gives: Sequence[str] | Mapping[str, str] = (),
    cost: float = 1.0,
) -> Tool: ...
def tool(
    thing: Any = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    args_schema: dict[str, Any] | type[BaseModel] | None = None,
    risk: Risk | None = None,
    recovery: Recovery | None = None,
    scopes: Sequence[str] = (),
    trusted_output: bool = False,
    sensitive: Sequence[str] = (),
    outbound: bool | None = None,
    price: float | str | None = None,
    unsafe: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    probe: Probe | None = None,
    settle: float = 0.0,
    parallel: bool | int = False,
    rate: float | None = None,
    isolation: Isolation = "thread",
    undo: UndoFunction | None = None,
    definite: Sequence[type[BaseException]] = (),
    ttl: float | None = None,
    needs: Mapping[str, str] | None = None,
    gives: Sequence[str] | Mapping[str, str] = (),
    cost: float = 1.0,
) -> Any:
    """Declare a tool: ``@tool(risk="read_only")`` above a function, or ``tool(thing, name=…, risk=…)`` around what exists.

    ``thing`` is a function (sync or async), a bound method, a LangChain ``BaseTool``, or, with ``args_schema`` given, a function
    ``f(ctx, **args)``. Without ``risk`` it is taken for a ``write``; a write that declares neither ``recovery`` nor ``probe`` is ``blind``:
    its outcome after a crash is asked of a person. ``probe`` takes the same arguments as the tool and returns ``Landed(output)``,
    ``Absent()`` or ``Unknown(why)``. ``timeout`` and ``settle`` are seconds. ``definite`` lists exceptions after which the effect
    certainly did not happen; everything else that a changing tool raises is ambiguous.

    ``parallel``: calls that change something never overlap unless this is True; a number allows so many at once, of a read too.
    ``rate``: calls per second at most; a call waits for its turn before its intent is written. Both hold over all runs of one
    ``AgentGraph``, not over several processes. ``isolation="process"``: the call is made in a worker process, which is killed, with what it
    started, when the deadline is over; a thread cannot be killed, and is left behind. ``undo(args, output)`` returns the call that takes the
    effect back, as ``Undo(tool=…, args=…)``, or None; it is proposed after a failed or cancelled run, never made by itself.

    ``scopes``: what the run's principal must be allowed. ``trusted_output=True``: nobody outside can write what it returns, as far as its
    arguments are trusted. ``sensitive``: arguments (``"password"``) and outputs (``"output"``, ``"output.iban"``) that are not for everybody.
    ``outbound``: whether a call carries its arguments out of the house; unless said, ``external_communication`` does. ``price``: money that
    one call costs at most, or the name of the argument that says so; unless said it is 0, and not known for ``money``. ``unsafe``: why a
    person must be asked before each call, whatever the policy allows; empty when nobody must.

    ``ttl``: seconds for which what a read gave is given again to the same arguments, without a call (docs/caching.md). ``needs``: by argument,
    the kind of fact that it takes; ``gives``: the kinds of fact that it gives, or by kind the JMESPath of it in the output; ``cost``: what a
    call costs a plan. The last three are for the chain planner, and for finding another tool when one fails (docs/chain.md).

    Raises InvalidToolError when the declaration cannot work.
    """
    declared = functools.partial(
        _declare,
        name=name,
        description=description,
        args_schema=args_schema,
        risk=risk,
        recovery=recovery,
        scopes=tuple(scopes),
        trusted_output=trusted_output,
        sensitive=tuple(sensitive),
        outbound=outbound,
        price=price,
        unsafe=unsafe,
        timeout=timeout,
        probe=probe,
        settle=settle,
        parallel=parallel,
        rate=rate,
        isolation=isolation,
        undo=undo,
        definite=tuple(definite),
        ttl=ttl,
        needs=dict(needs or {}),
        gives=gives if isinstance(gives, str) else dict(gives) if isinstance(gives, Mapping) else tuple(gives),
        cost=cost,
    )
    if thing is None:
        return declared
    return thing if isinstance(thing, Tool) and declared.keywords == _NOTHING_SAID else declared(thing)


_NOTHING_SAID: dict[str, Any] = {
    "name": None,
    "description": None,
    "args_schema": None,
    "risk": None,
    "recovery": None,
    "scopes": (),
    "trusted_output": False,
    "sensitive": (),
    "outbound": None,
    "price": None,
    "unsafe": "",
    "timeout": DEFAULT_TIMEOUT,
    "probe": None,
    "settle": 0.0,
    "parallel": False,
    "rate": None,
    "isolation": "thread",
    "undo": None,
    "definite": (),
    "ttl": None,
    "needs": {},
    "gives": (),
    "cost": 1.0,
}


def _declare(
    thing: Any,
    *,
    name: str | None,
    description: str | None,
    args_schema: dict[str, Any] | type[BaseModel] | None,
    risk: Risk | None,
    recovery: Recovery | None,
    scopes: tuple[str, ...],
    trusted_output: bool,
    sensitive: tuple[str, ...],
    outbound: bool | None,
    price: float | str | None,
    unsafe: str,
    timeout: float,
    probe: Probe | None,
    settle: float,
    parallel: bool | int,
    rate: float | None,
    isolation: Isolation,
    undo: UndoFunction | None,
    definite: tuple[type[BaseException], ...],
    ttl: float | None,
    needs: dict[str, str],
    gives: str | tuple[str, ...] | dict[str, str],
    cost: float,
) -> Tool:
    if isinstance(thing, Tool):
        raise InvalidToolError(f"{thing.name} is a tool already; declare what it is where it is made")
    made = _from_langchain(thing, args_schema) if is_langchain(thing) else _from_function(thing, name, args_schema)
    name = unicodedata.normalize("NFC", name or made.name)
    if not _NAME.fullmatch(name):
        odd = ", ".join(spell(each) for each in dict.fromkeys(name[:128]) if not each.isascii())
        raise InvalidToolError(
            f"tool name {name!r}: use letters of ASCII, digits and _ . : / -, starting with a letter, at most 128 characters"
            + (f"; {odd}" if odd else "")
        )
    risk = risk or "write"
    if risk not in RISKS:
        raise InvalidToolError(f"tool {name}: risk {risk!r} is not one of {', '.join(RISKS)}")
    recovery = _recovery(name, risk, recovery, probe)
    if timeout <= 0 or settle < 0:
        raise InvalidToolError(f"tool {name}: timeout must be above 0 seconds and settle at least 0")
    if rate is not None and rate <= 0:
        raise InvalidToolError(f"tool {name}: rate is calls per second, above 0; leave it out for no limit")
    if not isinstance(parallel, bool) and parallel < 1:
        raise InvalidToolError(f"tool {name}: parallel is True, False, or how many calls may be made at once, at least 1")
    if isolation not in ("thread", "process"):
        raise InvalidToolError(f"tool {name}: isolation {isolation!r} is neither 'thread' nor 'process'")
    arguments = made.args_schema.get("properties", {})
    for each in sensitive:
        if each.partition(".")[0] != "output" and each not in arguments:
            raise InvalidToolError(
                f"tool {name}: sensitive names {each!r}, which is no argument; name one ({', '.join(arguments) or 'there is none'}), "
                "'output', or a place in the output, as in 'output.iban'"
            )
    if isinstance(price, str) and price not in arguments:
        raise InvalidToolError(f"tool {name}: price names {price!r}, which is no argument; there is {', '.join(arguments) or 'none'}")
    if not isinstance(price, str) and price is not None and not 0 <= price < float("inf"):
        raise InvalidToolError(f"tool {name}: price is what one call costs at most, at least 0")
    if undo is not None and risk == "read_only":
        raise InvalidToolError(f"tool {name}: a read_only tool changes nothing that undo could take back")
    if ttl is not None and risk != "read_only":
        raise InvalidToolError(f"tool {name}: ttl is for read_only tools; what a {risk} call gave cannot stand for another call")
    if ttl is not None and not 0 < ttl < float("inf"):
        raise InvalidToolError(f"tool {name}: ttl is seconds, above 0; leave it out to have each call made")
    if not 0 <= cost < float("inf"):
        raise InvalidToolError(f"tool {name}: cost is what a call costs a plan beside the other tools, at least 0")
    spec = ToolSpec(
        name=name,
        description=description or made.description,
        args_schema=made.args_schema,
        output_schema=made.output_schema,
        risk=risk,
        recovery=recovery,
        scopes=scopes,
        trusted_output=trusted_output,
        sensitive=sensitive,
        outbound=risk == "external_communication" if outbound is None else outbound,
        price=0.0 if price is None and risk != "money" else price,
        unsafe=unsafe,
        timeout=timeout,
        settle=settle,
        parallel=parallel,
        rate=rate,
        isolation=isolation,
        ttl=ttl,
        needs=needed(name, needs, arguments),
        gives=given(name, gives, made.output_schema),
        cost=cost,
    )
    spec = replace(spec, digest=digest([name, spec.args_schema, spec.output_schema, risk, recovery, *(["unsafe"] if unsafe else [])]))
    bound = None if probe is None else _bind(probe, made.wants_context)
    convert = made.convert

    def ask(context: ToolContext, args: Mapping[str, Any]) -> Probed:
        assert bound is not None  # noqa: S101  # only reachable with a probe
        return cast("Probed", bound(context, convert(args)))

    return Tool(
        spec=spec,
        call=made.call,
        is_async=made.is_async,
        probe=None if probe is None else ask,
        definite=definite,
        dump=made.dump,
        undo=undo,
        function=thing if callable(thing) and not is_langchain(thing) else None,
        made_from=(thing, args_schema),
    )


def _recovery(name: str, risk: Risk, recovery: Recovery | None, probe: Probe | None) -> Recovery:
    if risk == "read_only":
        if recovery not in (None, "rerun"):
            raise InvalidToolError(f"tool {name}: a read_only tool is always run again; leave recovery={recovery!r} out")
        return "rerun"
    if recovery == "rerun":
        raise InvalidToolError(f"tool {name}: recovery='rerun' is for read_only tools; say 'idempotent' if calling twice does no harm")
    if recovery == "probeable" and probe is None:
        raise InvalidToolError(f"tool {name}: recovery='probeable' needs probe=…, which says whether the effect happened")
    if probe is not None and recovery not in (None, "probeable"):
        raise InvalidToolError(f"tool {name}: it has a probe, so its recovery is 'probeable', not {recovery!r}")
    return recovery or ("probeable" if probe is not None else "blind")


# ── where tools come from ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    name: str
    description: str
    args_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    call: Callable[[ToolContext, Mapping[str, Any]], Any]
    convert: Callable[[Mapping[str, Any]], dict[str, Any]]
    is_async: bool
    wants_context: str | None
    dump: Callable[[Any], Any] | None


def _from_function(function: Any, name: str | None, args_schema: dict[str, Any] | type[BaseModel] | None) -> _Made:
    if not callable(function):
        raise InvalidToolError(f"{function!r} is not a tool: give a function, a bound method, a LangChain tool, or a Tool")
    written = function.func if isinstance(function, functools.partial) else function
    name = str(name or getattr(written, "__name__", type(written).__name__))
    called = (function, getattr(function, "__call__", None))  # noqa: B004  # an object's own
    is_async = any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in called)
    model: type[BaseModel] | None
    description = inspect.cleandoc(getattr(written, "__doc__", None) or "")
    if args_schema is None:
        fields, context = _parameters(function, name)
        model, schema = _arguments_model(name, fields)
        output, dump = _output(function)
    else:
        context = _first_parameter(function, name)
        model = args_schema if isinstance(args_schema, type) else None
        schema = model.model_json_schema() if model is not None else cast("dict[str, Any]", args_schema)
        if schema.get("type") != "object":
            raise InvalidToolError(f"tool {name}: args_schema must be the JSON Schema of an object")
        output, dump = None, None
    convert = _converter(name, model, arguments_are_fields=args_schema is not None)
    bound = _bind(function, context)
    return _Made(
        name=name,
        description=description,
        args_schema=schema,
        output_schema=output,
        call=lambda ctx, args: bound(ctx, convert(args)),
        convert=convert,
        is_async=is_async,
        wants_context=context,
        dump=dump,
    )


def _parameters(function: Function, name: str) -> tuple[dict[str, Any], str | None]:
    """The function's parameters as pydantic fields, less the one that takes the context."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise InvalidToolError(
            f"tool {name}: its annotations cannot be read: {error}; import what they name, outside TYPE_CHECKING"
        ) from None
    fields: dict[str, Any] = {}
    context = None
    for parameter in signature.parameters.values():
        if parameter.annotation is ToolContext or ToolContext in typing.get_args(parameter.annotation):
            context = parameter.name
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise InvalidToolError(
                f"tool {name}: parameter {parameter.name!r} cannot be given by name; use plain parameters, or args_schema=…"
            )
        annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
        default = ... if parameter.default is parameter.empty else parameter.default
        # Fields get a prefix, since a parameter may be called what a pydantic model calls its own (schema, copy, json).
        fields[f"p_{parameter.name}"] = (annotation, Field(default, alias=parameter.name))
    return fields, context


def _first_parameter(function: Function, name: str) -> str:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise InvalidToolError(f"tool {name}: with args_schema the function is called as f(ctx, **args); it takes no parameter")
    return parameters[0].name


def _arguments_model(name: str, fields: dict[str, Any]) -> tuple[type[BaseModel], dict[str, Any]]:
    """The arguments as a model, and its JSON Schema as planners read it."""
    try:
        model = create_model("Arguments", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
        return model, _closed(model.model_json_schema(by_alias=True))
    except PydanticUserError as error:  # the schema that pydantic cannot make, for validation or for JSON
        raise InvalidToolError(f"tool {name}: its parameters cannot be given as JSON: {str(error).splitlines()[0]}") from None


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as planners read it: without the titles that pydantic derives from names."""

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [clean(item) for item in node]
        if not isinstance(node, dict):
            return node
        cleaned = {}
        for key, value in node.items():
            if key == "title" and isinstance(value, str):
                continue
            if key in ("properties", "$defs") and isinstance(value, dict):
                cleaned[key] = {name: clean(item) for name, item in value.items()}
            elif key in ("default", "const", "enum", "examples"):
                cleaned[key] = value
            else:
                cleaned[key] = clean(value)
        return cleaned

    cleaned = clean(schema)
    assert isinstance(cleaned, dict)  # noqa: S101
    cleaned.setdefault("properties", {})
    return cleaned


def _converter(name: str, model: type[BaseModel] | None, *, arguments_are_fields: bool) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    if model is None:
        return dict
    names = {(field.alias or key): key for key, field in model.model_fields.items()}

    def convert(args: Mapping[str, Any]) -> dict[str, Any]:
        try:
            parsed = model.model_validate(dict(args))
        except ValidationError as error:  # nothing was sent yet, and the executor must know that
            wrong = "; ".join(f"{describe_path(one['loc'])}: {describe(one)[:200]}" for one in error.errors(include_url=False))
            raise NotDone(f"{name} was not called, its arguments do not fit: {wrong}") from None
        given = parsed.model_fields_set
        return {alias: getattr(parsed, key) for alias, key in names.items() if arguments_are_fields or key in given}

    return convert


def _output(function: Function) -> tuple[dict[str, Any] | None, Callable[[Any], Any] | None]:
    """JSON Schema of what the function returns, and how a value becomes JSON by it; None where the annotation does not say."""
    annotation = inspect.signature(function, eval_str=True).return_annotation
    if annotation is inspect.Signature.empty:
        return None, None
    if annotation is Any:
        return None, None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        schema = _closed(adapter.json_schema(mode="serialization"))
    except PydanticUserError:
        return None, None  # a type that pydantic does not know: the value is made JSON as it comes
    schema.pop("properties", None) if not schema.get("properties") else None
    return schema, lambda value: adapter.dump_python(value, mode="json", warnings="none")


def _bind(function: Function, context: str | None) -> Callable[[ToolContext, dict[str, Any]], Any]:
    """``context`` is the parameter that takes it; where the function has none of that name (a probe), the annotation tells."""
    parameters = inspect.signature(function).parameters
    if context not in parameters:
        try:
            hints = inspect.signature(function, eval_str=True).parameters.values()
        except NameError:
            hints = parameters.values()
        context = next((each.name for each in hints if each.annotation is ToolContext), None)
    if context is None:
        return lambda _, args: function(**args)
    first = next(iter(parameters))
    if context == first:
        return lambda ctx, args: function(ctx, **args)
    return lambda ctx, args: function(**{context: ctx, **args})


def is_langchain(thing: Any) -> bool:
    module = sys.modules.get("langchain_core.tools")
    return module is not None and isinstance(thing, module.BaseTool)


def _from_langchain(thing: Any, args_schema: dict[str, Any] | type[BaseModel] | None) -> _Made:
    from agent_graph.tools.langchain import call_langchain, describe_langchain

    described = describe_langchain(thing)
    schema = args_schema if isinstance(args_schema, dict) else args_schema.model_json_schema() if args_schema else described.args_schema
    return _Made(
        name=thing.name,
        description=thing.description,
        args_schema=_closed(schema),
        output_schema=None,
        call=call_langchain(thing, is_async=described.is_async),
        convert=dict,
        is_async=described.is_async,
        wants_context=None,
        dump=None,
    )
