"""Fixed point: exact sums, exact range, never a silent wrap, rounding without bias."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import encoding, primitives
from chatfed.secagg.encoding import ROUNDING, FixedPoint, OutOfRange, choose_ring_bits
from chatfed.secagg.masking import RING_BITS, ring_dtype, ring_length
from chatfed.secagg.rotation import BLOCK, rotate, rotate_back
from tests.secagg.rounds import entropy_from

SEED = b"r" * 32
widths = st.sampled_from(RING_BITS)
rotations = st.sampled_from([None, SEED])


def coordinates_of(code: FixedPoint, element_vector: np.ndarray) -> list[int]:
    """The obvious twin of packing: Python integers, one a coordinate."""
    if code.ring_bits != 21:
        return [int(x) for x in element_vector]
    size = len(element_vector)
    fields = [int(element_vector[k % size]) >> 21 * (k // size) & 0x1FFFFF for k in range(3 * size)]
    assert not any(fields[code.coordinates :]) and not any(int(x) >> 63 for x in element_vector)
    return fields[: code.coordinates]


def ring_sum(encodings: list[np.ndarray]) -> np.ndarray:
    total = np.zeros_like(encodings[0])
    for one in encodings:
        total += one
    return total


def vector_of_norm(norm: float, size: int, seed: int = 0) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=size)
    return (vector * (norm / np.linalg.norm(vector))).astype(np.float32)


def spike(norm: float, size: int, sign: int) -> np.ndarray:
    vector = np.zeros(size, dtype=np.float32)
    vector[size // 2] = sign * norm
    return vector


@settings(max_examples=150, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(0.5, 1e4), st.integers(1, 200), widths, st.sampled_from([-1, 1]), rotations)
def test_a_whole_cohort_at_the_extremes_does_not_wrap(
    norm: float, max_weight: float, cohort: int, ring_bits: int, sign: int, rotation: bytes | None
) -> None:
    """A peer's failure: 1,200 clients at +7.9 came back as -39.2."""
    code = FixedPoint(norm, 5, cohort, ring_bits, rotation, max_weight)
    one = code.encode(spike(norm, 5, sign), max_weight, entropy_from(0))
    exact = [cohort * x for x in coordinates_of(code, one)]
    assert all(0 <= x < 1 << ring_bits for x in exact)
    total = ring_sum([one] * cohort)
    assert coordinates_of(code, total) == exact
    mean, weight = code.decode(total, cohort)
    assert np.allclose(mean, spike(norm, 5, sign), atol=1.01 * code.step * (9 if rotation else 1) + 1e-5 * norm)
    assert weight == pytest.approx(
        cohort * max_weight, rel=2.1 * cohort / (1 << ring_bits), abs=cohort / code.weight_scale
    )


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 1000), widths, st.sampled_from([-1.0, 1.0]))
def test_a_coordinate_at_the_edge_of_the_range_stays_within_the_level(cohort: int, ring_bits: int, sign: float) -> None:
    """Also when rounding goes up every time: a rotated coordinate may be anything up to the range."""
    code = FixedPoint(1.0, 8, cohort, ring_bits)
    fields = np.zeros(8, dtype=np.uint32)
    values = np.full(8, sign * code.range * (1 + 5e-6), dtype=np.float32)
    for seed in range(5):
        code._round(values, np.float32(code.scale), entropy_from(seed)(32), fields)
        assert int(fields.min()) >= 0 and int(fields.max()) <= 2 * code.level
        assert cohort * int(fields.max()) < 1 << ring_bits


def test_twelve_hundred_clients_at_the_top_come_back_as_they_went() -> None:
    code = FixedPoint(8.0, 1, 1200)
    one = code.encode(np.array([7.9], dtype=np.float32), 1.0, entropy_from(0))
    total = (one.astype(np.uint64) * 1200).astype(np.uint32)
    assert np.allclose(code.decode(total, 1200)[0], 7.9, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(1, 40), widths, rotations, st.integers(0, 99))
