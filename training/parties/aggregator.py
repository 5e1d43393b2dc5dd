"""The server's own choices: whom it asks each round, and what it makes of the clients' mean update.

Pure steps on arrays. Knows no messages and no model; sees no client's update, only their mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chatfed.privacy.factorization import Coefficients, estimate
from chatfed.types import ChatfedError, ClientId, FloatVector, IntVector

from ..plan.recipe import CLIP_NORMS, FederationSection

CLIP_RATE = 0.2  # how fast a clip norm follows its quantile


class NotFinite(ChatfedError):
    """A round whose outcome is no model."""

    code = "round_not_finite"
    mend = "start a new run with a lower federation.server_learning_rate, or a lower one of the clients"


@dataclass(frozen=True)
class ServerState:
    """The global model and the optimiser's memory, after `round` finished rounds."""

    round: int
    weights: FloatVector  # float32[d]
    momentum: FloatVector  # float32[d]
    variance: FloatVector  # float32[d]
    clip_norm: float = 0.0  # of updates, where it follows a quantile; 0: the recipe's
    estimates: tuple[FloatVector, ...] = ()  # of what clients began in the last rounds, the latest first: DP-FTRL


def initial_state(weights: FloatVector, clip_norm: float = 0.0) -> ServerState:
    """Before the first round: no momentum, no estimates."""
    return ServerState(0, weights, np.zeros_like(weights), np.zeros_like(weights), clip_norm)


def follow_quantile(clip_norm: float, within: float, quantile: float) -> float:
    """The next clip norm: C exp(-CLIP_RATE (within - quantile)), within its bounds (Andrew et al. 2021, section 2.1).

    >>> follow_quantile(1.0, within=0.5, quantile=0.5), round(follow_quantile(1.0, within=0.9, quantile=0.5), 3)
    (1.0, 0.923)
    """
    low, high = CLIP_NORMS
    return min(high, max(low, clip_norm * math.exp(-CLIP_RATE * (min(1.0, max(0.0, within)) - quantile))))


def apply_update(state: ServerState, mean: FloatVector, settings: FederationSection) -> ServerState:
    """One step of the server's optimiser on the clients' mean update float32[d].

    "fedavg": w += rate * mean (McMahan et al. 2017, algorithm 1, with a server rate). "fedadam": Adam on -mean as
    gradient, with bias correction (Reddi et al. 2021, algorithm 2), and decay apart from it (Loshchilov and Hutter
    2019, algorithm 2). Raises NotFinite, and no state is made, where the mean is not finite or the step makes it so.
    """
    _refuse_non_finite("the mean of the clients' updates", mean, state, settings)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
        after = _moved(state, mean, settings)
    for what in ("weights", "momentum", "variance"):
        _refuse_non_finite(f"the global model's {what}", getattr(after, what), state, settings)
    return after


def _refuse_non_finite(what: str, vector: FloatVector, state: ServerState, settings: FederationSection) -> None:
    broken = int(vector.size - np.isfinite(vector).sum())
    if broken:
        raise NotFinite(
            f"Round {state.round + 1} made {broken:,} of {vector.size:,} numbers in {what} not finite (NaN or infinity)"
            f": nothing of the round is kept and no other is begun. federation.server_learning_rate = "
            f"{settings.server_learning_rate:g} or the clients' learning rate is too large; start a new run with less."
        )


def _moved(state: ServerState, mean: FloatVector, settings: FederationSection) -> ServerState:
    rate = settings.rates()[min(state.round, settings.rounds - 1)]
    if settings.server_optimizer == "fedavg":
        return replace(state, round=state.round + 1, weights=(state.weights + rate * mean).astype(np.float32))
    count = state.round + 1
    momentum = settings.beta1 * state.momentum + (1 - settings.beta1) * mean
    variance = settings.beta2 * state.variance + (1 - settings.beta2) * mean**2
    step = (momentum / (1 - settings.beta1**count)) / (
        np.sqrt(variance / (1 - settings.beta2**count)) + settings.adam_epsilon
    )
    weights = (1 - rate * settings.weight_decay) * state.weights + rate * step
    return replace(
        state,
        round=count,
        weights=weights.astype(np.float32),
        momentum=momentum.astype(np.float32),
        variance=variance.astype(np.float32),
    )


def take_back(state: ServerState, total: FloatVector, c: Coefficients) -> tuple[ServerState, FloatVector]:
    """From the sum of a round, echoes and all, what clients began in it: float32[d], with less of the earlier noise."""
    begun = estimate(total, state.estimates, c)
    return replace(state, estimates=(begun, *state.estimates)[: len(c) - 1]), begun


def invited(clients: Sequence[ClientId], round_index: int, settings: FederationSection) -> dict[ClientId, int]:
    """The clients of a round's sum in the order of their names, each with the rounds since its update began."""
    lags = range(min(settings.bands, round_index + 1))
    return dict(sorted((name, lag) for lag in lags for name in cohort(clients, round_index - lag, settings)))


def cohort(clients: Sequence[ClientId], round_index: int, settings: FederationSection) -> list[ClientId]:
    """The clients asked in round `round_index` (from 0): a function of the seed, so that a resumed run asks the same.

    "shuffled" deals one random permutation of all clients after another, so that everyone is asked equally often. With
    bands it is one permutation again and again, so that a client's updates lie clients / cohort rounds apart.
    "uniform" draws a fresh cohort without replacement each round, from those still below `max_participations`. Neither
    is secret, and no claim rests on it: no guarantee takes amplification from the server's choice of clients.
    """
    size = min(settings.cohort, len(clients))
    ordered = sorted(clients)
    if settings.sampling == "uniform":
        return sorted(ordered[i] for i in _drawn(len(ordered), size, round_index, settings))
    if settings.bands > 1:
        order = np.random.default_rng([settings.seed, 0]).permutation(len(ordered))
        return sorted(ordered[order[(round_index * size + i) % len(ordered)]] for i in range(size))
    return sorted(ordered[i] for i in _dealt(len(ordered), size, round_index, settings.seed))


def _drawn(count: int, size: int, round_index: int, settings: FederationSection) -> IntVector:
    """Draw `round_index` of `size` out of range(count), nobody more often than `max_participations` (0: no limit)."""
    if not settings.max_participations:
        return np.random.default_rng([settings.seed, round_index]).choice(count, size, replace=False)
    left = np.full(count, settings.max_participations)
    for index in range(round_index + 1):
        generator = np.random.default_rng([settings.seed, index])
        chosen = generator.choice(np.flatnonzero(left), size, replace=False)
        after = left.copy()
        after[chosen] -= 1
        rounds = settings.rounds - index - 1
        if np.minimum(after, rounds).sum() < size * rounds:  # later rounds would lack clients: ask the least used now
            order = generator.permutation(count)
            chosen = order[np.argsort(-left[order], kind="stable")][:size]
        left[chosen] -= 1
    return chosen


def _dealt(count: int, size: int, round_index: int, seed: int) -> list[int]:
    """Hand `round_index` of permutations of range(count) dealt in hands of `size`, nobody twice in a hand."""
    left: list[int] = []
    passes = 0
    for _ in range(round_index + 1):
        hand = left[:size]
        left = left[size:]
        if len(hand) < size:  # the pass ran out: go on with the next, those already in this hand moved back
            fresh = [int(i) for i in np.random.default_rng([seed, passes]).permutation(count)]
            passes += 1
            held = set(hand)
            usable = [i for i in fresh if i not in held]
            hand += usable[: size - len(hand)]
            left = usable[size - len(held) :] + [i for i in fresh if i in held]
    return hand
