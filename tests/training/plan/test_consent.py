"""What a member reads before it agrees: who, how much, against whom, what leaves; and nothing that is not earned."""

from __future__ import annotations

import pytest

from chatfed.audit.figures import above
from tests.training.federations import NAMES, federation
from training.plan.claims import HELD_OUT, OTHER_RUNS
from training.plan.consent import MEASURED_APART
from training.plan.in_words import planned_claim


def text(*settings: str) -> str:
    lines = federation(settings=settings).in_words()
    assert all(line == " ".join(line.split()) for line in lines), "each is one line"
    return "\n".join(lines)


def test_it_says_who_takes_part_and_where_the_coordinator_is() -> None:
    said = text()
    assert f"has 4 members, called clients below: {', '.join(NAMES)}." in said
    assert "Its coordinator is localhost:9443" in said and federation().fingerprint in said


@pytest.mark.parametrize(
    ("unit", "noise"), [("example", "local"), ("example", "distributed"), ("client", "distributed")]
)
def test_it_says_what_the_plan_s_own_claim_says(unit: str, noise: str) -> None:
    settings = (
        f"privacy.unit={unit}",
        f"privacy.noise={noise}",
        "privacy.target_epsilon=6",
        "privacy.budget_epsilon=7",
    )
    claim, said = planned_claim(federation(settings=settings).plan()), text(*settings)
    assert claim.epsilon is not None
    assert f"epsilon at most {above(claim.epsilon)} at delta 1e-05 over the whole run" in said
    assert "lets epsilon 7 pass and no more" in said
    assert f"This holds against {claim.holds_against}." in said
    for line in (*claim.assumptions, *(each for each in claim.excludes if each not in (OTHER_RUNS, HELD_OUT))):
        assert f"\n- {line}" in said
    assert HELD_OUT in claim.excludes and f"\n- {MEASURED_APART}" in said
    assert ("All dialogues that you learn from, together, are protected" in said) == (unit == "client")
    assert "simulation" not in said and "run's folder" not in said


def test_a_run_without_noise_promises_nothing() -> None:
    said = text("privacy.noise=none", "privacy.target_epsilon=0", "privacy.budget_epsilon=0")
    assert "No noise is added, and no privacy is claimed" in said
    assert "Nothing that you learn from is protected by noise" in said
    assert "in each round your update, without noise and what your held-out dialogues measure, with noise," in said
    for promise in ("protected with epsilon", "holds against", "rests on"):
        assert promise not in said


def test_it_says_all_that_leaves_and_in_the_smallest_sum() -> None:
    assert (
        "leaves this machine: in each round your update, with noise and what your held-out dialogues measure" in text()
    )
    assert "with noise, masked so that only sums over 3 " in text()
    more = text("ngrams.longest=2", "ngrams.cells=300", "data.hold_out=0.1", "data.hold_out_epsilon=4")
    assert "once your counts of n-grams, with noise, in each round your update, with noise and what your " in more
    assert "hold out to measure with, about 10% of yours, costs epsilon 4 at the most" in more
    strict = text("secagg.threshold=1.0")
    assert "only sums over 4 members or more" in strict and "no sum of fewer than 4 of 4 is unmasked" in strict
