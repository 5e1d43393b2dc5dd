"""What a gradient tells of the texts that it was made of, and how much of that somebody got back.

A matrix's gradient is a sum of outer products, one for each place of a text: so its rows lie in the span of what the
layer was given in those places (Petrov et al. 2024, DAGER, arXiv 2405.15586, section 3), and whoever has the model can
try whether a token fits. Works while there are fewer places than the matrix has inputs: beyond, every vector lies in
the span. Knows arrays; no model, no noise's source and no protocol. `inversion` reads whole texts by it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.types import FloatVector, IntVector

Matrix = NDArray[np.floating[Any]]
Rows = NDArray[np.float64]

FLOOR = 3e-4  # of the largest singular value: below it is the rounding of gradients made in bfloat16
LEAST = 8  # directions that are kept whatever the noise: whoever attacks guesses always
MOST = 0.95  # of all directions: where more stand out every vector fits, and the stronger half is kept to guess by


@dataclass(frozen=True)
class Span:
    """Where a layer's inputs lie."""

    basis: Rows = field(repr=False)  # float64[k, m], orthonormal rows
    through: Rows | None = field(default=None, repr=False)  # float64[m, d]: seen are the inputs times this; None: as is

    def distance(self, inputs: Rows) -> NDArray[np.float64]:
        """How far vectors float64[n, d] are out of it: float64[n], the sine of the angle, 0 inside, 1 at right angles.

        >>> Span(np.eye(3)[:2]).distance(np.array([[1.0, 1.0, 0.0], [3.0, 0.0, 4.0], [0.0, 0.0, 2.0]])).round(6)
        array([0. , 0.8, 1. ])
        """
        seen = inputs if self.through is None else inputs @ self.through.T
        lengths = np.maximum(np.linalg.norm(seen, axis=1), 1e-30)
        outside = seen - (seen @ self.basis.T) @ self.basis
        distances: NDArray[np.float64] = np.linalg.norm(outside, axis=1) / lengths
        return distances


def span_of(gradient: Matrix, noise: float = 0.0, floor: float = FLOOR, through: Matrix | None = None) -> Span:
    """The span of a gradient's rows, float[n, m], as far as it stands out.

    noise: known deviation of each number, of which the singular values reach about noise (sqrt n + sqrt m): a direction
    counts from there on, and from `floor` of the largest on. through: float[m, d], where the layer's inputs were
    multiplied with it first (an adapter's first matrix).
    """
    exact = gradient.astype(np.float64)
    squares, vectors = np.linalg.eigh(exact.T @ exact)  # ascending: as an SVD, but quicker for tall matrices
    values = np.sqrt(np.maximum(squares, 0.0))
    least = max(floor * float(values[-1]), noise * sum(map(math.sqrt, exact.shape)))
    kept = max(int((values > least).sum()), min(LEAST, len(values)))
    if kept > MOST * len(values):
        kept = (len(values) + 1) // 2
    return Span(vectors[:, -kept:].T, None if through is None else through.astype(np.float64))


def distance(spans: Sequence[Span], inputs: Rows) -> NDArray[np.float64]:
    """How far vectors float64[n, d] are out of the spans together: root mean square, float64[n]."""
    mean: NDArray[np.float64] = np.sqrt(np.mean([span.distance(inputs) ** 2 for span in spans], axis=0))
    return mean


def labels(gradient: Matrix, towards: FloatVector) -> NDArray[np.float64]:
    """How much each token looks like one that was to be predicted: float64[tokens], 0 or more.

    gradient: of the output layer, float[tokens, d]. Row v is the sum over places t of (p_t(v) - [v is next]) h_t: long
    where v is next, and then against the hidden states (Zhao et al. 2020, iDLG, arXiv 2001.02610, section 3, token by
    token). So the score is the mean of a row's length and of its component against `towards` float32[d], where hidden
    states point on average, which public text tells.

    >>> labels(np.array([[-3.0, 4.0], [3.0, 4.0], [0.0, 0.0]]), np.array([2.0, 0.0], np.float32))
    array([4., 1., 0.])
    """
    exact, unit = gradient.astype(np.float64), towards.astype(np.float64) / np.linalg.norm(towards.astype(np.float64))
    scores: NDArray[np.float64] = (np.linalg.norm(exact, axis=1) - exact @ unit) / 2
    return scores


def most_likely(scores: NDArray[np.float64], count: int) -> IntVector:
    """The `count` tokens of the highest scores: int64[count], sorted."""
    return np.sort(np.argsort(-scores, kind="stable")[:count]).astype(np.int64)


def f1(truth: Collection[int], guess: Collection[int]) -> float:
    """Harmonic mean of precision and recall of a set; 0 where nothing is common.

    >>> round(f1({1, 2, 3}, {2, 3, 4, 5}), 4)
    0.5714
    """
    common = len(set(truth) & set(guess))
    return 2 * common / (len(set(truth)) + len(set(guess))) if common else 0.0


def rouge(truth: Sequence[int], guess: Sequence[int], n: int = 2) -> float:
    """ROUGE-N as an F-measure: of n-grams in common, each as often as both have it (Lin 2004, section 2).

    1 for equal texts, those shorter than n too.

    >>> rouge([1, 2, 3, 4], [1, 2, 3, 9]), rouge([1, 2], [2, 1])
    (0.6666666666666666, 0.0)
    """
    if list(truth) == list(guess):
        return 1.0
    theirs, ours = (Counter(zip(*(text[k:] for k in range(n)), strict=False)) for text in (truth, guess))
    common = (theirs & ours).total()
    return 2 * common / (theirs.total() + ours.total()) if common else 0.0


def rouge_of_batch(truths: Sequence[Sequence[int]], guesses: Sequence[Sequence[int]], n: int = 2) -> float:
    """Mean ROUGE-N over the true texts, each with a guess of its own, best pairs first; without a guess it counts 0.

    >>> rouge_of_batch([[1, 2, 3], [4, 5, 6]], [[4, 5, 6], [7, 8, 9]])
    0.5
    """
    pairs = [(rouge(truth, guess, n), i, j) for i, truth in enumerate(truths) for j, guess in enumerate(guesses)]
    found, taken = dict[int, float](), set[int]()
    for score, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
        if i not in found and j not in taken:
            found[i] = score
            taken.add(j)
    return sum(found.values()) / len(truths) if truths else 0.0


def presence_ceiling(noise_multiplier: float) -> float:
    """How often the best guess is right whether a known vector of the clip norm is in a sum, both equally likely.

    Scores with and without it are normal, 1 / z apart in deviations, and the best threshold lies in the middle:
    Phi(1 / (2 z)).

    >>> round(presence_ceiling(1.0), 4), round(presence_ceiling(4.0), 4)
    (0.6915, 0.5497)
    """
    return NormalDist().cdf(0.5 / noise_multiplier) if noise_multiplier else 1.0
