"""What is told apart from text as a secret, and what is not: an output that was spoilt for nothing is a defect, too."""

from __future__ import annotations

import base64
import json
import pickle
import re
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_graph.errors import UsageError
from agent_graph.redaction import NOTHING, OVERLAP, WINDOW, Redaction

VALUE = 'p@ss/w0rd+"horse" ü'
DIGITS = "0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# None is real; put together here, so that no scanner of this repository takes one for real either.
SHAPES = {
    "sk-" + "proj-" + LETTERS + DIGITS: "an API key",
    "sk-" + "ant-api03-" + LETTERS.upper() + DIGITS: "an API key",
    "sk-" + "or-v1-" + "0a" * 32: "an API key",
    "sk_" + "live_" + LETTERS: "an API key",
    "AKIA" + "ABCDEFGHIJ234567": "an AWS access key id",
    "AIza" + "Sy" + LETTERS + DIGITS[:7]: "a Google API key",
    "ghp_" + LETTERS + DIGITS: "a GitHub token",
    "github_pat_" + LETTERS + "_" + DIGITS: "a GitHub token",
    "glpat-" + LETTERS: "a GitLab token",
    "xoxb-" + DIGITS + "-" + LETTERS: "a Slack token",
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxIn0." + LETTERS: "a JSON web token",
    "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n" + LETTERS + "\n-----END RSA " + "PRIVATE KEY-----": "a private key",
    "-----BEGIN " + "PRIVATE KEY-----\nMIIE and then it was cut off": "a private key",
}


def of(value: str, name: str = "SHOP_KEY") -> Redaction:
    return Redaction.of({name: value})


# ── shapes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("around", ["{}", "key={}", "it is {} now", "\n{}\n", "\x1b[31m{}\x1b[0m", '"{}"'], ids=repr)
@pytest.mark.parametrize("secret", SHAPES, ids=lambda secret: secret[:20].replace("\n", " "))
def test_a_secret_is_known_by_its_shape(secret: str, around: str) -> None:
    if "cut off" in secret and around not in ("{}", "key={}"):
        return  # what follows goes with it
    text = around.format(secret)
    assert NOTHING.text(text) == around.format(f"[redacted: {SHAPES[secret]}]")


@pytest.mark.parametrize("secret", SHAPES, ids=lambda secret: secret[:20].replace("\n", " "))
def test_also_in_json(secret: str) -> None:
    """Where a line break is written with a letter."""
    assert NOTHING.touches(json.dumps({"log": f"a line\n{secret}\nanother"}))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [redacted: a bearer token]"),
        ("authorization: basic dXNlcjpwdw==", "authorization: basic [redacted: an authorization header]"),
        ("curl -H 'bearer abcdefgh12345678'", "curl -H 'bearer [redacted: a bearer token]'"),
        ("postgres://ann:hunter2@db.example.org/shop", "postgres://ann:[redacted: a password]@db.example.org/shop"),
        ("redis://:hunter2@cache:6379", "redis://:[redacted: a password]@cache:6379"),
    ],
)
def test_only_the_secret_of_it_is_replaced(text: str, shown: str) -> None:
    assert NOTHING.text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "disk-cleanup-7f9c6d5b8-x2k4z-20240131 was restarted",
        "task-1234567890-abcdefghij-2024",
        "sk-fading-circle-loading-indicator",
        "bearer responsibilities and bearer internationalization",
        "Basic internationalization",
        "https://example.org:8080/@ann/2024?at=12:30@noon",
        "https://ann@example.org/",
        "git@github.com:shop/shop.git",
        "a PRIVATE KEY is never shown, a PUBLIC KEY is",
        "AKIA is where an access key id begins",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "eyJhbGciOiJIUzI1NiJ9",
    ],
)
def test_what_only_looks_a_little_like_one_stays(text: str) -> None:
    assert NOTHING.text(text) == text


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "GITHUB_TOKEN", "CLIENT_SECRET", "SECRET_KEY_BASE", "DB_PASSWORD", "AWS_CREDENTIALS", "MYSQL_PWD", "api_keys"],
)
def test_what_the_environment_calls_a_secret_is_one(name: str) -> None:
    assert of("correct horse", name).text("a correct horse!") == f"a [redacted: {name}]!"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOME", "/data/ann-lee"),
        ("PWD", "/data/ann-lee"),
        ("TOKENIZERS_PARALLELISM", "deactivated"),
        ("KEYBOARD", "de-latin1"),
        ("SSH_PUBLIC_KEY", "ssh-ed25519 AAAA"),
        ("DB_PASSWORD", "short"),
        ("DB_PASSWORD", "postgres"),
        ("DB_PASSWORD", "Password"),
        ("DATABASE_URL", "postgres://db.example.org/shop"),
    ],
)
def test_what_it_does_not_or_what_protects_nothing_is_none(name: str, value: str) -> None:
    assert of(value, name).exact == ()


