"""Which decision is for which request: from what a caller gives to decisions that may be recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agent_graph.documents import describe, describe_path
from agent_graph.errors import AmbiguousDecision, InvalidDecision, NothingPending
from agent_graph.identity import RunId
from agent_graph.nodes.gate import Unclear, fit
from agent_graph.verdicts import Approve, Decision, Edit, Reject, Request, Resolve, Respond

AnyDecision = Approve | Edit | Reject | Respond | Resolve
Decisions = AnyDecision | Mapping[str, AnyDecision] | None

_DECISION: TypeAdapter[Decision] = TypeAdapter(Decision)


def address(run_id: RunId, given: Any, waiting: Sequence[Request], shown: Sequence[Request] | None) -> dict[str, Decision]:
    """By request id. ``given`` is one decision, or several by request id, the beginning of one, or step id.

    A single decision is for the one request that waits, or, with ``shown``, for all that were shown. Raises AmbiguousDecision,
    InvalidDecision and NothingPending, each naming what waits.
    """
    if isinstance(given, Mapping) and "type" not in given:
        return {_named(run_id, key, waiting): _read(one) for key, one in given.items()}
    decision = _read(given)
    if shown is not None:
        if not shown:
            raise NothingPending(f"nothing waited for a decision when run {run_id} was looked at")
        return {request.id: decision for request in shown}
    if not waiting:
        raise NothingPending(f"nothing of run {run_id} waits for a decision; resume it without one to go on")
    if len(waiting) > 1:
        raise AmbiguousDecision(f"{len(waiting)} requests of run {run_id} wait; say which, as {{request_id: decision}}:\n{_list(waiting)}")
    return {waiting[0].id: decision}


def check(decisions: Mapping[str, Decision], waiting: Sequence[Request]) -> tuple[dict[str, Decision], list[tuple[Edit, Request]]]:
    """The decisions as they are recorded, and the edits among them, which the plan must still be checked with. Raises InvalidDecision for one
    that makes no sense."""
    by_id = {request.id: request for request in waiting}
    fitting, edits = dict(decisions), []
    for request_id, decision in decisions.items():
        request = by_id.get(request_id)
        if request is None:
            continue  # decided or withdrawn meanwhile: the store says what became of it
        try:
            fitting[request_id] = fit(decision, request)
        except Unclear as error:
            raise InvalidDecision(f"request {request_id}: {error}") from None
        if isinstance(decision, Edit):
            edits.append((decision, request))
    return fitting, edits


def _named(run_id: RunId, key: str, waiting: Sequence[Request]) -> str:
    """The request that is meant; a whole id of one that no longer waits is left to the store to explain."""
    found = [request.id for request in waiting if request.id.startswith(key) or request.step_id == key]
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise AmbiguousDecision(f"{key!r} names {len(found)} requests of run {run_id}:\n{_list(waiting)}")
    if len(key) == _WHOLE_ID:
        return key
    raise NothingPending(f"no request of run {run_id} is called {key!r}; there waits:\n{_list(waiting) or '  nothing'}")


_WHOLE_ID = 36


def _read(given: Any) -> Decision:
    wanted = "Approve(), Edit(args=…), Reject(reason=…), Respond(text=…) or Resolve(outcome=…)"
    if isinstance(given, Approve | Edit | Reject | Respond | Resolve):
        return given
    if isinstance(given, Mapping):
        try:
            return _DECISION.validate_python(dict(given))
        except ValidationError as error:
            wrong = "; ".join(f"{describe_path(tuple(one['loc']))}: {describe(one)}" for one in error.errors(include_url=False))
            raise InvalidDecision(f"this is not a decision: {wrong}; give {wanted}") from None
    shown = f"the class {given.__name__}" if isinstance(given, type) else repr(given)
    raise InvalidDecision(f"{shown} is not a decision; give {wanted}")


def _list(waiting: Sequence[Request]) -> str:
    return "\n".join(f"  {request}" for request in waiting)
