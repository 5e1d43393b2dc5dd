"""What distributed noise comes out of whole rounds of clients on disk, and what each is charged for it."""

from __future__ import annotations

import dataclasses
import math
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from chatfed.privacy.distributed import SAMPLED_SUMS, SUMS, distributed_epsilon
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget
from chatfed.secagg.messages import BelowThreshold
from tests.training.federation import Federation, Learner, names, stored_upload, update_of
from tests.training.plans import client_level, noisy
from training.parties.homes import Homes
from training.parties.ledgers import LEDGER, OF_ROUNDS, spent
from training.parties.session import Step
from training.plan.survivors import threshold
from training.plan.terms import ClientTerms, client_terms

CLIENTS = names(10)


WEIGHTS = np.zeros(5000, np.float32)


def test_noise_out_of_rounds_with_dropouts_at_the_floor_has_the_claimed_variance_and_shape(tmp_path: Path) -> None:
    """The real way: clients on disk, masks, dropouts, the ring, decoding. Two of ten fall silent, eight must stay."""
    terms = ClientTerms(1.5, client_terms(client_level(), 10).mechanism, Budget(1e4, 1e-5, Protected.DIALOGUE))
    federation = Federation(tmp_path, client_level(noise_multiplier=1.5), CLIENTS, terms)
    federation.silent = {Step.SHARES: CLIENTS[:1], Step.SURVIVORS: [], Step.ADVERTS: CLIENTS[1:2]}
    for name in CLIENTS:
        federation.learners[name] = Learner(np.zeros_like(WEIGHTS))
    code = noisy(federation.recipe, WEIGHTS.size, 1.5)
    noise = []
    for index in range(4):
        outcome = federation.run(federation.session(index, WEIGHTS + np.float32(index)))
        assert len(outcome.survivors) == threshold(federation.recipe.secagg, 10) == 8
        noise.append(
            outcome.mean * (8 * code.scale / code.clip_norm)
        )  # ring steps, rotated back: still N(0, 8 std^2) each
    drawn, std = np.concatenate(noise), code.mechanism.std * math.sqrt(8)
    assert drawn.var() * 7 / 8 >= code.mechanism.total_std**2 * 0.95  # seven honest shares are claimed
    assert drawn.std() == pytest.approx(std, rel=0.03)
    assert stats.kstest(drawn / std, "norm").pvalue > 1e-4
    assert code.mechanism.noise_multiplier == pytest.approx(1.5)


def test_every_participation_is_charged_as_a_share_and_the_ledger_refuses_more(tmp_path: Path) -> None:
    recipe = client_level()
    planned = client_terms(recipe, 10)
    federation = Federation(tmp_path, recipe, CLIENTS, planned)
    for name in CLIENTS:
        federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
    federation.run(federation.session(0, WEIGHTS))
    code = noisy(recipe, WEIGHTS.size, planned.noise_multiplier)
    for name in CLIENTS:
        (entry,) = federation.client(name).ledger().entries
        assert entry.mechanism == code.mechanism == dataclasses.replace(code.mechanism, rounds=1)
        spent = federation.client(name).ledger().epsilon
        assert spent == distributed_epsilon([code.mechanism], delta=1e-5) and 7.9 < spent <= 8.0
    with pytest.raises(Exception, match="only 0 participants"):
        federation.run(federation.session(1, WEIGHTS + np.float32(1)))
    assert "over" in next(iter(federation.refusals.values())) or "budget" in next(iter(federation.refusals.values()))
    assert all(federation.charges(name) == 1 for name in CLIENTS)


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_two_sums_of_one_round_are_the_same_numbers(tmp_path: Path, identities: str) -> None:
    """Else their difference would hold every update without its noise, under one charge."""
    recipe = client_level()
    recipe = dataclasses.replace(recipe, secagg=dataclasses.replace(recipe.secagg, identities=identities))
    federation = Federation(tmp_path, recipe, CLIENTS, client_terms(recipe, 10))
    for name in CLIENTS:
        federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
    sums = [federation.run(federation.session(0, WEIGHTS)).mean.tolist() for _ in range(3)]
    assert sums[0] == sums[1] == sums[2]
    assert [federation.charges(name) for name in CLIENTS] == [1] * 10


def test_another_cohort_gets_another_update_with_other_noise_and_it_is_charged(tmp_path: Path) -> None:
    """Else two cohorts could each certify a set of its own, and the difference hold the noise of few clients."""
    recipe = client_level()
    terms = dataclasses.replace(client_terms(recipe, 10), budget=Budget(50.0, 1e-5, Protected.DIALOGUE))
    federation = Federation(tmp_path, recipe, names(12), terms)
    for name in federation.clients:
        federation.learners[name] = Learner(np.zeros_like(WEIGHTS))
    kept = []
    for others in (federation.clients[8:10], federation.clients[10:]):
        cohort = tuple(sorted((*federation.clients[:8], *others)))
        federation.run(dataclasses.replace(federation.session(0, WEIGHTS), cohort=cohort))
        kept.append(stored_upload(federation.records(CLIENTS[0]), WEIGHTS.size, "<i2").astype(float))
    assert [federation.charges(name) for name in federation.clients] == [2] * 8 + [1] * 4
    assert [federation.learners[name].calls for name in federation.clients] == [2] * 8 + [1] * 4
    assert abs(np.corrcoef(kept[0], kept[1])[0, 1]) < 0.1


