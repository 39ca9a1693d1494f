"""The kinds of a step as a model writes them, each with its own part of the schema, and the way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from agent_graph.models.replies import WrongReply, closed_object, short
from agent_graph.plan import Blueprint
from agent_graph.planners.arguments import arguments
from agent_graph.planners.offer import Offer
from agent_graph.planners.reply import NULL, REFERENCE, TEXTS, Schema, problems_of, read_references
from agent_graph.ports import ToolSpec


class StepForm(ABC):
    """One kind of step: what stands under ``do``."""

    kind: str
    schema: Schema
    left_out: Mapping[str, Any] = {}
    """Models without strict mode leave out what may be empty."""

    def read(self, do: Mapping[str, Any], at: str) -> dict[str, Any]:
        """The fields of ``Step``. Raises WrongReply."""
        said = self.filled({**self.left_out, **do})
        problems = list(problems_of(self.schema, said, at))
        if problems:
            raise WrongReply(problems)
        return self.fields(said, at)

    def filled(self, said: dict[str, Any]) -> dict[str, Any]:
        return said

    @abstractmethod
    def fields(self, said: Mapping[str, Any], at: str) -> dict[str, Any]: ...


class ToolForm(StepForm):
    kind = "tool"

    def __init__(self, spec: ToolSpec) -> None:
        self.name = spec.name
        self.args = arguments(spec.args_schema)
        self.schema = closed_object({"tool": {"type": "string", "enum": [spec.name]}, "args": self.args.schema})

    def filled(self, said: dict[str, Any]) -> dict[str, Any]:
        return {**said, "args": self.args.filled(said.get("args", {}))}

    def fields(self, said: Mapping[str, Any], at: str) -> dict[str, Any]:
        return {"tool": self.name, "args": self.args.read(said["args"], f"{at}.args")}


class BlueprintForm(StepForm):
    kind = "blueprint"

    def __init__(self, blueprint: Blueprint) -> None:
        self.name = blueprint.name
        self.params = arguments(blueprint.params_schema())
        self.schema = closed_object({"blueprint": {"type": "string", "enum": [blueprint.name]}, "params": self.params.schema})

    def filled(self, said: dict[str, Any]) -> dict[str, Any]:
        return {**said, "params": self.params.filled(said.get("params", {}))}

    def fields(self, said: Mapping[str, Any], at: str) -> dict[str, Any]:
        return {"blueprint": self.name, "args": self.params.read(said["params"], f"{at}.params")}


class AskForm(StepForm):
    kind = "ask"
    left_out = {"choices": [], "value": None}
    schema = closed_object(
        {
            "ask": {"type": "string", "description": "A question to a person; the answer is the step's output."},
            "choices": TEXTS,
            "value": {"anyOf": [{"type": "string"}, REFERENCE, NULL], "description": "A value for them to confirm."},
        }
    )

    def fields(self, said: Mapping[str, Any], at: str) -> dict[str, Any]:
        args: dict[str, Any] = {"choices": said["choices"]} if said["choices"] else {}
        if said["value"] is not None:
            args["value"] = read_references(said["value"])
        return {"ask": said["ask"], "args": args}


class ModelForm(StepForm):
    kind = "model"

    def __init__(self, offer: Offer) -> None:
        self.left_out = {"inputs": [], **_executor_left_out(offer)}
        self.schema = closed_object(
            {
                "model": {
                    "type": "string",
                    "description": "The instruction for one reply of a model, which sees the inputs and nothing else.",
                },
                "inputs": _INPUTS,
                **_executor(offer),
            }
        )

    def fields(self, said: Mapping[str, Any], at: str) -> dict[str, Any]:
        return {"model": said["model"], "args": _read_inputs(said["inputs"], at), "executor": said.get("executor")}


class AgentForm(StepForm):
    kind = "agent"

    def __init__(self, offer: Offer) -> None:
        self.left_out = {"inputs": [], "max_turns": None, **_executor_left_out(offer)}
        self.schema = closed_object(
            {
                "agent": {"type": "string", "description": "A task for a model that calls allowed_tools in a loop until it is done."},
                "inputs": _INPUTS,
                "allowed_tools": {"type": "array", "items": {"type": "string", "enum": list(offer.agent_tools)}},
                **_executor(offer),
                "max_turns": {"anyOf": [{"type": "integer"}, NULL], "description": "Replies of the model at most. null: as configured."},
            }
        )

    def fields(self, said: Mapping[str, Any], at: str) -> dict[str, Any]:
        turns = said["max_turns"]
        if turns is not None and turns < 1:
            raise WrongReply([f"{at}.max_turns: {turns} is less than 1"])
        if not said["allowed_tools"]:
            raise WrongReply([f"{at}.allowed_tools: an agent step needs a tool at least; for a reply without tools write a model step"])
        return {
            "agent": said["agent"],
            "args": _read_inputs(said["inputs"], at),
            "allowed_tools": said["allowed_tools"],
            "executor": said.get("executor"),
            "budget": None if turns is None else {"max_turns": turns},
        }


_INPUTS: Schema = {
    "type": "array",
    "items": closed_object({"name": {"type": "string"}, "value": {"anyOf": [{"type": "string"}, REFERENCE]}}),
    "description": "What it works on.",
}


def _executor(offer: Offer) -> Schema:
    if not offer.specialists:
        return {}
    named = {"type": "string", "enum": [name for name, _ in offer.specialists]}
    if not offer.executor:
        return {"executor": named}
    return {"executor": {"anyOf": [named, NULL], "description": "The specialist that does it. null: the executor."}}


def _executor_left_out(offer: Offer) -> dict[str, Any]:
    return {"executor": None} if offer.specialists else {}


def _read_inputs(inputs: list[dict[str, Any]], at: str) -> dict[str, Any]:
    names = [one["name"] for one in inputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WrongReply([f"{at}.inputs: two are called {short(name)}" for name in twice])
    return {one["name"]: read_references(one["value"]) for one in inputs}


class Forms:
    """The kinds of step that an offer has, in the order in which the schema lists them."""

    def __init__(self, offer: Offer) -> None:
        self.tools = {spec.name: ToolForm(spec) for spec in offer.tools}
        self.blueprints = {each.name: BlueprintForm(each) for each in offer.blueprints}
        self.others: dict[str, StepForm] = {"ask": AskForm()}
        if offer.reasons:
            self.others["model"] = ModelForm(offer)
            if offer.agent_tools:
                self.others["agent"] = AgentForm(offer)

    @property
    def all(self) -> list[StepForm]:
        return [*self.tools.values(), *self.blueprints.values(), *self.others.values()]

    def of(self, do: Mapping[str, Any], step_id: Any, at: str) -> StepForm:
        """The form that fits what is written. Raises WrongReply that says what there is."""
        kinds = [kind for kind in ("tool", "blueprint", "ask", "model", "agent") if do.get(kind) is not None]
        there = [*(["tool"] if self.tools else []), *(["blueprint"] if self.blueprints else []), *self.others]
        if len(kinds) != 1:
            said = " and ".join(kinds) or "none of them"
            raise WrongReply([f"{at} ({short(step_id)}) has {said}; give exactly one of {', '.join(there)}"])
        match kinds[0]:
            case "tool":
                return _named(self.tools, do["tool"], f"[unknown_tool] {at} ({short(step_id)}): there is no tool")
            case "blueprint":
                return _named(self.blueprints, do["blueprint"], f"{at} ({short(step_id)}): there is no blueprint")
            case kind if kind in self.others:
                return self.others[kind]
            case kind:
                raise WrongReply([f"{at} ({short(step_id)}): there are no {kind} steps here; give one of {', '.join(there)}"])


def _named(forms: Mapping[str, StepForm], name: Any, problem: str) -> StepForm:
    found = forms.get(name) if isinstance(name, str) else None
    if found is None:
        raise WrongReply([f"{problem} {short(name)}; use one of: {', '.join(forms) or '(none)'}"])
    return found
