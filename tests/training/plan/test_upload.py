"""Updates inside the secure sum: what distributed noise comes out of real rounds, and what it is charged as."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

import training.plan.upload
from chatfed.privacy.accounting import Mechanism, compose
from chatfed.privacy.conversions import gaussian_epsilon
from chatfed.privacy.distributed import SAMPLED_SUMS, SUMS, ZERO_OUT, DistributedGaussian, distributed_epsilon
from chatfed.privacy.guarantee import Noise, Protected, Unit
from chatfed.privacy.ledger import Budget, Ledger, LedgerError
from chatfed.privacy.noise import poisson_sample
from chatfed.secagg.encoding import OutOfRange
from chatfed.secagg.messages import BelowThreshold
from chatfed.secagg.rotation import rotate_back
from chatfed.types import ClientId
from tests.privacy.entropy import replay
from tests.training.plans import check_sums, claim_of, codec_of, sums_of
from training.parties.aggregator import follow_quantile
from training.parties.homes import home_of
from training.parties.ledgers import spent
from training.parties.session import Step
from training.plan.checks import check
from training.plan.claims import Spent
from training.plan.recipe import (
    FederationSection,
    PrivacySection,
    Recipe,
    SecAggSection,
    load_recipe,
    without_noise,
)
from training.plan.settings import RecipeError
from training.plan.survivors import colluders, threshold
from training.plan.terms import ClientTerms, client_terms
from training.plan.upload import NoisyUpload, PlainUpload, clipped

from ..federation import Federation, Learner, names, stored_upload, update_of

CLIENTS = names(10)
SEED = b"s" * 32
WEIGHTS = np.zeros(5000, np.float32)


def client_level(cohort: int = 10, ring_bits: int = 0, rotation: bool = True, **privacy: Any) -> Recipe:
    return Recipe(
        privacy=PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED, clip_norm=2.0, **privacy),
        secagg=SecAggSection(threshold=0.8, corrupt=0.1, ring_bits=ring_bits, rotation=rotation),
        federation=FederationSection(cohort=cohort, rounds=1),
    )


def noisy(recipe: Recipe, dimension: int, noise_multiplier: float, clip_norm: float = 0.0) -> NoisyUpload:
    made = codec_of(recipe, noise_multiplier).upload(recipe.federation.cohort, dimension, SEED, clip_norm)
    assert isinstance(made, NoisyUpload)
    return made


def test_noise_out_of_rounds_with_dropouts_at_the_floor_has_the_claimed_variance_and_shape(tmp_path: Path) -> None:
    """The real way: clients on disk, masks, dropouts, the ring, decoding. Two of ten fall silent, eight must stay."""
    terms = ClientTerms(1.5, client_terms(client_level(), 10).mechanism, Budget(1e4, 1e-5))
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


def test_the_noise_stands_in_the_sum_as_whole_steps_before_it_is_rotated_back() -> None:
    code = noisy(client_level(rotation=False), 400, 1.5)
    encoded = [code.encode([np.zeros(400, np.float32)], replay(bytes([i]))) for i in range(8)]
    mean = code.decode(sum(encoded[1:], encoded[0].copy()), 8).update.astype(np.float64)
    steps = mean * (8 * code.scale / code.clip_norm)
    assert np.allclose(steps, np.rint(steps), atol=1e-2) and np.abs(steps).max() > 1


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
    terms = dataclasses.replace(client_terms(recipe, 10), budget=Budget(50.0, 1e-5))
    federation = Federation(tmp_path, recipe, names(12), terms)
    for name in federation.clients:
        federation.learners[name] = Learner(np.zeros_like(WEIGHTS))
    kept = []
    for others in (federation.clients[8:10], federation.clients[10:]):
        cohort = tuple(sorted((*federation.clients[:8], *others)))
        federation.run(dataclasses.replace(federation.session(0, WEIGHTS), cohort=cohort))
        kept.append(stored_upload(tmp_path / CLIENTS[0], WEIGHTS.size, "<i2").astype(float))
    assert [federation.charges(name) for name in federation.clients] == [2] * 8 + [1] * 4
    assert [federation.learners[name].calls for name in federation.clients] == [2] * 8 + [1] * 4
    assert abs(np.corrcoef(kept[0], kept[1])[0, 1]) < 0.1


def test_what_a_client_keeps_until_the_round_is_over_is_noised_and_does_not_tell_its_update(tmp_path: Path) -> None:
    federation = Federation(tmp_path, client_level(rotation=False), CLIENTS, client_terms(client_level(), 10))
    for name in CLIENTS:
        federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
    federation.run(federation.session(0, WEIGHTS))
    code = noisy(federation.recipe, WEIGHTS.size, federation.terms.noise_multiplier)
    one, other = (stored_upload(tmp_path / name, WEIGHTS.size, "<i2") for name in CLIENTS[:2])
    assert one.astype(float).std() == pytest.approx(code.mechanism.std, rel=0.05)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1  # noise of its own
    for path in (tmp_path / CLIENTS[0]).iterdir():
        assert update_of(CLIENTS[0], WEIGHTS.size).tobytes()[:64] not in path.read_bytes()


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


@settings(max_examples=40, deadline=None)
@given(
    st.integers(4, 40), st.integers(1, 6000), st.booleans(), st.floats(0.01, 100), st.floats(0.7, 5), st.integers(0, 99)
)
def test_the_mean_comes_back_within_noise_and_rounding(
    cohort: int, dimension: int, rotation: bool, length: float, multiplier: float, seed: int
) -> None:
    code = noisy(client_level(cohort, rotation=rotation), dimension, multiplier)
    vector = np.random.default_rng(seed).normal(size=dimension)
    update = (length * vector / np.linalg.norm(vector)).astype(np.float32)
    encoded = [code.encode([update], replay(bytes([seed, i]))) for i in range(cohort)]
    mean = code.decode(sum(encoded[1:], encoded[0].copy()), cohort).update
    expected = update * min(1.0, 2.0 / float(np.linalg.norm(update)))
    apart = float(np.linalg.norm(mean - expected)) * code.scale / 2.0 * math.sqrt(cohort)
    assert apart < 1.5 * math.sqrt(code.coordinates + 30) * (code.mechanism.std + 1)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30, 3.4e38])
def test_an_update_however_long_is_scaled_to_the_clip_norm(size: float) -> None:
    update = np.full(50_000, size, np.float32)
    length = float(np.linalg.norm(clipped(update, 1.0).astype(np.float64)))
    assert length == pytest.approx(min(1.0, size * math.sqrt(50_000)), rel=2e-6) and length <= 1.0


def test_an_update_that_is_not_finite_sends_its_noise_alone() -> None:
    code = noisy(client_level(), 50, 1.0)
    spoiled, nothing = np.full(50, np.nan, np.float32), np.zeros(50, np.float32)
    assert np.array_equal(code.encode([spoiled], replay(b"a")), code.encode([nothing], replay(b"a")))
    bit = noisy(client_level(clip_quantile=0.5), 50, 1.0)  # nor does it say that it was within the clip norm
    told = [bit.decode(bit.encode([spoiled], replay(bytes([i]))), 1).within for i in range(200)]
    assert np.mean(told) == pytest.approx(0.5, abs=6 * np.std(told) / math.sqrt(200))  # type: ignore[arg-type]


def test_a_clients_coin_takes_it_at_the_sampling_rate_and_the_mean_is_divided_by_it() -> None:
    code = noisy(client_level(sampling_rate=0.25), 50, 0.05)
    update = np.full(50, 2 / math.sqrt(50), np.float32)
    taken = [
        float(code.decode(code.encode([update], replay(bytes([i]))), 1).update @ update) / 4 > 2 for i in range(100)
    ]
    assert 10 < sum(taken) < 40 and code.mechanism.sampling_rate == 0.25
    fair = [len(poisson_sample(1, 0.25, replay(bytes([i])))) == 1 for i in range(100)]
    assert taken == fair


def test_a_client_does_the_same_work_whether_its_coin_takes_it_or_not_and_whatever_its_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the time that it takes would tell: what is left out is rounded too."""
    work: list[tuple[str, int]] = []
    for name in ("round_within", "rotate", "clipped"):
        monkeypatch.setattr(training.plan.upload, name, counting(name, getattr(training.plan.upload, name), work))
    done = set()
    for update in (np.full(50, 0.2, np.float32), np.full(50, 9.0, np.float32), np.full(50, np.nan, np.float32)):
        for toss in range(12):
            code = noisy(client_level(sampling_rate=0.5), 50, 1.0)
            code.encode([update], replay(bytes([toss])))
            done.add(tuple(work))
            work.clear()
    assert done == {(("clipped", 50), ("rotate", 50), ("round_within", 4096))}