def test_what_a_client_keeps_until_the_round_is_over_is_noised_and_does_not_tell_its_update(tmp_path: Path) -> None:
    federation = Federation(tmp_path, client_level(rotation=False), CLIENTS, client_terms(client_level(), 10))
    for name in CLIENTS:
        federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
    federation.run(federation.session(0, WEIGHTS))
    code = noisy(federation.recipe, WEIGHTS.size, federation.terms.noise_multiplier)
    one, other = (stored_upload(federation.records(name), WEIGHTS.size, "<i2") for name in CLIENTS[:2])
    assert one.astype(float).std() == pytest.approx(code.mechanism.std, rel=0.05)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1  # noise of its own
    records = federation.records(CLIENTS[0])
    kept = [found[1] for name in (LEDGER, *OF_ROUNDS) if (found := records.read(name))]
    assert len(kept) >= 4, "ledger, update, round and what was answered"
    federation.restarted(CLIENTS[0])
    files = [path.read_bytes() for path in (tmp_path / CLIENTS[0]).iterdir()]
    for content in (*kept, *files):
        assert update_of(CLIENTS[0], WEIGHTS.size).tobytes()[:64] not in content


@pytest.mark.parametrize("rotation", [True, False])
def test_two_sums_of_one_release_are_the_same_numbers_so_that_no_difference_is_free_of_noise(
    tmp_path: Path, rotation: bool
) -> None:
    """A server that crashed after the sum asks again; beside another client it is another release, and not afforded."""
    recipe = client_level(rotation=rotation)
    terms = client_terms(recipe, 10)
    federation = Federation(tmp_path, recipe, names(11), terms)
    for name in federation.clients:
        federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
    session = dataclasses.replace(federation.session(0, WEIGHTS), cohort=CLIENTS)
    federation.silent = {Step.SHARES: federation.clients[-2:]}
    first = federation.run(session)
    others = (*CLIENTS[:-1], federation.clients[-1])
    for attempt in (b"b" * 16, b"c" * 16):
        outcome = federation.run(dataclasses.replace(session, attempt=attempt))
        assert outcome.survivors == first.survivors == CLIENTS[:-1]
        assert np.array_equal(outcome.mean, first.mean)
    with pytest.raises(BelowThreshold):
        federation.run(dataclasses.replace(session, cohort=others))
    assert "budget" in federation.refusals[CLIENTS[0]] and federation.charges(CLIENTS[0]) == 1


@pytest.mark.parametrize(("rate", "whose"), [(1.0, SUMS), (0.5, SAMPLED_SUMS)])
def test_the_accountant_named_is_the_one_that_was_asked(tmp_path: Path, rate: float, whose: str) -> None:
    recipe = client_level(sampling_rate=rate)
    with closing(Homes(tmp_path)) as homes:
        stores = {name: homes.of(name).store for name in CLIENTS}
        federation = Federation(tmp_path, recipe, CLIENTS, client_terms(recipe, 10), stores=stores)
        for name in CLIENTS:
            federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
        federation.run(federation.session(0, WEIGHTS))
    with closing(Homes(tmp_path)) as homes:
        cost = spent(homes, CLIENTS, federation.terms)
    assert cost.accountant == whose and cost.charges == 10


def test_a_clip_norm_where_the_recipe_fixes_it_is_refused_and_so_is_none_where_it_moves(tmp_path: Path) -> None:
    for recipe, clip in ((client_level(), 3.0), (client_level(clip_quantile=0.5), 0.0)):
        federation = Federation(tmp_path / str(clip), recipe, CLIENTS, client_terms(client_level(), 10))
        with pytest.raises(Exception, match="only 0 participants"):
            federation.run(dataclasses.replace(federation.session(0, WEIGHTS), clip_norm=clip))
        assert "clip norm" in federation.refusals[CLIENTS[0]]


def test_another_clip_norm_is_another_release_and_is_charged(tmp_path: Path) -> None:
    """Else a server could have one update encoded at two scales under one charge."""
    recipe = client_level(clip_quantile=0.5)
    terms = dataclasses.replace(client_terms(recipe, 10), budget=Budget(50.0, 1e-5, Protected.DIALOGUE))
    federation = Federation(tmp_path, recipe, CLIENTS, terms)
    for name in CLIENTS:
        federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
    for clip in (1.0, 2.0):
        federation.run(dataclasses.replace(federation.session(0, WEIGHTS), clip_norm=clip))
    assert {federation.charges(name) for name in CLIENTS} == {2}
