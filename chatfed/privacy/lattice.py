"""Exact noise on a sum of clipped vectors: both are whole numbers of a very fine step. Knows no gradients, no budgets.

Floating point. Mironov (CCS 2012) showed that the low bits of floating-point noise tell which noiseless values are
possible. Here none is used: the sum is rounded to whole steps, and a discrete Gaussian of exactly known probabilities
(`discrete`) is added to it as integers. What is made of the result, float32 included, is post-processing.

Claim: at least as private as the continuous N(0, (noise_multiplier * clip_norm)^2) on sums that one example moves by at
most clip_norm in L2. Rounding moves two sums apart by at most sqrt(d) steps more (half a step for each, a coordinate),
and the noise is so much wider. On whole numbers N_Z(0, s^2) is the post-processed continuous N(0, s^2 - t^2) up to
`closeness(t^2)` (the argument is in `distributed`); with s = 10^6 and t^2 = 100 that and the tables' error are below
1e-130 in epsilon and 1e-25 in delta, for any dimension in reach, and `_SURE` is wider by far more than they cost.
What it does not cover: the sum itself is made of floating-point additions (`dpsgd` says in which precision).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.privacy.conversions import PrivacyError
from chatfed.privacy.discrete import discrete_gaussian
from chatfed.privacy.noise import system_random
from chatfed.types import Entropy, FloatVector

STD = 1e6  # of the noise, in steps, whatever the multiplier: one pair of tables serves all
_SURE = 1.0 + 1e-6  # times the noise; also for what the product with 1 / step rounds
_BLOCK = 1 << 15  # coordinates at a time: the temporaries stay in the second-level cache


def lattice_step(size: int, clip_norm: float, noise_multiplier: float) -> float:
    """The step, in the unit of the sum, at which noise of STD steps is noise_multiplier * (clip_norm + sqrt(d) steps).

    Raises PrivacyError for a multiplier that is not positive, or so large that rounding would double the noise.

    >>> step = lattice_step(10_000, 1.0, 2.0)
    >>> round(STD * step, 4)  # 2.0, and what rounding may add
    2.0004
    """
    root = math.sqrt(size)
    if not 0 < noise_multiplier < math.inf:
        raise PrivacyError(
            f"noise multiplier {noise_multiplier}: must be a finite number above 0", param="noise_multiplier"
        )
    steps = STD / (noise_multiplier * _SURE) - root  # in a clip norm
    if steps < root:
        raise PrivacyError(
            f"noise multiplier {noise_multiplier:g} is too large for {size:,} parameters: train fewer",
            param="noise_multiplier",
        )
    return clip_norm / steps


def noised(
    total: NDArray[np.floating[Any]],
    clip_norm: float,
    noise_multiplier: float,
    entropy: Entropy = system_random,
    divisor: float = 1.0,
) -> FloatVector:
    """`total`, float64[d] or float32[d], rounded to the lattice, with the noise, over `divisor`: float32[d].

    A float32 `total` is overwritten by what is returned. Raises PrivacyError, see lattice_step.

    >>> noisy = noised(np.zeros(100_000), clip_norm=0.5, noise_multiplier=4.0)
    >>> noisy.dtype, bool(1.95 < noisy.std() < 2.05)
    (dtype('float32'), True)
    """
    step, noise = lattice_step(total.size, clip_norm, noise_multiplier), discrete_gaussian(STD)
    result = total if total.dtype == np.float32 else np.empty(total.size, np.float32)
    for start in range(0, total.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        steps = np.multiply(total[part], 1.0 / step, dtype=np.float64)
        np.rint(steps, out=steps)
        steps += noise.sample(steps.size, entropy)  # whole numbers below 2^53: exact
        np.multiply(steps, step / divisor, out=result[part], casting="same_kind")
    return result
