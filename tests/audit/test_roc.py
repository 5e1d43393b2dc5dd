"""ROC, rates and areas: against plain counting, closed forms, and how often intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from chatfed.audit.leakage import AuditError
from chatfed.audit.plots import roc_plot
from chatfed.audit.roc import AtRate, TooFew, area, at_false_rate, exact_share, roc_curve

SOME = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=30).map(np.array)


@given(SOME, SOME)
def test_the_area_is_the_share_of_pairs_in_order_with_ties_counted_half(
    members: np.ndarray, others: np.ndarray
) -> None:
    pairs = [(m > o) + (m == o) / 2 for m in members for o in others]
    assert area(members, others).value == pytest.approx(np.mean(pairs))


@given(SOME, SOME)
def test_the_curve_rises_from_nothing_to_all_and_encloses_the_area(members: np.ndarray, others: np.ndarray) -> None:
    false, true = roc_curve(members, others)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(area(members, others).value)


@given(SOME, st.lists(st.integers(-5, 5).map(float), min_size=20, max_size=60).map(np.array))
def test_the_realised_false_positive_rate_is_never_above_what_was_asked_and_no_lower_threshold_keeps_it(
    members: np.ndarray, others: np.ndarray
) -> None:
    found = at_false_rate(members, others, 0.1)
    assert isinstance(found, AtRate) and found.false.share <= 0.1
    best = max((members > limit).mean() for limit in [-9.0, *others] if (others > limit).mean() <= 0.1)
    assert found.found.share == best


def test_ties_count_for_the_others() -> None:
    found = at_false_rate(np.ones(10), np.ones(100), 0.01)
    assert isinstance(found, AtRate) and (found.found.hits, found.false.hits) == (0, 0)


@pytest.mark.parametrize(("wanted", "needed"), [(0.01, 100), (0.001, 1000)])
def test_a_rate_is_told_from_just_enough_controls_on(wanted: float, needed: int) -> None:
    scores = np.arange(float(needed))
    told, untold = at_false_rate(scores, scores, wanted), at_false_rate(scores, scores[1:], wanted)
    assert isinstance(told, AtRate) and told.false.hits == 1
    assert isinstance(untold, TooFew) and str(untold) == f"too few controls ({needed - 1:,} of {needed:,})"
    assert untold.to_json() == {"wanted": wanted, "too_few_controls": needed - 1, "needed": needed}


def test_exact_shares_are_clopper_and_pearson_s() -> None:
    nothing, all_ = exact_share(0, 30), exact_share(30, 30)
    assert (nothing.low, all_.high) == (0, 1)
    assert nothing.high == pytest.approx(1 - 0.025 ** (1 / 30)) and all_.low == pytest.approx(0.025 ** (1 / 30))
    theirs = stats.binomtest(7, 50).proportion_ci(0.95, "exact")
    ours = exact_share(7, 50)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    with pytest.raises(AuditError, match="0 of 0"):
        exact_share(0, 0)


def delong(members: np.ndarray, others: np.ndarray) -> float:
    """Variance of the area by DeLong, DeLong and Clarke-Pearson 1988, in plain loops."""
    above = [np.mean([(m > o) + (m == o) / 2 for o in others]) for m in members]
    below = [np.mean([(m > o) + (m == o) / 2 for m in members]) for o in others]
    return float(np.var(above, ddof=1) / len(members) + np.var(below, ddof=1) / len(others))


def test_the_interval_is_delong_s_with_student_s_t_where_each_client_has_one_text() -> None:
    random = np.random.default_rng(4)
    members, others = random.normal(0.5, 1, 25), random.normal(0, 1, 31)
    found = area(members, others)
    half = 2.063899 * delong(members, others) ** 0.5
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=1e-6)


def test_texts_repeated_within_a_client_narrow_nothing() -> None:
    random = np.random.default_rng(5)
    members, others = random.normal(0.5, 1, 25), random.normal(0, 1, 31)
    owners = np.arange(25), 25 + np.arange(31)
    once = area(members, others, owners)
    often = area(np.repeat(members, 4), np.repeat(others, 4), (np.repeat(owners[0], 4), np.repeat(owners[1], 4)))
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))


def test_intervals_hold_the_true_area_as_often_as_they_say_where_clients_share_much() -> None:
    random, held, runs = np.random.default_rng(6), 0, 400
    whose = np.repeat(np.arange(40), 3)
    true = float(stats.norm.cdf(0.5 / 2))
    for _ in range(runs):
        own = random.normal(0, 1, 40)[whose]  # of members and others alike
        members, others = own + random.normal(0.5, 1, 120), own + random.normal(0, 1, 120)
        found = area(members, others, (whose, whose))
        held += found.low <= true <= found.high
    assert 0.92 <= held / runs <= 0.98


@pytest.mark.parametrize("clients", [10, 20])
def test_intervals_of_few_clients_err_no_oftener_than_their_strict_level_says(clients: int) -> None:
    random, level, runs = np.random.default_rng(8), 0.99, 2000
    whose = np.arange(clients)
    found = [
        area(random.normal(size=clients), random.normal(size=clients), (whose, whose), level).low > 0.5
        for _ in range(runs)
    ]
    assert np.mean(found) < 0.01  # 0.005 is due; normal intervals err in 0.018 and 0.013


def test_scores_that_are_told_apart_in_full_are_not_certain_beyond_their_number() -> None:
    found = area(np.arange(5.0) + 10, np.arange(8.0))
    assert found.value == 1 and found.low == pytest.approx(0.025 ** (1 / 5)) and found.high == 1


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_an_error_that_names_the_text(broken: float) -> None:
    scores = np.zeros(150)
    scores[17] = broken
    with pytest.raises(AuditError, match="text 17 of the others"):
        at_false_rate(np.zeros(9), scores, 0.01)
    with pytest.raises(AuditError, match="text 17 of the members"):
        area(scores, np.zeros(9))
    with pytest.raises(AuditError, match="no scores of members"):
        area(np.zeros(0), scores)


def test_a_plot_has_a_line_and_a_name_for_each_model() -> None:
    random = np.random.default_rng(7)
    curves = [(name, *roc_curve(random.normal(1, 1, 50), random.normal(0, 1, 50))) for name in ("served", "bare")]
    drawn = roc_plot(curves, "EZ-MIA, dialogues")
    assert drawn.startswith("<svg") and "EZ-MIA, dialogues" in drawn.split(">")[0]
    assert all(f">{name}<" in drawn for name in ("served", "bare", "chance"))
    assert roc_plot([], "nothing").startswith("<p>")
