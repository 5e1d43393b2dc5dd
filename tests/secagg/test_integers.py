"""Signed whole numbers: exact sums in every ring, negative ones and single coordinates beyond the half included."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg.encoding import OutOfRange
from chatfed.secagg.integers import SignedSum
from chatfed.secagg.masking import RING_BITS, ring_length


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(RING_BITS), st.integers(1, 10), st.integers(1, 12), st.randoms(use_true_random=False))
def test_sums_are_exact_while_the_sum_fits_whatever_its_parts(
    ring_bits: int, dimension: int, vectors: int, random: Random
) -> None:
    code = SignedSum(dimension, ring_bits)
    parts = [[random.randint(-4 * code.half, 4 * code.half) for _ in range(dimension)] for _ in range(vectors)]
    wanted = [random.choice([-code.half, code.half - 1, random.randint(-code.half, code.half - 1)]) for _ in parts[0]]
    for k in range(dimension):
        parts[0][k] += wanted[k] - sum(part[k] for part in parts)
    total = sum((code.encode(np.array(part, dtype=np.int64)) for part in parts[1:]), code.encode(np.array(parts[0])))
    assert total.shape == (ring_length(dimension, ring_bits),)
    assert code.decode(total).tolist() == wanted


@pytest.mark.parametrize("ring_bits", RING_BITS)
def test_what_is_not_of_this_code_is_refused(ring_bits: int) -> None:
    code = SignedSum(4, ring_bits)
    for wrong in (np.zeros(5, np.int64), np.zeros(4, np.int32), np.zeros((2, 2), np.int64)):
        with pytest.raises(OutOfRange):
            code.encode(wrong)  # type: ignore[arg-type]
    total = code.encode(np.zeros(4, np.int64))
    for bad in (total[:-1], total.astype(np.float32), total.astype(np.uint8)):
        with pytest.raises(OutOfRange):
            code.decode(bad)  # type: ignore[arg-type]


def test_a_packed_sum_that_spills_over_is_refused() -> None:
    code = SignedSum(4, 21)  # six fields, two of them empty
    with pytest.raises(OutOfRange, match="no vector"):
        code.decode(code.encode(np.array([0, 0, 1 << 20, 0])))
    with pytest.raises(OutOfRange, match="bit 63"):
        code.decode(np.full(2, 1 << 63, np.uint64))
