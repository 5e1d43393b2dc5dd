"""Epsilon against published numbers and an independent accountant; claims that lack a condition are refused."""

from __future__ import annotations

import math

import pytest

from chatfed.privacy.accounting import (
    PLD,
    RDP,
    Mechanism,
    PrivacyError,
    calibrate_noise,
    compose,
    curve,
    epsilon,
    gdp,
    zcdp,
)
from chatfed.privacy.conversions import gaussian_epsilon, zcdp_epsilon
from chatfed.privacy.guarantee import Adjacency
from chatfed.types import ChatfedError

# (noise multiplier, sampling rate, steps, delta, epsilon by dp_accounting 0.6.0 PLD): ../shared/golden/accounting.json
GOLDEN = [
    (0.8, 0.01, 1000, 1e-5, 3.1410183192645444),
    (1.0, 0.01, 1000, 1e-5, 1.8282436455855091),
    (1.0, 0.02, 2500, 1e-6, 7.117535279855246),
    (3.0, 0.1, 512, 1e-6, 3.769686581455342),
    (1.5, 0.16, 120, 1e-5, 6.503726770302537),
    (2.0, 1.0, 10, 1e-5, 7.511275904062699),
    (6.0, 1.0, 30, 1e-5, 3.940016271491962),
    (0.6, 0.004, 2000, 1e-6, 5.376188593142984),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "delta", "pld"), GOLDEN)
def test_epsilon_is_an_upper_bound_close_to_that_of_an_independent_accountant(
    noise: float, rate: float, steps: int, delta: float, pld: float
) -> None:
    assert pld <= epsilon(noise, rate, steps, delta=delta) <= pld + 1e-3


# epsilon by dp_accounting 0.6.0 Renyi DP and by opacus 1.6.0 PRV for the same cases, same source
GOLDEN_RDP = [3.69561319, 2.10136653, 7.68841946, 4.05097038, 7.15051133, 8.07940622, 4.25973041, 6.36256236]
GOLDEN_PRV = [3.15126293, 1.83837164, 7.12785036, 3.77986028, 6.51410048, 7.52164101, 3.95023199, 5.38658180]


@pytest.mark.parametrize(("case", "rdp", "prv"), [*zip(GOLDEN, GOLDEN_RDP, GOLDEN_PRV, strict=True)])
def test_each_accountant_gives_its_golden_value(
    case: tuple[float, float, int, float, float], rdp: float, prv: float
) -> None:
    noise, rate, steps, delta, pld = case
    assert epsilon(noise, rate, steps, delta=delta, by=PLD) == pytest.approx(pld, abs=1e-3)
    assert epsilon(noise, rate, steps, delta=delta) == pytest.approx(prv, abs=0.02)
    assert epsilon(noise, rate, steps, delta=delta, by=RDP) == pytest.approx(rdp, rel=4e-3)


def test_opacus_prv_stays_within_two_hundredths_where_delta_is_ordinary() -> None:
    from opacus.accountants import PRVAccountant

    for (noise, rate, steps, delta, pld), golden in zip(GOLDEN[:1], GOLDEN_PRV, strict=False):
        other = PRVAccountant()
        other.history = [(noise, rate, steps)]
        found = float(other.get_epsilon(delta))
        assert found == pytest.approx(golden, abs=1e-4) and found == pytest.approx(pld, abs=0.02)


def test_a_curve_holds_each_epsilon_of_the_composition_and_falls_with_delta() -> None:
    parts, deltas = [Mechanism(1.0, 0.05, 40), Mechanism(3.0, 1.0, 2)], [1e-3, 1e-5, 1e-7, 1e-15, 1e-80]
    found = curve(parts, deltas)
    assert found == [compose(parts, delta=delta) for delta in deltas] and found == sorted(found)
    assert curve([], deltas) == [0.0] * 5 and curve([Mechanism(0.0, 1.0, 1)], deltas) == [math.inf] * 5
    with pytest.raises(PrivacyError, match="delta"):
        curve(parts, [1e-5, 0.0])


def test_without_sampling_all_forms_surround_the_exact_gaussian() -> None:
    parts = [Mechanism(4.0, 1.0, 3), Mechanism(8.0, 1.0, 8), Mechanism(1.0, 0.0, 9)]
    mu = gdp(parts)
    assert mu == pytest.approx(math.sqrt(3 / 16 + 8 / 64)) and zcdp(parts) == pytest.approx(mu**2 / 2)
    exact = gaussian_epsilon(mu, 1e-5)
    assert exact <= compose(parts, delta=1e-5, by=PLD) <= exact + 1e-3
    assert compose(parts, delta=1e-5) == pytest.approx(exact, rel=1e-12)
    assert exact < compose(parts, delta=1e-5, by=RDP) <= zcdp_epsilon(zcdp(parts), 1e-5) * 1.001
    assert gdp([]) == 0.0 and gdp([Mechanism(0.0, 1.0, 1)]) == math.inf == zcdp([Mechanism(0.0, 1.0, 1)])
    for form in (gdp, zcdp):
        with pytest.raises(PrivacyError, match="subsampled"):
            form([Mechanism(1.0, 0.5, 1)])


@pytest.mark.parametrize("by", [None, PLD, RDP])
def test_replacing_one_is_a_gaussian_of_half_the_noise_and_refused_with_sampling(by: str | None) -> None:
    whole, half = [Mechanism(4.0, 1.0, 3)], [Mechanism(2.0, 1.0, 3)]
    assert compose(whole, delta=1e-5, by=by, adjacency=Adjacency.REPLACE) == compose(half, delta=1e-5, by=by)
    assert curve(whole, [1e-5], adjacency=Adjacency.REPLACE) == curve(half, [1e-5])
    assert gdp(whole, adjacency=Adjacency.REPLACE) == gdp(half)
    with pytest.raises(PrivacyError, match="group_privacy"):
        compose([Mechanism(4.0, 0.5, 3)], delta=1e-5, by=by, adjacency=Adjacency.REPLACE)


