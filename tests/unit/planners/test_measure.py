"""What a model is shown is counted in its tokens where its table is on this disk, else in bytes; nothing is fetched for it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from agent_graph.planners import measure
from agent_graph.planners.measure import BYTES, measure_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    measure._encoding.cache_clear()
    return tmp_path


def test_without_a_table_bytes_are_counted(cache: Path) -> None:
    assert measure_of("gpt-5-mini") is BYTES


@pytest.mark.parametrize("model", [None, "", "claude-sonnet", "gpt-nobody-knows"])
def test_of_another_model_bytes_are_counted(cache: Path, model: str | None) -> None:
    assert measure_of(model) is BYTES


def test_a_cache_that_is_switched_off_has_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    measure._encoding.cache_clear()
    assert measure_of("gpt-5-mini") is BYTES


def test_with_a_table_tokens_are_counted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken

    # A table of single bytes, so that a token is a byte, where tiktoken looks for the real one.
    table = b"\n".join(base64.b64encode(bytes([number])) + f" {number}".encode() for number in range(256))
    (cache / hashlib.sha1(measure._TABLES.format("o200k_base").encode(), usedforsecurity=False).hexdigest()).write_bytes(table)
    made = tiktoken.Encoding("test", pat_str=r"\S+|\s+", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={})
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "o200k_base", made)
    found = measure_of("gpt-5-mini")
    assert (found.unit, found.size("word"), found.said(4_000)) == ("tokens", 4, "1000 tokens")
    assert found.cut("a" * 30, 80) == "a" * 20 + " … (cut here; 30 bytes in all)"
    measure._encoding.cache_clear()


@pytest.mark.parametrize("text", ["ü" * 5_000, "short", "", "a" * 10_000])
def test_what_is_cut_is_whole_characters_and_says_so(text: str) -> None:
    cut = BYTES.cut(text, 1_001)
    assert cut == text or (cut.endswith(f"(cut here; {len(text.encode())} bytes in all)") and len(cut.encode()) < 1_060)
