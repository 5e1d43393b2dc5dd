"""Bounds on epsilon: published values, those of jax-privacy, simulated runs, power, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise, permutations
from math import comb

import mpmath  # type: ignore[import-untyped] # has no types
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.audit.bounds import (
    Design,
    Label,
    Method,
    at_threshold,
    clopper_pearson,
    clopper_pearson_power,
    f_dp,
    fewest_right,
    guess,
    one_run,
    power,
    product_channel,
    product_channel_any_curve,
    right,
)
from chatfed.audit.leakage import AuditError
from chatfed.audit.tails import gaussian_epsilon

METHODS: list[Method] = [one_run, f_dp, product_channel, product_channel_any_curve]


def design(m: int, guesses: int, delta: float = 1e-5, confidence: float = 0.95, two_sided: bool = False) -> Design:
    return Design(m, guesses - guesses // 2, guesses // 2, delta, confidence, two_sided)


# Published values


@pytest.mark.parametrize(
    ("m", "guesses", "correct", "delta", "expected"),
    [
        (512, 512, 512, 0.0, 5.13821),
        (512, 512, 512, 1e-5, 5.12447),
        (1000, 600, 600, 1e-5, 5.2704),
        (1000, 1000, 750, 1e-5, 0.97637),
        (1000, 500, 397, 1e-5, 1.163),
    ],
)
def test_one_run_gives_the_golden_values(m: int, guesses: int, correct: int, delta: float, expected: float) -> None:
    places = 3 if expected == 1.163 else 5  # the last one is published with three
    assert one_run(design(m, guesses, delta), correct).epsilon == pytest.approx(expected, abs=10.0**-places)


@pytest.mark.parametrize("guesses", [1, 5, 100, 4096])
def test_one_run_of_right_guesses_alone_is_the_closed_form(guesses: int) -> None:
    chance = 0.05 ** (1 / guesses)
    expected = max(0.0, float(np.log(chance / (1 - chance))))
    assert one_run(design(5000, guesses, 0.0), guesses).epsilon == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("method", "guesses", "correct", "corners", "expected"),
    [
        (one_run, 3376, 2807, 386, 1.13346),
        (one_run, 4666, 4499, 374, 2.311945),
        (one_run, 8233, 8223, 140, 4.395568),
        (f_dp, 406, 379, 386, 2.164749),
        (f_dp, 938, 934, 374, 4.7218075),
        (f_dp, 5436, 5436, 140, 9.133752),
    ],
)
def test_shifted_gaussians_give_the_golden_values_at_the_thresholds_and_the_correction_of_jax_privacy(
    method: Method, guesses: int, correct: int, corners: int, expected: float
) -> None:
    plan = Design(20_000, guesses, 0, 1e-6, confidence=1 - 0.05 / corners)
    assert method(plan, correct).epsilon == pytest.approx(expected, rel=1e-5)


def test_product_channel_gives_the_golden_value_and_the_truth_of_its_mechanism() -> None:
    assert product_channel(design(1000, 500), 397).epsilon == pytest.approx(3.756, abs=5e-4)
    assert gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.377, abs=5e-4)
    assert gaussian_epsilon(1.666, 1e-5) == pytest.approx(8.0, abs=5e-4)


PEER = """\
clopper_pearson,227,432,204,1469,0.0006761102849869387,0.01,1.0374211
clopper_pearson,134,227,489,1498,2.823834452106659e-06,0.05,0.3998235
clopper_pearson,1242,1347,69,1197,2.55306110899824e-07,0.01,2.4568782
clopper_pearson,1369,1438,113,835,9.08109277117098e-06,0.05,2.6329605
clopper_pearson,800,1305,140,514,0.0018962999780025858,0.01,0.5688941
clopper_pearson,796,1210,14,234,4.168716037240297e-06,0.1,1.9319399
clopper_pearson,635,1200,57,357,0.0001552644187844697,0.01,0.8243176
f_dp,153,122,100,0.0006761102849869387,0.01,1.2137201
f_dp,1740,756,445,2.55306110899824e-07,0.01,0.3421283
f_dp,11,8,7,0.0017106958749127277,0.1,0.5107313
f_dp,107,18,16,0.0001552644187844697,0.01,0.4957769
f_dp,146,74,73,0.0006299080468322157,0.05,4.1702733
f_dp,877,397,271,3.273065877599611e-08,0.1,1.5427720
f_dp,32,11,9,6.066611171298806e-06,0.1,0.6186844
one_run,153,122,100,0.0006761102849869387,0.01,0.8216575
one_run,1740,756,445,2.55306110899824e-07,0.01,0.1842670
one_run,11,8,7,0.0017106958749127277,0.1,0.3412413
one_run,107,18,16,0.0001552644187844697,0.01,0.3495627
one_run,146,74,73,0.0006299080468322157,0.05,2.5412918
one_run,877,397,271,3.273065877599611e-08,0.1,0.6224896
one_run,32,11,9,6.066611171298806e-06,0.1,0.3424043"""


@pytest.mark.parametrize("line", PEER.split("\n"))
def test_values_of_jax_privacy_come_out(line: str) -> None:
    """Of `python -m benchmarks.audit_bounds --peer`, which compares a thousand."""
    name, *words, delta, error, expected = line.split(",")
    claim, counts = (float(delta), 1 - float(error)), [int(each) for each in words]
    if name == "clopper_pearson":
        hits, inside, alarms, outside = counts
        found = clopper_pearson((hits, inside, alarms, outside), delta=claim[0], confidence=claim[1])
    else:
        m, guesses, correct = counts
        found = {"one_run": one_run, "f_dp": f_dp}[name](Design(m, guesses, 0, *claim), correct)
    assert found.epsilon == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("rates", [(90, 100, 10, 100), (300, 300, 0, 250), (40, 60, 3, 80)])
def test_clopper_pearson_turns_round_exact_binomial_tails(rates: tuple[int, int, int, int]) -> None:
    hits, inside, alarms, outside = rates

    def limit(count: int, of: int) -> float:  # the rate at which so few have a chance of 2.5 %
        low, high = 0.0, 1.0
        for _ in range(60):
            p = (low + high) / 2
            few = sum(comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(count + 1))
            low, high = (p, high) if few > 0.025 else (low, p)
        return low

    missed, alarmed, delta = limit(inside - hits, inside), limit(alarms, outside), 1e-3
    expected = max(np.log((1 - missed - delta) / alarmed), np.log((1 - alarmed - delta) / missed))
    assert clopper_pearson(rates, delta=delta).epsilon == pytest.approx(float(expected), rel=1e-9)


def test_rates_below_delta_show_nothing() -> None:
    assert clopper_pearson((50, 100, 50, 100), delta=0.9).epsilon == 0


# What a bound is


@pytest.mark.parametrize("method", METHODS)
def test_a_bound_carries_all_that_it_stands_on(method: Method) -> None:
    found = method(design(100, 60, 1e-4, 0.9), 55)
    carried = dataclasses.asdict(found)
    assert {**carried, "epsilon": 0, "method": 0, "label": 0} == {
        **{"epsilon": 0, "method": 0, "label": 0, "delta": 1e-4, "confidence": 0.9, "two_sided": False},
        **{"m": 100, "guesses": 60, "correct": 55},
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.epsilon = 9.0  # type: ignore[misc] # that it is refused is what is shown


def test_labels_say_what_is_assumed() -> None:
    plan = design(100, 60)
    labels = [method(plan, 55).label for method in METHODS]
    assert labels == [Label.DISTRIBUTION_FREE, Label.GAUSSIAN_CURVE, Label.GAUSSIAN_PRODUCT, Label.PRODUCT]
    rates = (45, 50, 5, 50)
    assert clopper_pearson(rates, delta=0.0).label == "product channel"
    assert clopper_pearson(rates, delta=0.0, own_runs=True).label == "distribution-free"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_more_right_guesses_never_show_less_and_more_confidence_or_delta_never_more(data: st.DataObject) -> None:
    m = data.draw(st.integers(2, 300))
    guesses = data.draw(st.integers(1, m))
    correct = data.draw(st.integers(0, guesses - 1))
    method = data.draw(st.sampled_from(METHODS))
    plan = design(m, guesses)
    found = method(plan, correct).epsilon
    assert method(plan, correct + 1).epsilon >= found - 1e-8
    assert method(dataclasses.replace(plan, confidence=0.99), correct).epsilon <= found + 1e-8
    assert method(dataclasses.replace(plan, delta=1e-3), correct).epsilon <= found + 1e-8
    if 2 * correct <= guesses:
        assert found == 0


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_assumes_more_never_shows_less(data: st.DataObject) -> None:
    m = data.draw(st.integers(1, 2000))
    guesses = data.draw(st.integers(1, m))
    correct = data.draw(st.integers(guesses // 2, guesses))
    plan = design(m, guesses, data.draw(st.sampled_from([1e-12, 1e-5, 1e-2])))
    shown = [method(plan, correct).epsilon for method in (one_run, product_channel_any_curve, product_channel)]
    assert shown == sorted(shown) or max(np.diff(shown[::-1])) < 1e-8
    assert f_dp(plan, correct).epsilon <= shown[2] + 1e-8


@pytest.mark.parametrize("method", METHODS)
def test_two_sided_sees_guesses_that_are_wrong_too_often_and_pays_for_it(method: Method) -> None:
    one, two = design(200, 120), design(200, 120, two_sided=True)
    assert method(one, 8).epsilon == 0
    assert method(two, 8).epsilon == method(two, 112).epsilon > 0.5
    half = dataclasses.replace(one, confidence=0.975)
    assert method(two, 112).epsilon == pytest.approx(method(half, 112).epsilon, abs=1e-8)
    assert method(two, 112).epsilon < method(one, 112).epsilon


def test_two_sided_clopper_pearson_sees_a_rule_the_wrong_way_round() -> None:
    assert clopper_pearson((5, 100, 95, 100), delta=0.0).epsilon == 0
    turned = clopper_pearson((5, 100, 95, 100), delta=0.0, two_sided=True).epsilon
    assert turned == pytest.approx(clopper_pearson((95, 100, 5, 100), delta=0.0, confidence=0.975).epsilon, abs=1e-12)


# Validity


def positive_share(method: Method, plan: Design) -> float:
    """Chance of a bound above 0 when nothing is told: exact, a sum over the binomial of right guesses."""
    total, shown = plan.guesses, [method(plan, correct).epsilon > 0 for correct in range(plan.guesses + 1)]
    fewest = shown.index(True)
    assert fewest == fewest_right(method, plan) and all(shown[fewest:])
    return float(sum(Fraction(comb(total, k), 2**total) for k in range(fewest, total + 1)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("m", "guesses"), [(500, 500), (500, 100), (2000, 500)])
def test_when_nothing_is_told_a_bound_is_above_0_in_at_most_a_twentieth_of_runs(
    method: Method, m: int, guesses: int
) -> None:
    assert 0.001 < positive_share(method, design(m, guesses)) <= 0.05


def drawn(generator: np.random.Generator, m: int, mu: float) -> tuple[np.ndarray, np.ndarray]:
    members = generator.random(m) < 0.5
    return generator.standard_normal(m) + mu * members, members


@pytest.mark.parametrize(("method", "least"), [(one_run, 1.0), (f_dp, 2.5), (product_channel, 6.0)])
def test_bounds_of_a_gaussian_mechanism_are_below_its_epsilon_and_as_near_as_they_should_be(
    method: Method, least: float
) -> None:
    generator, mu = np.random.default_rng(8), 1.666030598
    plan, cache, found = design(512, 384), dict[int, float](), list[float]()
    for _ in range(300):
        scores, members = drawn(generator, plan.m, mu)
        correct = right(guess(scores, members, plan), members)
        if correct not in cache:
            cache[correct] = method(plan, correct).epsilon
        found.append(cache[correct])
    assert np.mean(np.array(found) <= 8) >= 0.95 - 2.5 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(found) >= least


def test_what_reveals_all_with_a_small_probability_breaks_what_assumes_more() -> None:
    """It is (0, 0.1)-DP: all canaries known in a tenth of runs. At delta 0.1 any bound above 0 is wrong."""
    plan = design(500, 500, delta=0.1)
    shown = {method: method(plan, 500).epsilon for method in METHODS}
    assert shown[one_run] == 0
    assert min(shown[f_dp], shown[product_channel], shown[product_channel_any_curve]) > 1
    assert clopper_pearson((250, 250, 0, 250), delta=0.1).epsilon > 1


# Power


@pytest.mark.parametrize("method", METHODS)
def test_power_is_the_epsilon_that_is_seen_in_95_of_100_runs(method: Method) -> None:
    plan = design(300, 150)
    found = power(method, plan)
    assert found.smallest is not None and found.largest == method(plan, 150).epsilon > 0
    generator, seen, runs = np.random.default_rng(4), 0, 3000
    mu = next(each for each in np.arange(0, 8, 1e-3) if gaussian_epsilon(float(each), 1e-5) >= found.smallest)
    cache = dict[int, bool]()
    for _ in range(runs):
        x = generator.standard_normal(300) + mu / 2
        correct = int((x[np.argsort(-np.abs(x))[:150]] > 0).sum())
        if correct not in cache:
            cache[correct] = method(plan, correct).epsilon > 0
        seen += cache[correct]
    assert 0.935 < seen / runs < 0.975  # counts are whole


def test_power_of_clopper_pearson_is_the_sum_over_all_counts() -> None:
    found = clopper_pearson_power(30, 40, delta=1e-5)
    assert found.smallest is not None
    assert found.largest == clopper_pearson((30, 30, 0, 40), delta=1e-5).epsilon
    mu = next(each for each in np.arange(0, 8, 1e-3) if gaussian_epsilon(float(each), 1e-5) >= found.smallest)
    rate = float(mpmath.ncdf(mu / 2))
    seen = 0.0
    for hits in range(31):
        for alarms in range(41):
            if clopper_pearson((hits, 30, alarms, 40), delta=1e-5).epsilon > 0:
                chance = comb(30, hits) * rate**hits * (1 - rate) ** (30 - hits)
                seen += chance * comb(40, alarms) * (1 - rate) ** alarms * rate ** (40 - alarms)
    assert seen == pytest.approx(0.95, abs=1e-3)


def test_too_few_guesses_have_no_power() -> None:
    assert fewest_right(one_run, design(4, 4)) is None and fewest_right(one_run, design(5, 5)) == 5
    assert power(one_run, design(4, 4)).smallest is None and power(one_run, design(4, 4)).largest == 0
    assert clopper_pearson_power(2, 2, delta=1e-5).smallest is None


# Guesses


def test_the_highest_are_guessed_in_and_the_lowest_out() -> None:
    scores = np.array([0.3, -np.inf, 7.0, 0.1, np.inf, 0.2])
    members = np.array([True, False, True, False, False, True])
    guessed = guess(scores, members, Design(6, 2, 3, 0.0))
    assert guessed.tolist() == [0, -1, 1, -1, 1, -1]
    assert right(guessed, members) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=9), st.data())
def test_ties_are_broken_so_that_fewest_guesses_are_right(rows: list[tuple[int, bool]], data: st.DataObject) -> None:
    m = len(rows[:6])
    scores, members = np.array([float(each) for each, _ in rows[:6]]), np.array([each for _, each in rows[:6]])
    inside = data.draw(st.integers(0, m))
    outside = data.draw(st.integers(0 if inside else 1, m - inside))
    plan = Design(m, inside, outside, 0.0)
    fewest = m
    for order in permutations(range(m)):
        if all(scores[a] >= scores[b] for a, b in pairwise(order)):
            hits = sum(bool(members[i]) for i in order[:inside])
            fewest = min(fewest, hits + sum(not members[i] for i in order[m - outside :]))
    assert right(guess(scores, members, plan), members) == fewest


def test_a_threshold_counts_scores_that_equal_it_as_wrong() -> None:
    scores, members = np.array([2.0, 2.0, 3.0, 1.0]), np.array([True, False, False, False])
    assert at_threshold(scores, members, 2.0) == (0, 1, 2, 3)


# What is refused


NO_SCORE = np.array([1.0, np.nan])
ONE_IN = np.array([True, False])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Design(10, 6, 5, 0.0), "6 guesses of in and 5 of out for 10 canaries"),
        (lambda: Design(10, 0, 0, 0.0), "guess at least once"),
        (lambda: Design(10, 5, 5, 1.0), "delta 1.0"),
        (lambda: Design(10, 5, 5, float("nan")), "delta nan"),
        (lambda: Design(10, 5, 5, 0.0, 0.5), "confidence 0.5"),
        (lambda: guess(NO_SCORE, ONE_IN, Design(2, 1, 1, 0.0)), "not a number"),
        (lambda: at_threshold(NO_SCORE, ONE_IN, 0.0), "not a number"),
        (lambda: guess(np.zeros(2), ONE_IN, Design(3, 1, 1, 0.0)), "2 scores for 3 canaries"),
        (lambda: guess(np.zeros(3), ONE_IN, Design(3, 1, 1, 0.0)), "give one of each"),
        (lambda: one_run(Design(10, 5, 5, 0.0), 11), "11 of 10 guesses are right"),
        (lambda: product_channel(Design(10, 5, 5, 0.0), 9), "delta is 0"),
        (lambda: f_dp(Design(10, 5, 5, 0.0), 9), "delta is 0"),
        (lambda: power(one_run, Design(10, 5, 5, 0.0)), "delta is 0"),
        (lambda: clopper_pearson((3, 2, 0, 5), delta=0.0), "give hits of members"),
        (lambda: clopper_pearson((0, 0, 0, 5), delta=0.0), "at least one each"),
    ],
)
def test_what_is_no_audit_is_refused_by_name(call: Callable[[], object], words: str) -> None:
    with pytest.raises(AuditError, match=words):
        call()
