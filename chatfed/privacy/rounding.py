"""Real vectors to whole numbers of ring steps, at a norm that is certain. Knows nothing of noise, rings or budgets.

Two ways. Towards zero (`add_clipped`): no coordinate grows, so the norm is what it was, nothing is drawn, and what is
lost is half a step a coordinate: for steps so fine that this is nothing. For coarse steps:

Stochastic rounding takes each coordinate to one of its two neighbours so that the mean stays, and makes the vector
longer by chance. Drawing again until it is not too long makes the norm certain (conditional rounding: Kairouz, Liu and
Steinke 2021, section 4), so the accounting needs no probability for it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from chatfed.privacy.clipping import sum_of_squares
from chatfed.privacy.conversions import PrivacyError
from chatfed.privacy.noise import random_words, system_random
from chatfed.types import Entropy, FloatVector, IntVector, InvalidValue

BETA = math.exp(-0.5)  # of Kairouz et al., section 6: a rounding is too long with probability 0.61 at the very most
_MOST_DRAWS = 200  # all too long with probability below 1e-43
_BLOCK = 1 << 15
_LONGEST = 1e30  # clip norms; float32 keeps its full precision down to 1e-38
_SURE = 1.0 - 5e-6  # a norm is known to 2^-18 / 2, the factor and a product to 2^-24 each


class Scattered(NamedTuple):
    """A vector that is 0 but in some places: its numbers there."""

    places: IntVector  # int64[k], each once
    values: FloatVector  # float32[k]

    def dense(self, dimension: int) -> FloatVector:
        """The vector itself: float32[d]."""
        vector = np.zeros(dimension, np.float32)
        vector[self.places] = self.values
        return vector


def inflated_norm(norm: float, granularity: float, dimension: int, beta: float = BETA) -> float:
    """L2 norm, in the unit of `norm`, that a stochastically rounded vector passes with probability at most `beta`.

    norm: before rounding; granularity: the ring step, in the same unit; beta 0: the bound that is never passed.
    The least of norm + g sqrt(d) and the root of norm^2 + g^2 d / 4 + sqrt(2 log(1 / beta)) g (norm + g sqrt(d) / 2)
    (Kairouz, Liu and Steinke 2021, theorem 1). Proof of the second, g = 1: with f a coordinate's floor, the rounded
    square is f^2 + (2 f + 1) B, B one or zero. The means add up to at most norm^2 + d / 4 and the ranges have the norm
    |2 f + 1| <= 2 (norm + sqrt(d) / 2), so Hoeffding's inequality gives the last term. Raises PrivacyError for numbers
    that are not positive and finite, or a beta outside [0, 1).

    >>> round(inflated_norm(1.0, 0.001, 1_000_000), 3), round(inflated_norm(1.0, 0.001, 1_000_000, beta=0.0), 3)
    (1.119, 2.0)
    """
    if not (0 < norm < math.inf and 0 < granularity < math.inf and dimension >= 1 and 0 <= beta < 1):
        raise PrivacyError(
            f"rounding norm {norm} to steps of {granularity} in {dimension} dimensions with beta {beta}: all must be "
            "positive and finite, beta from 0 to below 1"
        )
    certain = norm + granularity * math.sqrt(dimension)
    if beta == 0:
        return certain
    tail = math.sqrt(-2 * math.log(beta)) * granularity * (norm + granularity * math.sqrt(dimension) / 2)
    return min(certain, math.sqrt(norm**2 + granularity**2 * dimension / 4 + tail))


def round_within(vector: FloatVector, norm: float, entropy: Entropy = system_random) -> IntVector:
    """float32[d] in ring steps -> int64[d], each coordinate rounded up or down at random, of L2 norm at most `norm`.

    Whole numbers are compared, so that the norm is certain whatever the vector. `inflated_norm` gives one that many
    draws keep to. The mean is the vector's to 2^-17 of a step, but for what drawing again changes. Raises InvalidValue
    for a vector that is not finite or not float32, and when 200 draws are all too long, as for one that is not clipped.

    >>> rounded = round_within(np.full(10_000, 0.25, dtype=np.float32), norm=60.0)
    >>> sorted(set(rounded.tolist())), bool(0.2 < rounded.mean() < 0.3)
    ([0, 1], True)
    """
    if vector.dtype != np.float32 or vector.ndim != 1 or not np.isfinite(vector).all():
        raise InvalidValue(
            f"expected a vector of finite float32, got {vector.dtype} of shape {vector.shape}", param="vector"
        )
    if float(np.abs(vector).max(initial=0.0)) <= norm + 1:
        rounded = np.empty(vector.size, dtype=np.int64)
        for _ in range(_MOST_DRAWS):
            if _round(vector, rounded, entropy) <= norm**2 * (1 - 1e-9):  # more than float64 loses in the sum
                return rounded
    raise InvalidValue(
        f"a vector could not be rounded to a norm of {norm:g} steps: clip it, or raise the norm", param="vector"
    )


def add_clipped(total: IntVector, gradient: FloatVector | Scattered, norm: float, scale: float) -> None:
    """Adds float32[d] to `total` int64[d], clipped to L2 `norm` and cut towards zero to steps of norm / scale.

    Guarantee: what is added is a function of `gradient` alone and has an L2 norm of at most `scale` steps, whatever it
    is, and nothing of one that is not finite is added. Proof: with |g| known to 2^-18 (`sum_of_squares`) and one
    rounding in each product, |factor g| computed in float32 is at most `scale`; cutting makes no coordinate longer.
    Raises InvalidValue for another shape or type.

    >>> total = np.zeros(3, dtype=np.int64)
    >>> add_clipped(total, np.array([3.0, -4.0, 0.001], dtype=np.float32), norm=1.0, scale=1000.0)
    >>> total.tolist()
    [599, -799, 0]
    """
    if isinstance(gradient, Scattered):  # of places that were named twice one counts: no longer either
        added = np.zeros(len(gradient.places), np.int64)
        add_clipped(added, gradient.values, norm, scale)
        total[gradient.places] += added
        return
    if gradient.dtype != np.float32 or gradient.shape != total.shape or not 0 < scale <= norm * _LONGEST:
        raise InvalidValue(
            f"a gradient of {gradient.dtype}{list(gradient.shape)} for a sum of {list(total.shape)} in steps of "
            f"{norm:g} / {scale:g}: give float32 of the sum's shape, and a step above 1e-30",
            param="gradient",
        )
    length = math.sqrt(sum_of_squares(torch.from_numpy(gradient)))
    usable = length <= norm * _LONGEST  # False for what is not a number
    factor = np.float32(_SURE * scale / max(length, norm) if usable else 0.0)
    with np.errstate(invalid="ignore"):  # infinity times 0, which the next line takes out
        for start in range(0, gradient.size, _BLOCK):
            steps = gradient[start : start + _BLOCK] * factor
            if not usable:
                np.nan_to_num(steps, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            total[start : start + _BLOCK] += steps.astype(np.int64)


def _round(vector: FloatVector, rounded: IntVector, entropy: Entropy) -> float:
    """Fills `rounded` and returns its squared norm."""
    squares = 0.0
    for start in range(0, vector.size, _BLOCK):
        piece = vector[start : start + _BLOCK]
        uniform = random_words((piece.size + 3) // 4, entropy).view(np.uint16)[: piece.size].astype(np.float64)
        uniform += 0.5
        uniform *= 2.0**-16
        uniform += piece
        np.floor(uniform, out=uniform)
        squares += float(np.dot(uniform, uniform))
        rounded[start : start + piece.size] = uniform
    return squares
