"""Words and figures for (epsilon, delta): from published tiers and the trade-off bound, and never a capped number."""

from __future__ import annotations

import math

import pytest

from chatfed.audit.tiers import best_guess, factor_in_words, guess_in_words, said_of_several, strength, warnings_of


@pytest.mark.parametrize(
    ("epsilon", "word"),
    [(0.0, "strong"), (1.0, "strong"), (1.01, "moderate"), (10.0, "moderate"), (10.1, "weak"), (19.61, "weak"),
     (22.1, "none"), (1e9, "none"), (math.inf, "none"), (math.nan, "none")],
)  # fmt: skip
def test_the_word_follows_the_published_tiers(epsilon: float, word: str) -> None:
    assert strength(epsilon, 1e-5, 1000) == word


@pytest.mark.parametrize(
    ("delta", "units", "word"),
    [(1e-5, 99_999, "strong"), (1e-5, 100_000, "weak"), (0.01, None, "strong"), (0.01, 100, "weak"),
     (0.1, 5, "none"), (0.5, None, "none"), (0.999, 1, "none")],
)  # fmt: skip
def test_a_delta_that_lets_a_unit_be_published_is_weak_and_a_large_one_says_nothing(
    delta: float, units: int | None, word: str
) -> None:
    assert strength(0.5, delta, units) == word


def test_the_best_guess_is_that_of_randomised_response() -> None:
    """Which answers truly with probability e^eps / (1 + e^eps): the bound is met."""
    for epsilon in (0.1, 1.0, math.log(3), 8.0):
        assert best_guess(epsilon, 0.0) == pytest.approx(math.exp(epsilon) / (1 + math.exp(epsilon)))
    assert guess_in_words(math.log(3), 0.0) == "75 %"


@pytest.mark.parametrize("epsilon", [8.0, 10.0, 14.4, 20.0, 22.0, 23.0, 700.0, 1e9, math.inf])
def test_no_capped_number_is_printed_as_true(epsilon: float) -> None:
    guess, factor = guess_in_words(epsilon, 1e-9), factor_in_words(epsilon)
    assert guess == "no bound" or best_guess(epsilon, 1e-9) <= float(guess.split()[0]) / 100 < 1
    assert factor == "more than a billion" or float(factor.replace(",", "")) == pytest.approx(math.exp(epsilon), 0.01)


def test_a_weak_claim_says_why() -> None:
    assert warnings_of(8.0, 1e-5, 12_000, "dialogue") == []
    (large,) = warnings_of(14.4, 1e-5, 12_000, "dialogue")
    assert "epsilon above 10" in large and "99.99995 %" in large and "one dialogue" in large
    (delta,) = warnings_of(1.0, 1e-3, 1000, "simulated client")
    assert "1 / 1,000" in delta and "simulated client is published whole" in delta


def test_a_persons_row_that_holds_anything_is_read_safely() -> None:
    assert said_of_several({"epsilon": "x"}) == said_of_several({}) == said_of_several({"epsilon": math.inf})
    assert said_of_several({"epsilon": 40.0, "strength": "none"}) == "no meaningful bound (ε = 40.00)"