def test_accountants_and_adjacencies_that_do_not_exist_are_refused() -> None:
    with pytest.raises(PrivacyError, match="accountant"):
        epsilon(1.0, 0.1, 1, delta=1e-5, by="moments")
    with pytest.raises(PrivacyError, match="adjacency"):
        compose([Mechanism(1.0, 1.0, 1)], delta=1e-5, adjacency="swap")  # type: ignore[arg-type]


def test_noise_calibrated_by_renyi_is_more_than_by_pld() -> None:
    noise = calibrate_noise(2.0, 0.2, 10, delta=1e-5, by=RDP)
    assert epsilon(noise, 0.2, 10, delta=1e-5, by=RDP) <= 2.0 < epsilon(noise / 1.0011, 0.2, 10, delta=1e-5, by=RDP)
    assert noise > calibrate_noise(2.0, 0.2, 10, delta=1e-5, by=PLD) == calibrate_noise(2.0, 0.2, 10, delta=1e-5)


def test_heterogeneous_composition_agrees_with_an_independent_accountant() -> None:
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    parts = [Mechanism(1.0, 0.05, 40), Mechanism(1.4, 0.2, 10), Mechanism(3.0, 1.0, 2)]
    other = PLDAccountant()
    for m in parts:
        step: dp_event.DpEvent = dp_event.GaussianDpEvent(m.noise_multiplier)
        if m.sampling_rate < 1:
            step = dp_event.PoissonSampledDpEvent(m.sampling_rate, step)
        other.compose(step, m.steps)
    expected = other.get_epsilon(1e-5)
    assert expected - 1e-4 <= compose(parts, delta=1e-5) <= expected + 1e-3


def test_composition_depends_on_total_steps_alone() -> None:
    whole = compose([Mechanism(2.0, 0.1, 30), Mechanism(1.0, 0.1, 4)], delta=1e-5)
    pieces = [Mechanism(1.0, 0.1, 3), *[Mechanism(2.0, 0.1, 10)] * 3, Mechanism(1.0, 0.1, 1), Mechanism(9.0, 0.1, 0)]
    assert compose(pieces, delta=1e-5) == whole > compose(pieces[1:4], delta=1e-5)


def test_extreme_inputs_have_their_limits() -> None:
    assert epsilon(1.0, 0.1, 0, delta=1e-5) == 0.0 == compose([], delta=1e-5)
    assert epsilon(1.0, 0.0, 10, delta=1e-5) == 0.0
    assert epsilon(0.0, 0.1, 1, delta=1e-5) == math.inf
    assert epsilon(0.0, 0.1, 0, delta=1e-5) == 0.0


def test_epsilon_beyond_the_grid_is_still_a_growing_bound() -> None:
    by_noise = [epsilon(noise, 0.5, 1000, delta=1e-5) for noise in (0.05, 0.1, 1.0, 3.0)]
    assert by_noise == sorted(by_noise, reverse=True) and all(map(math.isfinite, by_noise))
    assert 0 < epsilon(1.0, 0.1, 10, delta=1e-14) < 50


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_delta_outside_zero_and_one_is_refused(delta: float) -> None:
    with pytest.raises(PrivacyError, match="delta"):
        epsilon(1.0, 0.1, 10, delta=delta)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [
        (-1.0, 0.1, 1),
        (math.nan, 0.1, 1),
        (1.0, 1.1, 1),
        (1.0, -0.1, 1),
        (1.0, 0.1, -1),
        (1.0, 0.1, math.inf),
        (1.0, 0.1, math.nan),
        (1.0, 0.1, 1.5),
    ],
)
def test_impossible_mechanisms_are_refused(noise: float, rate: float, steps: int) -> None:
    with pytest.raises(ChatfedError):
        Mechanism(noise, rate, steps)


@pytest.mark.parametrize("rate", [1.0, 0.5, 1e-300])
def test_noise_beyond_what_can_be_squared_costs_next_to_nothing(rate: float) -> None:
    for noise in (1e155, 1.7e308):
        assert 0 <= epsilon(noise, rate, 3, delta=1e-10) <= 1e-9


@pytest.mark.parametrize(
    ("target", "rate", "steps"),
    [(8.0, 0.25, 4), (2.0, 1.0, 10), (0.1, 0.05, 5), (70.0, 0.3, 5), (0.01, 0.25, 10), (1e-4, 1.0, 3)],
)
def test_calibrated_noise_meets_the_target_and_a_thousandth_less_does_not(
    target: float, rate: float, steps: int
) -> None:
    noise = calibrate_noise(target, rate, steps, delta=1e-5)
    assert epsilon(noise, rate, steps, delta=1e-5) <= target < epsilon(noise / 1.0011, rate, steps, delta=1e-5)


def test_targets_that_no_noise_reaches_are_refused() -> None:
    for target in (0.0, -1.0, math.inf, math.nan, 1e-30):
        with pytest.raises(PrivacyError, match="target"):
            calibrate_noise(target, 1.0, 10, delta=1e-30)
    assert calibrate_noise(1.0, 0.25, 0, delta=1e-5) == 0.0


def test_a_large_delta_never_makes_epsilon_negative() -> None:
    for noise, rate, steps, delta in ((0.577, 0.00127, 5, 0.0313), (3.44, 0.0062, 9, 0.0307), (1.0, 0.1, 1, 0.2)):
        assert epsilon(noise, rate, steps, delta=delta) == 0.0
