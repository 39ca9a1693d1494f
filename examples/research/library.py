"""What a reader needs: documents to search and read, a check of quotes that no model has a say in, and a folder for notes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, with_config
from typing_extensions import TypedDict

from agent_graph import tool
from agent_graph.examples import tools as bundled
from agent_graph.tools.files import files_tools


@with_config(extra="ignore")
class Fact(TypedDict):
    document: str
    quote: str


class Checked(TypedDict):
    document: str
    quote: str
    found: bool


def tools(documents: Path, notes: Path) -> list[Any]:
    """``documents`` are only read; ``notes`` may be written to, and both stay within their folder."""

    @tool(risk="read_only")
    def check_quotes(facts: Annotated[list[Fact], Field(description="`facts` with the document and the quote of each.")]) -> list[Checked]:
        """Look each quote up in its document, word for word; how lines are broken does not matter."""
        return [{"document": one["document"], "quote": one["quote"], "found": _stands_in(one)} for one in facts]

    def _stands_in(fact: Fact) -> bool:
        file = (documents / fact["document"]).resolve()
        if not file.is_relative_to(documents.resolve()) or not file.is_file():
            return False
        return " ".join(fact["quote"].split()) in " ".join(file.read_text(encoding="utf-8").split())

    writing = [each for each in files_tools(notes, prefix="notes_") if each.name == "notes_write_file"]
    report = [each for each in bundled() if each.name == "render_report"]
    return [*files_tools(documents, write=False), check_quotes, *report, *writing]
