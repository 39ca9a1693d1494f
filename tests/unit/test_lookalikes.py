"""Letters that pass for others are told where it matters, and ordinary writing is left alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph import AgentGraph, tool
from agent_graph.errors import InvalidToolError
from agent_graph.letters import LETTERS
from agent_graph.lookalikes import addresses, lookalikes, not_seen, readings, remarks, resembles, told
from agent_graph.tools.registry import ToolRegistry

PROSE = {
    "German": "Die Prüfung der Überweisung von 1.200 € an Frau Groß-Müller: siehe Straße, Maß, Öl und „Übergröße“ – am 3. März.",
    "French": "Température : 25 °C – soit 77 °F. « Bonjour ! » dit-il… L’été, la sœur, l’œuvre, ça va ? 1\u202f000\u202f000\u00a0€, n°5.",
    "Polish, Czech, Vietnamese, Turkish": "Zażółć gęślą jaźń. Příliš žluťoučký kůň. Nguyễn Văn Ước, đường phố. Kapıyı açık bıraktım, ısı, ışık.",
    "Russian": "Отправьте, пожалуйста, отчёт за март Ивану Петрову до пятницы; расчётный счёт р/с 40702810, к/с 30101, и/или и.о. директора.",
    "Russian words of letters that all pass for Latin ones": "Оса и роса, хор и рот, раса, сор, уха, о. Сахалин, а у нас с ней рот. Еру и сахару.",
    "Russian with Latin in it": "SMSки и PDFом через IT-отдел и USB-кабель, VIPов, 3D-модель, iPhone 15 Pro, 5kg, №5, кв.5Б, рис.5, т.д., C++ и C#.",
    "Ukrainian, Serbian, Bulgarian, Kazakh": "Їжа, ґанок, Київ; српски језик, Ђорђе; български език; қазақ тілі.",
    "Japanese": "明日の会議はＮＨＫホールで行います。Ｔシャツを2枚、USBメモリとPCを。カタカナとひらがなノート。１００円。",
    "Japanese with addresses": "株式会社ABC様、Webサイトのhttps://example.comをご覧ください。メール：ann@example.jp まで。",
    "Chinese": "请把报告发送到王先生的邮箱，网址：https://example.com。谢谢！微信WeChat支付A4纸。",
    "Korean": "한국어 문장입니다. PDF파일을 보내주세요. SNS에서 봤어요.",
    "Greek": "Παρακαλώ στείλτε την αναφορά στον κύριο Παπαδόπουλο. Το Α και το Ω, ΑΒΕ, ο νόμος, το PDF, 100€.",
    "Arabic, Hebrew, Hindi, Thai": "أرسل التقرير إلى أحمد قبل ١٢ مارس. שלח את הדוח לדני. कृपया रिपोर्ट भेजें। सुबह 5 बजे ส่งรายงานด้วยครับ",
    "Armenian, Georgian": "Հայերեն տեքստ։ ქართული ტექსტი.",
    "science": "The α-helix, the Δt of 5 µs, 10 kΩ, 4 μm, β-blockers, γδ T cells, σ-algebra, πr², ρgh and E=mc², x² + y², ½ cup, ™, 2ª.",
    "addresses of one script": "münchen.de, https://münchen.de/straße, https://ru.wikipedia.org/wiki/Россия, https://россия.рф/о, иван@пример.рф",
    "file names": "Bericht 2024–2025.pdf, Übersicht_März.xlsx, отчёт_2024.docx, план-график.pdf, résumé.pdf, 報告書.pdf, yazılım.pdf, ./данные/",
}


@pytest.mark.parametrize("text", PROSE.values(), ids=PROSE.keys())
def test_ordinary_writing_is_left_alone(text: str) -> None:
    assert [str(one) for one in lookalikes(text)] == []
    assert told(text) == text


@pytest.mark.parametrize(
    ("text", "word", "reads", "code_point"),
    [
        ("send it to p\u0430ypal.com now", "p\u0430ypal.com", "paypal.com", "‹а› is U+0430 CYRILLIC SMALL LETTER A"),
        (
            "https://\u0430\u0440\u0440\u04cf\u0435.com/login",
            "\u0430\u0440\u0440\u04cf\u0435.com",
            "apple.com",
            "U+04CF CYRILLIC SMALL LETTER PALOCHKA",
        ),
        ("ann@ex\u0430mple.org", "ex\u0430mple.org", "example.org", "U+0430"),
        ("\u0430nn@example.org", "\u0430nn@example.org", "ann@example.org", "U+0430"),
        ("https://example.com\u2044evil.org/x", "example.com\u2044evil.org", "example.com/evil.org", "U+2044 FRACTION SLASH"),
        ("https://example\u3002com/x", "example\u3002com", "example.com", "U+3002 IDEOGRAPHIC FULL STOP"),
        ("https://my\u2010bank.com", "my\u2010bank.com", "my-bank.com", "U+2010 HYPHEN"),
        ("http://paypa\u0131.com", "paypa\u0131.com", "paypai.com", "U+0131 LATIN SMALL LETTER DOTLESS I"),
        ("ann\uff20evil.com", "ann\uff20evil.com", "ann@evil.com", "U+FF20 FULLWIDTH COMMERCIAL AT"),
        ("\uff50aypal.com", "\uff50aypal.com", "paypal.com", "U+FF50 FULLWIDTH LATIN SMALL LETTER P"),
        ("\U0001d429aypal.com", "\U0001d429aypal.com", "paypal.com", "MATHEMATICAL BOLD SMALL P"),
        ("\u13e2aypal.com", "\u13e2aypal.com", "Paypal.com", "U+13E2 CHEROKEE LETTER TLV"),
        ("inv\u043eice.pdf", "inv\u043eice.pdf", "invoice.pdf", "U+043E CYRILLIC SMALL LETTER O"),
        ("\u0441\u043e\u0440\u0443.sh", "\u0441\u043e\u0440\u0443.sh", "copy.sh", "U+0441 CYRILLIC SMALL LETTER ES"),
        ("/usr/bin/\u0455h", "/usr/bin/\u0455h", "/usr/bin/sh", "U+0455 CYRILLIC SMALL LETTER DZE"),
        ("(«goo\u0433le», g\u043e\u043egle)", "g\u043e\u043egle", "google", "U+043E"),
        ("\u0440\u0430ypal", "\u0440\u0430ypal", "paypal", "U+0440 CYRILLIC SMALL LETTER ER"),
        (
            "\u043fp\u0438\u0432\u0435\u0442",
            "\u043fp\u0438\u0432\u0435\u0442",
            "\u043fp\u0438\u0432\u0435\u0442",
            "U+0070 LATIN SMALL LETTER P",
        ),
        ("pay\U0001043fal.com", "pay\U0001043fal.com", "pay\U0001043fal.com", "DESERET SMALL LETTER"),
        ("the \U0001043f\U00010437yp", "\U0001043f\U00010437yp", "\U0001043f\U00010437yp", "DESERET SMALL LETTER"),
        ("pay 1\u06600 euros", "1\u06600", "100", "U+0660 ARABIC-INDIC DIGIT ZERO"),
    ],
)
def test_what_passes_for_something_else_is_told_with_its_code_point(text: str, word: str, reads: str, code_point: str) -> None:
    one = next(one for one in lookalikes(text) if one.word == word)
    assert one.reads == reads
    assert code_point in str(one)


def test_of_a_host_the_name_is_told_that_is_really_asked_for() -> None:
    assert str(lookalikes("https://p\u0430ypal.com/x")[0]).endswith("; the host is xn--pypal-4ve.com")


@pytest.mark.parametrize("name", ["t\u043e", "\u0441\u043e\u0440\u0443", "\uff54o", "t\u0585"])
def test_a_name_is_judged_like_an_address(name: str) -> None:
    assert lookalikes(name, name=True) != []


@pytest.mark.parametrize("name", ["größe", "имя", "名前", "to", "read_mail", "naïve"])
def test_a_name_of_one_script_is_a_name(name: str) -> None:
    assert lookalikes(name, name=True) == []


def test_what_is_not_seen_is_named_with_what_looks_alike() -> None:
    said = remarks("p\u0430ypal.com \u202egpj.exe\u200b")
    assert [each.partition(":")[0] for each in said] == [
        "“p\u0430ypal.com” is not “paypal.com”",
        "it holds what is not seen or would be obeyed",
    ]
    assert "U+202E RIGHT-TO-LEFT OVERRIDE, U+200B ZERO WIDTH SPACE" in said[1]
    assert not_seen("all is\nseen, é 日本") == ""


def test_many_are_counted() -> None:
    text = " ".join(f"p\u0430y{letter}.com" for letter in "abcdefgh")
    assert remarks(text)[-1] == "5 more words of it may be read as others"
    assert told(text).endswith("; and 5 more]")


# ── names of tools ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("p\u0430y", "it looks like 'pay', but ‹а› is U+0430 CYRILLIC SMALL LETTER A"),
        ("pay\u200b", "it looks like 'pay', but ‹\\u200b› is U+200B ZERO WIDTH SPACE"),
        ("\uff50ay", "it looks like 'pay', but ‹ｐ› is U+FF50 FULLWIDTH LATIN SMALL LETTER P"),
        ("Pay", "there is 'pay'; upper and lower case count"),
        ("rnail", "it looks like 'mail', and is not that"),
        ("mai1", "it looks like 'mail', and is not that"),
        ("pay ", "it looks like 'pay', and is not that"),
        ("send", None),
        ("mall", None),
        ("pay", None),
    ],
)
def test_an_unknown_name_says_which_it_may_be_taken_for(name: str, says: str | None) -> None:
    assert resembles(name, ["pay", "mail"]) == says


def named(*names: str) -> list[object]:
    return [tool(lambda: None, name=name, risk="read_only") for name in names]


@pytest.mark.parametrize(("one", "other"), [("read", "Read"), ("mail", "rnail"), ("mail", "mai1"), ("get_vl", "get_vI"), ("a0", "aO")])
def test_two_tools_that_are_read_as_one_are_refused(one: str, other: str) -> None:
    with pytest.raises(InvalidToolError, match=f"{one!r} and {other!r} are read as one"):
        ToolRegistry(named(one, other))


def test_tools_that_only_resemble_each_other_are_two() -> None:
    assert list(ToolRegistry(named("mail", "mall", "read_mail", "read-mail", "v1", "v2", "fill", "fil"))) != []


def test_an_agent_refuses_them_too() -> None:
    with pytest.raises(InvalidToolError):
        AgentGraph(named("pay", "PAY"))


def test_the_name_of_a_tool_is_taken_in_its_composed_form() -> None:
    (kelvin,) = ToolRegistry(named("\u212aill"))
    assert kelvin == "Kill"


@pytest.mark.parametrize("name", ["p\u0430y", "pay\n", "pay\u200b", "pay ", "\u202eyap", "e\u0301t\u00e9", "", "9pay", "x" * 129])
def test_a_name_that_is_not_what_it_seems_is_refused(name: str) -> None:
    with pytest.raises(InvalidToolError):
        tool(lambda: None, name=name or "\n", risk="read_only")


def test_a_refused_name_is_told_by_its_code_points() -> None:
    with pytest.raises(InvalidToolError, match=r"‹а› is U\+0430 CYRILLIC SMALL LETTER A"):
        tool(lambda: None, name="p\u0430y", risk="read_only")


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────────────────

LATIN = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=12)


def test_whichever_character_there_is_it_is_looked_at() -> None:
    for code in (*range(0x80, 0x3400), *range(0xA4D0, 0xAC00), *range(0xF900, 0x11000), *range(0x1D400, 0x1F200)):
        lookalikes(f"ab{chr(code)}cd@example.org", name=True)
        resembles(f"ab{chr(code)}", ["ab"])


@given(LATIN, st.data())
def test_whichever_letter_of_a_host_is_exchanged_it_is_told(label: str, data: st.DataObject) -> None:
    places = [place for place, letter in enumerate(label) if letter in LETTERS.values()]
    if not places:
        return
    place = data.draw(st.sampled_from(places))
    foreign = data.draw(st.sampled_from([each for each, letter in LETTERS.items() if letter == label[place]]))
    found = lookalikes(f"https://{label[:place]}{foreign}{label[place + 1 :]}.com/")
    assert [one.reads for one in found] == [f"{label}.com"]


@given(st.text())
def test_ascii_is_never_told_and_nothing_raises(text: str) -> None:
    remarks(text)
    remarks(text, name=True)
    addresses(text)
    resembles(text, ["pay"])
    assert lookalikes(text.encode("ascii", "ignore").decode()) == []


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12))
def test_a_name_reads_like_itself_in_capitals_and_in_full_width(name: str) -> None:
    wide = "".join(chr(ord(each) + 0xFEE0) for each in name)
    assert readings(name) & readings(name.upper())
    assert readings(name) & readings(wide)
    assert readings(name) & readings("\u200b".join(name))


@pytest.mark.parametrize("text", ["а" * 300_000, "a." * 150_000, "://" * 100_000, "a@" * 150_000, "аb " * 100_000, "аb." * 100_000])
def test_a_long_text_is_looked_through_in_no_time(text: str) -> None:
    began = time.monotonic()
    remarks(text)
    addresses(text)
    assert time.monotonic() - began < 5


def test_what_leads_somewhere_is_found_in_a_long_text() -> None:
    text = "x" * 5000 + " see https://user:pw@evil.example:8080/a?b#c, or mail Ann <ann@evil.example>. http://evil.example/again"
    assert addresses(text) == ["user:pw@evil.example:8080", "ann@evil.example", "evil.example"]
