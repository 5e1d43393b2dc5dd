"""A sketch is what a dictionary of cells says, is clipped like any vector, and gives back what stands out of noise."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatfed.privacy.rounding import add_clipped
from chatfed.privacy.sketch import ROWS, HeavyItems, Keys, Sketch, _discoveries
from chatfed.types import ChatfedError, FloatVector

relaxed = settings(deadline=None)
keys64 = st.integers(0, 2**64 - 1)
weights32 = st.floats(width=32)  # infinities and what is no number among them


def mixed(key: int, row: int) -> int:
    """splitmix64's output for the state `key` moved on by row + 1 steps, in Python's integers."""
    z = (key + (row + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def slow_sketch(dimension: int, items: list[tuple[int, float]]) -> dict[int, float]:
    """The obvious twin: a dictionary of cells."""
    cells: dict[int, float] = defaultdict(float)
    width = dimension // ROWS
    for key, weight in items:
        for row in range(ROWS):
            hashed = mixed(key, row)
            cells[row * width + ((hashed >> 32) * width >> 32)] += weight * (1 if hashed & 1 else -1) / math.sqrt(ROWS)
    return cells


def drawn(seed: int, count: int) -> Keys:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def noise(seed: int, dimension: int) -> FloatVector:
    return np.random.default_rng(seed).normal(size=dimension).astype(np.float32)


@relaxed
@given(st.integers(ROWS, 60), st.lists(st.tuples(keys64, weights32), max_size=30), st.sampled_from([1.0, 700.0, 3.0e7]))
@example(3, [(1, 1.0)] * 25, 1000.0)  # one cell a row, and all items the same
@example(3, [(1, math.inf), (1, -math.inf), (2, math.nan)], 1000.0)
def test_a_sketch_adds_a_norm_of_one_at_most_to_a_sum_whatever_is_in_it(
    dimension: int, items: list[tuple[int, float]], scale: float
) -> None:
    keys = np.array([key for key, _ in items], np.uint64)
    weights = np.array([weight for _, weight in items], np.float32)
    with np.errstate(all="ignore"):
        part = Sketch(dimension).of(keys, weights)
    total = np.zeros(dimension, np.int64)
    add_clipped(total, part, 1.0, scale)
    assert sum(int(step) ** 2 for step in total) <= scale**2
    if not np.isfinite(part.values).all():
        assert not total.any()


@relaxed
@given(st.integers(ROWS, 200), st.lists(st.tuples(keys64, st.floats(-8, 8, width=32)), max_size=40))
def test_a_sketch_is_what_a_dictionary_of_cells_holds(dimension: int, items: list[tuple[int, float]]) -> None:
    keys = np.array([key for key, _ in items], np.uint64)
    part = Sketch(dimension).of(keys, np.array([weight for _, weight in items], np.float32))
    assert len(set(part.places.tolist())) == len(part.places), "each place once"
    wanted = np.zeros(dimension)
    for cell, value in slow_sketch(dimension, items).items():
        wanted[cell] = value
    assert part.dense(dimension) == pytest.approx(wanted, abs=1e-4)


def test_the_sketch_of_a_sum_is_the_sum_of_sketches() -> None:
    sketch, keys, weights = Sketch(90), drawn(1, 50), np.linspace(-2, 2, 50, dtype=np.float32)
    apart = sum(sketch.of(keys[[i]], weights[[i]]).dense(90) for i in range(50))
    assert sketch.of(keys, weights).dense(90) == pytest.approx(apart, abs=1e-5)


def test_each_row_alone_gives_back_a_weight_that_shares_no_cell_and_the_rest_stays_zero() -> None:
    sketch = Sketch(302)  # two cells are in no row
    vector = sketch.of(np.array([9], np.uint64), np.array([2.5], np.float32)).dense(302)
    assert np.count_nonzero(vector) == ROWS and np.linalg.norm(vector) == pytest.approx(2.5)
    assert sketch.estimates(vector, np.array([9], np.uint64))[:, 0] == pytest.approx([2.5] * ROWS)
    many = sketch.of(drawn(2, 5000), np.ones(5000, np.float32))
    assert len(many.places) == 300 and many.places.max() == 299


def test_signs_and_cells_of_different_rows_have_nothing_to_do_with_each_other() -> None:
    places, signs = Sketch(3000).cells(drawn(3, 40_000))
    columns = [*(places - places.mean(1, keepdims=True)), *signs]
    assert np.abs(np.corrcoef(columns) - np.eye(2 * ROWS)).max() < 5 / math.sqrt(40_000)
    assert np.abs(signs.mean(1)).max() < 5 / math.sqrt(3 * 40_000)


def test_a_sketch_of_fewer_cells_than_rows_is_refused() -> None:
    with pytest.raises(ChatfedError, match="give 3 or more"):
        Sketch(ROWS - 1)


def slow_discoveries(heights: list[float], rate: float) -> list[bool]:
    """Barber and Candes's threshold of equation (1.9), by trying every level."""
    for level in sorted(height for height in heights if height > 0):
        if 1 + sum(h <= -level for h in heights) <= rate * sum(h >= level for h in heights):
            return [height >= level for height in heights]
    return [False] * len(heights)


