"""Every dialogue is dealt exactly once, the same way each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.data.partition import by_client, deal_dirichlet, deal_iid
from chatfed.types import ClientId, IntVector

SEEDS = st.integers(0, 2**32)
CLIENTS = st.integers(1, 40)


def dealt_once(parts: dict[ClientId, IntVector], count: int) -> bool:
    together = np.concatenate(list(parts.values()))
    return together.dtype == np.int64 and sorted(together.tolist()) == list(range(count))


@given(st.lists(st.sampled_from("abcdef"), min_size=1))
def test_by_client_gives_each_dialogue_to_its_client(names: list[str]) -> None:
    parts = by_client([ClientId(name) for name in names])
    assert dealt_once(parts, len(names))
    assert all(names[place] == client for client, places in parts.items() for place in places)


@given(st.integers(0, 300), CLIENTS, SEEDS)
def test_iid_deals_evenly_and_once(count: int, clients: int, seed: int) -> None:
    parts = deal_iid(count, clients, seed)
    sizes = [len(places) for places in parts.values()]
    assert dealt_once(parts, count) and len(parts) == clients and max(sizes) - min(sizes) <= 1


@given(st.lists(st.sampled_from(["vpn", "mail", "pay"]), max_size=200), CLIENTS, st.floats(1e-6, 100), SEEDS)
def test_dirichlet_deals_each_dialogue_once(labels: list[str], clients: int, alpha: float, seed: int) -> None:
    parts = deal_dirichlet(labels, clients, alpha, seed)
    assert dealt_once(parts, len(labels)) and len(parts) == clients


@given(st.integers(0, 100), CLIENTS, SEEDS)
def test_dealing_repeats_from_its_seed(count: int, clients: int, seed: int) -> None:
    labels = [str(place % 3) for place in range(count)]
    for first, second in (
        [deal_iid(count, clients, seed) for _ in range(2)],
        [deal_dirichlet(labels, clients, 0.5, seed) for _ in range(2)],
    ):
        assert first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


def topic_share_of_main_topic(alpha: float) -> float:
    labels = [str(place % 5) for place in range(2000)]
    parts = [places for places in deal_dirichlet(labels, 20, alpha, seed=4).values() if len(places) > 20]
    return float(np.mean([np.bincount(places % 5).max() / len(places) for places in parts]))


def test_tiny_alpha_skews_topics_and_large_alpha_does_not() -> None:
    assert topic_share_of_main_topic(0.02) > 0.8
    assert topic_share_of_main_topic(1000.0) < 0.3


def test_another_seed_deals_otherwise() -> None:
    one, two = deal_iid(100, 2, seed=1), deal_iid(100, 2, seed=2)
    assert any((one[name] != two[name]).any() for name in one)


def test_dealing_to_nobody_or_without_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 client"):
        deal_iid(3, 0, seed=1)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        deal_dirichlet(["a"], 2, 0.0, seed=1)
