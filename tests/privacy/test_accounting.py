"""Epsilon against published numbers and an independent accountant; claims that lack a condition are refused."""

from __future__ import annotations

import math

import pytest

from chatfed.privacy.accounting import (
    ADJACENCY,
    Guarantee,
    Mechanism,
    PrivacyError,
    calibrate_noise,
    compose,
    epsilon,
)
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
def test_epsilon_is_an_upper_bound_within_two_hundredths_of_pld(
    noise: float, rate: float, steps: int, delta: float, pld: float
) -> None:
    assert pld <= epsilon(noise, rate, steps, delta=delta) <= pld + 0.02


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
    assert expected <= compose(parts, delta=1e-5) <= expected + 0.02


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
    ("noise", "rate", "steps"), [(-1.0, 0.1, 1), (math.nan, 0.1, 1), (1.0, 1.1, 1), (1.0, -0.1, 1), (1.0, 0.1, -1)]
)
def test_impossible_mechanisms_are_refused(noise: float, rate: float, steps: int) -> None:
    with pytest.raises(ChatfedError):
        Mechanism(noise, rate, steps)


@pytest.mark.parametrize(("target", "rate", "steps"), [(8.0, 0.25, 4), (2.0, 1.0, 10), (0.1, 0.05, 5), (70.0, 0.3, 5)])
def test_calibrated_noise_meets_the_target_and_a_thousandth_less_does_not(
    target: float, rate: float, steps: int
) -> None:
    noise = calibrate_noise(target, rate, steps, delta=1e-5)
    assert epsilon(noise, rate, steps, delta=1e-5) <= target < epsilon(noise / 1.0011, rate, steps, delta=1e-5)


def test_targets_that_no_noise_reaches_are_refused() -> None:
    for target in (0.0, -1.0, math.inf, math.nan, 0.005):
        with pytest.raises(PrivacyError, match="target"):
            calibrate_noise(target, 0.25, 10, delta=1e-5)
    assert calibrate_noise(1.0, 0.25, 0, delta=1e-5) == 0.0


def claim(**changes: object) -> Guarantee:
    fields: dict[str, object] = {
        "epsilon": 7.99912,
        "delta": 1e-5,
        "unit": "dialogue",
        "adjacency": ADJACENCY,
        "accountant": "PRV (Opacus), upper bound",
        "sampling": "Poisson, rate 0.25",
        "noise": "local",
        "holds_against": "the server, the other clients and users of the model",
        "rounds": 10,
        "assumptions": ("the client runs this code",),
        "excludes": ("evaluation on held-out clients", "choice of hyperparameters"),
    }
    return Guarantee(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_sentence_names_every_condition_and_never_rounds_down() -> None:
    sentence = claim().sentence()
    for part in (
        "8.000", "1e-05", "dialogue", ADJACENCY, "PRV (Opacus)", "Poisson, rate 0.25", "local", "the other clients",
        "10 rounds", "the client runs this code", "held-out clients", "hyperparameters",
    ):  # fmt: skip
        assert part in sentence


@pytest.mark.parametrize(
    "field", ["unit", "adjacency", "accountant", "sampling", "noise", "holds_against", "assumptions", "excludes"]
)
def test_a_claim_without_a_condition_is_refused(field: str) -> None:
    for empty in ("", " ", None) if field not in ("assumptions", "excludes") else ((), None):
        with pytest.raises(PrivacyError, match=field):
            claim(**{field: empty})


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": math.inf},
        {"epsilon": math.nan},
        {"epsilon": -1.0},
        {"epsilon": None},
        {"delta": None},
        {"delta": 0.0},
    ],
)
def test_a_claim_without_a_number_is_refused(change: dict[str, float | None]) -> None:
    with pytest.raises(PrivacyError):
        claim(**change)


def test_a_run_without_noise_claims_nothing() -> None:
    record = Guarantee.without_noise(unit="dialogue", rounds=3)
    assert record.to_json()["epsilon"] is None and record.to_json()["delta"] is None
    assert "No differential privacy" in record.sentence()
    with pytest.raises(PrivacyError, match="without noise"):
        claim(noise="none")


def test_json_carries_the_keys_of_a_run_folder() -> None:
    import json

    found = json.loads(json.dumps(claim().to_json()))
    assert {
        "epsilon",
        "delta",
        "unit",
        "adjacency",
        "accountant",
        "sampling",
        "noise",
        "holds_against",
        "rounds",
    } <= set(found)
    assert found["assumptions"] == ["the client runs this code"]
