"""The rule of membership verdicts, on scores by hand."""

from __future__ import annotations

import numpy as np
import pytest

from chatfed.audit.membership import ATTACKS
from chatfed.audit.part import Verdict
from chatfed.audit.roc import FALSE_RATES, area, at_false_rate
from training.audits.controls import FRESH, MEMBER, NEW, Pairing
from training.audits.judging import BARE, SERVED, Claim, Result, allowed, cautious, conclusion, faults, verdict

DIALOGUES = Pairing("dialogues", "dialogue", MEMBER, FRESH)
CLIENTS = Pairing("clients", "client", MEMBER, NEW)
SMALL, USUAL = Claim(0.1, 1e-5, of_clients=False), Claim(8.0, 1e-5, of_clients=False)
COUNT = 300


def results(target: str, pairing: Pairing, shift: float, seed: int = 1) -> list[Result]:
    """Of all attacks: normal scores, members' higher by `shift` deviations."""
    random, made = np.random.default_rng(seed), []
    for attack in ATTACKS:
        sides = random.normal(shift, 1, COUNT), random.normal(0, 1, COUNT)
        rates = tuple(at_false_rate(*sides, wanted) for wanted in FALSE_RATES)
        made.append(Result(target, pairing, attack, area(*sides, None, cautious(2)), rates, sides, None))
    return made


def both(served: float, bare: float | None, clients: float = 0.0) -> list[Result]:
    beside = [] if bare is None else results(BARE, DIALOGUES, bare, 2)
    return [*results(SERVED, DIALOGUES, served), *results(SERVED, CLIENTS, clients, 3), *beside]


@pytest.mark.parametrize(
    ("found", "claim", "wanted"),
    [
        ([], USUAL, Verdict.UNJUDGED),  # nothing could be compared
        (both(9.0, 9.0), SMALL, Verdict.FAULT),
        (both(0.0, None), USUAL, Verdict.UNJUDGED),  # no run without noise to try on
        (both(0.0, 0.0), USUAL, Verdict.UNJUDGED),  # the attacks fail there too
        (both(0.0, 1.0), USUAL, Verdict.HOLDS),  # they work there and fail here
        (both(1.0, None), USUAL, Verdict.HOLDS),  # they work here, as far as epsilon allows
        (both(9.0, None), USUAL, Verdict.HOLDS),
        (both(0.0, 1.0, clients=1.0), USUAL, Verdict.OPEN),  # of clients the claim says nothing
        (both(0.0, 0.0, clients=1.0), Claim(8.0, 1e-5, of_clients=True), Verdict.HOLDS),  # here it does
        (both(1.0, None), None, Verdict.OPEN),  # no noise, no claim
        (both(0.0, None), None, Verdict.UNJUDGED),
    ],
)
def test_the_rule(found: list[Result], claim: Claim | None, wanted: Verdict) -> None:
    assert verdict(found, claim) == wanted


def test_an_attack_that_works_without_noise_on_clients_alone_says_nothing_of_a_claim_on_dialogues() -> None:
    found = [*both(0.0, 0.0), *results(BARE, CLIENTS, 2.0)]
    assert verdict(found, USUAL) == Verdict.UNJUDGED


def test_a_verdict_is_told_with_its_reason() -> None:
    assert conclusion(both(9.0, None), SMALL) == "That is more than epsilon 0.1 allows."
    told = conclusion(both(9.0, None), USUAL)
    assert "(area 1.00)" in told and "epsilon 8 allows that much: an area up to 0.9997" in told
    assert "there is no run without noise to try on" in conclusion(both(0.0, None), USUAL)
    assert "without noise either" in conclusion(both(0.0, 0.0), USUAL)
    assert conclusion(both(0.0, 1.0), USUAL) == ""


def test_all_tests_share_one_error_and_what_they_could_refute_at_all_is_told() -> None:
    """Each test at 95 % for itself gave a fault in a large part of sound runs."""
    sound = [bool(faults([*results(SERVED, DIALOGUES, 0.0, seed)], Claim(0.0, 0.0, False))) for seed in range(100)]
    assert sum(sound) <= 5
    told = allowed(both(0.0, None), USUAL)
    assert told["tests"] == 3 * len(ATTACKS) and 3 < told["refutable_epsilon"] < 8  # of the covered pairing only
