"""Where the key of a store comes from, and what is said of one that cannot be used. Never the key itself."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from agent_graph.checkpoints import keys
from agent_graph.checkpoints.keys import KEY, KEY_COMMAND, keys_of_environment, read_keys
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import UsageError

ONE, TWO = "1" * 64, "2" * 64


def printing(code: str) -> dict[str, str]:
    return {KEY_COMMAND: shlex.join([sys.executable, "-c", code])}


def test_no_variable_is_no_key() -> None:
    assert keys_of_environment({}) == ()


def test_several_keys_stand_in_their_order() -> None:
    assert [key.secret.decode() for key in keys_of_environment({KEY: f"{TWO}, {ONE}\n"})] == [TWO, ONE]


def test_bytes_are_one_key_whatever_is_in_them() -> None:
    assert [key.secret for key in read_keys(b",\n " * 16)] == [b",\n " * 16]


def test_a_command_prints_the_key() -> None:
    assert keys_of_environment(printing(f"print('{ONE}')")) == read_keys(ONE)


def test_a_command_is_run_without_a_shell(tmp_path: Path) -> None:
    there = tmp_path / "made"
    with pytest.raises(UsageError):
        keys_of_environment({KEY_COMMAND: f"true; touch {there}"})
    assert not there.exists()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({KEY: ""}, "is empty"),
        ({KEY: " , "}, "is empty"),
        ({KEY: "secret"}, "6 bytes.*openssl rand -hex 32"),
        ({KEY: f"{ONE},secret"}, "6 bytes"),
        ({KEY: ONE, KEY_COMMAND: "true"}, f"both {KEY} and {KEY_COMMAND}"),
        ({KEY_COMMAND: ""}, "is empty"),
        ({KEY_COMMAND: "'half"}, "cannot be read as a command"),
        ({KEY_COMMAND: "no-such-program-anywhere"}, "no-such-program-anywhere cannot be run: No such file"),
        (printing("print()"), "is empty"),
        (printing("import sys; sys.exit('the vault is closed')"), "ended with 1: the vault is closed"),
        (printing("import sys; sys.stdout.buffer.write(bytes([255]))"), "what is no text"),
    ],
)
def test_what_cannot_be_used_is_said_and_not_passed_over(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as told:
        keys_of_environment(environment)
    assert "secret" not in str(told.value)
    assert ONE not in str(told.value)


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PATIENCE", 0.3)
    with pytest.raises(UsageError, match=r"printed no key within 0.3 s"):
        keys_of_environment(printing("import time; time.sleep(60)"))


def test_a_key_is_not_shown_with_its_object() -> None:
    assert ONE not in repr(read_keys(ONE))


def test_each_purpose_has_a_key_of_its_own() -> None:
    (key,) = read_keys(ONE)
    assert len({key.of("runs"), key.of("plans"), key.of("name"), key.secret}) == 4


def test_the_environment_s_key_seals_wherever_a_store_is_opened(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, ONE)
    SqliteStore(store_path).close()
    monkeypatch.delenv(KEY)
    with SqliteStore(store_path) as store, pytest.raises(UsageError, match="sealed"):
        store.database.write(lambda connection: connection.execute("DELETE FROM runs"))
