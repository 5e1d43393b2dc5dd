"""Fixed point: exact range, never a silent wrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg.encoding import FixedPoint, OutOfRange


@settings(max_examples=150, deadline=None)
@given(
    st.floats(1e-6, 1e6), st.floats(0.5, 1e4), st.integers(1, 200), st.sampled_from([16, 32]), st.sampled_from([-1, 1])
)
def test_a_whole_cohort_at_the_extremes_does_not_wrap(value_range, max_weight, cohort, ring_bits, sign):
    """A peer's failure: 1,200 clients at +7.9 came back as -39.2."""
    code = FixedPoint(value_range, max_weight, cohort, ring_bits)
    vector = np.full(3, sign * value_range, dtype=np.float32)
    one = code.encode(vector, max_weight)
    exact = [cohort * int(x) for x in one.view(f"<i{ring_bits // 8}")[:-1]]
    assert all(abs(x) < 1 << (ring_bits - 1) for x in exact)
    assert cohort * int(one[-1]) < 1 << ring_bits
    total = np.zeros_like(one)
    for _ in range(cohort):
        total = total + one
    mean, weight = code.decode(total)
    assert np.allclose(mean, vector, rtol=0.51 * cohort / (1 << (ring_bits - 1)) * 4 + 1e-6)
    rounding = cohort / code.weight_scale
    assert weight == pytest.approx(cohort * max_weight, rel=2.1 * cohort / (1 << ring_bits), abs=rounding)


def test_twelve_hundred_clients_at_the_top_come_back_as_they_went():
    code = FixedPoint(8.0, 1.0, 1200)
    one = code.encode(np.full(4, 7.9, dtype=np.float32), 1.0)
    total = (one.astype(np.uint64) * 1200).astype(np.uint32)
    assert np.allclose(code.decode(total)[0], 7.9, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(0, 999))
def test_weighted_mean_and_exact_counts(weights, seed):
    code = FixedPoint(2.0, 60, 20)
    vectors = np.random.default_rng(seed).uniform(-2, 2, (len(weights), 9)).astype(np.float32)
    total = np.zeros(10, dtype="<u4")
    for vector, weight in zip(vectors, weights, strict=True):
        total += code.encode(vector, weight)
    mean, weight = code.decode(total)
    assert weight == sum(weights)
    exact = np.average(vectors.astype(np.float64), axis=0, weights=weights)
    assert np.allclose(mean, exact, atol=len(weights) / code.scale / sum(weights) + 1e-6)
    assert mean.dtype == np.float32


@pytest.mark.parametrize("bad", [1.0001, -1.0001, np.nan, np.inf, -np.inf, 3e38])
def test_values_out_of_range_are_refused(bad):
    vector = np.zeros(5, dtype=np.float32)
    vector[3] = bad
    with pytest.raises(OutOfRange):
        FixedPoint(1.0, 10, 10).encode(vector, 1)


@pytest.mark.parametrize("weight", [0, -1, 10.5, float("nan"), float("inf"), 1e-12])
def test_weights_out_of_range_are_refused(weight):
    with pytest.raises(OutOfRange):
        FixedPoint(1.0, 10, 10).encode(np.zeros(2, dtype=np.float32), weight)


def test_a_value_clipped_in_float32_is_in_range():
    vector = np.clip(np.array([5.0, -5.0], dtype=np.float32), -0.1, 0.1)
    assert float(vector[0]) > 0.1  # float32 rounds 0.1 up
    encoded = FixedPoint(0.1, 1, 3).encode(vector, 1)
    assert 3 * int(encoded.view("<i4")[0]) < 1 << 31


@pytest.mark.parametrize(
    "wrong", [(0.0, 1, 1), (1.0, 0, 1), (-1.0, 1, 1), (float("nan"), 1, 1), (1.0, 1, 0), (1.0, 1, 40_000, 16)]
)
def test_codes_without_room_cannot_be_made(wrong):
    with pytest.raises(OutOfRange):
        FixedPoint(*wrong)


def test_totals_that_no_cohort_gives_are_refused():
    code = FixedPoint(1.0, 10, 10)
    for total in (np.zeros(3, "<u4"), np.full(3, 2**32 - 1, "<u4"), np.ones(3, "<u2")):
        with pytest.raises(OutOfRange):
            code.decode(total)
    with pytest.raises(OutOfRange):
        code.encode(np.zeros((2, 2), dtype=np.float32), 1)
