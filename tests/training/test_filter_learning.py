"""What the taggers learn from: a grammar that says much, and nothing of what is measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

import pytest

from benchmarks.redaction import ENGLISH, GERMAN, by_hand
from chatfed.conversation.tagger import words_of
from chatfed.data.helpdesk import everyday_words, words
from training import filter_phrases as phrases
from training.filter_english import ENGLISH_GRAMMAR, ENGLISH_SENTENCES
from training.filter_german import GERMAN_GRAMMAR, GERMAN_SENTENCES
from training.filter_grammar import Grammar, german_surname
from training.filter_learning import sentences
from training.filter_people import ENGLISH_PEOPLE, GERMAN_PEOPLE

IN_A_ROW = 4  # words, with what is marked as one: shorter runs are common in any language
SPOKEN = {
    "en": (ENGLISH, Grammar.read(ENGLISH_SENTENCES, ENGLISH_GRAMMAR), ENGLISH_PEOPLE),
    "de": (GERMAN, Grammar.read(GERMAN_SENTENCES, GERMAN_GRAMMAR), GERMAN_PEOPLE),
}


def runs(text: str, marked: Sequence[tuple[int, int, str]]) -> set[tuple[str, ...]]:
    """Words in a row, in small letters; what is marked is its kind."""
    said: list[str] = []
    for start, end in words_of(text):
        kinds = [(first, kind) for first, last, kind in marked if first <= start < last]
        if kinds and start == kinds[0][0]:
            said.append(f"<{kinds[0][1]}>")
        elif not kinds and text[start].isalnum():
            said.append(text[start:end].lower())
    return {tuple(said[at : at + IN_A_ROW]) for at in range(len(said) - IN_A_ROW + 1)}


@pytest.mark.parametrize("language", ["en", "de"])
def test_no_words_in_a_row_of_a_measured_sentence_are_learned_from(language: str) -> None:
    hand, grammar, people = SPOKEN[language]
    learned = {run for each in sentences(grammar.draw, people, 7, 3000) for run in runs(each.text, each.marked)}
    measured = [runs(text, [(span.start, span.end, kind) for span, kind in facts]) for text, facts in by_hand(hand)]
    assert len(learned) > 10_000 and [run & learned for run in measured if run & learned] == []


def test_no_name_that_is_measured_is_learned_from() -> None:
    marked = re.findall(r"\[name:([^]]+)]", ENGLISH + GERMAN)
    measured = {word.lower() for name in marked for word in re.split("[ -]", name)}
    rng = Random(3)
    made = {german_surname(rng).lower() for _ in range(5000)}
    listed = (*everyday_words.FIRST_NAMES, *everyday_words.SURNAMES, *phrases.VORNAMEN, *phrases.NACHNAMEN)
    assert len(measured) > 20 and not measured & ({name.lower() for name in listed} | made)


@pytest.mark.parametrize("language", ["en", "de"])
def test_no_illness_of_the_help_desks_clients_is_drawn(language: str) -> None:
    people, rng = SPOKEN[language][2], Random(5)
    drawn = {people.draw("health", rng) for _ in range(3000)}
    assert len(drawn) > 500 and not drawn & set(words.ILLNESSES)


def test_symbols_are_read_until_only_what_is_marked_is_left() -> None:
    grammar = Grammar.read("{who} has a {thing}", {"who": "the {role}", "role": "boss", "thing": "old {x}"})
    assert grammar.draw(Random(1)) == "the boss has an old {x}"


def test_a_compound_is_one_word_with_one_capital() -> None:
    assert Grammar.read("{part}~{noun}", {"part": "Arbeits", "noun": "Vertrag"}).draw(Random(1)) == "Arbeitsvertrag"


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_symbol_has_readings_or_is_drawn(language: str) -> None:
    _, grammar, people = SPOKEN[language]
    rng = Random(2)
    for reading in (*grammar.sentences, *(each for of in grammar.symbols.values() for each in of)):
        for kind in re.findall(r"{(\w+)}", reading):
            assert kind in grammar.symbols or people.draw(kind, rng), kind


@pytest.mark.parametrize("language", ["en", "de"])
def test_what_is_marked_is_where_the_example_says(language: str) -> None:
    _, grammar, people = SPOKEN[language]
    made = list(sentences(grammar.draw, people, 11, 400))
    assert all(0 <= start < end <= len(each.text) for each in made for start, end, _ in each.marked)
    assert 0.3 < sum(bool(each.marked) for each in made) / len(made) < 0.95, "both kinds of message are learned from"
