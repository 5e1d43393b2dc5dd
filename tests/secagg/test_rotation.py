"""The rotation against Sylvester's recursion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import primitives
from chatfed.secagg.rotation import BLOCK, padded, rotate, rotate_back


def hadamard(vector: np.ndarray) -> np.ndarray:
    """Sylvester: H [a, b] = [H a + H b, H a - H b]."""
    if len(vector) == 1:
        return vector
    upper, lower = hadamard(vector[: len(vector) // 2]), hadamard(vector[len(vector) // 2 :])
    return np.concatenate([upper + lower, upper - lower])


def twin_rotate(vector: np.ndarray, seed: bytes) -> np.ndarray:
    filled = np.zeros(padded(len(vector)))
    filled[: len(vector)] = vector
    key = primitives.derive(seed, b"rotation")
    stream = Cipher(algorithms.AES(key), modes.CTR((2).to_bytes(16, "big"))).encryptor().update(bytes(len(filled) // 8))
    signed = [-x if stream[i // 8] >> i % 8 & 1 else x for i, x in enumerate(filled)]
    return np.concatenate([hadamard(np.array(signed[i : i + BLOCK])) / 64 for i in range(0, len(filled), BLOCK)])


def random_vector(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 5, 4095, 4096, 4097, 9000, 70_000]), st.binary(min_size=32, max_size=32))
def test_rotation_is_signs_and_the_sylvester_matrix(size: int, seed: bytes) -> None:
    vector = random_vector(size)
    rotated = rotate(vector, seed)
    assert rotated.dtype == np.float32 and rotated.shape == (padded(size),)
    assert np.allclose(rotated, twin_rotate(vector, seed), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200_000), st.binary(min_size=32, max_size=32))
def test_rotating_back_undoes_it_and_norms_stay(size: int, seed: bytes) -> None:
    vector = random_vector(size)
    before = vector.copy()
    rotated = rotate(vector, seed)
    norm = float(np.linalg.norm(vector))
    assert float(np.linalg.norm(rotated)) == pytest.approx(norm, rel=1e-5)
    assert np.array_equal(vector, before)
    assert np.allclose(rotate_back(rotated, seed, size), vector, atol=1e-5)
    assert np.array_equal(rotate(vector, seed), rotated)


@pytest.mark.parametrize("at", [0, 1, 4095, 5000])
def test_one_hot_vector_spreads_evenly(at: int) -> None:
    vector = np.zeros(8192, dtype=np.float32)
    vector[at] = 3.0
    rotated = rotate(vector, bytes(32))
    block = at // BLOCK * BLOCK
    assert np.all(np.abs(rotated[block : block + BLOCK]) == 3.0 / 64)
    assert np.count_nonzero(rotated) == BLOCK


def test_no_coordinate_of_a_block_is_large() -> None:
    """A constant vector lies along a row of H: without signs one coordinate would carry its whole norm."""
    vector = np.full(50 * BLOCK, 1.0, dtype=np.float32)
    largest = float(np.abs(rotate(vector, b"s" * 32)).max())
    assert largest < math.sqrt(2 * math.log(2 * vector.size / 1e-9))  # tail of variance proxy BLOCK / BLOCK = 1
    assert largest > 3


def test_seeds_rotate_differently_and_have_32_bytes() -> None:
    vector = random_vector(BLOCK)
    left, right = rotate(vector, bytes(32)), rotate(vector, bytes(31) + b"\1")
    assert abs(float(np.corrcoef(left, right)[0, 1])) < 0.1
    with pytest.raises(ValueError, match="32"):
        rotate(vector, bytes(31))
    with pytest.raises(ValueError, match="4096"):
        rotate_back(vector[:-1], bytes(32), BLOCK - 1)
