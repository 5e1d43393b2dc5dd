"""Both schemes give the same model, bit for bit, and cost a client's ledger the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed.privacy.guarantee import Noise, Protected, Unit
from chatfed.privacy.ledger import Budget
from chatfed.secagg.messages import BelowThreshold
from chatfed.types import ClientId
from tests.secagg.rounds import entropy_from, reseal
from tests.training.federation import BASE, Federation, Learner, names, update_of
from tests.training.plans import claim_of
from training.audits.victims import Setting
from training.parties.aggregator import apply_update, initial_state
from training.parties.client import Client
from training.parties.rounds import Standing, commit, run_round
from training.parties.session import Session, Step
from training.plan.agreement import Agreement
from training.plan.checks import check
from training.plan.claims import Spent
from training.plan.recipe import FederationSection, PrivacySection, Recipe, SecAggSection, load_recipe
from training.plan.settings import RecipeError
from training.plan.terms import client_terms

SIX = names(6)
A, B, C, D, E, F = SIX
SIZE, ROUNDS = 200, 4
DIGEST = b"d" * 32
GONE: list[Mapping[Step, Sequence[ClientId]]] = [
    {Step.SESSION: [A]},
    {Step.ADVERTS: [B], Step.SHARES: [C]},
    {Step.SURVIVORS: [D]},
    {Step.CERTIFICATE: [E], Step.SHARES: [F]},
]


def a_recipe(
    scheme: str, noise: Noise = Noise.DISTRIBUTED, key_rounds: int = 1, ring_bits: int = 0, rotation: bool = True
) -> Recipe:
    return Recipe(
        privacy=PrivacySection(unit=Unit.CLIENT, noise=noise, clip_norm=1.0),
        secagg=SecAggSection(
            scheme=scheme,
            identities="roster",
            threshold=0.6,
            key_rounds=key_rounds,
            ring_bits=ring_bits,
            rotation=rotation,
        ),
        federation=FederationSection(cohort=6, rounds=ROUNDS),
    )


class OneDigest(Federation):
    """Goes by one digest whatever the recipe: rotations follow from it, and two recipes would have two of them."""

    @property
    def agreement(self) -> Agreement:
        return dataclasses.replace(super().agreement, digest=DIGEST)

    def session(self, *what: Any, **more: Any) -> Session:
        return dataclasses.replace(super().session(*what, **more), recipe=DIGEST)

    def client(self, name: ClientId, *what: Any, **more: Any) -> Client:
        made = super().client(name, *what, **more)
        made.agreement = self.agreement
        return made


def a_federation(home: Path, recipe: Recipe) -> Federation:
    """Each client draws the same numbers in every federation, for each message anew."""
    terms = dataclasses.replace(
        client_terms(recipe, 6), noise_multiplier=0.5, budget=Budget(1e9, 1e-5, Protected.CLIENT)
    )
    learners = {name: Learner(update_of(name, SIZE)) for name in SIX}
    kind = OneDigest if recipe.secagg.rotation else Federation
    return kind(home, recipe, SIX, terms, learners=learners, entropy=entropy_from)


def trained(federation: Federation) -> tuple[bytes, list[tuple[ClientId, ...]]]:
    """The weights after all rounds, with somebody lost at each step of one, and who was in each sum."""
    state, standing, survivors = initial_state(np.zeros(SIZE, np.float32)), Standing(), list[tuple[ClientId, ...]]()
    for index, gone in enumerate(GONE):
        federation.gone, federation.silent = set(), gone
        session = federation.session(index, state.weights, attempt=bytes([index]) * 16)
        agreement = federation.agreement
        outcome = run_round(session, agreement, BASE, federation, roster=federation.roster, standing=standing)
        assert outcome.faults == ()
        survivors.append(outcome.survivors)
        state = apply_update(state, outcome.mean, agreement.schedule)
        federation.gone = set()
        commit(session, federation)
    return state.weights.tobytes(), survivors


@pytest.mark.parametrize(
    ("noise", "rotation"), [(Noise.DISTRIBUTED, True), (Noise.NONE, False)], ids=["shared noise", "each its own digest"]
)
def test_the_model_is_the_masked_run_s_bit_for_bit_with_the_same_entropy_and_dropouts(
    tmp_path: Path, noise: Noise, rotation: bool
) -> None:
    """Four rounds with real clients and ledgers: somebody falls silent at each step, and comes back."""
    models = {}
    for scheme in ("masks", "threshold-he"):
        federation = a_federation(tmp_path / scheme, a_recipe(scheme, noise, rotation=rotation))
        models[scheme] = trained(federation), [federation.charges(name) for name in SIX]
    assert models["masks"] == models["threshold-he"]
    (weights, survivors), _ = models["masks"]
    assert [len(each) for each in survivors] == [5, 4, 6, 5] and any(weights)


def test_standing_keys_of_several_rounds_serve_a_sum_each_as_with_masks(tmp_path: Path) -> None:
    """In the 21-bit ring; who missed the agreement on keys waits for the next, under both."""
    models = [
        trained(a_federation(tmp_path / scheme, a_recipe(scheme, key_rounds=3, ring_bits=21)))
        for scheme in ("masks", "threshold-he")
    ]
    assert models[0] == models[1] and len(models[0][1]) == ROUNDS


def test_below_the_threshold_nothing_opens_and_no_client_gives_a_share(tmp_path: Path) -> None:
    federation = a_federation(tmp_path / "keys", a_recipe("threshold-he"))
    federation.silent = {Step.SHARES: [A, B, C]}
    with pytest.raises(BelowThreshold, match="masked input"):
        federation.run(federation.session(0, np.zeros(SIZE, np.float32)))
    assert {step for step, _, _ in federation.wire} == {Step.SESSION, Step.ADVERTS, Step.SHARES}


def test_a_second_survivor_set_gets_no_sum_of_shares_also_after_a_restart(tmp_path: Path) -> None:
    """Shares of the same keys summed without F, less those summed with it, would be shares of F's key alone."""
    federation = a_federation(tmp_path / "keys", a_recipe("threshold-he", Noise.NONE))
    session = federation.session(0, np.zeros(SIZE, np.float32), attempt=bytes(16))
    assert federation.run(session).survivors == SIX
    assert Step.CERTIFICATE in {step for step, _, _ in federation.wire}
    for name in SIX:
        federation.restarted(name)
    federation.silent = {Step.SHARES: [F]}
    with pytest.raises(BelowThreshold):
        federation.run(dataclasses.replace(session, attempt=bytes([1]) * 16))
    assert all("second set" in federation.refusals[name] for name in (A, B, C, D, E))
    assert Step.CERTIFICATE not in {step for step, _, _ in federation.wire}


