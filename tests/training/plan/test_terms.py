"""What a participation costs is known before a run, and no plan is begun that its clients could not pay."""

from __future__ import annotations

import dataclasses

import pytest

from chatfed.privacy.accounting import compose
from chatfed.privacy.distributed import distributed_epsilon
from chatfed.privacy.guarantee import Noise, Protected
from chatfed.privacy.ledger import Budget
from tests.training.plans import check_sums, client_level, noisy
from tests.training.processes import PLAIN
from training.plan.cohorts import planned_participations
from training.plan.recipe import Recipe, load_recipe
from training.plan.settings import RecipeError
from training.plan.terms import client_terms


@pytest.mark.parametrize(("cohort", "rate"), [(10, 0.3), (333, 0.3), (10, 1.0)])
def test_noise_from_a_target_is_affordable_in_sums_too(cohort: int, rate: float) -> None:
    """Else every client refuses its last round: the sums' accountant is not the one that the noise is calibrated by."""
    recipe = client_level(cohort, sampling_rate=rate)
    terms = client_terms(recipe, cohort)
    check_sums(recipe, terms, cohort, 1000)
    cost = distributed_epsilon([noisy(recipe, 1000, terms.noise_multiplier).mechanism], delta=1e-5)
    assert 7.95 < cost <= 8.0


def test_a_plan_that_the_sums_accountant_finds_too_dear_or_cannot_bound_is_refused_before_the_rounds() -> None:
    recipe = client_level(noise_multiplier=1.0)
    terms = client_terms(client_level(), 10)
    with pytest.raises(RecipeError, match=r"over its budget of 4: raise privacy\.noise_multiplier"):
        check_sums(recipe, dataclasses.replace(terms, budget=Budget(4.0, 1e-5, Protected.DIALOGUE)), 10, 1000)
    with pytest.raises(RecipeError, match=r"privacy\.delta.*cannot be accounted"):
        check_sums(recipe, dataclasses.replace(terms, budget=Budget(1e4, 1e-37, Protected.DIALOGUE)), 10, 1000)
    check_sums(Recipe(), terms, 400, 1000)


def test_a_target_that_no_noise_reaches_is_refused_by_its_key() -> None:
    with pytest.raises(RecipeError, match=r"privacy\.target_epsilon = 1e-25"):
        client_terms(client_level(target_epsilon=1e-25, delta=1e-29), 10)


@pytest.mark.parametrize("target", [0.1, 0.01, 1e-4])
def test_a_small_target_is_reached(target: float) -> None:
    terms = client_terms(client_level(target_epsilon=target), 10)
    assert terms.mechanism is not None and compose([terms.mechanism], delta=1e-5) <= target


PLAN = ["federation.rounds=10", "federation.cohort=40", "privacy.sampling_rate=1", "privacy.local_steps=1"]


def test_noise_whose_planned_cost_is_over_the_budget_is_refused_with_cost_and_budget() -> None:
    recipe = load_recipe(PLAIN, [*PLAN, "privacy.noise_multiplier=0.4", "privacy.target_epsilon=8"])
    with pytest.raises(RecipeError) as caught:
        client_terms(recipe, clients=400)
    for part in ("privacy.noise_multiplier = 0.4", "one planned participation", "epsilon 13.", "budget of 8"):
        assert part in str(caught.value)
    with pytest.raises(RecipeError, match="the 4 planned participations"):
        client_terms(recipe, clients=100)


def test_noise_within_the_budget_and_calibrated_noise_are_accepted() -> None:
    for overrides in (["privacy.noise_multiplier=0.4", "privacy.budget_epsilon=14"], ["privacy.noise_multiplier=0"]):
        recipe = load_recipe(PLAIN, [*PLAN, *overrides])
        terms = client_terms(recipe, clients=400)
        assert terms.mechanism is not None
        planned = [terms.mechanism] * planned_participations(recipe, 400)
        assert compose(planned, delta=recipe.privacy.delta) <= terms.budget.epsilon


def test_without_noise_there_is_no_budget_to_pass() -> None:
    bare = dataclasses.replace(Recipe().privacy, noise=Noise.NONE, target_epsilon=0.0)
    assert client_terms(dataclasses.replace(Recipe(), privacy=bare), clients=400).mechanism is None
