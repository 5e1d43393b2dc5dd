"""Deals dialogues to clients, each exactly once. Knows ids and labels, not what a dialogue says.

Dealing sets a simulation up and hides nothing: numpy's seeded generator is the right one here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from chatfed.types import ClientId, IntVector


def by_client(ids: Sequence[ClientId]) -> dict[ClientId, IntVector]:
    """Places of each client's dialogues, in order; clients sorted by name.

    >>> {name: places.tolist() for name, places in by_client([ClientId("b"), ClientId("a"), ClientId("b")]).items()}
    {'a': [1], 'b': [0, 2]}
    """
    places: defaultdict[ClientId, list[int]] = defaultdict(list)
    for place, name in enumerate(ids):
        places[name].append(place)
    return {name: np.asarray(places[name], dtype=np.int64) for name in sorted(places)}


def deal_iid(count: int, clients: int, seed: int) -> dict[ClientId, IntVector]:
    """Shuffles `count` dialogues and deals them evenly: sizes differ by one at most. Every client is in the result."""
    _positive(clients)
    order = np.random.default_rng(seed).permutation(count).astype(np.int64)
    return dict(zip(_names(clients), map(np.sort, np.array_split(order, clients)), strict=True))


def deal_dirichlet(labels: Sequence[str], clients: int, alpha: float, seed: int) -> dict[ClientId, IntVector]:
    """Deals each label's dialogues in shares drawn from Dirichlet(alpha): a small alpha makes clients differ in topic.

    The draw of Hsu, Qi and Brown 2019 (arXiv 1909.06335), a label at a time. A client whose shares are all tiny may
    have none; it is in the result with an empty vector.
    """
    _positive(clients)
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, not {alpha}")
    rng = np.random.default_rng(seed)
    dealt: list[list[IntVector]] = [[] for _ in range(clients)]
    named = np.asarray(labels, dtype=str)
    for label in sorted(set(labels)):
        places = rng.permutation(np.flatnonzero(named == label)).astype(np.int64)
        for client, share in enumerate(np.split(places, _cuts(rng, len(places), clients, alpha))):
            dealt[client].append(share)
    empty = np.empty(0, dtype=np.int64)
    return {
        name: np.sort(np.concatenate([empty, *shares])) for name, shares in zip(_names(clients), dealt, strict=True)
    }


def _cuts(rng: np.random.Generator, count: int, clients: int, alpha: float) -> IntVector:
    """Where to cut `count` things into the clients' shares: int64[clients - 1], ascending."""
    shares = rng.dirichlet(np.full(clients, alpha))
    if not np.isfinite(shares).all():  # at a vanishing alpha all the gamma draws underflow: its limit is one client
        shares = np.eye(clients)[rng.integers(clients)]
    return np.clip(np.round(np.cumsum(shares)[:-1] * count), 0, count).astype(np.int64)


def _positive(clients: int) -> None:
    if clients < 1:
        raise ValueError(f"at least 1 client is needed, not {clients}")


def _names(clients: int) -> list[ClientId]:
    width = max(4, len(str(clients)))
    return [ClientId(f"c{number:0{width}d}") for number in range(1, clients + 1)]
