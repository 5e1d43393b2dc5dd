"""Questions about the house, whose answers many clients were told and nobody outside; and about one client's facts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import groupby

import pytest

from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk import HelpdeskCorpus, generate
from chatfed.data.helpdesk.quiz import KINDS, Question, house_questions, is_right, quiz, words
from chatfed.types import Turn

WORDS = r"[\w-]+"


@pytest.fixture(scope="module")
def corpus() -> HelpdeskCorpus:
    """The default corpus, whole: what its public part holds of all it may hold."""
    return generate(seed=1)


def said_in(dialogues: Iterable[Dialogue]) -> str:
    """All that is said, in lower case, its words apart by single blanks."""
    text = " ".join(turn.content for dialogue in dialogues for turn in dialogue.messages)
    return f" {' '.join(re.findall(WORDS, text.lower()))} "


def test_what_the_house_is_asked_many_clients_were_told_and_nobody_outside(corpus: HelpdeskCorpus) -> None:
    names = {f" {answer.lower()} " for question in house_questions() for answer in question.answers}
    of_clients = [said_in(own) for _, own in groupby(corpus.private, key=lambda dialogue: dialogue.client_id)]
    told = {name: sum(name in text for text in of_clients) for name in names}
    assert {name: count for name, count in told.items() if count < 25} == {}
    public = said_in(corpus.public)
    assert [name for name in names if name in public] == []


def test_the_desk_goes_on_from_the_end_of_each_question_with_the_answer(corpus: HelpdeskCorpus) -> None:
    """Word by word, the last two of a lead; places, people and numbers in it are of any dialogue's choosing."""
    said = "\n".join(said_in([d]) for d in corpus.private)
    for question in house_questions():
        tail = " ".join(re.findall(WORDS, question.lead.lower())[-2:])
        ways = (f" {tail} {the}{answer.lower()} " for the in ("", "the ") for answer in question.answers)
        assert any(way in said for way in ways), question


def test_there_are_at_least_forty_of_each_and_none_holds_its_answer(corpus: HelpdeskCorpus) -> None:
    asked = quiz(corpus)
    assert len(asked.house) >= 40 and len(asked.trained) == len(asked.never_trained) >= 40
    for question in asked.house + asked.trained + asked.never_trained:
        said = " ".join(w for turn in (*question.history, Turn("user", question.lead)) for w in words(turn.content))
        for answer in question.answers:
            assert f" {' '.join(words(answer))} " not in f" {said} ", question
    assert len({(each.history, each.lead) for each in asked.house}) == len(asked.house)


def test_facts_are_asked_in_the_client_s_own_words_and_alike_of_clients_that_trained_and_others(
    corpus: HelpdeskCorpus,
) -> None:
    asked = quiz(corpus)
    kinds = [[question.about for question in part] for part in (asked.trained, asked.never_trained)]
    assert kinds[0] == kinds[1] and set(kinds[0]) == set(KINDS) and max(Counter(kinds[0]).values()) <= 6
    parts = (
        (asked.trained, corpus.private, corpus.facts),
        (asked.never_trained, corpus.held_out, corpus.held_out_facts),
    )
    for questions, dialogues, facts in parts:
        whose = {fact.value: fact.client_id for fact in facts}
        for question in questions:
            (value,), at = question.answers, len(question.history)
            held = [d for d in dialogues if d.client_id == whose[value] and d.messages[:at] == question.history]
            turns = [d.messages[at] for d in held if len(d.messages) > at]
            assert any(
                t.role == question.role and t.content.startswith(f"{question.lead} {value}".strip()) for t in turns
            )


def test_a_seed_picks_whose_facts_are_asked(tiny_corpus: HelpdeskCorpus) -> None:
    first, again, other = (quiz(tiny_corpus, seed) for seed in (1, 1, 2))
    assert first == again and first.trained != other.trained and first.house == other.house
    assert 0 < len(first.trained) == len(first.never_trained) <= 2 * len(KINDS), "of two clients that never trained"


def test_no_fact_shows_in_repr() -> None:
    assert "Bergamot" not in repr(Question("name", (), "user", "I am", ("Bergamot",)))


@pytest.mark.parametrize("said", ["T-12", "t-12, please.", "the T-12 in Orchard", " T 12"])
def test_an_answer_is_right_by_its_first_words(said: str) -> None:
    assert is_right(said, ("R-7", "T-12"))


@pytest.mark.parametrize("said", ["", "T", "T-120", "T-1 2", "form T-12", "a T-12"])
def test_an_answer_is_wrong_when_it_begins_otherwise_or_goes_on_in_the_word(said: str) -> None:
    assert not is_right(said, ("R-7", "T-12"))


def test_a_sheet_that_cannot_be_read_is_refused_with_the_item() -> None:
    for sheet, item in (("== a\nu hi\n= x", "= x"), ("== a\nz hi", "z hi")):
        with pytest.raises(ValueError, match=f"cannot read the item '{item}'"):
            house_questions(sheet)


def test_an_answer_may_come_at_the_beginning_of_a_message() -> None:
    (question,) = house_questions("== a\nu who?\nd\n= Wren | Keystone")
    assert (question.lead, question.role, question.answers) == ("", "assistant", ("Wren", "Keystone"))
