"""The conditional edges. A node writes where it wants to go; the edge after it says where it may."""

from __future__ import annotations

from typing import Literal

from agent_graph.state import State

AfterValidate = Literal["approve", "execute", "replan", "conclude"]
AfterApprove = Literal["execute", "validate", "replan", "plan", "approve", "conclude"]
AfterObserve = Literal["execute", "approve", "replan", "conclude"]


def may_the_plan_run(state: State) -> AfterValidate:
    """After ``validate``: yes; yes, once a person has agreed; not like this; or not at all."""
    match state.get("next"):
        case "execute" | "approve" | "replan" as following:
            return following
        case _:
            return "conclude"


def what_was_decided(state: State) -> AfterApprove:
    """After ``approve``: granted, edited, rejected, answered, unclear, or the end."""
    match state.get("next"):
        case "execute" | "validate" | "replan" | "plan" | "approve" as following:
            return following
        case _:
            return "conclude"


def what_comes_next(state: State) -> AfterObserve:
    """After ``observe``: more may run; a person is needed; the plan no longer fits; or the end."""
    match state.get("next"):
        case "execute" | "approve" | "replan" as following:
            return following
        case _:
            return "conclude"
