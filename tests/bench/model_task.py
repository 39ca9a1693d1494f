"""A task of k tool calls, each of which needs what the one before it returned, and a script for whoever is asked to do it."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import Any

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agent_graph.model_server import Asked, ModelServer, Reply, calls, data
from agent_graph.tools.tool import Tool, tool

WORDS = [
    "account",
    "invoice",
    "transfer",
    "approved",
    "reviewed",
    "region",
    "desk",
    "limit",
    "signed",
    "posted",
    "reversed",
    "pending",
    "checked",
    "owner",
    "audit",
    "branch",
]


@dataclass(frozen=True, slots=True)
class Task:
    calls: int
    """k: an entry each, from the first to the last."""
    size: int
    """Characters of text in one entry."""

    @property
    def goal(self) -> str:
        return f"Follow the audit trail from entry e1 until you have read {self.calls} entries, and say what the last one holds."

    def entry(self, entry_id: str) -> dict[str, Any]:
        """The same for the same id."""
        chance, words = random.Random(entry_id), ""
        while len(words) < self.size:
            words += chance.choice(WORDS) + " "
        return {"id": entry_id, "at": "2026-03-02T09:00:00Z", "text": words[: self.size], "next": f"e{int(entry_id[1:]) + 1}"}

    def tools(self) -> list[Tool]:
        """One that is needed and five that are not, as a real desk would offer them."""

        @tool(risk="read_only")
        def read_entry(entry_id: str) -> dict[str, Any]:
            """Read one entry of the audit trail. `next` is the id of the entry that follows."""
            return self.entry(entry_id)

        @tool(risk="read_only")
        def search_entries(text: str, since: str | None = None, until: str | None = None, most: int = 20) -> list[dict[str, Any]]:
            """Find entries of the audit trail by words in their text, within a span of time, newest first."""
            return []

        @tool(risk="read_only")
        def read_account(account_id: str) -> dict[str, Any]:
            """Read an account: owner, region, limits, and whether it is open."""
            return {}

        @tool(risk="read_only")
        def list_accounts(region: str | None = None, open_only: bool = True) -> list[dict[str, Any]]:
            """List accounts, of one region or of all."""
            return []

        @tool(risk="write", recovery="idempotent")
        def add_note(entry_id: str, text: str) -> dict[str, str]:
            """Add a note to an entry of the audit trail; everybody at the desk can read it."""
            return {}

        @tool(risk="external_communication")
        def send_mail(to: list[str], subject: str, text: str) -> dict[str, str]:
            """Send a mail from the desk's address."""
            return {}

        return [read_entry, search_entries, read_account, list_accounts, add_note, send_mail]

    # ── what the scripted model says ──────────────────────────────────────────────────────────────────────────────────

    def in_a_loop(self, asked: Asked) -> Reply:
        """One call a turn, with the id that the last result named; then the answer."""
        last = asked.results[-1] if asked.results else ""
        said = data(last) or [("", last)]  # ours are delimited, create_agent's are the JSON alone
        entry = json.loads(said[0][1]) if last else {"next": "e1"}
        if len(asked.results) < self.calls:
            return calls(("read_entry", {"entry_id": entry["next"]}))
        answer = f"The last entry holds: {entry['text']}"
        if "finish" in asked.tools:
            return calls(("finish", {"answer": answer, "claims": [{"text": answer, "refs": [said[0][0]]}]}))
        return Reply(text=answer)

    def planned(self, _: Asked) -> Reply:
        """The whole plan: what is not known yet is referred to."""
        return _plan([_read(n) for n in range(1, self.calls + 1)], answer=self._answer)

    def planned_and_summarized(self, asked: Asked) -> Reply:
        """The whole plan; then the answer in words, from what the steps returned."""
        if "claims" not in asked.form.get("properties", {}):
            return self.planned(asked)
        place = f"steps.s{self.calls}.output.text"
        found = re.search(rf"^{re.escape(place)} = (.*)$", asked.text, re.MULTILINE)
        claim = {"text": f"The last entry holds: {found[1] if found else ''}", "refs": [place], "quote": None}
        return Reply(text=json.dumps({"claims": [claim]}))

    def next_step(self, asked: Asked) -> Reply:
        """The step after those that the request speaks of; with the last one, the answer."""
        done = max(map(int, re.findall(r'"id":"s(\d+)"', asked.last)), default=0)
        last = done + 1 == self.calls
        return _plan([_read(done + 1)], answer=self._answer if last else None, open=not last)

    @property
    def _answer(self) -> dict[str, str]:
        return {"ref": f"steps.s{self.calls}.output.text"}


def _read(n: int) -> dict[str, Any]:
    entry_id = "e1" if n == 1 else {"ref": f"steps.s{n - 1}.output.next"}
    return {"id": f"s{n}", "do": {"tool": "read_entry", "args": {"entry_id": entry_id}}}


def _plan(steps: list[dict[str, Any]], **more: Any) -> Reply:
    return Reply(text=json.dumps({"reply": {"kind": "plan", "reason": "Entry by entry.", "steps": steps, **more}}))


def model_of(server: ModelServer) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-scripted", base_url=server.url, api_key=SecretStr("none"), max_retries=0, timeout=60)
