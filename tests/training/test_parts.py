"""Single dialogues under shared noise: each is a part of its client's upload, rounded and charged by itself."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.privacy.distributed import distributed_epsilon
from chatfed.privacy.guarantee import Adjacency, Noise
from chatfed.privacy.rounding import add_clipped
from chatfed.types import ClientId, FloatVector
from tests.privacy.entropy import replay
from tests.training import plans
from tests.training.federation import Federation, Learner, invitation, names
from tests.training.plans import claim_of
from training.parties.answering import Refused
from training.plan.checks import check
from training.plan.claims import Spent
from training.plan.recipe import FederationSection, PrivacySection, Recipe, SecAggSection
from training.plan.settings import RecipeError
from training.plan.terms import client_terms
from training.plan.upload import DialoguesUpload

CLIENTS = names(10)
WEIGHTS = np.zeros(3000, np.float32)


def dialogue_level(batch: float = 8.0, **privacy: Any) -> Recipe:
    shared = PrivacySection(
        noise=Noise.DISTRIBUTED, clip_norm=2.0, learning_rate=0.5, expected_batch_size=batch, **privacy
    )
    return Recipe(
        privacy=shared,
        secagg=SecAggSection(threshold=0.8, corrupt=0.1),
        federation=FederationSection(cohort=10, rounds=1),
    )


def code_of(recipe: Recipe, dimension: int, noise_multiplier: float = 1.0) -> DialoguesUpload:
    made = plans.codec_of(recipe, noise_multiplier).upload(10, dimension, b"s" * 32)
    assert isinstance(made, DialoguesUpload)
    return made


def some_parts(count: int, dimension: int, seed: int = 0, length: float = 0.1) -> list[FloatVector]:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension))
    lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
    return list((length * drawn / lengths).astype(np.float32))


def test_a_dialogues_gradient_is_clipped_and_moves_the_sum_by_a_norm_that_is_certain() -> None:
    code = code_of(dialogue_level(), 3000)
    assert code.clip_norm == pytest.approx(0.5 * 2.0 / 8)  # of the update: learning rate * C / expected batch
    assert code.mechanism.norm == code.scale
    for length in (0.5, 2.0, 500.0):
        for gradient in some_parts(3, 3000, length=length):
            steps = np.zeros(3000, np.int64)
            add_clipped(steps, gradient, code.gradient_norm, code.scale)
            norm = math.sqrt(float((steps.astype(np.float64) ** 2).sum()))
            assert 0.98 * min(length / 2.0, 1.0) < norm / code.scale <= 1.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 12), st.integers(1, 2000), st.integers(0, 99))
def test_the_sum_of_all_gradients_comes_back_as_the_mean_step_down_over_clients(
    count: int, dimension: int, seed: int
) -> None:
    code = code_of(dialogue_level(), dimension)
    parts = some_parts(count, dimension, seed)
    total = code.encode(parts, replay(b"a")) + code.encode([], replay(b"b"))  # a client without a dialogue
    mean = code.decode(total, 2).update
    step = -0.5 / 8 * sum(parts, np.zeros(dimension, np.float32)) / 2
    apart = float(np.linalg.norm(mean - step)) * code.scale / code.clip_norm
    assert apart < 2 * math.sqrt(code.coordinates + 30) * (code.mechanism.std + count + 1)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=8), st.integers(0, 7))
def test_one_dialogue_more_moves_the_sum_by_its_own_steps_whatever_the_others_are(of: list[int], one: int) -> None:
    code = code_of(dialogue_level(batch=20.0), 500)
    parts = [part * 10.0**i for i, part in enumerate(some_parts(8, 500))]
    others = [parts[i] for i in of]
    without, beside = (code.encode(each, replay(b"n")).astype(np.int64) for each in (others, [parts[one], *others]))
    alone, nothing = (code.encode(each, replay(b"n")).astype(np.int64) for each in ([parts[one]], []))
    assert np.array_equal((beside - without) % 2**32, (alone - nothing) % 2**32)


def test_a_gradient_that_is_not_finite_adds_nothing() -> None:
    code = code_of(dialogue_level(), 40)
    (good,) = some_parts(1, 40)
    for wrong in (np.nan, np.inf, -np.inf, 3e38):
        spoiled = good.copy()
        spoiled[7] = wrong
        assert np.array_equal(code.encode([spoiled, good], replay(b"e")), code.encode([good], replay(b"e")))


def test_below_the_rate_of_one_the_step_is_divided_by_the_batch_and_not_by_the_rate_again() -> None:
    often, rarely = code_of(dialogue_level(), 40), code_of(dialogue_level(sampling_rate=0.25), 40)
    parts = some_parts(6, 40)
    one, other = (code.decode(code.encode(parts, replay(b"c")), 1).update for code in (often, rarely))
    assert np.allclose(one, other) and rarely.mechanism.sampling_rate == 0.25


def test_a_client_whose_dialogues_all_agree_is_cut_at_its_room_and_never_wraps() -> None:
    code = code_of(dialogue_level(batch=1e6), 3)
    part = np.array([2.0, 0.0, 0.0], np.float32)
    steps = np.zeros(3, np.int64)
    add_clipped(steps, part, 2.0, code.scale)
    assert steps[0] * 1e6 <= 1.0001 * code.room  # so many fit as a batch is expected to hold
    total = code._released(steps * 10**7, lambda size: bytes(size))  # noise of one size, whatever it is
    least = code._released(steps * 0, lambda size: bytes(size))
    assert (int(total[0]) - int(least[0])) % 2**32 == code.room
    assert 10 * (code.room + 1) < 2 ** (code.ring_bits - 1)  # the whole cohort at its room, and a quarter for noise


def test_a_narrow_ring_that_would_cut_gradients_to_a_few_steps_is_refused() -> None:
    recipe = dialogue_level()
    narrow = dataclasses.replace(recipe, secagg=dataclasses.replace(recipe.secagg, ring_bits=16))
    with pytest.raises(RecipeError, match=r"no ring of 16 bits .*too coarse.*secagg\.ring_bits to 0"):
        plans.codec_of(narrow, 1.0).upload(10, 100_000)


def test_the_noise_in_a_round_is_a_cohorts_and_a_participation_is_charged_as_one_share(tmp_path: Path) -> None:
    recipe = dialogue_level()
    terms = client_terms(recipe, 10)
    assert terms.budget.unit == "dialogue"
    federation = Federation(tmp_path, recipe, CLIENTS, terms)
    for name in CLIENTS:
        federation.learners[name] = Learner(np.zeros_like(WEIGHTS))
    outcome = federation.run(federation.session(0, WEIGHTS))
    code = code_of(recipe, WEIGHTS.size, terms.noise_multiplier)
    steps = outcome.mean * (10 * code.scale / code.clip_norm)
    assert steps.std() == pytest.approx(code.mechanism.std * math.sqrt(10), rel=0.1)
    for name in CLIENTS:
        (entry,) = federation.client(name).ledger().entries
        assert entry.mechanism == code.mechanism
        assert 7.9 < federation.client(name).ledger().epsilon <= 8.0
    assert distributed_epsilon([code.mechanism], delta=1e-5) <= 8.0


def test_an_update_under_another_share_of_noise_is_not_sent_for_a_charge_of_this_one(tmp_path: Path) -> None:
    """The code is built twice, when the update is stored and when it is sent; what sizes it may change between."""
    recipe = dialogue_level()
    terms = client_terms(recipe, 10)
    federation = Federation(
        tmp_path, recipe, CLIENTS, dataclasses.replace(terms, noise_multiplier=2 * terms.noise_multiplier)
    )
    federation.learners = {name: Learner(np.zeros_like(WEIGHTS)) for name in CLIENTS}
    session = federation.session(0, WEIGHTS)
    asked = invitation(session)
    federation.client(CLIENTS[0]).handle(asked)
    federation.terms = terms
    with pytest.raises(Refused, match="made on other terms; it makes no second one"):
        federation.client(CLIENTS[0]).handle(asked)
    assert federation.learners[CLIENTS[0]].calls == 1 and federation.charges(CLIENTS[0]) == 1


def test_shared_noise_is_a_fraction_of_what_everyone_adds_alone() -> None:
    recipe = dialogue_level()
    terms = client_terms(recipe, 10)
    code = code_of(recipe, 3000, terms.noise_multiplier)
    own = terms.noise_multiplier * 2.0 * 0.5 / 8  # what a client's one step carries with local noise
    share = code.mechanism.std * code.clip_norm / code.scale
    assert share == pytest.approx(own / math.sqrt(7), rel=0.02)  # 8 must survive, 1 may collude


def test_the_claim_says_whose_dialogue_and_against_whom() -> None:
    recipe = dialogue_level(sampling_rate=0.5)
    check(recipe, 10)
    claim = claim_of(recipe, client_terms(recipe, 10)).guarantee(
        Spent({ClientId("a"): 7.5}, {ClientId("a"): 1}, "sums", ()), 1, repeats=None, dealt=False
    )
    assert (claim.unit, claim.adjacency, claim.noise) == ("dialogue", Adjacency.ADD_OR_REMOVE, "distributed")
    sentence = claim.sentence()
    for words in (
        "whoever sees the sums only",
        "a dialogue is held by one client, once",
        "several dialogues of one person",
        "which dialogues a step took stays with the client",
        "otherwise the clients' budget of epsilon 8 is what holds",
        "with probability 0.5, drawn by the client",
    ):
        assert words in sentence
    pinned = dataclasses.replace(recipe, secagg=dataclasses.replace(recipe.secagg, identities="roster"))
    assert (
        "may deviate"
        in claim_of(pinned, client_terms(recipe, 10))
        .guarantee(Spent({}, {}, "sums", ()), 1, repeats=None, dealt=False)
        .sentence()
    )


@pytest.mark.parametrize(("learning_rate", "clip_norm"), [(1e-20, 1e-20), (1e-3, 1e-30), (1e6, 1e9)])
def test_a_part_that_float32_cannot_clip_is_refused_before_a_client_fails_on_its_dialogues(
    learning_rate: float, clip_norm: float
) -> None:
    recipe = dialogue_level()
    wrong = dataclasses.replace(recipe.privacy, learning_rate=learning_rate, clip_norm=clip_norm)
    with pytest.raises(RecipeError, match=r"float32 can clip.*privacy\.clip_norm"):
        check(dataclasses.replace(recipe, privacy=wrong), 10)