@relaxed
@given(st.lists(st.integers(-5, 9).map(lambda n: n / 2), max_size=60), st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_discoveries_are_above_the_least_level_that_enough_of_what_is_found_is_there(
    heights: list[float], rate: float
) -> None:
    assert _discoveries(np.array(heights, np.float32), rate).tolist() == slow_discoveries(heights, rate)


def test_nothing_is_found_in_zeros_nor_among_no_candidates() -> None:
    for expected in (None, np.linspace(0, 9, 500, dtype=np.float32)):
        items = HeavyItems(Sketch(300), np.zeros(300, np.float32), 0.5)
        assert not items.search(drawn(1, 500), expected).any() and not len(items.keys)
    assert not len(HeavyItems(Sketch(300), noise(1, 300)).search(drawn(1, 0)))


def test_in_noise_alone_something_is_found_no_more_often_than_promised() -> None:
    """Where nothing is there the share of what is not there is 1 as soon as anything is found."""
    candidates = drawn(7, 2000)
    found = [HeavyItems(Sketch(9000), noise(seed, 9000), 0.2).search(candidates).any() for seed in range(200)]
    assert np.mean(found) < 0.2 + 2 * math.sqrt(0.2 * 0.8 / 200)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_of_what_is_found_the_promised_share_is_noise_and_most_that_stands_out_is_found(rate: float) -> None:
    sketch, false, power = Sketch(30_000), [], []
    for seed in range(60):
        candidates = drawn(seed, 4000)
        weights = np.zeros(4000, np.float32)
        weights[:200] = np.random.default_rng(seed).uniform(2, 6, 200)  # noise of a cell is 1: heights of 1.7 are rare
        vector = sketch.of(candidates, weights).dense(30_000) + noise(seed, 30_000)
        found = HeavyItems(sketch, vector, rate).search(candidates) > 0
        false.append(found[200:].sum() / max(found.sum(), 1))
        power.append(found[:200].mean())
    assert 0.5 * rate < np.mean(false) < 1.1 * rate
    assert np.mean(power) > 0.35


def test_weights_that_are_found_are_what_was_put_in_however_crowded_the_cells_are() -> None:
    """Simple corrections diverge from an item in six cells on."""
    for count, within in ((300, 0.3), (1000, 0.8)):
        sketch, keys = Sketch(3000), drawn(count, count)
        weights = np.random.default_rng(count).uniform(1, 3, count).astype(np.float32)
        vector = sketch.of(keys, weights).dense(3000)
        items = HeavyItems(sketch, vector.copy(), 0.3)
        for _ in range(6):
            found = items.search(keys)
        assert np.mean(found > 0) > 0.98
        assert np.abs(found - weights)[found > 0].mean() < within
        assert np.linalg.norm(items.rest) < 0.2 * np.linalg.norm(vector)


def test_asking_again_keeps_what_was_found_and_the_vector_is_what_is_found_and_what_is_left() -> None:
    sketch, keys = Sketch(3000), drawn(5, 400)
    weights = np.where(np.arange(400) < 60, 9, 0).astype(np.float32)
    vector = sketch.of(keys, weights).dense(3000) + noise(5, 3000)
    items = HeavyItems(sketch, vector.copy())
    first = items.search(keys)
    second = items.search(keys[::-1])[::-1]
    assert (second[first > 0] > 0).all() and (first[:60] > 0).mean() > 0.9
    assert items.rest + sketch.of(items.keys, items.weights).dense(3000) == pytest.approx(vector, abs=1e-4)
    assert first[:60][first[:60] > 0] == pytest.approx(9, abs=4)


def test_items_below_zero_are_never_found() -> None:
    sketch, keys = Sketch(3000), drawn(5, 100)
    vector = sketch.of(keys, np.full(100, -9, np.float32)).dense(3000)
    assert not HeavyItems(sketch, vector).search(keys).any()
    once_found = HeavyItems(sketch, vector, keys=keys[:1], weights=np.array([-9], np.float32))
    assert not once_found.search(keys).any(), "nor is one that others have brought below it since"


def test_what_is_expected_spares_few_heavy_items_the_bar_that_many_light_ones_raise() -> None:
    sketch, more = Sketch(30_000), []
    for seed in range(10):
        candidates = drawn(seed, 20_040)
        weights = np.zeros(20_040, np.float32)
        weights[:40] = 3
        vector = sketch.of(candidates, weights).dense(30_000) + noise(seed, 30_000)
        likely = np.where(np.arange(20_040) < 60, 8, 0.01).astype(np.float32)
        told, untold = (HeavyItems(sketch, vector.copy()).search(candidates, e) > 0 for e in (likely, None))
        more.append(told[:40].mean() - untold[:40].mean())
    assert np.mean(more) > 0.15
