"""Secrets, told apart from text and replaced by the name of what they were, before anything of a tool is written down.

A tool that prints its environment, or fails with the address it could not reach, would else put a key into the ledger, the trace, the card
and the next prompt. What is looked for: the very values that the host has (its environment's, those it hands in), and a short list of
shapes that are nothing but secrets. What has no such shape and was not handed in is not found.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Self
from urllib.parse import quote, quote_plus, unquote

from agent_graph.errors import UsageError

LEAST = 8
"""Characters of a value that is taken from the environment; a shorter one would be found in ordinary text."""

LEAST_GIVEN = 4
"""Characters of a value that the host hands in itself."""

OVERLAP = 16_384
"""Characters by which the windows of a long text overlap; a secret that is longer may be found in part only."""

WINDOW = 1 << 20

_SECRET_NAME = re.compile(r"(?i)SECRET|(?:KEY|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|_PASS|_PWD|_PAT)S?$")
_ADDRESS_NAME = re.compile(r"(?i)(?:DSN|URL|URI)S?$")
_NO_SECRETS = frozenset(
    {
        *("password", "passw0rd", "changeme", "changeit", "postgres", "postgresql", "username", "disabled", "anonymous", "required"),
        *("optional", "localhost", "undefined", "development", "production", "test1234", "minioadmin", "12345678", "123456789"),
    }
)
"""What stands where a secret would, and protects nothing; replacing it would spoil ordinary text."""

_PASSWORD_IN_URL = re.compile(r"://[^\s/:@\"']*:(?P<secret>[^\s/@\"']+)@")

# No letter before it, unless it is what an escaped line break or a terminal's colour ends with.
_BEGINS = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=[0-9]m))"

_SHAPES = tuple(
    (name, re.compile(expression))
    for name, expression in (
        ("an API key", _BEGINS + r"sk-(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{20,}"),
        ("an API key", r"[rs]k_live_[A-Za-z0-9]{16,}"),
        ("an AWS access key id", r"A[KS]IA[A-Z2-7]{16}(?![A-Za-z0-9])"),
        ("a Google API key", r"AIza[A-Za-z0-9_-]{35}"),
        ("a GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,}"),
        ("a GitHub token", r"github_pat_[A-Za-z0-9_]{22,}"),
        ("a GitLab token", r"glpat-[A-Za-z0-9_-]{20,}"),
        ("a Slack token", r"(?:xox[a-z]|xapp)-(?=[A-Za-z-]{0,60}[0-9])[A-Za-z0-9-]{16,}"),
        ("a JSON web token", _BEGINS + r"eyJ[A-Za-z0-9_-]{8,1500}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{8,}"),
        (
            "a private key",
            # One without an end was cut off: what follows goes, as far as a key may reach.
            r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----).){0,12000}(?:-----END [A-Z0-9 ]{0,40}-----)?",
        ),
        ("a bearer token", r"(?i)\bbearer +(?P<secret>(?=[a-z._~+/=-]{0,60}[0-9])[a-z0-9._~+/=-]{16,})"),
        (
            "an authorization header",
            r"(?i)authorization[\\\"']{0,4} *[:=] *[\\\"']{0,4}(?:basic|token|apikey) +(?P<secret>[a-z0-9._~+/=:-]{8,})",
        ),
    )
)
"""The whole match is the secret, or its group of that name."""

_SIGNS = (
    *("sk-", "k_live_", "AKIA", "ASIA", "AIza", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "xapp-", "eyJ"),
    *("PRIVATE KEY", "earer ", "EARER ", "uthorization", "UTHORIZATION"),
)
"""One of them is in each text that holds such a shape, and to look for them costs a tenth of all the shapes."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """
    What is looked for. ``exact`` holds each value in the forms in which it may stand in a text, with the name that replaces it, the longest
    first; never shown, since it holds the secrets.
    """

    exact: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str], secrets: Iterable[str] | Mapping[str, str] = ()) -> Self:
        """
        Of the environment, what has a secret's name, and passwords inside of addresses; of ``secrets``, which may be named, all.
        Raises UsageError for one that is too short to be told from ordinary text.
        """
        named: dict[str, str] = {}
        given = (
            secrets.items() if isinstance(secrets, Mapping) else ((f"secret {n} of the host", each) for n, each in enumerate(secrets, 1))
        )
        for name, value in given:
            if not isinstance(value, str) or len(value.strip()) < LEAST_GIVEN:
                raise UsageError(
                    f"{name}: a secret is a text of at least {LEAST_GIVEN} characters; a shorter one is found in ordinary text"
                )
            named.setdefault(value.strip(), name)
        for name, value in _in_environment(environment):
            named.setdefault(value, name)
        forms = {form: name for value, name in named.items() for form in _forms(value)}
        return cls(tuple(sorted(forms.items(), key=lambda each: (-len(each[0]), each[0]))))

    def touches(self, text: str) -> bool:
        """Whether something in the text is to be replaced. The text may be JSON; this is what an ordinary output pays."""
        for form, _ in self.exact:
            if form in text:
                return True
        if _PASSWORD_IN_URL.search(text):
            return True
        for sign in _SIGNS:
            if sign in text:
                return any(expression.search(text) for _, expression in _SHAPES)
        return False

    def text(self, text: str) -> str:
        """The text with each secret replaced."""
        return _replaced(text, self._spans(text)) if self.touches(text) else text

    def pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """As ``text``, for a long one: piece by piece, so that no second copy is made; each with whether something in it was replaced."""
        start = 0
        while start < len(text):
            window = text[start : start + WINDOW + OVERLAP]
            cut = min(WINDOW, len(window))
            spans = self._spans(window) if self.touches(window) else []
            for begin, end, _ in spans:
                if begin < cut < end:
                    cut = end
            spans = [span for span in spans if span[1] <= cut]
            yield _replaced(window[:cut], spans), bool(spans)
            start += cut

    def number(self, value: int) -> int | str:
        """A number is a secret only as a whole: its digits may stand in another by chance."""
        return next((_named(name) for form, name in self.exact if form.isdecimal() and form.isascii() and int(form) == value), value)

    def _spans(self, text: str) -> list[tuple[int, int, str]]:
        """Where secrets stand, in order and apart from each other."""
        found = []
        for form, name in self.exact:
            at = text.find(form)
            while at >= 0:
                found.append((at, at + len(form), name))
                at = text.find(form, at + len(form))
        for name, expression in (("a password", _PASSWORD_IN_URL), *_SHAPES):
            group = "secret" if "secret" in expression.groupindex else 0
            found += [(*match.span(group), name) for match in expression.finditer(text)]
        apart: list[tuple[int, int, str]] = []
        for begin, end, name in sorted(found, key=lambda span: (span[0], -span[1])):
            if apart and begin < apart[-1][1]:  # one in another: all of it goes, under the name that was found first
                apart[-1] = (apart[-1][0], max(end, apart[-1][1]), apart[-1][2])
            else:
                apart.append((begin, end, name))
        return apart


NOTHING = Redaction()
"""Only the shapes."""


def _replaced(text: str, spans: list[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for begin, end, name in spans:
        parts += [text[at:begin], _named(name)]
        at = end
    return "".join([*parts, text[at:]])


def _named(name: str) -> str:
    return f"[redacted: {name}]"


def is_stand_in(value: object) -> bool:
    """Whether it is nothing but what stands in a secret's place. Sent as it is, it would be taken for the secret: a password, say."""
    return isinstance(value, str) and value.startswith("[redacted: ") and value.find("]") == len(value) - 1


def _in_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in environment.items():
        value = text.strip()
        if _SECRET_NAME.search(name) and "PUBLIC" not in name.upper() and _is_secret(value):
            yield name, value
        if _ADDRESS_NAME.search(name):
            for match in _PASSWORD_IN_URL.finditer(value):
                for password in {match["secret"], unquote(match["secret"])}:
                    if _is_secret(password):
                        yield f"the password in {name}", password


def _is_secret(value: str) -> bool:
    return len(value) >= LEAST and value.lower() not in _NO_SECRETS


_WRITTEN: tuple[Callable[[str], str], ...] = (
    str,
    partial(quote, safe=""),
    quote,
    quote_plus,
    lambda value: re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quote(value, safe="")),
    lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    lambda value: json.dumps(value)[1:-1],
)


def _forms(value: str) -> set[str]:
    """The value as it may stand in a text: as it is, in an address, inside a JSON text, and in base64 at any place of what was encoded."""
    value = value.encode("utf-8", "replace").decode()
    forms = {write(value) for write in _WRITTEN}
    raw = value.encode()
    if len(raw) < 12:
        return forms  # what is left of a short one in base64 could be found by chance
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        # Without the characters that are mixed with what stands before and after.
        inner = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return forms
