"""What stands around a name or an illness gives it away, in English and German; ordinary words behind a cue stay."""

from __future__ import annotations

import pytest

from chatfed.conversation.cues import Cues, with_dates
from chatfed.conversation.entities import Entity
from chatfed.conversation.tagger import Vocabulary
from chatfed.types import Span

WORDS = "printer drucker broken kaputt called hat ist heute today mail anna's slow sends is regards key holt".split()
CUES = Cues(Vocabulary(frozenset(WORDS), frozenset(["grace"])))

NAMES = [
    ("Mr Tanaka called", ["Tanaka"]),
    ("ask mrs ferreira today", ["ferreira"]),
    ("Dr. Oyelaran is late", ["Oyelaran"]),
    ("Frau Sedlmayr hat angerufen", ["Sedlmayr"]),
    ("an Herrn von Thalau", ["von Thalau"]),
    ("herr prochaska ist heute da", ["prochaska"]),
    ("Herr Drucker ist da", ["Drucker"]),
    ("my daughter Ilka has the key", ["Ilka"]),
    ("Our new manager, Tove Brandvold, called", ["Tove Brandvold"]),
    ("meine Kollegin Milena Hradec ist heute da", ["Milena Hradec"]),
    ("mit unserem Chef Jaromir", ["Jaromir"]),
    ("My name is Kweku Darko-Addo.", ["Kweku Darko-Addo"]),
    ("ich heiße Ilka", ["Ilka"]),
    ("my son is called Jarle", ["Jarle"]),
    ("meine Tochter heißt Lioba", ["Lioba"]),
    ("hi juno,\nthe printer is slow", ["juno"]),
    ("Hallo Radomir!", ["Radomir"]),
    ("liebe milena, der drucker ist kaputt", ["milena"]),
    ("the printer is slow\nregards\nTove Brandvold", ["Tove Brandvold"]),
    ("der Drucker ist kaputt. Gruß, Jaromir", ["Jaromir"]),
    ("printer slow. thanks, grace", ["grace"]),
    ("ilka, born 3 May 2011, is slow", ["ilka"]),
    ("Lioba Hradec, geboren am 3.5.2011", ["Lioba Hradec"]),
]
NONE = [
    "my daughter is slow", "our manager Today", "meine frau holt es", "die Frau am Schalter", "hi there,",
    "Hallo zusammen,", "dear all,", "hello printer,", "thanks for the key", "regards", "the printer, born 3 May 2011",
    "my name is on the list",
    "MS Office is slow", "ich heiße nicht so", "meine Kollegin Bestellung", "Herr im Haus", "",
]  # fmt: skip
ILL = [
    ("I was diagnosed with restless legs last week", "restless legs"),
    ("she suffers from vertigo and the printer", "vertigo"),
    ("ich leide unter Gürtelrose seit Mai", "Gürtelrose"),
    ("bin erkrankt an Scharlach, bitte um Geduld", "Scharlach"),
    ("off because of a stiff neck from 3 May until 9 June", "a stiff neck from 3 May until 9 June"),
    ("bin wegen Scharlach vom 3. Mai bis 9. Juni weg", "Scharlach vom 3. Mai bis 9. Juni"),
    ("in hospital with scarlet fever from 3 May until 9 June, sorry", "scarlet fever from 3 May until 9 June"),
]
WELL = [
    "we suffer from the noise",
    "ich leide unter dem Lärm",
    "he was diagnosed with it",
    "recovering from this",
    "late because of the snow",
]


def found(text: str, kind: str) -> list[str]:
    return [text[each.span.start : each.span.end] for each in CUES.entities(text) if each.kind == kind]


@pytest.mark.parametrize(("text", "names"), NAMES)
def test_a_cue_gives_the_name_behind_it_away(text: str, names: list[str]) -> None:
    assert sorted(set(found(text, "name"))) == names


@pytest.mark.parametrize("text", NONE)
def test_ordinary_words_behind_a_cue_are_no_name(text: str) -> None:
    assert found(text, "name") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gestern hat Jaromir Hradec geholt", ["Jaromir Hradec"]),
        ("hat Lioba Hradec-Thalau die mail", ["Lioba Hradec-Thalau"]),
        ("Jaromir Hradec hat geholt", ["Jaromir Hradec"]),
        ("Neue Drucker sind kaputt", []),
        ("Graue Lurche sind da", []),
        ("der Drucker Jaromir", []),
        ("eine Kolbung Jaromir", []),
        ("im BORK KOLB", []),
    ],
)
def test_two_words_with_a_capital_are_a_name_where_nouns_have_capitals(text: str, names: list[str]) -> None:
    german = Cues(CUES.vocabulary, nouns_have_capitals=True)
    assert [text[each.span.start : each.span.end] for each in german.entities(text)] == names
    assert found(text, "name") == []


@pytest.mark.parametrize(("text", "illness"), ILL)
def test_what_somebody_suffers_from_is_an_illness(text: str, illness: str) -> None:
    assert found(text, "health") == [illness]


@pytest.mark.parametrize("text", WELL)
def test_what_is_no_noun_behind_the_cue_is_no_illness(text: str) -> None:
    assert found(text, "health") == []


def test_dates_behind_an_illness_are_of_it_and_behind_a_name_are_not() -> None:
    text = "vertigo from 3 May until 9 June"
    assert with_dates(text, Entity(Span(0, 7), "health", "tagger")).span == Span(0, len(text))
    assert with_dates(text, Entity(Span(0, 7), "name", "tagger")).span == Span(0, 7)
    assert with_dates("vertigo from Bonn", Entity(Span(0, 7), "health", "tagger")).span == Span(0, 7)


def test_a_long_line_of_cues_is_read_once() -> None:
    assert found("my daughter " * 2000, "name") == []
    assert len(found("Mr Tanaka " * 2000, "name")) == 2000