def counting(name: str, real: Callable[..., Any], work: list[tuple[str, int]]) -> Callable[..., Any]:
    def counted(vector: NDArray[Any], *rest: object) -> Any:
        work.append((name, vector.size))
        return real(vector, *rest)

    return counted


def test_an_update_with_noise_of_its_own_is_always_encoded_and_one_without_is_refused_where_it_diverged() -> None:
    """After the noise, and before anything leaves, a failure would be one more thing that is told."""
    local = Recipe(federation=FederationSection(cohort=10), privacy=PrivacySection(noise_multiplier=1.0))
    code, bare = codec_of(local, 1.0).upload(10, 5000, SEED), codec_of(without_noise(local), 0.0).upload(10, 5000, SEED)
    made_for_it = rotate_back(np.eye(1, 8192, dtype=np.float32)[0], SEED, 5000)
    for update in (made_for_it, 1e30 * made_for_it, np.full(5000, 3.4e38, np.float32)):
        update = update.astype(np.float32)
        back = code.decode(code.encode([update], replay(b"a")), 1).update
        assert np.isfinite(back).all() and np.linalg.norm(back) < 1.1 * local.secagg.update_clip
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = np.full(5000, 1e-3, np.float32)
        spoiled[7] = bad
        back = code.decode(code.encode([spoiled], replay(b"a")), 1).update
        assert np.linalg.norm(back) < 0.1 * local.secagg.update_clip
        with pytest.raises(OutOfRange, match="not finite"):
            bare.encode([spoiled], replay(b"a"))


