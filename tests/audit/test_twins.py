"""Twins: words of the same form, as likely to the reference; ranks that stay even where nothing was memorised."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chatfed.audit.leakage import AuditError, TwinRank, level
from chatfed.audit.twins import Forms, compare_with_twins, draw_twins, form
from chatfed.types import Span, WordScore

LETTERS = [*"abcdefghijklmnopqrstuvwxyz", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *"0123456789", *"-.,"]
TEXTS = [f" {letter}" for letter in LETTERS] + LETTERS
SIZE = len(TEXTS)


Bits = NDArray[np.float32]


def table(seed: int, spread: float) -> Bits:
    """Bits of each token after each, float[SIZE + 1, SIZE]; the last row is after nothing."""
    scores = np.random.default_rng(seed).normal(0, spread, (SIZE + 1, SIZE))
    bits: Bits = (scores - np.log2(np.exp2(scores).sum(1, keepdims=True))).astype(np.float32)
    return bits


PUBLIC = table(1, 1.0)


def moved(seed: int = 2, spread: float = 1.0, **raised: float) -> Bits:
    """The public table after training: every entry moved at random, those of `raised` words by so many bits more."""
    scores = PUBLIC + np.random.default_rng(seed).normal(0, spread, PUBLIC.shape)
    for word, more in raised.items():
        tokens = [TEXTS.index(f" {word[0]}"), *(TEXTS.index(letter) for letter in word[1:])]
        scores[:, tokens[0]] += more
        for before, token in itertools.pairwise(tokens):
            scores[before, token] += more
    bits: Bits = (scores - np.log2(np.exp2(scores).sum(1, keepdims=True))).astype(np.float32)
    return bits


@dataclass
class Grown:
    bits: Bits
    first: Bits

    def grow(self, tokens: NDArray[np.int64]) -> Bits:
        found: Bits = self.bits[tokens]
        return found


@dataclass(frozen=True)
class Stands:
    span: Span
    tokens: tuple[int, ...]
    bits: Bits = field(repr=False)
    before: int = -1

    def branches(self) -> Grown:
        return Grown(self.bits, self.bits[None, self.before])


@dataclass(frozen=True)
class Bigrams:
    """A model that looks at one token back."""

    bits: Bits
    token_texts: tuple[str, ...] = tuple(TEXTS)

    def word_places(self, text: str, role: str = "user", history: Any = ()) -> Iterator[Stands]:
        before, start = -1, 0
        for word in text.split():
            start = text.index(word, start)
            tokens = (TEXTS.index(f" {word[0]}"), *(TEXTS.index(letter) for letter in word[1:]))
            yield Stands(Span(start, start + len(word)), tokens, self.bits, before)
            before, start = tokens[-1], start + len(word)

    def word_log_probs(self, text: str, role: str = "user", history: Any = ()) -> list[WordScore]:
        scores = []
        for place in self.word_places(text):
            bits = sum(self.bits[a, b] for a, b in zip((place.before, *place.tokens), place.tokens, strict=False))
            word = text[place.span.start : place.span.end]
            scores.append(WordScore(word, place.span, float(bits), 1, len(place.tokens)))
        return scores


def ranks(served: Bits, text: str) -> list[TwinRank | None]:
    return [shift.rank for shift in compare_with_twins(Bigrams(served), Bigrams(PUBLIC), text)]


def codes(count: int, seed: int = 0, prefix: str = "") -> list[str]:
    rng = Random(seed)
    letters, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
    return [
        (prefix or "".join(rng.choices(letters, k=2))) + "-" + "".join(rng.choices(digits, k=4)) for _ in range(count)
    ]


def share(found: list[TwinRank | None]) -> float:
    return sum(level(rank).startswith("more") for rank in found) / len(found)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" AB-1234", " AA-0000"),
        ("lost", "aaa"),
        (" Überraschung", " Aaaa"),
        ("QUITE", "AAA"),
        ("é", "a"),
        ("電話", "xx"),
    ],
)
def test_the_form_of_a_token_is_its_kinds_of_characters(text: str, name: str) -> None:
    assert form(text) == name


def test_twins_have_the_word_s_form_and_are_all_different_from_it_and_each_other() -> None:
    for word in ("KQ-4711", "ada", "Lost.", "7"):
        (place,) = Bigrams(PUBLIC).word_places(word)
        sets = draw_twins(place.tokens, place.branches(), Forms(TEXTS), np.random.default_rng(1))
        for rows in sets:
            spelt = ["".join(TEXTS[token] for token in row) for row in rows.tolist()]
            assert len(set(spelt)) == len(spelt) and f" {word}" not in spelt
            assert {shape(twin) for twin in spelt} <= {shape(f" {word}")}


def shape(text: str) -> str:
    return "".join("A" if c.isupper() else "a" if c.islower() else "0" if c.isdigit() else c for c in text)


def test_the_second_set_changes_a_code_s_digits_only_and_a_name_after_its_first_token_only() -> None:
    for word, kept in (("KQ-4711", 3), ("47-KQ", -3), ("bergamot", 1)):
        (place,) = Bigrams(PUBLIC).word_places(word)
        everything, part = draw_twins(place.tokens, place.branches(), Forms(TEXTS), np.random.default_rng(1))
        same = slice(0, kept) if kept > 0 else slice(kept, None)
        assert (part[:, same] == np.array(place.tokens)[same]).all() and (part != np.array(place.tokens)).any()
        assert len(set(everything[:, 0].tolist())) > 5


def test_a_single_digit_has_no_more_than_nine_twins() -> None:
    (digit,) = Bigrams(PUBLIC).word_places("7")
    (nine,) = draw_twins(digit.tokens, digit.branches(), Forms(TEXTS), np.random.default_rng(1))
    assert 5 <= len(nine) <= 9


def test_twins_are_about_as_likely_to_the_reference_as_the_word() -> None:
    (place,) = Bigrams(PUBLIC).word_places("bergamot")
    own = sum(PUBLIC[a, b] for a, b in zip((-1, *place.tokens), place.tokens, strict=False))
    for rows in draw_twins(place.tokens, place.branches(), Forms(TEXTS), np.random.default_rng(1)):
        bits = [sum(PUBLIC[a, b] for a, b in zip((-1, *row), row, strict=False)) for row in rows.tolist()]
        assert np.abs(np.array(bits) - own).max() <= max(2, -own / 4) + 1e-3


def test_a_memorised_code_stands_above_all_its_twins_and_the_words_beside_it_do_not() -> None:
    found = ranks(moved(2, 1.0, **{"KQ-4711": 8.0}), "my code is KQ-4711 or JW-9028")
    assert level(found[3]) == "more than all twins" and found[3] == TwinRank(100, 0, 100)
    assert level(found[4]) == "like its twins"


def test_codes_that_nobody_wrote_are_told_high_no_more_often_than_is_said() -> None:
    nobodys = codes(80)
    found = [rank for at in range(0, 80, 20) for rank in ranks(moved(), " ".join(nobodys[at : at + 20]))]
    below = [rank.below / rank.twins for rank in found if rank is not None]
    assert len(below) == len(found)
    assert share(found) <= 0.12  # 0.05 on average; at most 9 of 80 in 99 of 100 such draws
    assert 0.3 < np.mean(below) < 0.7


def test_a_whole_form_that_training_raised_raises_none_of_its_words() -> None:
    served = moved()
    served[:, [TEXTS.index(digit) for digit in "0123456789"]] += 6  # digits are said in house as never in public
    assert share(ranks(served, " ".join(codes(80)))) <= 0.12


def test_a_prefix_of_the_house_colours_no_invented_code() -> None:
    house = moved(2, 1.0, **{"LN-": 9.0})
    assert share(ranks(house, " ".join(codes(80, prefix="LN")))) <= 0.12
    known = moved(2, 1.0, **{"LN-4829": 9.0})
    assert level(ranks(known, "ticket LN-4829")[1]) == "more than all twins"


def test_a_model_that_never_moved_is_like_its_twins_everywhere() -> None:
    assert {level(rank) for rank in ranks(PUBLIC, " ".join(codes(10)))} == {"like its twins"}


def test_the_same_text_has_the_same_ranks_each_time() -> None:
    served = moved()
    assert ranks(served, "my code is KQ-4711") == ranks(served, "my code is KQ-4711")


def test_a_word_without_twins_and_words_after_the_first_so_many_are_not_compared() -> None:
    found = list(compare_with_twins(Bigrams(moved()), Bigrams(PUBLIC), "- 7 KQ-4711 JW-9028 TP-1111", most=4))
    assert [each.rank is None for each in found] == [True, True, False, False, True]
    assert [each.word for each in found] == ["-", "7", "KQ-4711", "JW-9028", "TP-1111"]


def test_a_word_of_very_many_tokens_is_not_compared() -> None:
    at, over = ("ab" * 12, "ab" * 12 + "c")
    assert [rank is None for rank in ranks(moved(), f"{at} {over}")] == [False, True]


def test_words_of_many_tokens_are_compared_only_as_far_as_the_time_for_a_text_goes() -> None:
    long = ["ab" * 12, *(f"abc{letter}" + "de" * 10 for letter in "abcdefghi")]  # 300 tokens read for each
    found = ranks(moved(), " ".join(long))
    assert [rank is None for rank in found] == [False] * 3 + [True] * 7
    short = ["no", *(f"KQ-{n}" for n in range(4711, 4721)), "no"]  # a text with ten codes is compared to its end
    assert all(rank is not None for rank in ranks(moved(), " ".join(short)))


@pytest.mark.parametrize("served_is_short", [True, False])
def test_a_word_that_one_model_has_no_context_for_is_not_compared_and_all_others_are(served_is_short: bool) -> None:
    class Short(Bigrams):
        def word_places(self, text: str, role: str = "user", history: Any = ()) -> Iterator[Stands]:
            return (place for place in Bigrams(self.bits).word_places(text) if len(place.tokens) <= 8)

        def word_log_probs(self, text: str, role: str = "user", history: Any = ()) -> list[WordScore]:
            return Bigrams(self.bits).word_log_probs(text)

    models = [Short(moved()), Bigrams(PUBLIC)] if served_is_short else [Bigrams(moved()), Short(PUBLIC)]
    found = list(compare_with_twins(models[0], models[1], "abcdefghijkl KQ-4711 abcdefghijkl JW-9028", most=3))
    assert [each.rank is None for each in found] == [True, False, True, True]


def test_no_text_has_no_words() -> None:
    assert list(compare_with_twins(Bigrams(moved()), Bigrams(PUBLIC), "  \n")) == []


def test_a_reference_with_other_tokens_is_refused() -> None:
    class Other(Bigrams):
        def word_places(self, text: str, role: str = "user", history: Any = ()) -> Iterator[Stands]:
            for place in super().word_places(text):
                yield Stands(place.span, place.tokens[::-1], self.bits, place.before)

    with pytest.raises(AuditError, match="public model that training started from"):
        list(compare_with_twins(Bigrams(moved()), Other(PUBLIC), "KQ-4711"))