def test_a_recipe_without_the_key_has_the_digest_that_it_had() -> None:
    assert Recipe().digest() == Recipe(secagg=SecAggSection(scheme="masks")).digest()
    assert Recipe().digest() != Recipe(secagg=SecAggSection(scheme="threshold-he")).digest()
    assert load_recipe(None, ["secagg.scheme=threshold-he"]).secagg.scheme == "threshold-he"


@pytest.mark.parametrize(
    ("secagg", "cohort", "key"),
    [
        ({"threshold": 0.51, "corrupt": 0.49}, 9, "secagg.scheme"),
        ({"ring_bits": 16}, 513, "secagg.scheme"),
        ({"ring_bits": 32}, 556, "secagg.scheme"),
        ({}, 513, "secagg.scheme"),
        ({}, 2, "secagg.scheme"),
    ],
)
def test_a_recipe_whose_sums_the_scheme_does_not_bear_is_refused(
    secagg: dict[str, float], cohort: int, key: str
) -> None:
    recipe = Recipe(
        secagg=SecAggSection(scheme="threshold-he", **secagg),  # type: ignore[arg-type]
        federation=FederationSection(cohort=cohort),
    )
    with pytest.raises(RecipeError) as caught:
        check(recipe, 600)
    assert caught.value.param == key
    check(dataclasses.replace(recipe, secagg=SecAggSection()), 600)


@pytest.mark.parametrize(("cohort", "mend"), [(513, "ring_bits"), (600, "to masks")])
def test_a_refusal_says_what_bears_so_many(cohort: int, mend: str) -> None:
    recipe = Recipe(
        secagg=SecAggSection(scheme="threshold-he", ring_bits=16), federation=FederationSection(cohort=cohort)
    )
    with pytest.raises(RecipeError, match=mend):
        check(recipe, 600)


def test_the_default_cohort_is_borne() -> None:
    check(load_recipe(None, ["secagg.scheme=threshold-he"]), 400)


def test_the_claim_names_the_assumption_that_its_sums_rest_on() -> None:
    cost = Spent({A: 7.5}, {A: 1}, "sums", ())
    for scheme, named in (("masks", False), ("threshold-he", True)):
        recipe = a_recipe(scheme)
        claim = claim_of(recipe, client_terms(recipe, 6)).guarantee(cost, 1, repeats=None, dealt=False)
        assert ("Hint-RLWE" in claim.sentence()) == named


def test_the_audit_of_servers_which_cheats_with_masks_refuses_the_other_scheme() -> None:
    recipe = a_recipe("threshold-he")
    with pytest.raises(RecipeError) as caught:
        Setting.small("the run's", recipe, client_terms(recipe, 6))
    assert caught.value.param == "secagg.scheme"
    Setting.small("the run's", a_recipe("masks"), client_terms(recipe, 6))


def test_a_holder_that_lies_is_said_in_words(tmp_path: Path) -> None:
    """Through the whole round: the sum is exact, and the round's faults name who gave another share."""
    federation = a_federation(tmp_path / "keys", a_recipe("threshold-he", Noise.NONE))

    def lying(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for name, answer in federation(messages):
            if name == B and answer[0] == Step.CERTIFICATE:
                body = answer[57:-2] + bytes([answer[-2] ^ 1, answer[-1]])
                answer = answer[:1] + reseal(answer[1:], body)
            yield name, answer

    session = federation.session(0, np.zeros(SIZE, np.float32), attempt=bytes(16))
    honest = run_round(session, federation.agreement, BASE, lying, roster=federation.roster)
    (said,) = honest.faults
    assert said.startswith("participant 2 gave a share of the sum of keys that does not fit the others'")
    assert len(honest.survivors) == 6
