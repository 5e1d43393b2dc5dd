"""Slots, in clear: what turning and weighing them comes to is a product with a matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chatfed.encrypted import layout
from chatfed.encrypted.network import FREE, HIDDEN, INPUTS, OUTPUTS


def product(weights: NDArray[np.float64], slots: NDArray[np.float64]) -> NDArray[np.float64]:
    """As the server does it on a ciphertext: a rotation by s brings slot i + s to slot i."""
    total = np.zeros(layout.SLOTS)
    for row in weights[::-1]:
        total = np.roll(total, -layout.SMALL) + sum(each * np.roll(slots, -turn) for turn, each in enumerate(row))
    return total


def test_both_layers_are_products_with_their_matrices() -> None:
    generator = np.random.default_rng(3)
    first = generator.normal(size=(HIDDEN, INPUTS)).astype(np.float32)
    second = generator.normal(size=(OUTPUTS, HIDDEN)).astype(np.float32)
    features = generator.uniform(-1, 1, FREE).astype(np.float32)
    hidden = product(layout.first_layer(first), layout.packed(features, 1.25))
    for fold in layout.FOLDS:
        hidden = hidden + np.roll(hidden, -fold)
    given = np.concatenate([features, [1, 1.25]])
    assert np.allclose(hidden.reshape(-1, HIDDEN), first @ given, atol=1e-4)
    outputs = layout.unpacked(product(layout.second_layer(second), hidden))
    assert np.allclose(outputs, second @ (first @ given), atol=1e-2)


def test_no_rotation_is_made_for_which_there_is_no_key() -> None:
    assert set(layout.ROTATIONS) == {1, layout.SMALL, *layout.FOLDS} and len(layout.ROTATIONS) == 5