def test_sums_are_exact_and_weighted_means_are_within_a_step(
    weights: list[int], size: int, ring_bits: int, rotation: bytes | None, seed: int
) -> None:
    code = FixedPoint(2.0, size, 20, ring_bits, rotation, max_weight=60)
    vectors = [vector_of_norm(2.0, size, seed + k) for k in range(len(weights))]
    entropy = entropy_from(seed)
    encodings = [code.encode(v, w, entropy) for v, w in zip(vectors, weights, strict=True)]
    assert all(
        e.dtype == ring_dtype(ring_bits) and e.size == ring_length(code.coordinates, ring_bits) for e in encodings
    )
    total = ring_sum(encodings)
    plain = [coordinates_of(code, e) for e in encodings]
    assert coordinates_of(code, total) == [sum(column) for column in zip(*plain, strict=True)]
    mean, weight = code.decode(total, len(weights))
    assert weight == pytest.approx(sum(weights), rel=1e-12 if ring_bits > 16 else 0.02)
    exact = np.average(vectors, axis=0, weights=weights)
    fudge = 1e-5 if ring_bits > 16 else 0.1  # 54 units a weight of 60: the weights themselves are rounded
    spread = math.sqrt(code.coordinates) if rotation else 1.0
    assert np.allclose(mean, exact, atol=spread * len(weights) / code.scale / sum(weights) + fudge)
    assert mean.dtype == np.float32 and mean.shape == (size,)


@pytest.mark.parametrize("ring_bits", RING_BITS)
@pytest.mark.parametrize("rotation", [None, SEED])
@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 140_001])
def test_long_vectors_come_back_across_chunks(size: int, ring_bits: int, rotation: bytes | None) -> None:
    code = FixedPoint(1.0, size, 3, ring_bits, rotation)
    vector = vector_of_norm(1.0, size)
    mean, weight = code.decode(ring_sum([code.encode(vector, 1.0, entropy_from(k)) for k in range(2)]), 2)
    assert weight == 2.0
    assert np.abs(mean - vector).max() <= code.step * (5 if rotation else 1) + 1e-6


@pytest.mark.parametrize("ring_bits", RING_BITS)
@pytest.mark.parametrize("fraction", [0.0, 2**-16, 0.125, 0.5, 0.9])
@pytest.mark.parametrize("whole", [-7, 0, 7])
def test_rounding_is_unbiased(ring_bits: int, fraction: float, whole: int) -> None:
    """Mean of 200,000 roundings: 5 standard errors and 2^-16 of a step."""
    count = 200_000
    code = FixedPoint(1.0, count, 50, ring_bits)
    fields = np.zeros(count, dtype=np.uint32)
    values = np.full(count, whole + fraction, dtype=np.float32)
    code._round(values, np.float32(1.0), entropy_from(f"{ring_bits} {fraction} {whole}")(32), fields)
    rounded = fields.astype(np.int64) - code.level
    assert set(np.unique(rounded)) <= {whole, whole + 1}
    error = float(rounded.mean()) - whole - fraction
    assert abs(error) <= 5 * math.sqrt(fraction * (1 - fraction) / count) + 2**-16
    if fraction == 0:
        assert np.all(rounded == whole)


