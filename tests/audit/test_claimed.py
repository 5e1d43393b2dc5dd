"""What a claim allows attacks: against mechanisms that reach it exactly, and how often sound ones are refuted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.claimed import TESTS, largest_area, most_found, reach, refutes
from chatfed.audit.roc import area

EPSILON, DELTA = st.floats(0, 6), st.floats(0, 0.2)


@given(EPSILON, DELTA)
def test_the_largest_area_is_the_one_under_the_highest_rates(epsilon: float, delta: float) -> None:
    false = np.linspace(0, 1, 20_001)
    highest = [most_found(float(each), epsilon, delta) for each in false]
    assert np.trapezoid(highest, false) == pytest.approx(largest_area(epsilon, delta), abs=2e-4)


@given(EPSILON, DELTA, st.floats(0, 1))
def test_rates_rise_from_delta_to_all(epsilon: float, delta: float, false: float) -> None:
    assert most_found(0.0, epsilon, delta) == pytest.approx(delta)
    assert false - 1e-12 <= most_found(false, epsilon, delta) <= 1 == most_found(1.0, epsilon, delta)


def test_a_hundred_per_cent_is_more_than_epsilon_1_allows_and_not_more_than_epsilon_8() -> None:
    members, others = np.arange(300.0) + 1000, np.arange(300.0)
    assert refutes(members, others, None, 1.0, 1e-5, 0.001)
    assert not refutes(members, others, None, 8.0, 1e-5, 0.001)


def test_the_area_refutes_where_no_rate_is_told() -> None:
    members, others = np.arange(60.0) + 1000, np.arange(60.0)
    assert refutes(members, others, None, 1.0, 1e-5, 0.001)


@pytest.mark.parametrize(("members", "others"), [(60, 60), (400, 150), (1200, 1200)])
def test_the_reach_is_where_perfect_scores_cease_to_refute(members: int, others: int) -> None:
    sides = np.ones(members), np.linspace(-1, 0, others)
    furthest = reach(members, others, min(members, others), 1e-5, 0.001)
    assert refutes(*sides, None, furthest - 0.01, 1e-5, 0.001)
    assert not refutes(*sides, None, furthest + 0.01, 1e-5, 0.001)


def test_an_epsilon_beyond_floats_refutes_nothing() -> None:
    assert not refutes(np.ones(50), np.zeros(50), None, 1e6, 0.0, 0.01)
    assert largest_area(math.inf, 0.0) == 1


@pytest.mark.parametrize("per_client", [1, 3])
def test_scores_that_reach_the_claim_are_seldom_refuted(per_client: int) -> None:
    """Randomised response at epsilon 1/2 (its ROC touches the bound), clients' texts alike: one attack's error."""
    random, epsilon, runs = np.random.default_rng(3), 0.5, 400
    truth = math.exp(epsilon) / (1 + math.exp(epsilon))
    whose = np.repeat(np.arange(150), per_client)
    refuted = 0
    for _ in range(runs):
        bits = np.repeat(random.random((2, 150)) < truth, per_client, axis=1)
        scores = np.where([bits[0], ~bits[1]], 1.0, 0.0) + random.random((2, len(whose))) / 2
        refuted += refutes(scores[0], scores[1], (whose, whose), epsilon, 0.0, 0.05 / TESTS)
    assert area(scores[0], scores[1], (whose, whose)).value == pytest.approx(largest_area(epsilon, 0.0), abs=0.1)
    assert refuted / runs <= 0.05
