"""Whom the server asks, and what it makes of the mean: against obvious loops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.types import ClientId
from tests.training.federation import names
from training.parties.aggregator import apply_update, cohort, initial_state
from training.plan.checks import check
from training.plan.cohorts import planned_participations
from training.plan.recipe import FederationSection, Recipe
from training.plan.settings import RecipeError

Script = tuple[tuple[ClientId, ...], FederationSection]


@st.composite
def plans(draw: st.DrawFn) -> Script:
    clients = draw(st.integers(2, 25))
    rounds, size = draw(st.integers(1, 12)), draw(st.integers(2, clients))
    most = draw(st.sampled_from([0, 0, 1, 2, 5]))
    sampling = draw(st.sampled_from(["shuffled", "uniform"]))
    seed = draw(st.integers(0, 9))
    return names(clients), FederationSection(rounds, size, sampling=sampling, max_participations=most, seed=seed)


def asked(clients: tuple[ClientId, ...], plan: FederationSection) -> Counter[ClientId]:
    return Counter(client for index in range(plan.rounds) for client in cohort(clients, index, plan))


@settings(max_examples=150, deadline=None)
@given(plans())
def test_no_client_is_asked_more_often_than_its_noise_was_planned_for(script: Script) -> None:
    clients, plan = script
    recipe = Recipe(federation=plan)
    try:
        check(recipe, len(clients))
    except RecipeError:
        return  # more participations asked for than there are: refused before anything runs
    assert max(asked(clients, plan).values()) <= planned_participations(recipe, len(clients))


@settings(max_examples=150, deadline=None)
@given(plans())
def test_a_cohort_is_full_sorted_and_without_repeats(script: Script) -> None:
    clients, plan = script
    if plan.max_participations and plan.rounds * plan.cohort > len(clients) * plan.max_participations:
        plan = replace(plan, max_participations=0)
    for index in range(plan.rounds):
        chosen = cohort(clients, index, plan)
        assert len(chosen) == plan.cohort
        assert chosen == sorted(set(chosen))
        assert set(chosen) <= set(clients)


@settings(max_examples=100, deadline=None)
@given(plans())
def test_shuffled_asks_everyone_equally_often(script: Script) -> None:
    clients, plan = script
    counts = asked(clients, replace(plan, sampling="shuffled", max_participations=0))
    fair = plan.rounds * plan.cohort / len(clients)
    assert all(int(fair) <= counts[client] <= -(-plan.rounds * plan.cohort // len(clients)) for client in clients)


@given(plans())
@settings(max_examples=50, deadline=None)
def test_the_choice_is_a_function_of_seed_and_round_whatever_the_order_of_clients(script: Script) -> None:
    clients, plan = script
    if plan.max_participations and plan.rounds * plan.cohort > len(clients) * plan.max_participations:
        plan = replace(plan, max_participations=0)
    for index in (plan.rounds - 1, 0):
        assert cohort(clients, index, plan) == cohort(clients[::-1], index, plan)


def test_another_seed_asks_others() -> None:
    clients = names(30)
    for sampling in ("shuffled", "uniform"):
        plan = FederationSection(5, 10, sampling=sampling, seed=1)
        assert cohort(clients, 0, plan) != cohort(clients, 0, replace(plan, seed=2))
        assert cohort(clients, 0, plan) != cohort(clients, 1, plan)


def test_uniform_reaches_everyone_sooner_or_later_and_about_equally() -> None:
    clients = names(10)
    counts = asked(clients, FederationSection(300, 3, sampling="uniform"))
    assert all(60 <= counts[client] <= 120 for client in clients)


def test_fedavg_is_the_weights_plus_rate_times_mean() -> None:
    generator = np.random.default_rng(0)
    state = initial_state(generator.normal(size=20).astype(np.float32))
    expected = [float(w) for w in state.weights]
    settings_ = FederationSection(server_learning_rate=0.7, server_schedule="constant")
    for _ in range(5):
        mean = generator.normal(size=20).astype(np.float32)
        state = apply_update(state, mean, settings_)
        expected = [w + 0.7 * float(m) for w, m in zip(expected, mean, strict=True)]
    np.testing.assert_allclose(state.weights, expected, rtol=1e-5, atol=1e-6)
    assert state.round == 5
    assert state.weights.dtype == np.float32


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_fedadam_agrees_with_a_loop_over_single_numbers_and_with_torch(decay: float) -> None:
    import torch

    generator = np.random.default_rng(1)
    settings_ = FederationSection(
        server_schedule="constant",
        server_optimizer="fedadam",
        server_learning_rate=0.05,
        beta1=0.8,
        beta2=0.95,
        adam_epsilon=1e-6,
        weight_decay=decay,
    )
    state = initial_state(generator.normal(size=12).astype(np.float32))
    weights, first, second = [float(w) for w in state.weights], [0.0] * 12, [0.0] * 12
    parameter = torch.nn.Parameter(torch.from_numpy(state.weights.copy()))
    adam = torch.optim.AdamW([parameter], lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=decay)
    for step in range(1, 7):
        mean = generator.normal(size=12).astype(np.float32)
        state = apply_update(state, mean, settings_)
        for k, m in enumerate(mean.tolist()):
            first[k] = 0.8 * first[k] + 0.2 * m
            second[k] = 0.95 * second[k] + 0.05 * m * m
            corrected = (second[k] / (1 - 0.95**step)) ** 0.5
            weights[k] *= 1 - 0.05 * decay
            weights[k] += 0.05 * (first[k] / (1 - 0.8**step)) / (corrected + 1e-6)
        parameter.grad = -torch.from_numpy(mean)
        adam.step()
    np.testing.assert_allclose(state.weights, weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.weights, parameter.detach().numpy(), rtol=1e-4, atol=1e-6)
    assert state.round == 6


def test_a_step_leaves_the_state_it_was_given_untouched() -> None:
    state = initial_state(np.zeros(3, np.float32))
    for kind in ("fedavg", "fedadam"):
        apply_update(state, np.ones(3, np.float32), FederationSection(server_optimizer=kind))
    assert not state.weights.any() and not state.momentum.any() and not state.variance.any()
    assert state.round == 0


@pytest.mark.parametrize("sampling", ["shuffled", "uniform"])
def test_with_as_many_clients_as_a_cohort_everyone_is_asked_each_round(sampling: str) -> None:
    clients = names(4)
    plan = FederationSection(6, 4, sampling=sampling)
    assert all(cohort(clients, index, plan) == list(clients) for index in range(6))


def test_the_rate_rises_at_first_and_falls_late_and_is_never_more_than_its_name() -> None:
    plan = FederationSection(rounds=10, server_learning_rate=2.0, server_schedule="late", warmup=2)
    assert plan.rates() == pytest.approx([2 / 3, 4 / 3, 2, 2, 2, 5 / 3, 4 / 3, 1, 2 / 3, 1 / 3])
    for schedule, last in (("constant", 2.0), ("linear", 0.2), ("late", 1 / 3)):
        rates = replace(plan, server_schedule=schedule, warmup=0).rates()
        assert rates[0] == 2.0 and rates == sorted(rates, reverse=True) and rates[-1] == pytest.approx(last)
