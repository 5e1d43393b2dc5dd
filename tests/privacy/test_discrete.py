"""The tables are exact, close to the ideal by as much as they say, and the sampler draws from them and nothing else."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chatfed.privacy.discrete import BITS, Table, closeness, discrete_gaussian, ideal_weights, table
from chatfed.types import ChatfedError

from .entropy import replay

STDS = [0.25, 0.5, 0.7310585786300049, 1.0, 3.0, 20.3, 150.0]


def one(std: float) -> Table:
    ((multiple, made),) = discrete_gaussian(std).parts
    assert multiple == 1
    return made


def ideal_pmf(std: float, last: int) -> list[Decimal]:
    """P(z) for z = 0..last to 60 digits, by the definition alone."""
    with localcontext() as context:
        context.prec = 80
        exponent = Decimal(-1) / (2 * Decimal(std) ** 2)
        terms = [(exponent * z * z).exp() for z in range(last + int(10 * std) + 10)]
        total = 2 * sum(terms) - terms[0]
        return [term / total for term in terms]


@pytest.mark.parametrize("std", STDS)
def test_weights_are_whole_symmetric_and_add_up_to_two_to_the_128(std: float) -> None:
    made = one(std)
    assert sum(made.weights) == 1 << BITS and all(isinstance(w, int) and w > 0 for w in made.weights)
    assert made.weights == made.weights[::-1] and made.lowest == -made.reach


@pytest.mark.parametrize("std", STDS)
def test_variation_is_that_from_a_pmf_of_sixty_digits(std: float) -> None:
    made = one(std)
    with localcontext() as context:
        context.prec = 80
        ideal, half = ideal_pmf(std, made.reach), made.weights[made.reach :]
        mine = [Decimal(w) / (1 << BITS) for w in half] + [Decimal(0)] * (len(ideal) - len(half))
        apart = [abs(a - b) for a, b in zip(mine, ideal, strict=True)]
        exact = float((2 * sum(apart) - apart[0]) / 2)
    assert exact <= made.variation <= exact * (1 + 1e-9) < 1e-35


@pytest.mark.parametrize("std", STDS)
def test_alias_columns_give_each_value_exactly_its_weight(std: float) -> None:
    made = one(std)
    column, found = (1 << BITS) // made.columns, dict[int, int]()
    for i in range(made.columns):
        top, alias = divmod(int(made.cuts[i]), made.columns)
        first = (top << BITS - 32) + made.rests[i]
        assert 0 <= first < column
        for place, weight in ((i, first), (alias, column - first)):
            found[place] = found.get(place, 0) + weight
    assert {place: weight for place, weight in found.items() if weight} == dict(enumerate(made.weights))


def test_a_word_at_the_cut_is_settled_by_further_bits() -> None:
    made = one(3.0)
    cut_of = [divmod(int(cut), made.columns) for cut in made.cuts]
    i = next(i for i, rest in enumerate(made.rests) if rest > 1 and cut_of[i][0] > 0 and cut_of[i][1] != i)
    (top, alias), rest = cut_of[i], made.rests[i]

    def draw(high: int, rest: int) -> int:
        parts = iter([(high * made.columns + i).to_bytes(4, "little"), rest.to_bytes(12, "little")])
        return int(made.places(1, lambda size: next(parts))[0])

    assert draw(top, rest - 1) == i and draw(top, rest) == alias
    assert draw(top - 1, 0) == i and draw(top + 1, 0) == alias


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0.25, 3.0, 150.0]), st.integers(0, 2**32), st.integers(0, 40))
def test_draws_are_those_of_the_alias_method_one_value_at_a_time(std: float, seed: int, size: int) -> None:
    """The obvious twin, with words that often tie: high bits of a column's own cut, one more or one less."""
    made, random = one(std), np.random.default_rng(seed)
    columns = random.integers(made.columns, size=size)
    tops = made.cuts[columns] // made.columns + random.integers(-1, 2, size)
    words = (np.clip(tops, 0, 2**32 // made.columns - 1) * made.columns + columns).astype("<u4")
    rests, expected = list[bytes](), list[int]()
    for word in words.tolist():
        high, i = divmod(word, made.columns)
        top, alias = divmod(int(made.cuts[i]), made.columns)
        if high == top:
            rests.append(random.bytes(12))
            expected.append(i if int.from_bytes(rests[-1], "little") < made.rests[i] else alias)
        else:
            expected.append(i if high < top else alias)
    parts = iter([words.tobytes(), *rests])
    assert made.places(size, lambda _: next(parts)).tolist() == expected and next(parts, None) is None


@pytest.mark.parametrize("std", [0.5, 3.0, 150.0])
def test_draws_have_the_tables_frequencies(std: float) -> None:
    n, made = 400_000, one(std)
    draws = discrete_gaussian(std).sample(n, replay(b"chi-square"))
    expected = np.array(made.weights, dtype=np.float64) / 2.0**BITS * n
    counts = np.bincount(draws - made.lowest, minlength=expected.size).astype(np.float64)
    middle = expected >= 10
    tails = [(counts[~middle].sum(), expected[~middle].sum())] if expected[~middle].sum() > 1 else []
    pairs = np.array([*zip(counts[middle], expected[middle], strict=True), *tails])
    statistic = float(((pairs[:, 0] - pairs[:, 1]) ** 2 / pairs[:, 1]).sum())
    assert 1e-4 < stats.chi2.sf(statistic, len(pairs) - 1) < 1 - 1e-4


@pytest.mark.parametrize("std", [0.3, 20.3, 1500.0, 250_000.0])
def test_draws_have_the_mean_and_variance_of_the_parameter(std: float) -> None:
    n = 400_000
    draws = discrete_gaussian(std).sample(n, replay(b"moments")).astype(np.float64) / std
    variance = 1.0 if std > 1 else variance_of(std) / std**2
    assert abs(draws.mean()) < 5 * math.sqrt(variance / n)
    assert abs(draws.var() / variance - 1) < 5 * math.sqrt((stats.kurtosis(draws) + 2) / n)


def test_a_coarse_and_a_fine_table_together_look_gaussian() -> None:
    noise = discrete_gaussian(5000.0)
    draws = noise.sample(300_000, replay(b"two tables"))
    assert len(noise.parts) == 2 and np.abs(draws).max() <= noise.reach
    assert stats.kstest(draws / 5000.0, "norm").pvalue > 1e-4
    coarse = noise.parts[1][0]
    assert stats.chisquare(np.bincount(draws % coarse, minlength=coarse)).pvalue > 1e-4  # every residue alike


@pytest.mark.parametrize(("fine", "multiple", "coarse"), [(1.0, 1, 1.0), (0.8, 1, 2.0), (2.0, 2, 1.0), (3.0, 4, 1.5)])
def test_closeness_bounds_the_ratio_to_the_single_gaussian(fine: float, multiple: int, coarse: float) -> None:
    reach = int(6 * math.hypot(fine, multiple * coarse))
    z = np.arange(-reach, reach + 1)
    two = np.zeros(z.size)
    for y in range(-30, 31):  # the plain double sum
        two += np.exp(-((z - multiple * y) ** 2) / (2 * fine**2) - y**2 / (2 * coarse**2))
    single = np.exp(-(z**2) / (2 * (fine**2 + multiple**2 * coarse**2)))
    apart = np.abs(np.log(two / two.sum()) - np.log(single / single.sum())).max()
    bound = closeness(1 / (multiple**2 / fine**2 + 1 / coarse**2))
    assert bound / 3 < apart <= bound < 0.1


def variance_of(std: float) -> float:
    weights = one(std).weights
    squares = sum(w * (z - (len(weights) - 1) // 2) ** 2 for z, w in enumerate(weights))
    return float(Fraction(squares, 1 << BITS))


@pytest.mark.parametrize("std", [0.25, 0.4, 0.5, 0.55, 1.0])
def test_variance_keeps_to_the_published_bounds(std: float) -> None:
    """Canonne, Kamath and Steinke 2020, corollary 9."""
    gap = 4 * math.pi**2 * std**2
    assert variance_of(std) <= std**2 * (1 - gap / math.expm1(gap)) * (1 + 1e-15)
    if std**2 <= 1 / 3:
        assert variance_of(std) <= 3 * math.exp(-1 / (2 * std**2))


@pytest.mark.parametrize("std", [0.5, 3.0, 20.3])
def test_tails_are_below_those_of_a_gaussian_one_step_wider(std: float) -> None:
    """Canonne, Kamath and Steinke 2020, proposition 25: P[X >= m] <= P[N(0, std^2) >= m - 1]."""
    made, tail = one(std), 0
    for m in range(made.reach, 0, -1):
        tail += made.weights[m - made.lowest]
        if m < 8 * std:
            assert tail / 2.0**BITS <= stats.norm.sf((m - 1) / std)


def test_the_fast_ideal_weights_are_the_definitions_to_sixty_digits() -> None:
    weights, pmf = ideal_weights(Fraction(20.3) ** 2), ideal_pmf(20.3, 200)
    total = 2 * sum(weights) - weights[0]
    with localcontext() as context:
        context.prec = 80
        assert all(abs(Decimal(w) / total - p) < Decimal("1e-60") for w, p in zip(weights, pmf, strict=False))


def test_the_sample_depends_on_the_entropy_alone_and_fills_any_size() -> None:
    noise = discrete_gaussian(2000.0)
    assert np.array_equal(noise.sample(40_001, replay(b"a")), noise.sample(40_001, replay(b"a")))
    assert not np.array_equal(noise.sample(64, replay(b"a")), noise.sample(64, replay(b"b")))
    assert not np.array_equal(noise.sample(64), noise.sample(64))
    for size in (0, 1, 2, 32_767, 32_768, 32_769):
        draws = noise.sample(size)
        assert draws.shape == (size,) and draws.dtype == np.int32


def test_blocks_halves_and_calls_are_uncorrelated() -> None:
    n, entropy = 200_001, replay(b"correlation")
    x, y = (discrete_gaussian(20.3).sample(n, entropy) / 20.3 for _ in range(2))
    for lag, other in ((0, y), (1, x), (2, x), (16_384, x), (32_768, x)):
        assert abs(float((x[lag:] * other[: n - lag]).mean())) < 5 / math.sqrt(n)


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_extreme_bits_stay_in_the_table(byte: bytes) -> None:
    noise = discrete_gaussian(3.0)
    assert np.abs(noise.sample(10, lambda n: byte * n)).max() <= noise.reach


def test_bad_requests_are_refused() -> None:
    for std in (0.0, 0.2, 2e6, math.nan, math.inf, -1.0):
        with pytest.raises(ChatfedError, match="std"):
            discrete_gaussian(std)
    with pytest.raises(ChatfedError, match="negative"):
        discrete_gaussian(1.0).sample(-1)
    with pytest.raises(ChatfedError, match="entropy"):
        discrete_gaussian(1.0).sample(4, lambda n: b"short")


def test_the_representation_shows_no_weights() -> None:
    assert "weights" not in repr(table(Fraction(9))) and len(repr(discrete_gaussian(3.0))) < 300
