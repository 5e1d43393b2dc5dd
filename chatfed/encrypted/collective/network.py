"""The network that is trained, twice: in clear, and where its numbers stand in slots. Knows no cipher.

scores = W2 (W1 x)^2, squared error against classes, plain gradient descent. The clear one is what the encrypted one is
compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chatfed.types import InvalidValue

from .ciphertext import plain
from .frames import Purpose
from .parameters import (
    FEATURE_SCALE,
    FIRST_SCALE,
    MASK_SCALE,
    OPEN_BITS,
    SECOND_SCALE,
    SMUDGE_BITS,
    TOP,
    WEIGHTS,
    Parameters,
)
from .refresh import Fold, Map
from .ring import PRIMES, ring
from .slots import Slots

Matrix = NDArray[np.float64]
HIDDEN_BITS, RESULT_BITS = 36, 40  # log2 of the scales of hidden units, and of scores and what goes back
LARGEST = 16.0  # of any number that is refreshed: what hiding by masks is counted for


@dataclass(frozen=True, eq=False)
class Weights:
    """The two layers."""

    first: Matrix = field(repr=False)  # float64[hidden, features]
    second: Matrix = field(repr=False)  # float64[classes, hidden]


@dataclass(frozen=True, eq=False)
class Batch:
    """One party's examples of one step."""

    features: Matrix = field(repr=False)  # float64[examples, features], within [-1, 1]
    classes: Matrix = field(repr=False)  # float64[examples, classes], within [-1, 1]

    def check(self, parameters: Parameters) -> None:
        """Raises InvalidValue."""
        for name, width in (("features", parameters.features), ("classes", parameters.classes)):
            given = getattr(self, name)
            if given.shape != (parameters.examples, width) or not bool((np.abs(given) <= 1).all()):
                raise InvalidValue(
                    f"A batch's {name} are {parameters.examples} x {width} numbers within [-1, 1].", param=name
                )


def scores(weights: Weights, features: Matrix) -> Matrix:
    """float64[n, classes] of features float64[n, features]."""
    found: Matrix = (features @ weights.first.T) ** 2 @ weights.second.T
    return found


def step(weights: Weights, batches: list[Batch], size: float) -> Weights:
    """One step in clear on all parties' examples. size: what the sum of gradients is multiplied with."""
    x, y = (np.concatenate([getattr(each, name) for each in batches]) for name in ("features", "classes"))
    hidden = x @ weights.first.T
    wrong = hidden**2 @ weights.second.T - y
    back = 2 * hidden * (wrong @ weights.second)
    return Weights(weights.first - size * back.T @ x, weights.second - size * wrong.T @ hidden**2)


# In slots


def _shape(parameters: Parameters) -> tuple[int, int, int]:
    return parameters.features, parameters.examples, parameters.hidden


def spread_features(parameters: Parameters, features: Matrix) -> Slots:
    """Of a batch: the same for all hidden units."""
    return np.broadcast_to(features.T[:, :, None], _shape(parameters)).reshape(-1)


def spread_classes(parameters: Parameters, classes: Matrix) -> Slots:
    """Of a batch, in the first features' places."""
    found = np.zeros(_shape(parameters))
    found[: parameters.classes] = classes.T[:, :, None]
    return found.reshape(-1)


def spread_weights(parameters: Parameters, weights: Weights) -> tuple[Slots, Slots]:
    """Both layers, the same for all examples."""
    first, second = np.zeros(_shape(parameters)), np.zeros(_shape(parameters))
    first[:] = weights.first.T[:, None, :]
    second[: parameters.classes] = weights.second[:, None, :]
    return first.reshape(-1), second.reshape(-1)


def gathered_weights(parameters: Parameters, first: Slots, second: Slots) -> Weights:
    """The layers of their slots, each number the mean of its copies."""
    one, two = (each.reshape(_shape(parameters)).mean(axis=1) for each in (first, second))
    return Weights(one.T.copy(), two[: parameters.classes].copy())


def maps(parameters: Parameters) -> dict[Purpose, Map]:
    """What each refresh does, from the scales that its ciphertexts have: the same for all parties."""
    p, (features, examples, hidden) = parameters, _shape(parameters)
    last, before = PRIMES[TOP - 1], PRIMES[WEIGHTS - 1]  # what the first and the second rescaling divide by
    place = np.arange(p.degree // 2).reshape(_shape(p))
    unit, example, feature = place % hidden, place // hidden % examples, place // (hidden * examples)
    entering = FIRST_SCALE * FEATURE_SCALE / before
    to_hidden = Map(_shift(entering / features, HIDDEN_BITS), gather=features)
    units = to_hidden.scale(entering)
    squares = units**2 / last
    entering = SECOND_SCALE * squares / before
    keep = (unit == 0) & (feature < p.classes)
    to_scores = Map(_shift(entering, RESULT_BITS), fold=_fold(1, hidden, keep, MASK_SCALE))
    wrong = to_scores.scale(entering) / last
    entering = SECOND_SCALE * wrong / before
    to_back = Map(_shift(entering / features, RESULT_BITS), gather=features)
    back = units * to_back.scale(entering) / last / 2  # the derivative of a square
    keep = example == 0
    first = _gradient(p, FIRST_SCALE, back * FEATURE_SCALE / before, keep)
    second = _gradient(p, SECOND_SCALE, wrong * squares / before, keep & (feature < p.classes))
    return {
        Purpose.HIDDEN: to_hidden,
        Purpose.OUTPUT: to_scores,
        Purpose.BACK: to_back,
        Purpose.FIRST: first,
        Purpose.SECOND: second,
        Purpose.CLOSE_FIRST: Map(-OPEN_BITS, noise_bits=_shift(FIRST_SCALE, SMUDGE_BITS)),
        Purpose.CLOSE_SECOND: Map(-OPEN_BITS, noise_bits=_shift(SECOND_SCALE, SMUDGE_BITS)),
    }


def _gradient(parameters: Parameters, weights: float, entering: float, keep: NDArray[np.bool_]) -> Map:
    """To `step_size` times the sum over examples, on the scale of the weights once it is rescaled."""
    shift = max(_shift(entering, 0) - _shift(weights * parameters.step_size, 0), 0)
    scale = parameters.step_size * weights * PRIMES[TOP - 1] / (entering / 2.0**shift)
    return Map(shift, fold=_fold(parameters.hidden, parameters.examples, keep, scale))


def _fold(stride: int, count: int, keep: NDArray[np.bool_], scale: float) -> Fold:
    kept = plain(ring(2 * keep.size), keep.astype(float).reshape(-1), scale, TOP)
    return Fold(stride, count, kept, scale)


def _shift(scale: float, bits: int) -> int:
    """By how many bits a scale is above 2^bits."""
    return round(float(np.log2(scale))) - bits
