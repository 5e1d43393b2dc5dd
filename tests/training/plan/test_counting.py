"""The plan of a count before the rounds: what both cost together, what is claimed of them, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from chatfed.privacy.accounting import PLD, Mechanism, compose
from chatfed.privacy.distributed import SAMPLED_SUMS, SUMS, DistributedGaussian, distributed_epsilon
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.types import ClientId
from tests.training.test_outlook import told
from training.outlook import outlook
from training.plan.checks import check
from training.plan.claims import Spent, accountant_of
from training.plan.in_words import plan_in_words, planned_epsilon
from training.plan.plan import Counting, Plan, resolve
from training.plan.recipe import (
    MOST_PARTICIPANTS,
    FederationSection,
    NGramsSection,
    PrivacySection,
    Recipe,
    SecAggSection,
)
from training.plan.settings import RecipeError
from training.plan.terms import charges_of
from training.plan.variants import counting, without_noise

CELLS = 9000


def a_recipe(noise: str = "distributed", unit: str = "example", share: float = 0.625, **privacy: Any) -> Recipe:
    given = {"target_epsilon": 8.0, "sampling_rate": 0.4, "clip_norm": 0.7} | privacy
    return Recipe(
        privacy=PrivacySection(unit=Unit(unit), noise=Noise(noise), **given),
        ngrams=NGramsSection(longest=3, share=share, cells=CELLS),
        federation=FederationSection(rounds=12, cohort=10),
        secagg=SecAggSection(threshold=0.8),
    )


def a_plan(noise: str = "distributed", unit: str = "example", clients: int = 40, **privacy: Any) -> Plan:
    return resolve(a_recipe(noise, unit, **privacy), clients)


def count_of(plan: Plan) -> Counting:
    assert plan.counting is not None
    return plan.counting


def by_dp_accounting(steps: Sequence[Mechanism]) -> float:
    """An independent accountant, whose numbers these must not fall below."""
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    other = PLDAccountant()
    for m in steps:
        step: dp_event.DpEvent = dp_event.GaussianDpEvent(m.noise_multiplier)
        if m.sampling_rate < 1:
            step = dp_event.PoissonSampledDpEvent(m.sampling_rate, step)
        other.compose(step, m.steps)
    return float(other.get_epsilon(1e-5))


def all_sums(plan: Plan, dimension: int = 5000) -> list[DistributedGaussian]:
    agreement = plan.agreement
    rounds = charges_of(agreement.sums.codec, agreement.schedule, dimension, 0) * plan.participations
    return [*count_of(plan).charges, *rounds]


def test_count_and_rounds_with_noise_of_ones_own_cost_what_an_independent_accountant_says() -> None:
    plan = a_plan("local")
    charges = plan.own_charges
    assert charges == (count_of(plan).terms.mechanism, *[plan.terms.mechanism] * 3)
    found = compose(charges, delta=1e-5)
    expected = by_dp_accounting(charges)
    assert expected - 1e-4 <= found <= expected + 2e-3
    assert 7.98 < found <= 8.0 and planned_epsilon(plan) == found


@pytest.mark.parametrize(("unit", "rate"), [("example", 0.4), ("client", 0.4), ("client", 1.0)])
def test_count_and_rounds_with_shared_noise_cost_what_an_independent_accountant_says(unit: str, rate: float) -> None:
    plan = a_plan(unit=unit, sampling_rate=rate)
    charges = all_sums(plan)
    gaussians = [Mechanism(charge.noise_multiplier, charge.sampling_rate, charge.rounds) for charge in charges]
    found, expected = distributed_epsilon(charges, delta=1e-5), by_dp_accounting(gaussians)
    assert expected - 1e-4 <= found <= expected + 2e-2
    assert 7.9 < found <= 8.0
    assert accountant_of(charges, 1e-5) == (SUMS if rate == 1 else SAMPLED_SUMS)


@pytest.mark.parametrize("noise", ["local", "distributed"])
@pytest.mark.parametrize("multiplier", [0.0, 2.0])
def test_the_count_alone_costs_what_the_recipe_says_and_no_setting_of_the_rounds_makes_it_cheaper(
    noise: str, multiplier: float
) -> None:
    plan = a_plan(noise, noise_multiplier=multiplier, sampling_rate=0.1)
    count = count_of(plan)
    assert 4.98 < count.epsilon <= 5.0
    assert count.terms.mechanism == Mechanism(count.terms.noise_multiplier, 1.0, 1)
    own = count.learning
    assert own.noise_multiplier == count.terms.noise_multiplier != plan.learning.noise_multiplier
    assert (own.privacy.clip_norm, own.privacy.sampling_rate, own.privacy.local_steps) == (1.0, 1.0, 1)


@pytest.mark.parametrize("unit", ["example", "client"])
def test_the_counts_noise_is_of_the_honest_among_all_clients(unit: str) -> None:
    plan = a_plan(unit=unit, clients=40)
    (charge,) = count_of(plan).charges
    assert charge.shares == 32 - 4 and charge.sampling_rate == 1.0 and charge.dimension >= CELLS
    assert charge.noise_multiplier == pytest.approx(count_of(plan).terms.noise_multiplier)
    (of_a_round,) = charges_of(plan.agreement.sums.codec, plan.agreement.schedule, 5000, 0)
    assert of_a_round.shares == 8 - 1


def test_rounds_are_noisier_beside_a_count_and_share_its_budget() -> None:
    plan = a_plan("local")
    alone = resolve(Recipe(**{**vars(a_recipe("local")), "ngrams": NGramsSection()}), 40)
    assert alone.counting is None and plan.terms.noise_multiplier > alone.terms.noise_multiplier
    assert count_of(plan).terms.budget == plan.terms.budget


def test_the_counts_messages_are_of_another_digest_than_rounds_and_bind_its_settings() -> None:
    plan = a_plan()
    assert count_of(plan).agreement.digest != plan.agreement.digest
    assert count_of(a_plan(delta=1e-6)).agreement.digest != count_of(plan).agreement.digest


def test_budgets_hold_the_rounds_beside_the_count_or_the_plan_is_refused() -> None:
    plan = a_plan()
    plan.refuse_unaffordable(5000)
    tight = Plan(**{**vars(plan), "participations": plan.participations + 1})
    with pytest.raises(RecipeError, match="cost epsilon"):
        tight.refuse_unaffordable(5000)
    Plan(**{**vars(plan), "participations": plan.participations + 1, "counting": None}).refuse_unaffordable(5000)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (a_recipe(share=0.999, noise_multiplier=1.0), "over its budget"),
        (a_recipe(share=0.9, budget_epsilon=4.0, noise_multiplier=1.0), "over its budget"),
        (a_recipe("local", noise_multiplier=0.5), "over its budget"),
    ],
)
def test_a_count_that_leaves_nothing_for_rounds_is_refused(recipe: Recipe, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        resolve(recipe, 40)


def test_updates_that_are_sent_again_are_refused_beside_a_count() -> None:
    recipe = a_recipe(unit="client", sampling_rate=1.0)
    banded = Recipe(**{**vars(recipe), "federation": FederationSection(rounds=12, cohort=4, bands=3)})
    with pytest.raises(RecipeError, match=r"ngrams.longest = 3 with federation.bands = 3"):
        check(banded, 40)


@pytest.mark.parametrize("noise", ["none", "local"])
def test_a_named_ring_must_hold_the_count_of_all_clients_too(noise: str) -> None:
    recipe = a_recipe(noise) if noise == "local" else without_noise(a_recipe())
    narrow = Recipe(**{**vars(recipe), "secagg": SecAggSection(ring_bits=21)})
    check(narrow, 40)
    with pytest.raises(RecipeError, match="all 400 clients, whose n-grams are counted"):
        check(narrow, 400)


def test_a_count_that_no_ring_holds_is_refused_by_its_name() -> None:
    recipe = a_recipe()
    narrow = Recipe(**{**vars(recipe), "secagg": SecAggSection(ring_bits=16, threshold=0.8)})
    with pytest.raises(RecipeError, match="the count of n-grams"):
        count_of(Plan(**{**vars(a_plan()), "counting": _recounted(narrow, 4000)})).refuse_hopeless()


def _recounted(recipe: Recipe, clients: int) -> Counting:
    from training.plan.plan import counting_of

    count = counting_of(recipe, clients)
    assert count is not None
    return count


def test_without_noise_a_count_costs_and_claims_nothing() -> None:
    plan = resolve(without_noise(a_recipe()), 40)
    count = count_of(plan)
    assert count.terms.mechanism is None and count.epsilon == 0.0 and count.charges == [] and plan.own_charges == ()
    assert count.learning.noise_multiplier == 0.0
    assert "first one count of n-grams up to 3 tokens at all 40 clients" in plan_in_words(plan)


def test_of_more_clients_than_a_sum_takes_so_many_are_counted() -> None:
    assert counting(a_recipe(), 100_000).federation.cohort == MOST_PARTICIPANTS


@pytest.mark.parametrize("unit", ["example", "client"])
def test_the_claim_names_the_counts_shares_and_that_it_samples_nothing(unit: str) -> None:
    plan = a_plan(unit=unit)
    cost = Spent({ClientId("a"): 7.9}, {ClientId("a"): 4}, SAMPLED_SUMS, tuple(all_sums(plan)))
    claim = plan.claim.guarantee(cost, 12, repeats=None, dealt=False)
    assert "the count of n-grams before the first round samples nothing" in claim.sampling
    assert "before whoever knows who was sampled, epsilon is" in claim.sampling
    assert "(in the count of n-grams at most 4 of 40, and no fewer than 32)" in claim.holds_against
    assert any("at least 28 of the 32 or more of the count of n-grams" in each for each in claim.assumptions)


def test_a_plan_says_its_count_and_what_that_costs() -> None:
    said = plan_in_words(a_plan())
    assert "first one count of epsilon 5.00 by itself of n-grams up to 3 tokens at all 40 clients" in said
    assert "unmasked for 32 or more; then 12 rounds of 10 of 40 clients" in said
    assert "at most 1 client of a round, and 4 of the count" in said
    assert "count" not in plan_in_words(resolve(Recipe(**{**vars(a_recipe()), "ngrams": NGramsSection()}), 40))


def test_an_outlook_accounts_for_the_count_as_ledgers_will() -> None:
    lines = "\n".join(outlook(a_recipe("local", sampling_rate=1.0), 40, told))
    charges = a_plan("local", sampling_rate=1.0).own_charges
    assert f"epsilon {compose(charges, delta=1e-5):.2f}" in lines and "9,000 numbers in a ring of" in lines
    assert f"Accountant: {PLD}" in "\n".join(outlook(a_recipe("local"), 40, told))
