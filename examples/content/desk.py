"""The editor's tools: the desk's files, read only, and drafts in the CMS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import Field
from typing_extensions import TypedDict

from agent_graph import Absent, Landed, NotDone, ToolContext, Unknown, tool
from agent_graph.tools.files import files_tools

ADDRESS = "CMS_URL"
TIMEOUT = 10.0

Title = Annotated[str, Field(min_length=5, max_length=80)]
Slug = Annotated[str, Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")]
Sources = Annotated[list[str], Field(min_length=1, description="Files that the text is made from.")]


class Saved(TypedDict):
    id: str


class Draft(TypedDict):
    id: str
    status: str
    title: str
    slug: str
    audience: str
    body: str
    sources: list[str]


def _find(context: ToolContext, title: str, slug: str, audience: str, body: str, sources: list[str]) -> Landed | Absent | Unknown:
    """The probe: the CMS is asked for the draft with the effect's key."""
    del title, slug, audience, body, sources  # the key stands for the call
    try:
        said = httpx.get(f"{_cms()}/drafts", params={"key": context.idempotency_key}, timeout=TIMEOUT)
    except httpx.HTTPError as error:
        return Unknown(f"the CMS does not answer: {error}")
    return Landed({"id": said.json()["id"]}) if said.status_code == 200 else Absent()


@tool(risk="write", probe=_find, settle=TIMEOUT, timeout=2 * TIMEOUT)
def save_draft(context: ToolContext, title: Title, slug: Slug, audience: str, body: str, sources: Sources) -> Saved:
    """Save a new draft in the CMS, which returns its id. Nothing is published."""
    document = {"title": title, "slug": slug, "audience": audience, "body": body, "sources": sources}
    try:
        said = httpx.post(f"{_cms()}/drafts", json=document, headers={"Idempotency-Key": context.idempotency_key}, timeout=TIMEOUT)
    except httpx.ConnectError as error:
        raise NotDone(f"the CMS cannot be reached: {error}") from error
    if said.status_code == 422:
        raise NotDone(f"the CMS refused the draft: {said.json()['problem']}")
    said.raise_for_status()
    return {"id": said.json()["id"]}


@tool(risk="read_only")
def read_draft(draft_id: str) -> Draft:
    """Read a draft back from the CMS by its id."""
    said = httpx.get(f"{_cms()}/drafts/{draft_id}", timeout=TIMEOUT)
    if said.status_code == 404:
        raise LookupError(f"the CMS has no draft {draft_id}")
    found: Draft = said.raise_for_status().json()
    return found


def tools(folder: Path) -> list[Any]:
    """``folder``: what the desk has, guidance and sources."""
    return [*files_tools(folder, write=False), save_draft, read_draft]


def _cms() -> str:
    if not os.environ.get(ADDRESS):
        raise NotDone(f"{ADDRESS} is not set; it is the address of the CMS")
    return os.environ[ADDRESS]
