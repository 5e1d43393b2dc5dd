"""DP-FTRL in sums: updates are sent again, noise is taken back, and no sum has two updates of one client in it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.privacy.distributed import DistributedGaussian, distributed_epsilon
from chatfed.privacy.guarantee import Noise, Protected, Unit
from chatfed.privacy.ledger import Budget, BudgetExceeded
from chatfed.secagg.messages import BelowThreshold
from chatfed.types import ClientId, FloatVector
from tests.privacy.entropy import replay
from tests.training.federation import Federation, Learner, invitation, names, stored_upload, update_of
from tests.training.plans import charges_of, check_sums, codec_of
from training.parties.aggregator import initial_state, invited, take_back
from training.parties.answering import Refused
from training.parties.session import Session
from training.plan.checks import check
from training.plan.codec import coefficients
from training.plan.recipe import FederationSection, PrivacySection, Recipe, SecAggSection
from training.plan.settings import RecipeError
from training.plan.terms import ClientTerms, client_terms
from training.plan.upload import NoisyUpload
from training.plan.variants import without_noise

SIZE = 300
CLIENTS = names(12)
WEIGHTS = np.zeros(SIZE, np.float32)


def banded(bands: int = 3, cohort: int = 4, rounds: int = 6, **privacy: Any) -> Recipe:
    return Recipe(
        privacy=PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED, clip_norm=1.0, **privacy),
        secagg=SecAggSection(threshold=0.75, corrupt=0.1),
        federation=FederationSection(cohort=cohort, rounds=rounds, bands=bands),
    )


def loud(recipe: Recipe) -> ClientTerms:
    """Terms with little noise and room for everything."""
    terms = client_terms(recipe, len(CLIENTS))
    return dataclasses.replace(terms, noise_multiplier=0.35, budget=Budget(1e9, 1e-5, Protected.CLIENT))


class Banded(Federation):
    def invitation(self, index: int, weights: FloatVector = WEIGHTS) -> Session:
        asked = invited(self.clients, index, self.recipe.federation)
        return dataclasses.replace(self.session(index, weights), cohort=tuple(asked), lags=tuple(asked.values()))


class Began(Learner):
    """Remembers for which rounds it learned."""

    def __init__(self) -> None:
        super().__init__(np.ones(3, np.float32))
        self.at, self.rounds = 0, list[int]()

    def __call__(self, weights: FloatVector) -> list[FloatVector]:
        self.rounds.append(self.at)
        return super().__call__(weights)


def a_federation(home: Path, recipe: Recipe, terms: ClientTerms | None = None) -> Banded:
    federation = Banded(home, recipe, CLIENTS, terms or loud(recipe))
    for name in CLIENTS:
        federation.learners[name] = Learner(update_of(name, SIZE))
    return federation


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 9), st.integers(1, 12), st.integers(0, 99))
def test_no_client_is_in_a_sum_twice_and_updates_begin_bands_rounds_apart(
    cohort: int, bands: int, spare: int, rounds: int, seed: int
) -> None:
    clients = names(max(2, cohort * bands + spare))
    plan = FederationSection(cohort=max(2, cohort), bands=bands, rounds=max(rounds, bands), seed=seed)
    if len(clients) < plan.cohort * bands:
        return
    began: dict[ClientId, int] = {}
    for index in range(plan.rounds):
        asked = invited(clients, index, plan)
        assert len(asked) == plan.participants(index) and list(asked) == sorted(asked)
        for name, lag in asked.items():
            if lag:
                assert began[name] == index - lag
            elif bands > 1:
                assert index - began.get(name, -bands) >= bands
                began[name] = index


def test_sums_of_updates_sent_again_give_each_rounds_own_sum(tmp_path: Path) -> None:
    """The whole way: clients on disk, masks, ring, decoding; against the updates themselves."""
    recipe = banded()
    federation, c = a_federation(tmp_path, recipe), coefficients(recipe.federation)
    direction = np.full(SIZE, 1 / math.sqrt(SIZE), np.float32)
    for name in CLIENTS:
        federation.learners[name] = Learner(direction)
    state, learned, along = initial_state(WEIGHTS), [], []
    for index in range(6):
        invitation = federation.invitation(index)
        outcome = federation.run(invitation)
        state, begun = take_back(state, outcome.mean * np.float32(len(outcome.survivors)), c)
        along.append(float(begun @ direction))
        learned.append(sum(federation.learners[name].calls for name in CLIENTS))
    assert np.allclose(along, 4.0, atol=2.1) and np.mean(along) == pytest.approx(4.0, abs=0.9)  # not 4 (1 + c_1 + c_2)
    assert learned == [4, 8, 12, 16, 20, 24], "nobody learns for an update that is sent again"
    assert len(state.estimates) == 2


def test_what_an_update_costs_is_one_charge_a_sum_and_all_of_them_keep_the_target(tmp_path: Path) -> None:
    recipe = banded(target_epsilon=4.0)
    terms = client_terms(recipe, 12)
    federation = a_federation(tmp_path, recipe, terms)
    check_sums(recipe, terms, 12, SIZE)
    for index in range(6):
        federation.run(federation.invitation(index))
    first = invited(CLIENTS, 0, recipe.federation)
    entries = federation.client(next(iter(first))).ledger().entries
    rounds = [int(entry.key.split("/")[1]) for entry in entries]
    assert rounds == [0, 1, 2, 3, 4, 5] and [entry.key[-2:] for entry in entries] == ["+0", "+1", "+2"] * 2
    charged = [entry.mechanism for entry in entries if isinstance(entry.mechanism, DistributedGaussian)]
    assert (
        len(charged) == len(entries)
        and charged[:3] == charges_of(recipe, terms, SIZE, 0)
        and charged[3:] == charges_of(recipe, terms, SIZE, 3)
    )
    c = coefficients(recipe.federation)
    for each, weight in zip(charged[3:], c, strict=True):
        assert each.norm == pytest.approx(weight * charged[3].norm, rel=0.01)
        assert each.total_std / charged[3].norm == pytest.approx(terms.noise_multiplier)
    assert 3.9 < distributed_epsilon(charged, delta=1e-5) <= 4.0
    alone = client_terms(dataclasses.replace(recipe, federation=dataclasses.replace(recipe.federation, bands=1)), 12)
    assert terms.noise_multiplier == pytest.approx(alone.noise_multiplier * math.hypot(*c), rel=0.02)


def test_many_echoes_in_a_coarse_ring_keep_the_target() -> None:
    """Rounding adds as much to a short echo as to the update, so to 60 of them a good part."""
    recipe = banded(bands=60, cohort=92, rounds=60)
    recipe = dataclasses.replace(recipe, secagg=dataclasses.replace(recipe.secagg, ring_bits=21))
    charges = charges_of(recipe, client_terms(recipe, 60 * 92), 4096, 59)
    grown = sum(charge.norm**2 for charge in charges) / charges[0].norm ** 2
    assert grown > 1.02 * sum(c**2 for c in coefficients(recipe.federation)), "or the ring is not coarse"
    assert 7.8 < distributed_epsilon(charges, delta=1e-5) <= 8.0


def test_an_update_that_is_sent_again_carries_noise_of_its_own(tmp_path: Path) -> None:
    recipe = banded(bands=2, cohort=6, rounds=4)
    federation = a_federation(tmp_path, recipe, client_terms(recipe, 12))
    someone = next(name for name, lag in invited(CLIENTS, 0, recipe.federation).items() if lag == 0)
    federation.learners[someone] = Learner(np.zeros_like(WEIGHTS))
    kept = []
    for index in (0, 1):
        federation.run(federation.invitation(index))
        kept.append(stored_upload(federation.records(someone), SIZE, "<i2").astype(float))
    assert kept[0].std() > 2 and abs(np.corrcoef(kept[0], kept[1])[0, 1]) < 0.25


def test_a_server_that_asks_for_a_second_update_too_soon_is_refused_from_the_ledger(tmp_path: Path) -> None:
    federation = a_federation(tmp_path, banded())
    federation.run(federation.invitation(0))
    began = federation.invitation(0).cohort
    others = [name for name in CLIENTS if name not in began]
    for lie in (1, 2):  # two rounds in which the same clients are said to begin
        asked = sorted([*began, *others[: 4 * lie]])
        lags = tuple(0 if name in began else 1 for name in asked)
        with pytest.raises(Exception, match="participants"):
            federation.run(dataclasses.replace(federation.session(lie, WEIGHTS), cohort=tuple(asked), lags=lags))
        for name in began:
            assert (
                f"began an update in round 0, and begins no other in round {lie}: 3 rounds" in federation.refusals[name]
            )
            assert federation.learners[name].calls == 1 and federation.charges(name) == 1
    federation.run(federation.invitation(3))  # three rounds on it may begin again
    assert [federation.learners[name].calls for name in began] == [2] * 4


def test_a_server_that_calls_it_another_run_gets_a_vector_that_is_charged_for_itself(tmp_path: Path) -> None:
    """The ledger cannot know that two runs are one; what keeps the claim is that a sum has one vector of a client."""
    recipe = banded()
    federation = a_federation(tmp_path, recipe)
    federation.run(federation.invitation(0))
    federation.run(dataclasses.replace(federation.invitation(0), run=b"s" * 16))
    for name in federation.invitation(0).cohort:
        charged = [entry.mechanism for entry in federation.client(name).ledger().entries]
        assert charged == [charges_of(recipe, federation.terms, SIZE, 0)[0]] * 2
        assert (federation.records(name).read("begun") or ("",))[0] == f"{(b's' * 16).hex()}/0/"


def test_a_round_that_is_asked_again_with_another_lag_of_one_client_is_another_release_of_all(tmp_path: Path) -> None:
    """Were the others' numbers the same, the difference of the two sums would be that client's two uploads, alone.

    Those that began in the round begin no second update; those whose update is sent again encode anew, and pay.
    """
    recipe = banded(bands=3, cohort=4, rounds=6)
    recipe = dataclasses.replace(recipe, secagg=dataclasses.replace(recipe.secagg, threshold=0.6))
    federation = a_federation(tmp_path, recipe)
    for index in (0, 1, 2):
        federation.run(first := federation.invitation(index))
    kept = {name: stored_upload(federation.records(name), SIZE, "<i2") for name in CLIENTS}
    paid = {name: federation.charges(name) for name in CLIENTS}
    changed = list(first.lags)
    changed[changed.index(1)] = 2
    outcome = federation.run(dataclasses.replace(first, attempt=b"2" * 16, lags=tuple(changed)))
    began = {name for name, lag in zip(first.cohort, first.lags, strict=True) if lag == 0}
    assert set(outcome.survivors) == set(CLIENTS) - began
    for name in CLIENTS:
        if name in began:
            assert "begins no other in round 2" in federation.refusals[name]
            assert federation.charges(name) == paid[name] and federation.learners[name].calls == 1
        else:
            assert np.mean(stored_upload(federation.records(name), SIZE, "<i2") != kept[name]) > 0.5
            assert federation.charges(name) == paid[name] + 1


def test_a_second_update_in_the_same_round_is_refused_and_the_first_is_sent_again(tmp_path: Path) -> None:
    """Each would be charged, and the planned cost of an update and its echoes was for one."""
    federation = a_federation(tmp_path, banded())
    federation.run(first := federation.invitation(0))
    kept = {name: stored_upload(federation.records(name), SIZE, "<i2") for name in first.cohort}
    with pytest.raises(BelowThreshold):
        federation.run(federation.invitation(0, WEIGHTS + 1))
    for name in first.cohort:
        assert "began an update in round 0, and begins no other in round 0" in federation.refusals[name]
    assert set(federation.run(dataclasses.replace(first, attempt=b"3" * 16)).survivors) == set(first.cohort)
    for name in first.cohort:
        assert federation.charges(name) == federation.learners[name].calls == 1
        assert np.array_equal(stored_upload(federation.records(name), SIZE, "<i2"), kept[name])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2), st.integers(0, 2)), max_size=12), st.integers(2, 3))
def test_whatever_a_server_says_no_two_updates_begin_closer_than_the_separation(
    said: list[tuple[int, int, int]], bands: int
) -> None:
    """Rounds in any order, models and lags at will, and no message after the invitation."""
    recipe = banded(bands=bands, cohort=4, rounds=8)
    with tempfile.TemporaryDirectory() as folder:
        federation = Banded(Path(folder), recipe, CLIENTS, loud(recipe))
        name, began, asked = CLIENTS[0], Began(), list[int]()
        federation.learners[name] = began
        for index, model, lag in said:
            size, lag = recipe.federation.participants(index), min(lag, index, bands - 1)
            session = federation.session(index, np.full(3, model, np.float32))
            session = dataclasses.replace(session, cohort=CLIENTS[:size], lags=(lag, *(0,) * (size - 1)))
            began.at = index
            with contextlib.suppress(Refused, BudgetExceeded):  # so much was asked that no bound can be shown
                federation.client(name).handle(invitation(session))
                asked += [] if lag else [index]
        assert all(abs(a - b) >= bands for a, b in itertools.combinations(began.rounds, 2))
        assert set(asked) == set(began.rounds) and federation.charges(name) >= len(began.rounds)


def test_a_client_that_was_not_there_when_its_update_should_have_begun_sends_noise_alone(tmp_path: Path) -> None:
    recipe = banded(bands=2, cohort=6, rounds=4)
    federation = a_federation(tmp_path, recipe)
    began = federation.invitation(0).cohort
    federation.entropy = lambda name: replay(name.encode())
    federation.run(dataclasses.replace(federation.invitation(1)))  # round 0 never reached anybody
    code = codec_of(recipe, 0.35).upload(12, SIZE, bytes(32), lag=1)
    assert isinstance(code, NoisyUpload)
    for name in began:
        assert federation.learners[name].calls == 0
        stored = stored_upload(federation.records(name), code.coordinates, f"<u{2 if code.ring_bits == 16 else 4}")
        steps = ((stored.astype(np.int64) + (1 << (code.ring_bits - 1))) % (1 << code.ring_bits)) - (
            1 << (code.ring_bits - 1)
        )
        assert np.abs(steps).max() < 8 * code.mechanism.std


def test_what_is_kept_for_sending_again_is_erased_with_the_last_round_that_needs_it(tmp_path: Path) -> None:
    from training.parties.rounds import commit

    recipe = banded(bands=2, cohort=6, rounds=3)
    federation = a_federation(tmp_path, recipe)
    for index in range(3):
        session = federation.invitation(index)
        federation.run(session)
        federation.gone = set()
        commit(session, federation)
        kept = {name for name in CLIENTS if federation.records(name).there("begun")}
        fresh = {name for name, lag in invited(CLIENTS, index, recipe.federation).items() if lag == 0}
        assert kept == (fresh if index < 2 else set())


def test_lags_beyond_the_bands_and_a_cohort_of_another_size_are_refused(tmp_path: Path) -> None:
    recipe = banded(bands=2, cohort=4, rounds=6)
    federation = a_federation(tmp_path, recipe)
    honest = federation.invitation(2)
    for wrong, why in (
        (dataclasses.replace(honest, lags=(2, *honest.lags[1:])), "more rounds than the recipe has bands"),
        (dataclasses.replace(honest, cohort=honest.cohort[:4], lags=honest.lags[:4]), "not the recipe's cohort"),
    ):
        with pytest.raises(Exception, match="participants"):
            federation.run(wrong)
        assert any(why in reason for reason in federation.refusals.values())


@pytest.mark.parametrize(
    ("privacy", "plan", "words"),
    [
        ({"unit": "example", "noise": "local"}, {}, 'needs privacy.unit = "client"'),
        ({"clip_quantile": 0.5}, {}, "needs privacy.clip_quantile = 0"),
        ({"sampling_rate": 0.5}, {}, "needs privacy.sampling_rate = 1"),
        ({}, {"sampling": "uniform"}, 'needs federation.sampling = "shuffled"'),
        ({}, {"bands": 7}, "federation.bands = 7 is more than federation.rounds = 6"),
        ({}, {"bands": 4}, "asks for 16 different clients in a round, but the data has 12"),
    ],
)
def test_bands_that_contradict_other_settings_are_refused_with_the_mend(
    privacy: dict[str, Any], plan: dict[str, Any], words: str
) -> None:
    recipe = banded()
    wrong = dataclasses.replace(
        recipe,
        privacy=dataclasses.replace(recipe.privacy, **privacy),
        federation=dataclasses.replace(recipe.federation, **plan),
    )
    with pytest.raises(RecipeError, match=words):
        check(wrong, 12)


def test_rounds_of_more_clients_than_a_secure_sum_takes_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(RecipeError, match="makes rounds of 80000 clients, and a secure sum takes 65520"):
        check(banded(bands=4, cohort=20_000), 100_000)


def test_the_run_without_noise_beside_it_sends_every_update_once() -> None:
    assert without_noise(banded()).federation.bands == 1
    check(without_noise(banded()), 12)
