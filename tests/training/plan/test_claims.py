"""What a plan costs is known before it runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from chatfed.privacy.accounting import compose
from chatfed.privacy.guarantee import Noise
from training.plan.recipe import Recipe, load_recipe, planned_participations
from training.plan.settings import RecipeError
from training.plan.terms import client_terms

PLAN = ["federation.rounds=10", "federation.cohort=40", "privacy.sampling_rate=1", "privacy.local_steps=1"]


def test_noise_whose_planned_cost_is_over_the_budget_is_refused_with_cost_and_budget() -> None:
    recipe = load_recipe(None, [*PLAN, "privacy.noise_multiplier=0.4", "privacy.target_epsilon=8"])
    with pytest.raises(RecipeError) as caught:
        client_terms(recipe, clients=400)
    for part in ("privacy.noise_multiplier = 0.4", "one planned participation", "epsilon 13.", "budget of 8"):
        assert part in str(caught.value)
    with pytest.raises(RecipeError, match="the 4 planned participations"):
        client_terms(recipe, clients=100)


def test_noise_within_the_budget_and_calibrated_noise_are_accepted() -> None:
    for overrides in (["privacy.noise_multiplier=0.4", "privacy.budget_epsilon=14"], ["privacy.noise_multiplier=0"]):
        recipe = load_recipe(None, [*PLAN, *overrides])
        terms = client_terms(recipe, clients=400)
        assert terms.mechanism is not None
        planned = [terms.mechanism] * planned_participations(recipe, 400)
        assert compose(planned, delta=recipe.privacy.delta) <= terms.budget.epsilon


def test_without_noise_there_is_no_budget_to_pass() -> None:
    bare = dataclasses.replace(Recipe().privacy, noise=Noise.NONE, target_epsilon=0.0)
    assert client_terms(dataclasses.replace(Recipe(), privacy=bare), clients=400).mechanism is None


def test_one_lost_ledger_is_noticed_though_others_hold_more_than_was_recorded() -> None:
    from chatfed.privacy.accounting import EXACT
    from chatfed.privacy.ledger import LedgerError
    from chatfed.types import ClientId
    from training.parties.ledgers import check_ledgers
    from training.plan.claims import Spent

    a, b = ClientId("a"), ClientId("b")
    held = Spent({a: 4.0}, {a: 2}, EXACT)  # b's ledger is gone; an interrupted round left one charge more with a
    with pytest.raises(LedgerError, match="ledger of b holds 0 charges, but 1"):
        check_ledgers({a: 1, b: 1}, held)
    check_ledgers({a: 1}, held)


def test_survivors_that_were_settled_on_are_those_of_that_round_alone(tmp_path: Path) -> None:
    from chatfed.types import ClientId
    from training.run.run_folder import RunFolder

    folder, survivors = RunFolder(tmp_path), [ClientId("a"), ClientId("b")]
    assert folder.settled(0) is None
    folder.settle(2, survivors)
    assert folder.settled(2) == survivors and folder.settled(1) is None and folder.settled(3) is None


@pytest.mark.parametrize("noise", ["local", "distributed"])
def test_a_claim_with_sampling_also_says_what_holds_before_whoever_knows_the_sample(noise: str) -> None:
    from chatfed.privacy.accounting import epsilon
    from chatfed.types import ClientId
    from tests.training.plans import charges_of, claim_of
    from training.plan.claims import Spent

    recipe = load_recipe(None, [*PLAN, f"privacy.noise={noise}", "privacy.sampling_rate=0.25"])
    terms = client_terms(recipe, 400)
    assert terms.mechanism is not None
    charges = tuple(charges_of(recipe, terms, 5000, 0)) or (terms.mechanism,)
    cost = Spent({ClientId("a"): 7.9}, {ClientId("a"): 1}, "one", charges)
    sampling = claim_of(recipe, terms).guarantee(cost, 1).sampling
    stated = float(sampling.rpartition("epsilon is ")[2])
    assert stated == pytest.approx(epsilon(terms.noise_multiplier, 1.0, 1, delta=1e-5), abs=0.05) and stated > 8.5
    assert "knows who was sampled" not in claim_of(recipe, terms).guarantee(Spent({}, {}, "one"), 1).sampling
