"""What a participation costs a client, and whether the planned ones can be paid. Reads no ledger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chatfed.privacy.accounting import Mechanism, calibrate_noise, compose
from chatfed.privacy.conversions import PrivacyError
from chatfed.privacy.distributed import DistributedGaussian, distributed_epsilon
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.ledger import Budget

from .codec import COARSEST_AGAIN, Codec, coefficients
from .cohorts import planned_participations
from .recipe import FederationSection, Recipe
from .settings import RecipeError
from .upload import NoisyUpload
from .variants import counting

FOR_SUMS = 1e-3  # of the target: their accountant keeps a piece of delta, and their noise is a little narrower


@dataclass(frozen=True)
class ClientTerms:
    """What one participation costs: the client's own reckoning from its recipe, never the server's word."""

    noise_multiplier: float
    mechanism: Mechanism | None  # None: no noise, no guarantee, nothing to charge
    budget: Budget


def client_terms(recipe: Recipe, clients: int) -> ClientTerms:
    """What a participation costs: the recipe's noise multiplier, or the least one whose planned cost meets the target.

    Raises RecipeError when the planned participations would cost more than a client's budget.
    """
    privacy = recipe.privacy
    if privacy.noise is Noise.NONE:
        return ClientTerms(0.0, None, Budget(0.0, privacy.delta, privacy.unit.protected))
    per_round = privacy.local_steps if privacy.unit is Unit.EXAMPLE else 1
    steps = per_round * planned_participations(recipe, clients)
    again = _over_all_sums(recipe)
    counted = [count.mechanism] if (count := count_terms(recipe, clients)) and count.mechanism else []
    multiplier = privacy.noise_multiplier or again * _calibrated(recipe, steps, counted)
    once = Mechanism(multiplier / again, privacy.sampling_rate, per_round)
    _check_budget(recipe, once, planned_participations(recipe, clients), counted)
    return ClientTerms(multiplier, once, Budget(privacy.budget, privacy.delta, privacy.unit.protected))


def count_terms(recipe: Recipe, clients: int) -> ClientTerms | None:
    """What the count of n-grams costs a client: a first charge on the same budget. None where nothing is counted."""
    if not recipe.ngrams.longest:
        return None
    nothing_else = replace(recipe.ngrams, longest=0)
    return client_terms(replace(counting(recipe, clients), ngrams=nothing_else), clients)


def _over_all_sums(recipe: Recipe) -> float:
    """L2 norm of an update in all sums that it is in, in that of the first.

    Of the coefficients, and of what rounding adds: to the square of a shorter one at most as much as COARSEST_AGAIN
    lets it add to the first.
    """
    c = coefficients(recipe.federation)
    return math.sqrt(sum(each**2 for each in c) + (len(c) - 1) * (COARSEST_AGAIN**2 - 1))


def _calibrated(recipe: Recipe, steps: int, before: Sequence[Mechanism]) -> float:
    privacy = recipe.privacy
    aim = privacy.target_epsilon * (1 - FOR_SUMS if privacy.noise is Noise.DISTRIBUTED else 1)
    try:
        return calibrate_noise(aim, privacy.sampling_rate, steps, delta=privacy.delta, before=before)
    except PrivacyError as error:
        raise RecipeError("{privacy.target_epsilon} = {aim:g}: {why}", aim=privacy.target_epsilon, why=error) from None


def check_affordable(
    codec: Codec,
    schedule: FederationSection,
    dimension: int,
    planned: int,
    budget: Budget,
    before: Sequence[DistributedGaussian] = (),
) -> None:
    """What is known once the model's dimension is: that a ring holds a round, and that clients can afford all planned.

    before: charges that come first. Raises RecipeError.
    """
    for first in range(schedule.bands):  # the first rounds' sums are smaller, and their shares larger
        if charges := charges_of(codec, schedule, dimension, first):
            _check_affordable([*before, *charges * planned], planned, budget)


def charges_of(codec: Codec, schedule: FederationSection, dimension: int, first: int) -> list[DistributedGaussian]:
    """What one update costs that begins in round `first`: a charge in each sum that it is in; none without shares."""
    codes = [codec.upload(schedule.participants(first + lag), dimension, lag=lag) for lag in range(schedule.bands)]
    return [code.mechanism for code in codes if isinstance(code, NoisyUpload)]


def _check_affordable(charges: Sequence[DistributedGaussian], planned: int, budget: Budget) -> None:
    try:
        cost = distributed_epsilon(charges, delta=budget.delta)
    except PrivacyError as error:
        raise RecipeError(
            "{privacy.delta} = {delta:g}: the sums' noise cannot be accounted: {why}", delta=budget.delta, why=error
        ) from None
    if cost > budget.epsilon:
        raise RecipeError(
            "the {planned} planned participations of a client in sums cost epsilon {cost:g}, over its budget of "
            "{budget:g}: raise {privacy.noise_multiplier} or {privacy.budget_epsilon} a little",
            planned=planned,
            cost=cost,
            budget=budget.epsilon,
        )


def _check_budget(recipe: Recipe, once: Mechanism, planned: int, before: Sequence[Mechanism]) -> None:
    """Clients would refuse the last rounds, or all: that is known before anything runs."""
    privacy = recipe.privacy
    cost = compose([*before, *[once] * planned], delta=privacy.delta)
    if cost > privacy.budget:
        times = "the one planned participation" if planned == 1 else f"the {planned} planned participations"
        raise RecipeError(
            "{privacy.noise_multiplier} = {noise:g} makes {times} of a client cost epsilon {cost:g}, over its budget "
            "of {budget:g}: raise noise_multiplier, set it to 0 (the least that keeps {privacy.target_epsilon}), or "
            "raise {privacy.budget_epsilon}",
            noise=once.noise_multiplier,
            times=times,
            cost=cost,
            budget=privacy.budget,
        )