def test_a_password_in_an_address_is_one_without_the_address() -> None:
    found = of("postgres://ann:hunt%2Fer-42@db.example.org/shop", "DATABASE_URL")
    assert found.text("login of ann with hunt/er-42 failed") == "login of ann with [redacted: the password in DATABASE_URL] failed"
    assert found.text("hunt%2Fer-42 at db.example.org") == "[redacted: the password in DATABASE_URL] at db.example.org"


def test_what_the_host_hands_in_has_its_name_or_a_number() -> None:
    assert Redaction.of({}, ["horse", "battery"]).text("a battery") == "a [redacted: secret 2 of the host]"
    assert Redaction.of({}, {"the vault's": "horse"}).text("a horse") == "a [redacted: the vault's]"


@pytest.mark.parametrize("given", [[""], ["abc"], ["  a  "], {"pin": "123"}, [5]], ids=repr)
def test_one_that_would_be_found_everywhere_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match="at least 4 characters"):
        Redaction.of({}, given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "written",
    [
        VALUE,
        quote(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
        re.sub("%..", lambda code: code[0].lower(), quote(VALUE, safe="")),
        json.dumps(VALUE)[1:-1],
        json.dumps(VALUE, ensure_ascii=False)[1:-1],
    ],
    ids=["plain", "url", "url, all", "form", "url, lower", "json", "json, not ascii"],
)
def test_a_value_is_found_in_what_it_is_often_written_as(written: str) -> None:
    assert of(VALUE).text(f"<{written}>") == "<[redacted: SHOP_KEY]>"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_and_in_base64_at_any_place(before: str, encode: object) -> None:
    """As in the header of a basic login."""
    text = encode((before + VALUE + "!?").encode()).decode()  # type: ignore[operator]
    shown = of(VALUE).text(text)
    assert "[redacted: SHOP_KEY]" in shown
    assert len(shown.replace("[redacted: SHOP_KEY]", "")) <= len(before) * 4 / 3 + 10


def test_the_longer_of_two_is_found_first() -> None:
    found = Redaction.of({"A_KEY": "correct-horse", "B_KEY": "correct-horse-battery"})
    assert found.text("correct-horse-battery correct-horse") == "[redacted: B_KEY] [redacted: A_KEY]"


def test_one_that_overlaps_another_takes_all_of_it() -> None:
    found = Redaction.of({"A_KEY": "correct-horse", "B_KEY": "horse-battery"})
    assert found.text("a correct-horse-battery!") == "a [redacted: A_KEY]!"


def test_what_is_replaced_is_not_replaced_again() -> None:
    once = NOTHING.text("postgres://ann:hunter2@db " + " ".join(SHAPES))
    assert NOTHING.text(once) == once


# ── how ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_does_not_show_what_it_knows() -> None:
    assert "horse" not in repr(of("correct horse"))


def test_it_can_be_sent_to_a_worker_process() -> None:
    assert pickle.loads(pickle.dumps(of("correct horse"))) == of("correct horse")  # noqa: S301


@given(st.text(st.sampled_from("sk-eyJ xo:[]")), st.integers(0, 40))
def test_text_without_a_secret_is_the_very_same_text(text: str, at: int) -> None:
    found = of("correct horse")
    assert found.text(text) == text
    assert found.text(text[:at] + "correct horse" + text[at:]).count("[redacted: SHOP_KEY]") == 1


@settings(max_examples=10)
@given(st.integers(0, WINDOW + OVERLAP) | st.integers(WINDOW - 13, WINDOW), st.integers(0, 3))
def test_a_long_text_is_the_same_in_pieces(at: int, more: int) -> None:
    found = of("correct horse")
    text = "." * at + "correct horse" + "." * (more * WINDOW // 2)
    assert "".join(piece for piece, _ in found.pieces(text)) == found.text(text)


@pytest.mark.parametrize(
    "part",
    [
        "sk-",
        "sk-a",
        "eyJ",
        "0meyJ",
        "eyJhbGciOi.",
        "xoxb-",
        "-----BEGIN " + "PRIVATE KEY-----",
        "://",
        "://a:",
        "bearer a",
        "authorization: ",
    ],
)
def test_no_text_makes_it_slow(part: str) -> None:
    text = part * (300_000 // len(part))
    began = time.process_time()
    NOTHING.text(text)
    assert time.process_time() - began < 3
