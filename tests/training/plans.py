"""Parts of a plan for tests that need no whole one: made as `plan.resolve` makes them, on any terms, unchecked."""

from __future__ import annotations

from chatfed.privacy.distributed import DistributedGaussian
from training.plan import terms as plan_terms
from training.plan.agreement import agree
from training.plan.claims import Claim
from training.plan.codec import Codec
from training.plan.plan import plan_of
from training.plan.recipe import Recipe, following
from training.plan.sums import Sums
from training.plan.terms import ClientTerms


def sums_of(recipe: Recipe, noise_multiplier: float = 0.0) -> Sums:
    return agree(recipe, noise_multiplier).sums


def codec_of(recipe: Recipe, noise_multiplier: float = 0.0) -> Codec:
    return sums_of(recipe, noise_multiplier).codec


def claim_of(recipe: Recipe, terms: ClientTerms | None = None) -> Claim:
    private = recipe.privacy.noise != "none" if terms is None else terms.mechanism is not None
    return Claim(recipe.privacy, agree(recipe, 0.0), private, recipe.data.simulated_clients)


def charges_of(recipe: Recipe, terms: ClientTerms, dimension: int, first: int) -> list[DistributedGaussian]:
    codec = codec_of(recipe, terms.noise_multiplier)
    return plan_terms.charges_of(codec, recipe.federation, dimension, first)


def check_sums(recipe: Recipe, terms: ClientTerms, clients: int, dimension: int) -> None:
    plan_of(following(recipe, clients), clients, terms).refuse_unaffordable(dimension)
