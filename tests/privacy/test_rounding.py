"""Rounding keeps the mean and never passes the norm, nor does cutting; the norm's formula is Hoeffding's bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatfed.privacy.rounding import BETA, Scattered, add_clipped, inflated_norm, round_within
from chatfed.types import ChatfedError, Entropy, FloatVector

from .entropy import replay


def vector(kind: str, d: int, norm: float) -> FloatVector:
    draws = np.random.default_rng(0).normal(size=d)
    shapes = {"dense": draws, "one": np.eye(1, d)[0], "halves": np.full(d, 0.5)}
    made = shapes[kind] / np.linalg.norm(shapes[kind]) * (math.sqrt(d) / 2 if kind == "halves" else norm)
    found: FloatVector = made.astype(np.float32)
    return found


@pytest.mark.parametrize(("kind", "norm"), [("dense", 30.0), ("one", 100.3), ("halves", 50.0)])
def test_rounded_vectors_keep_the_norm_and_each_coordinate_is_a_neighbour(kind: str, norm: float) -> None:
    x = vector(kind, 10_000, norm)
    limit = inflated_norm(norm, 1.0, x.size)
    for trial in range(20):
        z = round_within(x, limit, replay(bytes([trial])))
        assert z.dtype == np.int64 and math.sqrt(sum(int(v) ** 2 for v in z[z != 0])) <= limit
        assert ((z == np.floor(x)) | (z == np.floor(x) + 1)).all()


def test_the_mean_of_many_roundings_is_the_vector() -> None:
    x, n = np.array([0.25, -1.75, 3.0, 0.001, -0.5], dtype=np.float32), 20_000
    entropy = replay(b"mean")
    mean = np.mean([round_within(x, 100.0, entropy) for _ in range(n)], axis=0)
    assert np.all(np.abs(mean - x) < 5 * 0.5 / math.sqrt(n))


@pytest.mark.parametrize("kind", ["dense", "one", "halves"])
def test_few_roundings_pass_the_norm_at_a_small_beta_and_none_at_zero(kind: str) -> None:
    x, entropy = vector(kind, 400, 20.0), replay(b"beta")
    norms = [float(np.linalg.norm(round_within(x, 1e6, entropy))) for _ in range(2000)]
    assert np.mean([n > inflated_norm(20.0, 1.0, 400, beta=0.05) for n in norms]) <= 0.05
    assert max(norms) <= inflated_norm(20.0, 1.0, 400, beta=0.0)


def test_a_rounding_that_is_too_long_is_drawn_again_and_a_long_vector_is_refused() -> None:
    x, asked = np.array([0.5, 0.5], dtype=np.float32), 0
    high, low = b"\xff" * 8, b"\x00" * 8

    def entropy(size: int) -> bytes:
        nonlocal asked
        asked += 1
        return high if asked < 3 else low

    assert round_within(x, 1.2, entropy).tolist() == [0, 0] and asked == 3
    with pytest.raises(ChatfedError, match="clip"):
        round_within(np.array([3.0, 4.0], dtype=np.float32), 4.9)
    with pytest.raises(ChatfedError, match="clip"):
        round_within(np.array([1e30], dtype=np.float32), 10.0)


@pytest.mark.parametrize(
    "bad", [np.array([math.nan], dtype=np.float32), np.zeros(3), np.zeros((2, 2), dtype=np.float32)]
)
def test_what_is_no_finite_float32_vector_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ChatfedError, match="float32"):
        round_within(bad, 10.0)


def test_the_inflated_norm_is_the_formula_scales_with_the_unit_and_grows() -> None:
    d, c = 10_000, 30.0
    squared = c**2 + d / 4 + math.sqrt(2 * 0.5) * (c + math.sqrt(d) / 2)
    assert inflated_norm(c, 1.0, d) == pytest.approx(math.sqrt(squared)) and math.exp(-0.5) == BETA
    assert inflated_norm(c, 1.0, 1, beta=1e-300) == c + 1.0
    assert inflated_norm(c * 0.01, 0.01, d) == pytest.approx(0.01 * inflated_norm(c, 1.0, d))
    assert c < inflated_norm(c, 1.0, d, beta=0.5) < inflated_norm(c, 1.0, d, beta=1e-9) < inflated_norm(c, 1.0, d, 0.0)


@pytest.mark.parametrize("bad", [(0.0, 1.0, 1, 0.5), (1.0, 0.0, 1, 0.5), (1.0, 1.0, 0, 0.5), (1.0, 1.0, 1, 1.0)])
def test_impossible_norms_are_refused(bad: tuple[float, float, int, float]) -> None:
    with pytest.raises(ChatfedError, match="rounding"):
        inflated_norm(*bad)


def test_a_short_entropy_source_is_refused() -> None:
    short: Entropy = lambda size: b"x"  # noqa: E731
    with pytest.raises(ChatfedError, match="entropy"):
        round_within(np.zeros(4, dtype=np.float32), 1.0, short)


finite32 = st.floats(-(2.0**99), 2.0**99, width=32)
any32 = st.floats(width=32)
placed = st.lists(st.tuples(st.integers(0, 19), any32), max_size=40)
placed_once = st.dictionaries(st.integers(0, 19), finite32, max_size=20).map(lambda found: list(found.items()))


def scattered(found: list[tuple[int, float]]) -> Scattered:
    return Scattered(
        np.array([place for place, _ in found], np.int64), np.array([value for _, value in found], np.float32)
    )


def added(part: FloatVector | Scattered, norm: float, scale: float) -> list[int]:
    total = np.zeros(20, np.int64)
    add_clipped(total, part, norm, scale)
    steps: list[int] = total.tolist()
    return steps


@settings(deadline=None)
@given(placed, st.sampled_from([1.0, 0.03, 2e5]), st.sampled_from([1.0, 1000.0, 1e9]))
@example([(3, 1.0)] * 30, 1.0, 1000.0)
@example([(3, math.inf), (4, 1.0)], 1.0, 1000.0)
@example([(3, math.nan), (3, 1.0)], 1.0, 1000.0)
def test_numbers_at_any_places_add_no_more_than_the_norm_also_where_a_place_is_named_twice(
    found: list[tuple[int, float]], norm: float, scale: float
) -> None:
    steps = added(scattered(found), norm, scale)
    assert sum(step**2 for step in steps) <= scale**2
    assert {place for place, step in enumerate(steps) if step} <= {place for place, _ in found}
    if not all(math.isfinite(value) for _, value in found):
        assert not any(steps)


@settings(deadline=None)
@given(placed_once, st.sampled_from([1.0, 0.03, 2e5]), st.sampled_from([1.0, 1000.0, 1e9]))
def test_a_vector_adds_the_same_dense_or_by_its_places(
    found: list[tuple[int, float]], norm: float, scale: float
) -> None:
    part = scattered(found)
    dense = part.dense(20)
    assert dense[part.places].tolist() == part.values.tolist() and np.count_nonzero(dense) <= len(found)
    loose = 1 + 2e-5 * scale  # norms are summed in another order
    assert added(part, norm, scale) == pytest.approx(added(dense, norm, scale), abs=loose)
    if np.linalg.norm(dense.astype(np.float64)) < norm / 2:  # nothing is clipped
        assert added(part, norm, scale) == added(dense, norm, scale)


@settings(deadline=None)
@given(st.lists(placed, min_size=1, max_size=5), st.integers(0, 4))
def test_a_part_more_or_less_moves_the_sum_by_one_norm_in_whole_steps(
    parts: list[list[tuple[int, float]]], left_out: int
) -> None:
    with_it, without = np.zeros(20, np.int64), np.zeros(20, np.int64)
    for place, part in enumerate(parts):
        add_clipped(with_it, scattered(part), 1.0, 700.0)
        if place != left_out % len(parts):
            add_clipped(without, scattered(part), 1.0, 700.0)
    assert sum(int(step) ** 2 for step in with_it - without) <= 700**2


def test_places_without_numbers_for_them_are_refused() -> None:
    for places, values in (([1, 2], np.ones(1, np.float32)), ([1], np.ones(1)), ([1], np.ones((1, 1), np.float32))):
        with pytest.raises(ChatfedError, match="gradient"):
            add_clipped(np.zeros(20, np.int64), Scattered(np.array(places), values), 1.0, 10.0)  # type: ignore[arg-type]
