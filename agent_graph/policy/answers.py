"""What a person may answer to a question, and which value that is: one of the choices, the value that was proposed, or one of its type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent_graph.models.replies import parse_first
from agent_graph.plan import Step, is_reference
from agent_graph.verdicts import Request

MOST_CHOICES = 100
"""More cannot be looked over; a step that has more narrows them down first, or asks for a text."""

_YES = frozenset({"y", "yes", "ok", "okay", "confirm", "confirmed", "approve", "approved"})


class WrongAnswer(ValueError):
    """The answer is none to this question; the message says what would be one."""


def text_of(value: Any) -> str:
    """A value as a person is shown it and may give it back: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def schema_of(value: Any) -> dict[str, Any]:
    """What a value of the same kind looks like."""
    match value:
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "number"}
        case list():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
        case _:
            return {"type": "string"}


def chosen(text: str, choices: Sequence[str]) -> str:
    """The choice that is meant: as it stands there, whatever the case and the space around it, where that is one. Raises WrongAnswer."""
    if text in choices:
        return text
    near = [choice for choice in choices if choice.strip().casefold() == text.strip().casefold()]
    if len(near) != 1:
        raise WrongAnswer(f"choose one of: {', '.join(choices)}")
    return near[0]


def value_in(text: str, request: Request) -> Any:
    """The value that an answer stands for. Raises WrongAnswer."""
    from agent_graph.policy.schemas import mismatches, types  # whoever only shows a question needs none of it

    if not text.strip():
        raise WrongAnswer("an empty answer is no answer")
    if request.choices:
        return chosen(text, request.choices)
    proposed = request.proposed
    if proposed is not None and text == text_of(proposed):
        return proposed
    schema = request.expects or ({} if proposed is None else schema_of(proposed))
    wanted = types(schema, schema) if schema else frozenset({"string"})
    is_text = wanted is None or "string" in wanted
    if is_text and isinstance(proposed, str) and text.strip().casefold() in _YES and proposed.strip().casefold() not in _WORDS:
        raise WrongAnswer(f"{text!r} may mean the proposed value: approve takes {proposed!r}; otherwise give the value itself")
    wrong = mismatches(schema, text) if is_text else []
    if is_text and not wrong:
        return text
    if wanted is not None and is_text:
        raise WrongAnswer(f"the answer does not fit: {'; '.join(wrong)}{_example(proposed)}")
    try:
        value, end = parse_first(text.strip())
    except ValueError:
        end = -1
    if end != len(text.strip()):
        raise WrongAnswer(f"{text!r} is no answer: give {_named(wanted)}, as JSON{_example(proposed)}")
    wrong = mismatches(schema, value)
    if wrong:
        raise WrongAnswer(f"the answer does not fit: {'; '.join(wrong)}{_example(proposed)}")
    return value


_WORDS = _YES | {"n", "no", "not ok"}


def _named(kinds: frozenset[str] | None) -> str:
    if kinds is None:
        return "a value that is expected here"
    return " or ".join(f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in sorted(kinds))


def _example(proposed: Any) -> str:
    return "" if proposed is None else f", such as {text_of(proposed)}"


# ── ``ask`` steps ─────────────────────────────────────────────────────────────────────────────────────────────────────


def choices_of(given: Any) -> dict[str, Any]:
    """What may be chosen, by its text. Raises WrongAnswer for what is no list of choices."""
    if not isinstance(given, list) or not given:
        raise WrongAnswer("choices: a list of at least one value is wanted")
    if len(given) > MOST_CHOICES:
        raise WrongAnswer(f"choices: there are {len(given)} of them; {MOST_CHOICES} are the most that a person is shown")
    if any(isinstance(each, dict | list) or each is None for each in given):
        raise WrongAnswer("choices: each is a text, a number, true or false")
    found = {text_of(each): each for each in given}
    if len(found) < len(given) or any(not text.strip() for text in found):
        raise WrongAnswer("choices: they must differ, and none may be empty")
    return found


def check_ask(step: Step) -> Iterator[tuple[str, str]]:
    """What is wrong with the arguments of an ``ask`` step, and how to put it right; what is a reference is looked at when it is known."""
    from agent_graph.policy.schemas import mismatches

    other = sorted(step.args.keys() - {"choices", "value"})
    if other:
        yield f"an ask step takes no arguments but choices and value; it has {', '.join(other)}", "write the question into ask"
    choices, value = step.args.get("choices"), step.args.get("value")
    known = None
    if choices is not None and not is_reference(choices) and not _holds_reference(choices):
        try:
            known = choices_of(choices)
        except WrongAnswer as error:
            yield str(error), "write choices: [first, second], or a reference to a list"
    if "value" in step.args and value is None:
        yield "value: null cannot be confirmed", "leave value out, or give one"
    elif known is not None and value is not None and not _holds_reference(value) and text_of(value) not in known:
        yield f"value: {text_of(value)} is not among the choices", "propose one of the choices"
    elif known is None and choices is None and value is not None and step.expected_output and not _holds_reference(value):
        for wrong in mismatches(step.expected_output, value):
            yield f"value does not match expected_output: {wrong}", "propose a value that may be the answer"


def answer_schema(step: Step) -> Mapping[str, Any] | None:
    """Of what an ``ask`` step gives; None where that hangs on what its references turn out to hold."""
    choices, value = step.args.get("choices"), step.args.get("value")
    if choices is not None:
        if is_reference(choices) or _holds_reference(choices) or not isinstance(choices, list):
            return None
        kinds = {schema_of(each)["type"] for each in choices}
        return {"type": kinds.pop()} if len(kinds) == 1 else {"type": sorted(kinds)}
    if value is None:
        return {"type": "string"}
    return None if _holds_reference(value) else schema_of(value)


def _holds_reference(value: Any) -> bool:
    if is_reference(value):
        return True
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_holds_reference(item) for item in items)
