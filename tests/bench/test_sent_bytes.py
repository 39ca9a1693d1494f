"""The bench of bytes sent: what it reaches, and that it counts what arrived."""

from __future__ import annotations

import pytest

from . import create_agent_loop
from .model_task import Task
from .sent_bytes import MODES, REACH, REACHED_AT, counted, single_shot


def test_a_plan_in_one_request_sends_a_quarter_of_what_a_loop_sends_at_most() -> None:
    task = Task(calls=REACHED_AT, size=1000)
    requests, ours, _ = counted(single_shot(task))
    assert requests == 1
    assert ours <= REACH * create_agent_loop.loop(task).sent


def test_a_loop_asks_once_for_each_call_and_once_for_the_answer_and_sends_all_again() -> None:
    server = create_agent_loop.loop(Task(calls=3, size=200))
    inputs = [len(each.input) for each in server.asked]
    assert len(inputs) == 4
    assert inputs == sorted(inputs)
    assert server.sent == sum(inputs) > 2 * server.new


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_does_the_task(mode: str) -> None:
    assert MODES[mode](Task(calls=2, size=50)).sent > 0
