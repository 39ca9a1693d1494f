"""How a web address is read, and which are refused before anything is looked up."""

from __future__ import annotations

import pytest

from agent_graph.errors import InvalidToolError
from agent_graph.tools.origins import AddressRefused, Target, entries, redirected, target


@pytest.mark.parametrize(
    ("text", "origin", "path"),
    [
        ("https://api.example.org", "https://api.example.org", "/"),
        ("HTTPS://API.Example.ORG/Path", "https://api.example.org", "/Path"),
        ("http://api.example.org:80/?q=1#part", "http://api.example.org", "/?q=1"),
        ("https://api.example.org:8443?q=1", "https://api.example.org:8443", "/?q=1"),
        ("https://1.2.3.4/", "https://1.2.3.4", "/"),
        ("https://[2606:4700:0::1111]:444/", "https://[2606:4700::1111]:444", "/"),
        ("https://xn--bcher-kva.example/b%C3%BCcher?ü=1", "https://xn--bcher-kva.example", "/b%C3%BCcher?%C3%BC=1"),
    ],
)
def test_an_address_is_taken_apart(text: str, origin: str, path: str) -> None:
    found = target(text)
    assert (str(found.origin), found.path) == (origin, path)


@pytest.mark.parametrize(
    "text",
    [
        # schemes
        *("file:///etc/passwd", "ftp://api.example.org/", "gopher://api.example.org/", "javascript://api.example.org/", "api.example.org"),
        *("//api.example.org/", "https:api.example.org", "https:///path", "https://", "data:text/plain,x", ""),
        # a user, or what another parser takes for the host
        *("https://api.example.org@evil.test/", "https://user:pass@api.example.org/", "https://api.example.org:80@evil.test"),
        *("https://evil.test\\@api.example.org/", "https:\\\\api.example.org", "https://api.example.org\\.evil.test/"),
        *("https://api.example.org%2eevil.test/", "https://api%00.example.org/", "https://api.example.org%40evil.test/"),
        # spaces and what is not seen
        *(" https://api.example.org/", "https://api.example.org/ ", "https://api.example.org/a b", "https://api.exam\tple.org/"),
        *(
            "https://api.example.org/\r\nHost: evil.test",
            "https://api.example.org/\x00",
            "https://api.example.org/\u202egnp",
            "https://a\u200bpi.test/",
        ),
        # hosts
        *("https://api.example.org./", "https://.example.org/", "https://a..b/", "https://-a.test/", "https://a-.test/", "https://*/"),
        *("https://аpi.example.org/", "https://api。example。org/", "https://ａpi.example.org/", "https://ⓔxample.org/", "https://faß.de/"),
        *(
            "https://api.example.org,evil.test/",
            "https://api.example.org;evil.test/",
            "https://[api.example.org]/",
            "https://" + "a" * 64 + ".test/",
        ),
        # numbers that some take for 127.0.0.1
        *("http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://017700000001/", "http://127.1/"),
        *(
            "http://127.0.1/",
            "http://127.0.0.01/",
            "http://1.2.3.4.5/",
            "http://0/",
            "http://1.2.3.256/",
            "http://①②⑦.0.0.1/",
            "http://0x/",
        ),
        *("http://127.0.0.0x1/", "http://[::1%25lo]/", "http://[::1%lo]/", "http://[::ffff:127.0.0.1/", "http://[1.2.3.4]/", "http://::1/"),
        # ports
        *("https://api.example.org:0/", "https://api.example.org:65536/", "https://api.example.org:/", "https://api.example.org:80:90/"),
        *("https://api.example.org:-1/", "https://api.example.org:８０/", "https://api.example.org:+80/", "https://api.example.org:0x50/"),
        "https://api.example.org/" + "a" * 9_000,
    ],
)
def test_what_two_parsers_could_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        target(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://api.example.org@evil.test/", "a user or password stands before the host"),
        ("https://api.example.org./", "the host ends in a dot"),
        ("https://api.example.org%2eevil.test/", "the host holds an escape"),
        ("https://127.1/", "a number and not an IPv4 address in its usual form"),
        ("ftp://api.example.org/", "the scheme ftp is not spoken here"),
        ("api.example.org/x", "not a whole web address"),
    ],
)
def test_the_reason_is_said(text: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=why):
        target(text)


