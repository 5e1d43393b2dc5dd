"""A claim says whom it holds against and what it rests on, and no more than the noise earns."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

import pytest

from chatfed.privacy.accounting import epsilon
from chatfed.privacy.guarantee import Adjacency
from chatfed.types import ClientId
from tests.training.plans import charges_of, claim_of, client_level
from training.plan.agreement import Agreement
from training.plan.claims import Claim, Spent
from training.plan.plan import Learning, Plan
from training.plan.recipe import load_recipe
from training.plan.terms import ClientTerms, client_terms
from training.plan.upload import PlainUpload
from training.plan.variants import without_noise

PLAN = [
    "ngrams.longest=0",
    "federation.rounds=10",
    "federation.cohort=40",
    "privacy.sampling_rate=1",
    "privacy.local_steps=1",
]


@pytest.mark.parametrize("noise", ["local", "distributed"])
def test_a_claim_with_sampling_also_says_what_holds_before_whoever_knows_the_sample(noise: str) -> None:
    recipe = load_recipe(None, [*PLAN, f"privacy.noise={noise}", "privacy.sampling_rate=0.25"])
    terms = client_terms(recipe, 400)
    assert terms.mechanism is not None
    charges = tuple(charges_of(recipe, terms, 5000, 0)) or (terms.mechanism,)
    cost = Spent({ClientId("a"): 7.9}, {ClientId("a"): 1}, "one", charges)
    sampling = claim_of(recipe, terms).guarantee(cost, 1, repeats=None, dealt=False).sampling
    stated = float(sampling.rpartition("epsilon is ")[2])
    assert stated == pytest.approx(epsilon(terms.noise_multiplier, 1.0, 1, delta=1e-5), abs=0.05) and stated > 8.5
    assert (
        "knows who was sampled"
        not in claim_of(recipe, terms).guarantee(Spent({}, {}, "one", ()), 1, repeats=None, dealt=False).sampling
    )


def test_the_claim_of_a_client_names_shares_floor_and_server() -> None:
    recipe = client_level()
    terms, cost = client_terms(recipe, 10), Spent({ClientId("a"): 7.5}, {ClientId("a"): 1}, "sums", ())
    sentence = claim_of(recipe, terms).guarantee(cost, 1, repeats=None, dealt=False).sentence()
    for words in (
        "each single client",
        "one client's vector, or zeros in its place",
        "noise: distributed",
        "at most 1 of the 10 clients of a round",
        "unmasks a sum of fewer than 8",
        "at least 7 of the 8 or more survivors",
        "a server that follows the protocol",
        "nothing is claimed from the server's choice",
    ):
        assert words in sentence
    pinned = dataclasses.replace(recipe, secagg=dataclasses.replace(recipe.secagg, identities="roster"))
    assert (
        "a server that may deviate" in claim_of(pinned, terms).guarantee(cost, 1, repeats=None, dealt=False).sentence()
    )


def test_a_run_without_noise_at_client_level_claims_nothing_for_clients() -> None:
    recipe = without_noise(client_level())
    claim = claim_of(recipe, client_terms(recipe, 10)).guarantee(
        Spent({}, {}, "none", ()), 1, repeats=None, dealt=False
    )
    assert (claim.epsilon, claim.unit, claim.adjacency) == (None, "client", Adjacency.ZERO_OUT)
    assert "No differential privacy is claimed" in claim.sentence()


@pytest.mark.parametrize("part", [Spent, Claim, Claim.guarantee, Agreement, ClientTerms, Learning, Plan, PlainUpload])
def test_what_decides_a_claim_is_said_and_never_left_to_a_default(part: Callable[..., object]) -> None:
    assert {each.default for each in inspect.signature(part).parameters.values()} == {inspect.Parameter.empty}
