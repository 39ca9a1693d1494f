"""Reading what people write: YAML or JSON into a model, with errors that name file, line, path and what is allowed."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from agent_graph.errors import InvalidDocument
from agent_graph.visible import abridged

M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML's plain values, less those that JSON does not have: a date stays the text that was written."""


_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
}
# As in YAML 1.2, whose plain values are JSON's: in the older YAML that PyYAML reads, 12:30 is 750, 010 is 8, and `no` is false.
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0b[01]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise InvalidDocument(f"line {line}: the key {key!r} is not a text; put it in quotes")
        if key in seen:
            raise InvalidDocument(f"line {line}: the key {key!r} stands here again (first on line {seen[key]}); keep one of them")
        seen[key] = line
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    number: float = loader.construct_yaml_float(node)
    if not math.isfinite(number):
        raise InvalidDocument(f"line {node.start_mark.line + 1}: {node.value} is not a number that JSON has; use a finite one, or null")
    return number


_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidDocument(f"the key {key!r} stands twice in one object; keep one of them")
        found[key] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_json(text)


def _not_json(constant: str) -> Any:
    raise InvalidDocument(f"{constant} is not a number that JSON has; use a finite one, or null")


class Document:
    """A parsed text that still knows where each value stood."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._root: yaml.Node | None = None
        self.value: Any
        if len(text) > MAX_CHARACTERS:
            raise InvalidDocument(f"{name} is {len(text):,} characters long; at most {MAX_CHARACTERS:,} are read")
        try:
            if name.endswith(".toml"):
                self.value = tomllib.loads(text)
            elif name.endswith(".json"):
                self.value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_not_json, parse_float=_finite)
            else:
                self._root = yaml.compose(text, Loader=_Loader)
                if self._root is not None:
                    _refuse_aliases(text)
                self.value = yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader
            _refuse_surrogates(self.value, text)
        except InvalidDocument as error:
            raise InvalidDocument(f"{name}: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise InvalidDocument(f"{name}: not TOML: {error}") from None
        except json.JSONDecodeError as error:
            raise InvalidDocument(f"{name}, line {error.lineno}: not JSON: {error.msg}") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark is not None else ""
            raise InvalidDocument(f"{name}{where}: not YAML: {getattr(error, 'problem', None) or error}") from None
        except ValueError as error:  # a whole number of thousands of digits
            raise InvalidDocument(f"{name}: {error}") from None
        except RecursionError:
            raise InvalidDocument(f"{name}: nested too deeply to be read") from None

    def line(self, path: tuple[int | str, ...]) -> int | None:
        """The line on which the value at ``path`` starts, or its nearest ancestor; None where it is not known."""
        node = self._root
        if node is None:
            return None
        line = node.start_mark.line + 1
        for part in path:
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == str(part):
                        node, line = value, key.start_mark.line + 1
                        break
                else:
                    continue
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
        return line

    def read(self, model: type[M]) -> M:
        """The document as a model. Raises InvalidDocument with every error at once."""
        if not isinstance(self.value, dict):
            raise InvalidDocument(f"{self.name}: expected a mapping with the fields of a {model.__name__}, found {_kind(self.value)}")
        try:
            return model.model_validate(self.value)
        except ValidationError as error:
            raise InvalidDocument("\n".join(self._explain(error, model))) from None

    def _explain(self, error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
        for one in error.errors(include_url=False):
            path = tuple(one["loc"])
            line = self.line(path)
            where = f"{self.name}, line {line}" if line is not None else self.name
            yield f"{where}: {describe_path(path) or model.__name__}: {describe(one)}"


MAX_CHARACTERS = 4_000_000


def _refuse_aliases(text: str) -> None:
    """Anchors and aliases let a small file unfold into gigabytes; plans have no need of them."""
    for token in yaml.scan(text, Loader=_Loader):
        if isinstance(token, yaml.AliasToken):
            raise InvalidDocument(f"line {token.start_mark.line + 1}: YAML aliases (*{token.value}) are not read; write the value out")


def _refuse_surrogates(value: Any, text: str) -> None:
    """Half a character, written as an escape, is text to Python but cannot be stored or sent."""
    if "\\u" in text or "\\U" in text:
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            half = str(error.object)[error.start]
            raise InvalidDocument(f"\\u{ord(half):x} is half a character; write both halves, or the character itself") from None


def describe_path(path: tuple[int | str, ...]) -> str:
    """``('steps', 2, 'args')`` as ``steps[2].args``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def describe(error: Any) -> str:
    """One pydantic error in our words."""
    match error["type"]:
        case "extra_forbidden":
            return "this field is not known here; check its spelling and its place"
        case "missing":
            return "this field is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            given = error.get("input")
            shown = "" if isinstance(given, dict | list) else f" (found {abridged(repr(given), 200)})"
            return f"{error['msg']}{shown}"


def _kind(value: Any) -> str:
    names = {type(None): "nothing", list: "a list", str: "a text", bool: "a boolean"}
    return names.get(type(value), f"a {type(value).__name__}")


def read_text(path: str | Path) -> str:
    """The file's text. Raises InvalidDocument when it is not there or not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidDocument(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InvalidDocument(f"{path}: this is a folder, not a file") from None
    except UnicodeDecodeError:
        raise InvalidDocument(f"{path}: this is not UTF-8 text") from None
    except OSError as error:
        raise InvalidDocument(f"{path}: cannot be read: {error.strerror}") from None


def read_document(path: str | Path, model: type[M]) -> M:
    """A YAML or JSON file as a model."""
    return Document(read_text(path), str(path)).read(model)
