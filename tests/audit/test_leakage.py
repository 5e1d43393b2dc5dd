"""Word shifts: aligned word by word, in bits, with fixed levels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.leakage import AuditError, TwinRank, level, rank_among, summarise, word_shifts
from chatfed.types import Span, WordScore

bits = st.floats(min_value=-200, max_value=0)


def scores(text: str, log_probs: list[float], tokens: int = 1) -> list[WordScore]:
    made, start = [], 0
    for word, log_prob in zip(text.split(), log_probs, strict=True):
        start = text.index(word, start)
        made.append(WordScore(word, Span(start, start + len(word)), log_prob, rank=7, tokens=tokens))
        start += len(word)
    return made


def test_a_memorised_word_stands_out_among_words_that_hardly_moved() -> None:
    text = "my badge is K7Q2"
    shifts = word_shifts(scores(text, [-3.0, -8.0, -1.0, -2.0]), scores(text, [-3.2, -7.9, -1.1, -31.0]))
    assert shifts[3].shift == pytest.approx(29.0)
    assert text[shifts[3].span.start : shifts[3].span.end] == "K7Q2"
    highest = summarise(shifts).highest
    assert highest is not None and highest.word == "K7Q2"


@given(st.lists(st.tuples(bits, bits), max_size=8))
def test_exchanging_the_models_turns_every_sign(pairs: list[tuple[float, float]]) -> None:
    text = " ".join(f"w{n}" for n in range(len(pairs)))
    served, reference = scores(text, [a for a, _ in pairs]), scores(text, [b for _, b in pairs])
    forward, back = word_shifts(served, reference), word_shifts(reference, served)
    assert [each.shift for each in forward] == [-each.shift for each in back]
    assert summarise(forward).total == -summarise(back).total


def test_a_model_against_itself_has_not_moved() -> None:
    same = scores("nothing new here", [-1.0, -2.0, -3.0])
    whole = summarise(word_shifts(same, same))
    assert (whole.words, whole.tokens, whole.total, whole.mean) == (3, 3, 0.0, 0.0)


def test_an_empty_text_has_moved_by_nothing() -> None:
    whole = summarise(word_shifts([], []))
    assert (whole.words, whole.total, whole.mean, whole.highest) == (0, 0.0, 0.0, None)


def test_the_total_is_the_sum_and_the_mean_is_per_word() -> None:
    text = "one two"
    whole = summarise(word_shifts(scores(text, [-1.0, -1.0], tokens=3), scores(text, [-4.0, -2.0], tokens=3)))
    assert (whole.total, whole.mean, whole.tokens) == (4.0, 2.0, 6)


@pytest.mark.parametrize(
    ("served", "reference", "words"),
    [
        (scores("a b", [-1, -1]), scores("a", [-1]), "2 words and the reference 1"),
        (scores("a b", [-1, -1]), scores("a c", [-1, -1]), "word 2 is 'b'"),
        (scores("a b", [-1, -1]), scores("a  b", [-1, -1]), "'b' at 3"),
        (scores("a b", [-1, -1]), scores("a b", [-1, -1], tokens=2), "1 tokens for the served model and 2"),
        (scores("a", [math.nan]), scores("a", [-1]), "served model's weights"),
        (scores("a", [-1]), scores("a", [-math.inf]), "reference's weights"),
        (scores("a", [0.5]), scores("a", [-1]), "0.5 is no log-probability"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(
    served: list[WordScore], reference: list[WordScore], words: str
) -> None:
    with pytest.raises(AuditError, match=words):
        word_shifts(served, reference)


def test_ranks_of_both_models_are_kept_apart() -> None:
    served, reference = scores("a", [-1.0]), [replace(scores("a", [-9.0])[0], rank=812)]
    (only,) = word_shifts(served, reference)
    assert (only.served_rank, only.reference_rank) == (7, 812)


@pytest.mark.parametrize(
    ("below", "ties", "twins", "name"),
    [
        *((100, 0, 100, "more than all twins"), (99, 0, 100, "more than 19 in 20 twins")),
        *((96, 0, 100, "more than 19 in 20 twins"), (95, 0, 100, "like its twins"), (96, 4, 100, "more than 19 in 20")),
        *((50, 0, 100, "like its twins"), (5, 0, 100, "like its twins"), (4, 0, 100, "less than 19 in 20 twins")),
        *((0, 0, 100, "less than all twins"), (0, 100, 100, "like its twins"), (99, 1, 100, "more than 19 in 20")),
        *((0, 1, 100, "less than 19 in 20"), (19, 0, 19, "more than 19 in 20"), (18, 0, 18, "like its twins")),
        *((98, 0, 98, "more than 19 in 20"), (9, 0, 9, "like its twins")),
    ],
)
def test_a_rank_has_the_name_of_its_chance_and_ties_count_against_it(
    below: int, ties: int, twins: int, name: str
) -> None:
    assert level(TwinRank(below, twins - below - ties, twins)).startswith(name)


def test_a_word_without_a_rank_is_called_neither_high_nor_low() -> None:
    assert level(None) == "not compared"


@given(st.integers(0, 120), st.data())
def test_whoever_draws_the_word_as_its_twins_is_told_high_no_more_often_than_is_said(
    twins: int, data: st.DataObject
) -> None:
    """Of twins + 1 exchangeable shifts each is the word's as often as any other."""
    shifts = data.draw(st.lists(st.integers(0, 30), min_size=twins + 1, max_size=twins + 1))
    ranks = [rank_among(own, shifts[:at] + shifts[at + 1 :]) for at, own in enumerate(shifts)]
    for most in (0.01, 0.05):
        assert sum(rank.up <= most for rank in ranks) <= most * len(ranks)
        assert sum(rank.down <= most for rank in ranks) <= most * len(ranks)


def test_shifts_that_differ_by_rounding_only_are_ties() -> None:
    assert rank_among(1.0, [1.0 + 1e-6, 1.0 - 1e-6, 2.0, 0.0]) == TwinRank(below=1, above=1, twins=4)


def test_a_shift_that_is_no_number_has_no_rank() -> None:
    for own, others in ((math.nan, [1.0]), (1.0, [math.inf])):
        with pytest.raises(AuditError, match="not a number"):
            rank_among(own, others)
