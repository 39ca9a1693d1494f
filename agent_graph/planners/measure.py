"""How much of a text a model is shown: counted in its tokens where its tokenizer is at hand, else in bytes.

Nothing is fetched for it: OpenAI's tokenizers are tables that are downloaded at first use, so that one counts only once it is on this disk.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BYTES_PER_TOKEN = 4
"""As a rule of thumb: bounds are given in bytes, and are a quarter of that in tokens."""
LONGEST_TOKEN = 32
"""Bytes that a token has at most, nearly always; what cannot count is cut off before it is counted."""

_TABLES = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
"""Where tiktoken fetches them; it keeps each in a file that is called after the hash of this."""


@dataclass(frozen=True, slots=True)
class Measure:
    unit: str
    size: Callable[[str], int]
    head: Callable[[str, int], str]
    """The beginning of a text, so many units long at most."""
    per_unit: int
    """Bytes, about."""

    def said(self, most_bytes: int) -> str:
        return f"{most_bytes // self.per_unit} {self.unit}"

    def cut(self, text: str, most_bytes: int) -> str:
        """The text, or its beginning and how much there is in all. The bound is given in bytes, whatever is counted."""
        most = max(0, most_bytes) // self.per_unit
        raw = len(text.encode())
        if raw <= most or (raw <= most * LONGEST_TOKEN and self.size(text) <= most):
            return text
        shown = self.head(text[: most * LONGEST_TOKEN], most)
        return f"{shown} … (cut here; {raw} bytes in all)"


def _head_in_bytes(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


BYTES = Measure("bytes", lambda text: len(text.encode()), _head_in_bytes, 1)


def measure_of(model: str | None) -> Measure:
    """For a model by its name, such as ``gpt-5-mini``."""
    encoding = _encoding(model) if model else None
    if encoding is None:
        return BYTES

    def size(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    def head(text: str, most: int) -> str:
        return str(encoding.decode(encoding.encode_ordinary(text)[:most], errors="ignore"))

    return Measure("tokens", size, head, BYTES_PER_TOKEN)


@functools.lru_cache(maxsize=32)
def _encoding(model: str) -> Any:
    """tiktoken's encoding of the model, if its table is on this disk; else None."""
    try:
        import tiktoken
        from tiktoken.model import encoding_name_for_model

        name = encoding_name_for_model(model)
        if not _is_here(name):
            return None
        return tiktoken.get_encoding(name)
    except Exception:  # not installed, not OpenAI's, or a table that cannot be read: bytes will do
        return None


def _is_here(name: str) -> bool:
    """Looked for where tiktoken looks."""
    folder = next((os.environ[key] for key in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR") if key in os.environ), None)
    if folder == "":
        return False  # an empty name switches the cache off
    place = Path(folder) if folder is not None else Path(tempfile.gettempdir()) / "data-gym-cache"
    table = hashlib.sha1(_TABLES.format(name).encode(), usedforsecurity=False).hexdigest()
    return (place / table).is_file()
