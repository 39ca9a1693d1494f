"""What a gate shows, and every shape of answer that people's UIs send."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph.identity import Digest
from agent_graph.nodes.gate import Unclear, payload, read_answer
from agent_graph.policy.rules import Policy
from agent_graph.verdicts import Approve, Edit, Reject, Request, Resolve, Respond

SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}, "count": {"type": "integer"}, "tags": {"type": "array"}}}


def request(kind: Any = "step", **more: Any) -> Request:
    given: dict[str, Any] = {
        "id": "r1",
        "run_id": "run",
        "kind": kind,
        "digest": Digest("d1"),
        "reason": "it is a write",
        "asked": 0.0,
        "step_id": "s",
        **({"tool": "send", "args": {"to": "ann", "count": 1}, "risk": "write"} if kind in ("step", "in_doubt") else {}),
        **({"question": "Whom?", "step_id": None} if kind == "question" else {}),
        **more,
    }
    return Request(**given)


def read(answer: Any, asked: Request | None = None) -> Any:
    return read_answer(answer, asked or request(), Policy.default(), SCHEMA)


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ({"decisions": [{"type": "approve"}]}, Approve()),
        ([{"type": "accept", "args": None}], Approve()),
        ({"type": "approve", "by": "ann"}, Approve(by="ann")),
        ("approve", Approve()),
        ({"decisions": [{"type": "reject", "message": "no"}]}, Reject(reason="no")),
        ({"decisions": [{"type": "reject"}]}, Reject()),
        ([{"type": "ignore", "args": None}], Reject(reason="ignored")),
        ([{"type": "response", "args": "rather not"}], Reject(reason="rather not")),
        ({"type": "reject", "reason": "no", "stop": True}, Reject(reason="no", stop=True)),
        (
            {"decisions": [{"type": "edit", "edited_action": {"name": "send", "args": {"to": "bob", "count": 2}}}]},
            Edit(args={"to": "bob", "count": 2}),
        ),
        ([{"type": "edit", "args": {"action": "send", "args": {"to": "bob", "count": "2"}}}], Edit(args={"to": "bob", "count": 2})),
        ([{"type": "edit", "args": {"action": "send", "args": {"to": "7", "tags": '["a"]'}}}], Edit(args={"to": "7", "tags": ["a"]})),
        ({"type": "edit", "args": {"to": "bob", "count": 2}}, Edit(args={"to": "bob", "count": 2})),
    ],
)
def test_each_shape_of_an_answer_to_a_call_is_read(answer: Any, decision: Any) -> None:
    assert read(answer) == decision


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ({"decisions": [{"type": "respond", "message": "bob"}]}, Respond(text="bob")),
        ([{"type": "response", "args": "bob"}], Respond(text="bob")),
        ({"type": "respond", "text": "bob"}, Respond(text="bob")),
        ("bob", Respond(text="bob")),
        ({"decisions": [{"type": "edit", "edited_action": {"name": "answer_question", "args": {"answer": "bob"}}}]}, Respond(text="bob")),
        ({"decisions": [{"type": "reject", "message": "none of your business"}]}, Reject(reason="none of your business")),
    ],
)
def test_each_shape_of_an_answer_to_a_question_is_read(answer: Any, decision: Any) -> None:
    assert read(answer, request("question")) == decision


@pytest.mark.parametrize(
    "answer",
    ["landed", {"type": "landed"}, [{"type": "response", "args": " Landed "}], {"decisions": [{"type": "respond", "message": "landed"}]}],
)
def test_each_way_to_say_that_it_happened_is_read(answer: Any) -> None:
    assert read(answer, request("in_doubt")) == Resolve(outcome="landed")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (None, "not a decision"),
        ({}, "not a decision"),
        (7, "not a decision"),
        ([], "0 decisions"),
        ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "2 decisions"),
        ({"type": "perhaps"}, "perhaps"),
        ({"type": "resolve", "outcome": "landed"}, "approve, edit, reject"),
        ({"type": "edit"}, "gives args"),
        ({"type": "approve", "request_id": "r2"}, "another request"),
        ({"decisions": [{"type": "approve"}], "digest": "d2"}, "another request"),
    ],
)
def test_an_answer_without_sense_says_what_is_wrong(answer: Any, wrong: str) -> None:
    with pytest.raises(Unclear, match=wrong):
        read(answer)


@pytest.mark.parametrize("answer", ["perhaps", {"type": "approve"}, {"decisions": [{"type": "respond", "message": "I think so"}]}])
def test_a_call_in_doubt_is_not_settled_by_anything_else(answer: Any) -> None:
    with pytest.raises(Unclear):
        read(answer, request("in_doubt"))


def test_an_answer_outside_the_choices_names_them() -> None:
    with pytest.raises(Unclear, match="ann, bob"):
        read("carl", request("question", choices=("ann", "bob")))


@pytest.mark.parametrize("risk", ["external_communication", "money", "permission_change", "deletion", "compliance"])
def test_a_grave_call_is_not_approved_by_an_answer_without_an_address(risk: str) -> None:
    with pytest.raises(Unclear, match="request_id"):
        read({"decisions": [{"type": "approve"}]}, request(risk=risk))
    assert read({"decisions": [{"type": "approve"}], "request_id": "r1"}, request(risk=risk)) == Approve()
    assert read({"type": "approve", "digest": "d1"}, request(risk=risk)) == Approve()


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("step", ["approve", "edit", "reject"]),
        ("plan", ["approve", "edit", "reject"]),
        ("question", ["respond", "edit", "reject"]),
        ("in_doubt", ["respond", "edit"]),
    ],
)
def test_the_payload_offers_what_fits_the_request(kind: str, allowed: list[str]) -> None:
    shown = payload(request(kind), waiting=3)
    (action,), (review,) = shown["action_requests"], shown["review_configs"]
    assert (review["action_name"], review["allowed_decisions"]) == (action["name"], allowed)
    assert action["arguments"] == action["args"]
    assert (shown["request_id"], shown["digest"], shown["more_waiting"]) == ("r1", "d1", 2)


def test_the_payload_says_what_was_wrong_with_the_last_answer() -> None:
    assert "not a decision" in payload(request(problem="that is not a decision"), 1)["action_requests"][0]["description"]