def test_rounding_uses_each_of_its_65536_numbers_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exhaustive: all 16-bit numbers once, so that the mean is known to 2^-17 of a step."""
    every = np.arange(65_536, dtype="<u2").tobytes()

    def stream(zeros: bytes, out: bytearray) -> None:
        memoryview(out)[: len(zeros)] = every[: len(zeros)]

    monkeypatch.setattr(primitives, "key_stream", lambda key: stream)
    code, fields = FixedPoint(1.0, 65_536, 50, 21), np.zeros(65_536, dtype=np.uint32)
    for y in (0.0, 0.3, -0.3, 1e-7, 5.71828, -5.99999):
        code._round(np.full(65_536, y, dtype=np.float32), np.float32(1.0), bytes(32), fields)
        assert abs(float(np.mean(fields.astype(np.int64) - code.level)) - float(np.float32(y))) <= 1.02 * 2**-17


def test_rounding_follows_the_entropy_alone() -> None:
    code, vector = FixedPoint(1.0, 1000, 50, 16), vector_of_norm(1.0, 1000)
    first, again, other = (code.encode(vector, 1.0, entropy_from(k)) for k in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    with pytest.raises(ValueError, match="entropy"):
        code.encode(vector, 1.0, lambda size: bytes(size - 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2**21 - 1)] * 3), min_size=1, max_size=50), st.data())
def test_three_fields_add_up_as_plain_integers_do(elements: list[tuple[int, int, int]], data: st.DataObject) -> None:
    fields = np.array(elements, dtype=np.uint32).T.reshape(-1)
    packed = encoding.pack(fields)
    assert packed.dtype == np.uint64 and np.array_equal(encoding.unpack(packed), fields)
    assert packed.tolist() == [a + (b << 21) + (c << 42) for a, b, c in elements]
    parts = data.draw(st.integers(1, 5))
    small = fields // parts
    assert np.array_equal(encoding.unpack(ring_sum([encoding.pack(small)] * parts)), small * parts)


@pytest.mark.parametrize("rotation", [None, SEED])
@pytest.mark.parametrize("bad", [1.001, -1.001, np.nan, np.inf, -np.inf, 3e38])
def test_vectors_out_of_range_are_refused(bad: float, rotation: bytes | None) -> None:
    vector = np.zeros(5, dtype=np.float32)
    vector[3] = bad
    with pytest.raises(OutOfRange):
        FixedPoint(1.0, 5, 10, rotation=rotation).encode(vector, 1.0, entropy_from(0))


def test_a_long_vector_of_small_coordinates_is_refused() -> None:
    vector = np.full(1_000_000, 1.001e-3, dtype=np.float32)
    with pytest.raises(OutOfRange, match="clip it"):
        FixedPoint(1.0, vector.size, 10).encode(vector, 1.0, entropy_from(0))


@pytest.mark.parametrize("ring_bits", [16, 21, 32])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_rotated_coordinate_over_the_range_is_cut_at_it_and_others_come_back(ring_bits: int, sign: int) -> None:
    """A vector that was made for the rotation, against odds of 2^-40: a client that failed there would tell of it."""
    code = FixedPoint(1.0, BLOCK, 10, ring_bits, SEED)
    spiked = np.zeros(BLOCK, np.float32)
    spiked[[0, 7]] = sign * 0.9, 0.1  # as it is rotated: the first is beyond the range, the second within
    assert 0.1 < code.range < 0.9
    vector = rotate_back(spiked, SEED, BLOCK)
    total = code.encode(vector, 1.0, entropy_from(0))
    for i in range(1, 10):
        total = total + code.encode(vector, 1.0, entropy_from(i))
    mean = rotate(code.decode(total, 10)[0], SEED)
    spiked[0] = sign * code.range
    assert np.abs(mean - spiked).max() < 2 * code.step + ROUNDING


def test_the_rotated_range_is_the_tail_bound_and_holds() -> None:
    code = FixedPoint(2.0, 1_000_000, 10, 16, SEED)
    proxy = 2.0**2 / BLOCK
    tail = 2 * (code.coordinates - 1) * math.exp(-(code.range**2) / (2 * proxy))
    assert tail == pytest.approx(2.0**-40, rel=1e-6)
    assert code.range < 0.3 * FixedPoint(2.0, 1_000_000, 10, 16).range
    for vector in (
        spike(2.0, 20_000, 1),
        np.full(20_000, 2 / math.sqrt(20_000), np.float32),
        vector_of_norm(2, 20_000),
    ):
        FixedPoint(2.0, 20_000, 10, 16, SEED).encode(vector, 1.0, entropy_from(0))


@pytest.mark.parametrize("weight", [0, -1, 10.5, float("nan"), float("inf"), 1e-12])
def test_weights_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(OutOfRange):
        FixedPoint(1.0, 2, 10, max_weight=10).encode(np.zeros(2, dtype=np.float32), weight, entropy_from(0))


def test_a_vector_clipped_in_float32_is_in_range() -> None:
    for size in (1, 7, 100_000):
        vector = vector_of_norm(3.7, size)
        vector *= np.float32(0.1) / np.float32(np.linalg.norm(vector))
        FixedPoint(0.1, size, 3).encode(vector, 1.0, entropy_from(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"norm": 0.0},
        {"norm": -1.0},
        {"norm": float("nan")},
        {"norm": float("inf")},
        {"max_weight": 0},
        {"dimension": 0},
        {"cohort": 0},
        {"cohort": 20_000, "ring_bits": 16},
        {"cohort": 600_000, "ring_bits": 21},
    ],
)
def test_codes_without_room_cannot_be_made(wrong: dict[str, float]) -> None:
    with pytest.raises(OutOfRange):
        FixedPoint(**{"norm": 1.0, "dimension": 3, "cohort": 5, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("ring_bits", RING_BITS)
def test_totals_that_no_cohort_gives_are_refused(ring_bits: int) -> None:
    code = FixedPoint(1.0, 5, 10, ring_bits)
    one = code.encode(vector_of_norm(1.0, 5), 1.0, entropy_from(0))
    total = ring_sum([one] * 4)
    code.decode(total, 4)
    top = np.full_like(one, np.iinfo(one.dtype).max)
    wrong = [(np.zeros_like(one), 1), (top, 10), (total[:-1], 4), (total.astype("<u2" if ring_bits > 16 else "<u4"), 4)]
    wrong += [(total, 0), (total, 11), (total, 3)]  # more than three vectors can weigh
    high = total.copy()
    high[0] += one.dtype.type(7 * code.level)  # a coordinate that four vectors cannot reach
    for bad, vectors in [*wrong, (high, 4)]:
        with pytest.raises(OutOfRange):
            code.decode(bad, vectors)
    heavy = one.copy()
    heavy[-1] += one.dtype.type(1 << 42 if ring_bits == 21 else 1)  # the weight is the last of six coordinates
    with pytest.raises(OutOfRange, match="weight"):
        code.decode(heavy, 1)
    for shape in ((2, 2), (4,)):
        with pytest.raises(OutOfRange):
            code.encode(np.zeros(shape, dtype=np.float32), 1.0, entropy_from(0))
    with pytest.raises(OutOfRange):
        code.encode(np.zeros(5), 1.0, entropy_from(0))  # type: ignore[arg-type]


def test_fields_after_the_last_coordinate_and_bit_63_are_refused() -> None:
    code = FixedPoint(1.0, 3, 10, 21)  # four coordinates in two elements: fields 4 and 5 are empty
    one = code.encode(np.zeros(3, dtype=np.float32), 1.0, entropy_from(0))
    for element, bit in ((0, 42), (1, 42), (1, 63)):
        bad = one.copy()
        bad[element] ^= np.uint64(1 << bit)
        with pytest.raises(OutOfRange):
            code.decode(bad, 1)


@pytest.mark.parametrize("rotation", [None, SEED])
@pytest.mark.parametrize("bits", [16, 21])
def test_a_step_is_at_most_a_fifth_of_the_noise(bits: int, rotation: bytes | None) -> None:
    step = FixedPoint(3.0, 10_000, 77, bits, rotation).step
    chosen = [choose_ring_bits(3.0, 10_000, 77, rotation is not None, noise_std=k * step) for k in (5.001, 4.999)]
    assert chosen[0] == bits and chosen[1] > bits


@settings(max_examples=80, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(1, 10**8), st.integers(1, 5000), st.booleans(), st.floats(0, 1))
def test_chosen_width_is_the_narrowest_whose_rounding_is_lost_in_the_noise(
    norm: float, size: int, cohort: int, rotation: bool, noise_std: float
) -> None:
    chosen = choose_ring_bits(norm, size, cohort, rotation, noise_std)

    def fits(bits: int) -> bool:
        code = FixedPoint(norm, size, cohort, bits, SEED if rotation else None)
        rounding = code.step**2 / 4
        return rounding <= 0.01000001 * noise_std**2 if noise_std else code.level >= 4096

    assert chosen == 32 or fits(chosen)
    assert not any(fits(bits) for bits in RING_BITS if bits < chosen and cohort < 2 ** (bits - 2))
