"""Where each number stands in the slots of a ciphertext, so that matrices are multiplied by turning and weighing slots.

A product with a matrix is a sum over its diagonals (Halevi and Shoup 2014, section 4.3), here with as many of them side
by side as slots allow; turns are shared between small and large steps. Rotations of whole vectors only; arrays only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chatfed.types import FloatVector

from .network import CHECK, FREE, HIDDEN, INPUTS, ONE, OUTPUTS, Matrix

SLOTS = 4096
SMALL = 8  # diagonals that share one large step
FIRST = INPUTS // (SLOTS // HIDDEN)  # products with slots in the first layer: 8 diagonals each
SECOND = HIDDEN // (SLOTS // OUTPUTS)  # and in the second: 2 halves of 4 diagonals' pieces each
FOLDS = (2048, 1024, 512)  # rotations after which each copy holds the sum of all
ROTATIONS = (1, SMALL, *FOLDS)  # all that is ever rotated by: nothing else needs a key

_SLOT = np.arange(SLOTS)
INPUT_AT = (_SLOT % INPUTS + FIRST * (_SLOT // INPUTS)) % INPUTS  # which input stands in each slot: shifted copies
_BLOCK, _WITHIN, _HALF = _SLOT % OUTPUTS // HIDDEN, _SLOT % HIDDEN, _SLOT // OUTPUTS
OUTPUT_AT = _BLOCK * HIDDEN + (_WITHIN - SECOND * _HALF) % HIDDEN  # which output each slot has a part of


def packed(features: FloatVector, check: float) -> NDArray[np.float64]:
    """The slots of a question: features float32[FREE], the one, and the check, in eight shifted copies."""
    given = np.zeros(INPUTS)
    given[:FREE], given[ONE], given[CHECK] = features, 1, check
    found: NDArray[np.float64] = given[INPUT_AT]
    return found


def unpacked(slots: NDArray[np.float64]) -> NDArray[np.float64]:
    """The outputs float64[OUTPUTS] of an answer's slots float64[SLOTS]: each is in two parts."""
    return np.bincount(OUTPUT_AT, slots, OUTPUTS).astype(np.float64)


def first_layer(matrix: Matrix) -> NDArray[np.float64]:
    """The weights that slots are multiplied with, float64[FIRST / SMALL, SMALL, SLOTS]."""
    return _steps([matrix[_SLOT % HIDDEN, INPUT_AT[(_SLOT + turn) % SLOTS]] for turn in range(FIRST)])


def second_layer(matrix: Matrix) -> NDArray[np.float64]:
    """The same of the second layer, whose input repeats every HIDDEN slots: float64[SECOND / SMALL, SMALL, SLOTS]."""
    return _steps([matrix[OUTPUT_AT, (_SLOT + turn) % HIDDEN] for turn in range(SECOND)])


def _steps(diagonals: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Diagonals by large and small step, turned back by the large one, which comes after the product."""
    turned = [np.roll(each, turn - turn % SMALL) for turn, each in enumerate(diagonals)]
    return np.array(turned, np.float64).reshape(-1, SMALL, SLOTS)
