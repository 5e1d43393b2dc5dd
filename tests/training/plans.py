"""Parts of a plan for tests that need no whole one: made as `plan.resolve` makes them, on any terms, unchecked."""

from __future__ import annotations

from typing import Any

from chatfed.privacy.distributed import DistributedGaussian
from chatfed.privacy.guarantee import Noise, Unit
from training.plan import terms as plan_terms
from training.plan.agreement import agree
from training.plan.claims import Claim
from training.plan.codec import Codec
from training.plan.cohorts import following
from training.plan.plan import plan_of
from training.plan.recipe import FederationSection, PrivacySection, Recipe, SecAggSection
from training.plan.sums import Sums
from training.plan.terms import ClientTerms
from training.plan.upload import UpdateUpload

SEED = b"s" * 32  # of a rotation


def client_level(cohort: int = 10, ring_bits: int = 0, rotation: bool = True, **privacy: Any) -> Recipe:
    return Recipe(
        privacy=PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED, clip_norm=2.0, **privacy),
        secagg=SecAggSection(threshold=0.8, corrupt=0.1, ring_bits=ring_bits, rotation=rotation),
        federation=FederationSection(cohort=cohort, rounds=1),
    )


def sums_of(recipe: Recipe, noise_multiplier: float = 0.0) -> Sums:
    return agree(recipe, noise_multiplier).sums


def codec_of(recipe: Recipe, noise_multiplier: float = 0.0) -> Codec:
    return sums_of(recipe, noise_multiplier).codec


def claim_of(recipe: Recipe, terms: ClientTerms | None = None) -> Claim:
    private = recipe.privacy.noise != "none" if terms is None else terms.mechanism is not None
    return Claim(recipe.privacy, agree(recipe, 0.0), private, recipe.data.simulated_clients, None, 0.0, False)


def charges_of(recipe: Recipe, terms: ClientTerms, dimension: int, first: int) -> list[DistributedGaussian]:
    codec = codec_of(recipe, terms.noise_multiplier)
    return plan_terms.charges_of(codec, recipe.federation, dimension, first)


def check_sums(recipe: Recipe, terms: ClientTerms, clients: int, dimension: int) -> None:
    plan_of(following(recipe, clients), clients, terms).refuse_unaffordable(dimension)


def noisy(recipe: Recipe, dimension: int, noise_multiplier: float, clip_norm: float = 0.0) -> UpdateUpload:
    made = codec_of(recipe, noise_multiplier).upload(recipe.federation.cohort, dimension, SEED, clip_norm)
    assert isinstance(made, UpdateUpload)
    return made