def test_shares_are_counted_from_the_fewest_survivors_less_the_colluders() -> None:
    recipe = client_level(cohort=20)
    assert (threshold(recipe.secagg, 20), colluders(recipe.secagg, 20)) == (16, 2)
    mechanism = noisy(recipe, 1000, 1.2).mechanism
    assert mechanism.shares == 14 and mechanism.dimension == 4096
    assert mechanism.std == pytest.approx(1.2 * mechanism.norm / math.sqrt(14))


@pytest.mark.parametrize("identities", ["none", "roster"])
@pytest.mark.parametrize("cohort", range(2, 21))
def test_the_claim_holds_before_another_client_however_small_the_cohort(cohort: int, identities: str) -> None:
    """Anybody in it knows its own share of the noise: 8.8 to 10.2 were real where 7.98 was claimed for 9 to 3."""
    recipe = client_level(cohort)
    recipe = dataclasses.replace(recipe, secagg=dataclasses.replace(recipe.secagg, identities=identities))
    terms = client_terms(recipe, cohort)
    mechanism = noisy(recipe, 1000, terms.noise_multiplier).mechanism
    sums = sums_of(recipe, terms.noise_multiplier)
    least = sums.floors(sums.parameters(cohort, 1000)).survivors
    seen = mechanism.std * math.sqrt(least - 1) / mechanism.norm  # by one that takes its own share away
    assert 7.0 < gaussian_epsilon(1 / seen, 1e-5) <= 8.0 or least - 1 > mechanism.shares
    assert mechanism.shares <= least - 1
    claim = claim_of(recipe, terms).guarantee(Spent({CLIENTS[0]: 7.9}, {CLIENTS[0]: 1}, SUMS, (mechanism,)), 1)
    assert f"with at most {max(1, cohort // 10)} of the {cohort} clients" in claim.holds_against


def test_a_fraction_of_clients_is_not_one_less_for_how_floats_are_rounded() -> None:
    recipe = dataclasses.replace(client_level(100), secagg=SecAggSection(corrupt=0.29, threshold=0.8))
    assert 0.29 * 100 < 29 and colluders(recipe.secagg, 100) == 29


@pytest.mark.parametrize(("rate", "whose"), [(1.0, SUMS), (0.5, SAMPLED_SUMS)])
def test_the_accountant_named_is_the_one_that_was_asked(tmp_path: Path, rate: float, whose: str) -> None:
    recipe = client_level(sampling_rate=rate)
    federation = Federation(tmp_path, recipe, CLIENTS, client_terms(recipe, 10))
    for name in CLIENTS:
        federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
    federation.run(federation.session(0, WEIGHTS))
    for name in CLIENTS:
        (tmp_path / name).rename(home_of(tmp_path, name))
    cost = spent(tmp_path, CLIENTS, federation.terms)
    assert cost.accountant == whose and cost.charges == 10


def test_costs_read_cohort_by_cohort_are_those_of_all_ledgers(tmp_path: Path) -> None:
    recipe = client_level(sampling_rate=0.5)
    terms = client_terms(recipe, 10)
    cost = spent(tmp_path, CLIENTS, terms)
    assert cost.charges == 0
    for index, cohort in enumerate((CLIENTS[:4], CLIENTS[2:9], CLIENTS[:1])):
        for client in cohort:
            mechanism = noisy(recipe, 1000, terms.noise_multiplier).mechanism
            path = home_of(tmp_path, client) / "ledger.json"
            path.parent.mkdir(exist_ok=True)
            Ledger.open(path, client, Budget(1000.0, 1e-5)).charge(f"round {index}", mechanism)
        generous = dataclasses.replace(terms, budget=Budget(1000.0, 1e-5))
        cost = cost.with_later(spent(tmp_path, cohort, generous))
        assert cost == spent(tmp_path, CLIENTS, generous)
    assert cost.participations == dict(zip(CLIENTS, [2, 1, 2, 2, 1, 1, 1, 1, 1], strict=False))


