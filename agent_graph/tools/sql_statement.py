"""The second reading of a statement, by a parser that is not SQLite's (sqlglot): one statement, of a kind that is wanted, on tables that are allowed.

SQLite's own authorizer holds without it. This one says no before anything is opened, sees what the authorizer is not asked about (``INSERT OR
REPLACE`` deletes rows), and refuses what it cannot read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_graph.tools.sql_connection import MAX_SQL
from agent_graph.tools.sql_functions import TABLE_FUNCTIONS
from agent_graph.visible import clipped

if TYPE_CHECKING:
    from sqlglot import exp

_SPACE = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))+", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")
_READING = {"SELECT", "WITH", "VALUES"}
_CHANGING = {"INSERT": "INSERT", "UPDATE": "UPDATE", "DELETE": "DELETE"}


def check_query(query: str, tables: frozenset[str] | None) -> None:
    """Raises ValueError unless it is one SELECT, WITH … SELECT or VALUES that only reads, on the tables."""
    from sqlglot import exp

    tree = _parsed(query, _READING, "one SELECT")
    if not isinstance(tree, exp.Query | exp.Values):
        raise ValueError(f"the statement is {_kind(tree)}; write one SELECT")  # noqa: TRY004  # it is read by whoever wrote it
    _only_reads(tree)
    _on_tables(tree, tables)


def check_change(statement: str, kinds: frozenset[str], tables: frozenset[str] | None, writable: frozenset[str]) -> None:
    """Raises ValueError unless it is one statement of the kinds on one of the writable tables, and reads only the tables."""
    from sqlglot import exp

    wanted = f"one {' or '.join(sorted(kinds, reverse=True))}"
    tree = _parsed(statement, {*kinds, "WITH"}, wanted)
    kind = _kind(tree)
    if kind not in kinds or not isinstance(tree, exp.Insert | exp.Update | exp.Delete):
        raise ValueError(f"the statement is {kind}; write {wanted}")
    otherwise = str(tree.args.get("alternative") or "").upper()
    if otherwise not in ("", "ABORT"):
        raise ValueError(f"{kind} OR {otherwise} is refused: it deletes or passes over rows without a word; write ON CONFLICT … DO UPDATE")
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(target, exp.Table) or target.name.lower() not in writable:
        raise ValueError(f"{kind} on {clipped(target, 60)} is refused; tables that may be changed: {', '.join(sorted(writable))}")
    _only_reads(tree, besides=tree)
    _on_tables(tree, None if tables is None else tables | writable)


def _parsed(sql: str, words: set[str], wanted: str) -> exp.Expr:
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(sql.encode("utf-8", "replace")) > MAX_SQL:
        raise ValueError(f"the statement has more than {MAX_SQL:,} bytes; give values as params")
    if "\0" in sql:
        raise ValueError("the statement holds a zero byte, at which SQLite would stop reading")
    space = _SPACE.match(sql)
    word = _WORD.match(sql, space.end() if space else 0)
    if word is None or word.group().upper() not in words:
        raise ValueError(f"the statement begins with {clipped(word.group() if word else sql.strip(), 30)!r}; write {wanted}")
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="sqlite") if tree is not None]
    except (SqlglotError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else _first_line(error)
        raise ValueError(f"the statement cannot be checked: {why}. Write it more simply; for values use ? or :name") from None
    if len(trees) != 1:
        raise ValueError(f"there is more than one statement; write {wanted}")
    return trees[0]


def _first_line(error: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return clipped(plain.strip().partition("\n")[0].rstrip("."), 200)


def _kind(tree: exp.Expr) -> str:
    return tree.key.upper()


def _only_reads(tree: exp.Expr, besides: exp.Expr | None = None) -> None:
    from sqlglot import exp

    changing = (exp.DML, exp.DDL, exp.Command, exp.Pragma, exp.Into, exp.Lock, exp.Attach, exp.Detach, exp.Set, exp.Transaction)
    for node in tree.walk():
        if node is not besides and isinstance(node, changing) and not isinstance(node, exp.Query):
            raise ValueError(f"the statement holds {_kind(node)}; it may only read there")


def _on_tables(tree: exp.Expr, tables: frozenset[str] | None) -> None:
    """Names that a ``WITH`` makes are let pass here; the authorizer sees what is behind them."""
    from sqlglot import exp

    made = {each.alias.lower() for each in tree.find_all(exp.CTE)}
    for each in tree.find_all(exp.In):
        if isinstance(each.args.get("field"), exp.Column):
            name = clipped(each.args["field"], 60)
            raise ValueError(f"IN {name} is not allowed; write IN (SELECT … FROM …)")  # noqa: TRY004  # it is read by whoever wrote it
    for table in tree.find_all(exp.Table):
        if table.catalog or table.db.lower() not in ("", "main"):
            raise ValueError(f"{clipped(table, 60)} is in another database; there is only this one")
        name = (table.this.name if isinstance(table.this, exp.Func) else table.name).lower()
        if tables is not None and name not in tables | made | TABLE_FUNCTIONS:
            raise ValueError(f"table {clipped(name, 60)!r} is not allowed; those that may be read: {', '.join(sorted(tables))}")
