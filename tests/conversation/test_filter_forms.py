"""What has a form: general ones, and those that a house's examples teach."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.conversation.entities import Entity, disjoint
from chatfed.conversation.errors import UnreadableExamples
from chatfed.conversation.filter import Filter, FilterSettings
from chatfed.conversation.forms import HouseForms, patterns_of, read_examples
from chatfed.conversation.plain import plain
from chatfed.conversation.recognisers import GENERAL, iban
from chatfed.types import Span

FOUND = [
    ("phone", "call me on 0555 123 4567 please", "0555 123 4567"),
    ("phone", "it is +49 (0)89 636-48018.", "+49 (0)89 636-48018"),
    ("phone", "(415) 555-0134", "(415) 555-0134"),
    ("phone", "their phone number is 408-971-8523.", "408-971-8523"),
    ("phone", "Handy 01712345678", "01712345678"),
    ("phone", "Durchwahl: 089 / 4711-4711", "089 / 4711-4711"),
    ("mail", "write to a.b+c@mail.example.org.", "a.b+c@mail.example.org"),
    ("mail", "anna (at) web.example", "anna (at) web.example"),
    ("bank", "to DE89 3704 0044 0532 0130 00 today", "DE89 3704 0044 0532 0130 00"),
    ("card", "card 4111 1111 1111 1111 please", "4111 1111 1111 1111"),
    ("network", "from 192.168.10.20 again", "192.168.10.20"),
    ("address", "to 48 Harrowgate Crescent, Pellingham before noon", "48 Harrowgate Crescent, Pellingham"),
    ("address", "we sit at 7 old mill lane", "7 old mill lane"),
    ("address", "Lindenstraße 12, 80331 München bitte", "Lindenstraße 12, 80331 München"),
    ("password", "it is Bluecross-Velvet7143 now", "Bluecross-Velvet7143"),
    ("password", "I took Blue#cross7! then", "Blue#cross7!"),
    ("password", "my password is hunter2hunter", "hunter2hunter"),
    ("password", "Kennwort: apfel#baum", "apfel#baum"),
    ("password", "my password for the old vpn is now sommer99x", "sommer99x"),
    ("password", "sommer99x is my new password", "sommer99x"),
    ("password", "versuch mal sommer99x als Kennwort", "sommer99x"),
    ("password", 'the passphrase is "old yellow ducks"', "old yellow ducks"),
    ("password", "set to brunwick!kettle4471 now", "brunwick!kettle4471"),
    ("password", "it is brunwick-kettle447.", "brunwick-kettle447"),
    ("address", "bin am krummen gassenweg 12 jetzt", "am krummen gassenweg 12"),
    ("address", "Büro: Obere Uferstraße 3a", "Obere Uferstraße 3a"),
    ("address", "in der Lindenstraße 4", "Lindenstraße 4"),
    ("address", "An den Eichen 3, 10115 Trossdorf bitte", "An den Eichen 3, 10115 Trossdorf"),
    ("address", "near SW1A 2AA now", "SW1A 2AA"),
    ("health", "mit einer Lungenembolie im Bett", "Lungenembolie"),
    ("born", "Mia, born 3 March 2012, goes", "3 March 2012"),
    ("born", "geb. am 12.3.1980", "12.3.1980"),
    ("employee", "Personalnummer 48291 bitte", "48291"),
    ("ticket", "see ticket INC-0012345", "INC-0012345"),
]
NOTHING = [
    "my password is not accepted", "at 10:30 on 12 May 2024", "version 6.31.0 of 2024-11-29", "for 1,234,567 euros",
    "2 of us on my way", "order 12345 of 1999", "restart 3 times, wait 20 minutes", "room 12 on the 4th floor",
    "mein Passwort ist abgelaufen", "a@b", "4111 1111 1111 1112", "1.2.3", "covid-19", "wi-fi", "the 2nd line",
    "windows-server22 and wi-fi6", "page?id=34 of q&a", "it is the wrong password", "walk the main road 5 times",
    "you are the 4th in line", "covid-19 as a reason", "the pin is wrong", "we love Office365!", "Windows11!? no",
]  # fmt: skip


@cache
def every_form() -> Filter:
    return Filter(FilterSettings(presidio=False))


def found(text: str) -> list[Entity]:
    return disjoint(each for form in GENERAL for each in form.entities(text))


@pytest.mark.parametrize(("kind", "text", "value"), FOUND)
def test_a_form_is_found_where_it_stands(kind: str, text: str, value: str) -> None:
    assert [(each.kind, text[each.span.start : each.span.end]) for each in found(text)] == [(kind, value)]


@pytest.mark.parametrize("text", NOTHING)
def test_what_only_looks_like_a_form_is_left(text: str) -> None:
    assert found(text) == []


def test_a_house_form_is_learned_from_examples() -> None:
    rng = Random(5)
    values = [f"{rng.choice('KQ')}X-{rng.randrange(1000, 9999)}/{rng.choice('ABCDEFGHIJKLM')}" for _ in range(200)]
    assert patterns_of(values) == [r"(?:KX|QX)\-\d{4}/[A-Z]"]
    learned = HouseForms.learn([("ticket", value) for value in values])
    assert [each.kind for each in learned.entities("see qx-1234/z, not QX-12345/Z")] == ["ticket"]


def test_values_without_a_form_make_none_and_few_repeated_ones_a_list() -> None:
    names = [("name", f"N{'abcdefghijklmnop'[at]}me {at}") for at in range(16)]
    rooms = [("room", value) for value in ("Heron", "Old Mill") for _ in range(6)]
    learned = HouseForms.learn([*names, *rooms])
    assert learned.patterns == {} and learned.lists == {"room": ["Heron", "Old Mill"]}
    assert [each.by for each in learned.entities("in the old mill")] == ["list"]
    assert HouseForms.from_json(learned.to_json()) == learned


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "no object"),
        ('{"kind": "x", "value": "1"}', "its kind"),
        ('{"kind": "room", "value": 3}', "no text"),
        ("[1]", "no object"),
    ],
)
def test_examples_that_cannot_be_read_are_named_with_their_line(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "ids.jsonl"
    path.write_text('{"kind": "room", "value": "Heron"}\n' + line + "\n")
    with pytest.raises(UnreadableExamples, match=rf"line 2 .*{why}"):
        read_examples(path)


def test_of_two_that_overlap_one_takes_in_both() -> None:
    both = [
        Entity(Span(0, 5), "name", "tagger"),
        Entity(Span(3, 9), "password", "form"),
        Entity(Span(9, 12), "phone", "form"),
    ]
    assert [(each.span, each.kind) for each in disjoint(both)] == [(Span(0, 9), "password"), (Span(9, 12), "phone")]


def test_invisible_and_wide_characters_hide_nothing() -> None:
    text = "call 05\u200b55 \u202e１２３ 45\u00ad67 now\x00"
    read = plain(text)
    assert read.text == "call 0555 123 4567 now"
    (entity,) = found(read.text)
    span = read.given(entity.span)
    assert text[span.start : span.end] == "05\u200b55 \u202e１２３ 45\u00ad67"


def test_plain_text_keeps_its_places() -> None:
    for text in ("plain", "ä ö 中文 🙂", "a\u200bb\u200bc", "", "\u200b"):
        read = plain(text)
        for at, letter in enumerate(read.text):
            span = read.given(Span(at, at + 1))
            assert letter in text[span.start : span.end]


ODD = "\u212a\u0130\u0131\u017f\u00df\u00b2\u0663\u0966\u2460\ufb03\u01c5\u0345\ud800\U0001d7d8\uff11"
SEEDS = [text for _, text, _ in FOUND] + NOTHING


CHANGES = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(ODD) | st.characters()), max_size=6)


@given(st.sampled_from(SEEDS), CHANGES)
@settings(max_examples=100)
def test_no_form_stumbles_over_letters_and_digits_of_other_scripts(seed: str, changes: list[tuple[int, str]]) -> None:
    text = seed
    for at, letter in changes:
        text = text[:at] + letter + text[at + 1 :]
    for each in (*found(text), *every_form().find(text)):
        assert 0 <= each.span.start < each.span.end <= len(text)


@pytest.mark.parametrize("letter", list(ODD))
def test_an_account_with_a_letter_that_only_looks_latin_is_read(letter: str) -> None:
    assert isinstance(iban(f"DE89 3704 0044 0532 013{letter} 00"), bool)
    found(f"to DE89 3704 0044 0532 013{letter} 00 today")


def test_digits_of_other_scripts_are_read() -> None:
    text = "to DE89 3704 0044 0532 \u0660\u0661\u0663\u0660 00"
    assert [(each.kind, each.span) for each in every_form().find(text)] == [("bank", Span(3, len(text)))]


def test_a_kind_of_which_nothing_is_learned_is_named_without_its_values(tmp_path: Path) -> None:
    path = tmp_path / "ids.jsonl"
    lines = [f'{{"kind": "asset", "value": "PR/{number}"}}' for number in range(4000, 4020)]
    path.write_text("\n".join([*lines, '{"kind": "ticket", "value": "INC-1"}']))
    with pytest.raises(UnreadableExamples, match=r"of ticket it has 1 \(1 different\).*8 examples or more") as caught:
        read_examples(path)
    assert "asset" not in str(caught.value) and "INC" not in str(caught.value)
    path.write_text("\n".join(f'{{"kind": "name", "value": "{"ab" * n}"}}' for n in range(1, 12)))
    with pytest.raises(UnreadableExamples, match=r"of name it has 11 .*patterns"):
        read_examples(path)
    path.write_text("\n")
    with pytest.raises(UnreadableExamples, match="no example"):
        read_examples(path)