def test_a_ring_that_cannot_hold_the_noise_is_refused_and_a_wider_one_taken() -> None:
    assert noisy(client_level(), 5000, 1.0).ring_bits == 16
    assert noisy(client_level(cohort=3000), 5000, 1.0).ring_bits == 21
    with pytest.raises(RecipeError, match=r"federation\.cohort = 3000.*set secagg\.ring_bits to 0"):
        codec_of(client_level(cohort=3000, ring_bits=16), 1.0).upload(3000, 5000, SEED)


def test_what_no_model_of_any_size_could_carry_is_refused_before_there_is_a_model() -> None:
    codec_of(client_level(), 1.0).refuse_hopeless(10)
    codec_of(Recipe(), 1.0).refuse_hopeless(40)
    with pytest.raises(RecipeError, match=r"set secagg\.ring_bits to 0.*less noise"):
        codec_of(client_level(cohort=3000, ring_bits=16), 1.0).refuse_hopeless(3000)
    with pytest.raises(RecipeError, match=r"share of noise would be too small.*more noise"):
        codec_of(client_level(), 1e-9).refuse_hopeless(10)


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
        check_sums(recipe, dataclasses.replace(terms, budget=Budget(4.0, 1e-5)), 10, 1000)
    with pytest.raises(RecipeError, match=r"privacy\.delta.*cannot be accounted"):
        check_sums(recipe, dataclasses.replace(terms, budget=Budget(1e4, 1e-37)), 10, 1000)
    check_sums(Recipe(), terms, 400, 1000)


def test_a_target_that_no_noise_reaches_is_refused_by_its_key() -> None:
    with pytest.raises(RecipeError, match=r"privacy\.target_epsilon = 1e-25"):
        client_terms(client_level(target_epsilon=1e-25, delta=1e-29), 10)


@pytest.mark.parametrize("target", [0.1, 0.01, 1e-4])
def test_a_small_target_is_reached(target: float) -> None:
    terms = client_terms(client_level(target_epsilon=target), 10)
    assert terms.mechanism is not None and compose([terms.mechanism], delta=1e-5) <= target


def test_without_noise_a_clients_update_is_clipped_to_the_same_norm() -> None:
    """Else the run for comparison would differ in more than the noise."""
    bare = without_noise(client_level(clip_quantile=0.5))
    check(bare, 10)
    made = codec_of(bare, 0.0).upload(10, 400, SEED)
    assert isinstance(made, PlainUpload)
    long = 7 * update_of(CLIENTS[0], 400) / np.linalg.norm(update_of(CLIENTS[0], 400))
    mean = made.decode(made.encode([long.astype(np.float32)], replay(b"a")), 1).update
    assert np.linalg.norm(mean) == pytest.approx(2.0, rel=1e-3)


def test_a_clip_norm_that_could_not_move_is_refused() -> None:
    far = PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED, clip_norm=2e7, clip_quantile=0.5)
    with pytest.raises(RecipeError, match=r"privacy\.clip_norm = 2e\+07 cannot follow"):
        check(Recipe(privacy=far), 400)


def test_a_mend_for_a_run_without_noise_fits_its_unit() -> None:
    with pytest.raises(RecipeError, match=r'privacy\.noise to "distributed"'):
        check(Recipe(privacy=PrivacySection(unit=Unit.CLIENT, noise=Noise.NONE)), 400)


def test_units_and_noise_that_do_not_go_together_are_refused_with_the_mend() -> None:
    for keys, mend in (
        (["unit=client", "noise=local"], 'goes with privacy.noise = "distributed"'),
        (["unit=client", "noise=distributed", "clipping=automatic"], 'leave them at "flat" and 1'),
        (["unit=client", "noise=distributed", "local_steps=2"], 'leave them at "flat" and 1'),
        (["unit=example", "noise=distributed", "local_steps=2"], "set local_steps to 1"),
        (["unit=example", "noise=distributed", "clip_quantile=0.5"], 'needs privacy.unit = "client"'),
    ):
        with pytest.raises(RecipeError, match=mend):
            check(load_recipe(None, [f"privacy.{each}" for each in keys]), 400)