def test_an_unseen_character_is_shown_in_the_message() -> None:
    with pytest.raises(AddressRefused, match=r"\\u202e"):
        target("https://api.example.org/\u202egnp")


def test_a_homoglyph_is_named() -> None:
    with pytest.raises(AddressRefused, match=r"U\+0430"):
        target("https://аpi.example.org/")


@pytest.mark.parametrize(
    ("entry", "address", "covered"),
    [
        ("api.example.org", "https://api.example.org/x", True),
        ("api.example.org", "https://api.example.org:443/x", True),
        ("api.example.org", "https://API.EXAMPLE.ORG/", True),
        ("api.example.org", "http://api.example.org/", False),
        ("api.example.org", "https://api.example.org:8443/", False),
        ("api.example.org", "https://xapi.example.org/", False),
        ("api.example.org", "https://api.example.org.evil.test/", False),
        ("api.example.org", "https://sub.api.example.org/", False),
        ("api.example.org:8443", "https://api.example.org:8443/", True),
        ("http://api.example.org", "http://api.example.org/", True),
        ("http://api.example.org", "https://api.example.org/", False),
        ("*.example.org", "https://a.example.org/", True),
        ("*.example.org", "https://a.b.example.org/", True),
        ("*.example.org", "https://example.org/", False),
        ("*.example.org", "https://evilexample.org/", False),
        ("*", "https://anything.test/", True),
        ("*", "http://anything.test/", False),
        ("*", "https://anything.test:8443/", False),
        ("*:8443", "https://anything.test:8443/", True),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/", True),
        ("http://[::1]:8080", "http://[0:0::1]:8080/", True),
        ("xn--bcher-kva.example", "https://xn--bcher-kva.example/", True),
    ],
)
def test_an_entry_covers_one_origin_and_no_like_one(entry: str, address: str, covered: bool) -> None:
    assert entries("http", [entry])[0].covers(target(address).origin) is covered


@pytest.mark.parametrize(
    "hosts",
    [
        "api.example.org",
        [],
        [""],
        ["ftp://x.test"],
        ["https://x.test/path"],
        ["x.test/"],
        ["a b"],
        ["bücher.example"],
        ["u@x.test"],
        ["*.1.2.3.4"],
        ["**"],
        ["a.*.test"],
    ],
)
def test_an_entry_that_is_none_is_refused_when_the_tool_is_made(hosts: list[str]) -> None:
    with pytest.raises(InvalidToolError, match="hosts"):
        entries("http", hosts)


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/b?c", "https://api.example.org/b?c"),
        ("b", "https://api.example.org/x/b"),
        ("?q", "https://api.example.org/x/y?q"),
        ("//other.test/z", "https://other.test/z"),
        ("http://other.test", "http://other.test/"),
    ],
)
def test_a_redirect_is_read_from_where_it_came(location: str, leads_to: str) -> None:
    assert str(redirected(target("https://api.example.org/x/y"), location)) == leads_to


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "//user@other.test/", "\\\\other.test\\", "javascript:alert(1)", "https://127.1/", "/a b"]
)
def test_a_redirect_is_read_by_the_same_rule(location: str) -> None:
    with pytest.raises(AddressRefused):
        redirected(target("https://api.example.org/x/y"), location)


def test_an_address_that_is_written_out_is_read_as_the_same() -> None:
    found = target("https://api.example.org:8443/a%2Fb/../c?d=%26&e=ü#f")
    assert target(str(found)) == Target(found.origin, found.path)
