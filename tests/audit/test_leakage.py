"""Word shifts: aligned word by word, in bits, with fixed levels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.leakage import LEVELS, AuditError, intensity, level, summarise, word_shifts
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
    assert [level(each.shift) for each in shifts] == ["hardly moved"] * 3 + ["far more expected"]
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


def test_each_level_begins_at_its_edge() -> None:
    for (edge, name), (_, below) in zip(LEVELS, LEVELS[1:], strict=False):
        assert level(edge) == name
        assert level(math.nextafter(edge, -math.inf)) == below


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_the_colour_scale_is_fixed_bounded_and_never_turns_back(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert -1 <= intensity(low) <= intensity(high) <= 1
    assert math.copysign(1, intensity(high)) == math.copysign(1, high)


def test_what_is_not_a_number_gets_no_level_and_no_colour() -> None:
    for read in (level, intensity):
        with pytest.raises(AuditError):
            read(math.nan)
