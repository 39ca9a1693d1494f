"""The desk opens a ticket once per key, and can say whether it did."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_graph.errors import NotDone
from agent_graph.tools import tickets as module
from agent_graph.tools.registry import ToolRegistry
from agent_graph.tools.tickets import TicketExists, ticket_desk
from agent_graph.tools.tool import ToolContext
from agent_graph.verdicts import Absent, Landed, Unknown

ARGS = {"title": "CPU fell", "body": "# CPU fell\n\nto 25 %", "severity": "high"}


class Noon:
    def now(self) -> float:
        return 1_397_131_200.0

    def monotonic(self) -> float:
        return 0.0


def desk(folder: Path) -> ToolRegistry:
    return ToolRegistry(ticket_desk(folder / "office" / "tickets.db", clock=Noon()))


def key(text: str, deadline: float = 0.0) -> ToolContext:
    return ToolContext(idempotency_key=text, deadline=deadline)


def probe(tools: ToolRegistry, context: ToolContext) -> Any:
    ask = tools["open_ticket"].probe
    assert ask is not None
    return ask(context, ARGS)


def test_a_ticket_that_was_opened_can_be_read_back(tmp_path: Path) -> None:
    tools = desk(tmp_path)
    opened = tools["open_ticket"].call(key("a"), ARGS)
    assert opened == {"id": "INC-0001", **ARGS, "opened_at": "2014-04-10T12:00:00+00:00"}
    assert tools["find_ticket"].call(ToolContext(), {"ticket_id": "INC-0001"}) == opened


def test_the_contract_is_declared() -> None:
    specs = ToolRegistry(ticket_desk("unused.db")).specs
    assert (specs["open_ticket"].risk, specs["open_ticket"].recovery) == ("write", "probeable")
    assert (specs["find_ticket"].risk, specs["find_ticket"].recovery) == ("read_only", "rerun")
    assert set(specs["open_ticket"].args_schema["properties"]) == {"title", "body", "severity"}
    assert specs["open_ticket"].timeout > module.BUSY_S


def test_tickets_are_counted(tmp_path: Path) -> None:
    tools = desk(tmp_path)
    assert [tools["open_ticket"].call(key(text), ARGS)["id"] for text in "abc"] == ["INC-0001", "INC-0002", "INC-0003"]


def test_the_probe_gives_the_ticket_of_the_key_and_only_that(tmp_path: Path) -> None:
    tools = desk(tmp_path)
    assert probe(tools, key("a")) == Absent()
    opened = tools["open_ticket"].call(key("a"), ARGS)
    assert probe(tools, key("a")) == Landed(opened)
    assert probe(tools, key("b")) == Absent()


def test_the_probe_does_not_make_a_desk(tmp_path: Path) -> None:
    probe(desk(tmp_path), key("a"))
    assert list(tmp_path.iterdir()) == []


def test_a_second_call_with_the_key_fails_ambiguously_and_opens_nothing(tmp_path: Path) -> None:
    tools = desk(tmp_path)
    opened = tools["open_ticket"].call(key("a"), ARGS)
    with pytest.raises(TicketExists, match="ask the probe") as caught:
        tools["open_ticket"].call(key("a"), {**ARGS, "title": "another"})
    assert not isinstance(caught.value, NotDone)  # the effect of this key did happen
    assert probe(tools, key("a")) == Landed(opened)
    with pytest.raises(ValueError, match="the newest is INC-0001"):
        tools["find_ticket"].call(ToolContext(), {"ticket_id": "INC-0002"})


def test_of_many_calls_at_once_with_one_key_one_opens(tmp_path: Path) -> None:
    tools = desk(tmp_path)
    ended: list[Any] = []

    def call() -> None:
        try:
            ended.append(tools["open_ticket"].call(key("a"), ARGS)["id"])
        except TicketExists:
            ended.append(None)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended, key=str) == ["INC-0001"] + [None] * 7


def test_a_call_without_a_key_is_not_done(tmp_path: Path) -> None:
    with pytest.raises(NotDone, match="needs an idempotency key"):
        desk(tmp_path)["open_ticket"].call(ToolContext(), ARGS)


def test_a_desk_that_cannot_be_made_or_written_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "office").write_text("a file where the folder should be")
    with pytest.raises(NotDone, match="cannot be made"):
        desk(tmp_path)["open_ticket"].call(key("a"), ARGS)
    other = tmp_path / "other.db"
    other.write_text("not a database " * 100)
    broken = ToolRegistry(ticket_desk(other))
    with pytest.raises(NotDone, match="nothing was opened"):
        broken["open_ticket"].call(key("a"), ARGS)
    assert isinstance(probe(broken, key("a")), Unknown)
    with pytest.raises(ValueError, match="cannot be read"):
        broken["find_ticket"].call(ToolContext(), {"ticket_id": "INC-0001"})


def test_a_desk_that_another_one_holds_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    tools = desk(tmp_path)
    tools["open_ticket"].call(key("a"), ARGS)
    with closing(sqlite3.connect(tmp_path / "office" / "tickets.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotDone, match="locked; nothing was opened"):
            tools["open_ticket"].call(key("b"), ARGS)
    assert probe(tools, key("b")) == Absent()


def test_a_commit_that_fails_is_ambiguous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    tools = desk(tmp_path)
    tools["open_ticket"].call(key("a"), ARGS)
    with closing(sqlite3.connect(tmp_path / "office" / "tickets.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM tickets").fetchone()  # a reader lets a writer begin, and its commit wait
        with pytest.raises(sqlite3.OperationalError):
            tools["open_ticket"].call(key("b"), ARGS)
    assert probe(tools, key("b")) == Absent()


def test_a_call_that_was_given_up_does_not_land_later(tmp_path: Path) -> None:
    tools = desk(tmp_path)
    with pytest.raises(NotDone, match="the deadline passed"):
        tools["open_ticket"].call(key("a", deadline=Noon().now() - 1), ARGS)
    assert probe(tools, key("a")) == Absent()
    assert tools["open_ticket"].call(key("b", deadline=Noon().now() + 1), ARGS)["id"] == "INC-0001"


def test_text_that_cannot_be_stored_is_not_done(tmp_path: Path) -> None:
    opened = desk(tmp_path)["open_ticket"]
    for call in (opened.call, lambda context, args: opened(context, **args)):
        with pytest.raises(NotDone):
            call(key("a"), {**ARGS, "body": "\ud800"})


def test_a_ticket_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; no ticket was opened there yet"):
        desk(tmp_path)["find_ticket"].call(ToolContext(), {"ticket_id": "INC-0001"})


def test_a_later_change_of_folder_does_not_open_a_second_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tools = ToolRegistry(ticket_desk("tickets.db"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tools["open_ticket"].call(key("a"), ARGS)
    assert (tmp_path / "tickets.db").exists()