def test_the_claim_of_a_client_names_shares_floor_and_server() -> None:
    recipe = client_level()
    terms, cost = client_terms(recipe, 10), Spent({ClientId("a"): 7.5}, {ClientId("a"): 1}, "sums")
    sentence = claim_of(recipe, terms).guarantee(cost, 1).sentence()
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
    assert "a server that may deviate" in claim_of(pinned, terms).guarantee(cost, 1).sentence()


def test_one_ledger_does_not_mix_charges_for_dialogues_and_for_the_client(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json", ClientId("a"), Budget(100.0, 1e-5, Protected.CLIENT))
    share = DistributedGaussian(std=20.0, shares=80, norm=150.0, dimension=1000)
    ledger.charge("one", share)
    with pytest.raises(LedgerError, match="ledger of its own"):
        ledger.charge("two", Mechanism(1.0, 1.0, 1))
    for change in (False, True):
        with pytest.raises(LedgerError, match="for one client, not for one dialogue: keep a ledger of its own"):
            Ledger.open(ledger.path, ledger.owner, Budget(100.0, 1e-5), change_budget=change)
    assert Ledger.open(ledger.path, ledger.owner, ledger.budget).entries[0].mechanism == share


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_an_update_and_its_bit_together_are_no_longer_than_is_charged(
    dimension: int, length: float, clip_norm: float, rotation: bool
) -> None:
    recipe = client_level(rotation=rotation, clip_quantile=0.5)
    code, other = (noisy(recipe, dimension, 1.0, clip) for clip in (clip_norm, 7.0))
    vector = np.random.default_rng(dimension).normal(size=dimension)
    update = (length * vector / np.linalg.norm(vector)).astype(np.float32)
    assert float(np.linalg.norm(code._unit(update).astype(np.float64))) <= 1 + 1e-6
    assert code.mechanism == other.mechanism
    assert code.mechanism.norm >= code.scale  # in steps, rounding included


def test_a_moving_clip_norm_comes_to_its_quantile_through_noisy_sums() -> None:
    recipe, clip, seen = client_level(200, rotation=False, clip_quantile=0.7), 1.5, []
    updates = [update_of(name, 5) / np.float32(0.7) * np.float32((i + 1) / 200) for i, name in enumerate(names(200))]
    for turn in range(40):  # norms are 0.005 to 1
        code = codec_of(recipe, 1.0).upload(200, 5, SEED, clip)
        parts = [code.encode([update], replay(bytes([turn, i]))) for i, update in enumerate(updates)]
        within = code.decode(sum(parts[1:], parts[0].copy()), 200).within
        assert within is not None
        clip = follow_quantile(clip, within, 0.7)
        seen.append(clip)
    assert 0.6 < np.mean(seen[-5:]) < 0.85 < seen[5] < seen[0]


def test_a_clip_norm_where_the_recipe_fixes_it_is_refused_and_so_is_none_where_it_moves(tmp_path: Path) -> None:
    for recipe, clip in ((client_level(), 3.0), (client_level(clip_quantile=0.5), 0.0)):
        federation = Federation(tmp_path / str(clip), recipe, CLIENTS, client_terms(client_level(), 10))
        with pytest.raises(Exception, match="only 0 participants"):
            federation.run(dataclasses.replace(federation.session(0, WEIGHTS), clip_norm=clip))
        assert "clip norm" in federation.refusals[CLIENTS[0]]


def test_another_clip_norm_is_another_release_and_is_charged(tmp_path: Path) -> None:
    """Else a server could have one update encoded at two scales under one charge."""
    recipe = client_level(clip_quantile=0.5)
    terms = dataclasses.replace(client_terms(recipe, 10), budget=Budget(50.0, 1e-5))
    federation = Federation(tmp_path, recipe, CLIENTS, terms)
    for name in CLIENTS:
        federation.learners[name] = Learner(update_of(name, WEIGHTS.size))
    for clip in (1.0, 2.0):
        federation.run(dataclasses.replace(federation.session(0, WEIGHTS), clip_norm=clip))
    assert {federation.charges(name) for name in CLIENTS} == {2}


def test_a_quantile_without_distributed_noise_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"clip_quantile = 0\.5 needs"):
        check(load_recipe(None, ["privacy.clip_quantile=0.5"]), 400)


def test_a_run_without_noise_at_client_level_claims_nothing_for_clients() -> None:
    recipe = without_noise(client_level())
    claim = claim_of(recipe, client_terms(recipe, 10)).guarantee(Spent({}, {}, "none"), 1)
    assert (claim.epsilon, claim.unit, claim.adjacency) == (None, "client", ZERO_OUT)
    assert "No differential privacy is claimed" in claim.sentence()
