"""Fakes that we ship, for your tests and ours: a scripted planner, a clock that stands still, a store in memory, a tool that crashes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

from agent_graph.checkpoints.store import SqliteStore
from agent_graph.plan import Goal, Plan
from agent_graph.ports import Answer, Clock, GiveUp, PlanningContext, Question, ReplanningContext

Scripted = Plan | Question | Answer | GiveUp | Exception | Callable[[PlanningContext], Any]


class ScriptedPlanner:
    """Returns what it was given, one after another; a function is called with the context. ``contexts`` keeps what it was asked."""

    can_replan = True

    def __init__(self, *script: Scripted, name: str = "scripted") -> None:
        self.name = name
        self.contexts: list[PlanningContext] = []
        self._script = list(script)

    def complete(self, goal: Goal) -> Goal:
        return goal

    def plan(self, context: PlanningContext) -> Any:
        self.contexts.append(context)
        if not self._script:
            return GiveUp("the script is at its end")
        said = self._script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said(context) if callable(said) else said

    def replan(self, context: ReplanningContext) -> Any:
        return self.plan(context)


class FakeClock:
    """Stands still until it is told to go on. Its monotonic time never goes back, whatever the wall clock is set to."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += max(0.0, seconds)

    def jump(self, seconds: float) -> None:
        """The wall clock is set, forwards or backwards."""
        self._now += seconds


class MemoryStore(SqliteStore):
    """The store without a file. It lives and dies with the process."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(":memory:", clock=clock)


class CrashingTool:
    """Wraps a function and kills its own process with SIGKILL, before or after the function ran, at the calls that are named (from 1)."""

    def __init__(self, function: Callable[..., Any], *, before: Iterable[int] = (), after: Iterable[int] = ()) -> None:
        self._function = function
        self._before = frozenset(before)
        self._after = frozenset(after)
        self._calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._calls += 1
        if self._calls in self._before:
            os.kill(os.getpid(), signal.SIGKILL)
        value = self._function(*args, **kwargs)
        if self._calls in self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        return value
