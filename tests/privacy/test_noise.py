"""Noise has the shape that is claimed, comes from the given entropy alone, and samples are Poisson."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from chatfed.privacy.noise import add_gaussian, gaussian, poisson_sample, system_random
from chatfed.types import ChatfedError

from .entropy import replay


def test_moments_and_shape_are_gaussian() -> None:
    n, std = 1_000_000, 3.0
    x = gaussian(n, std, replay(b"moments")).double().numpy() / std
    assert abs(x.mean()) < 5 / math.sqrt(n)
    assert abs(x.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs(stats.skew(x)) < 5 * math.sqrt(6 / n)
    assert abs(stats.kurtosis(x)) < 5 * math.sqrt(24 / n)
    assert stats.kstest(x, "norm").pvalue > 1e-4
    tail = np.count_nonzero(np.abs(x) > 4) / n
    assert abs(tail - 2 * stats.norm.sf(4)) < 5 * math.sqrt(2 * stats.norm.sf(4) / n)


def test_system_noise_is_gaussian_too() -> None:
    x = gaussian(200_000, 1.0).double().numpy()
    assert stats.kstest(x, "norm").pvalue > 1e-6


def test_neighbours_and_calls_are_uncorrelated() -> None:
    n, entropy = 400_001, replay(b"correlation")
    x, y = gaussian(n, 1.0, entropy).double(), gaussian(n, 1.0, entropy).double()
    bound = 5 / math.sqrt(n)
    assert abs(float((x * y).mean())) < bound
    assert abs(float((x.square() - 1).mul(y.square() - 1).mean())) / 2 < bound
    for lag in (1, 2, 4096, 8192):  # 4096 and 8192: halves of a block, and blocks
        assert abs(float((x[lag:] * x[:-lag]).mean())) < bound
        assert abs(float((x[lag:].square() - 1).mul(x[:-lag].square() - 1).mean())) / 2 < bound


def test_same_entropy_same_noise_and_other_entropy_other_noise() -> None:
    assert torch.equal(gaussian(20_001, 1.0, replay(b"a")), gaussian(20_001, 1.0, replay(b"a")))
    assert not torch.equal(gaussian(64, 1.0, replay(b"a")), gaussian(64, 1.0, replay(b"b")))
    assert not torch.equal(gaussian(64, 1.0), gaussian(64, 1.0))


def test_torch_and_numpy_generators_play_no_part() -> None:
    def seeded() -> torch.Tensor:
        torch.manual_seed(0)
        np.random.seed(0)
        return gaussian(64, 1.0)

    before = torch.get_rng_state()
    gaussian(64, 1.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(seeded(), seeded())


@pytest.mark.parametrize("size", [0, 1, 2, 3, 8191, 8192, 8193, 16385])
def test_any_size_is_filled_with_finite_numbers(size: int) -> None:
    x = gaussian(size, 2.0)
    assert x.shape == (size,) and x.dtype == torch.float32 and bool(torch.isfinite(x).all())
    assert size < 3 or len(torch.unique(x)) > 0.99 * size


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_extreme_bits_still_give_finite_noise(byte: bytes) -> None:
    assert bool(torch.isfinite(gaussian(10, 1.0, lambda n: byte * n)).all())


def test_zero_std_is_no_noise_and_bad_requests_are_refused() -> None:
    assert torch.equal(gaussian(5, 0.0), torch.zeros(5))
    for size, std in ((-1, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)):
        with pytest.raises(ChatfedError):
            gaussian(size, std)
    with pytest.raises(ChatfedError, match="entropy"):
        gaussian(4, 1.0, lambda n: b"short")


def test_low_bits_of_a_small_sum_do_not_tell_the_value_under_the_noise() -> None:
    """Noise rounded to float32 and then added to 1 leaves every small sum on the grid 2^-24; added to 0, one in six.
    An onlooker who sees one number off that grid then knows that the value was not 1."""

    def on_grid(value: float) -> float:
        noisy = add_gaussian(torch.full((200_000,), value, dtype=torch.float64), 1.0, replay(b"grid")).double()
        small = noisy[noisy.abs() < 0.25] * 2**24
        return float((small == small.round()).double().mean())

    assert abs(on_grid(1.0) - on_grid(0.0)) < 0.02


def test_poisson_samples_have_binomial_size_and_independent_members() -> None:
    n, rate, draws = 50, 0.3, 4000
    entropy = replay(b"poisson")
    member = np.zeros((draws, n))
    for row in member:
        row[poisson_sample(n, rate, entropy)] = 1
    sizes = member.sum(1)
    assert abs(sizes.mean() - n * rate) < 5 * math.sqrt(n * rate * (1 - rate) / draws)
    assert abs(sizes.var() / (n * rate * (1 - rate)) - 1) < 5 * math.sqrt(2 / draws)
    assert np.all(np.abs(member.mean(0) - rate) < 5 * math.sqrt(rate * (1 - rate) / draws))
    assert np.all(np.abs(np.corrcoef(member.T) - np.eye(n)) < 6 / math.sqrt(draws))


def test_poisson_bound_is_exact_at_the_edges() -> None:
    half = (1 << 63).to_bytes(8, "little")
    below = ((1 << 63) - 1).to_bytes(8, "little")
    assert poisson_sample(2, 0.5, lambda n: half + below).tolist() == [1]
    assert poisson_sample(3, 1.0, lambda n: b"\xff" * n).tolist() == [0, 1, 2]
    assert poisson_sample(3, 0.0, lambda n: b"\x00" * n).tolist() == []
    assert poisson_sample(3, math.nextafter(1.0, 0.0), lambda n: b"\xff" * n).tolist() == []
    assert poisson_sample(0, 0.5).tolist() == []
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(ChatfedError):
            poisson_sample(3, rate)


def test_system_random_gives_what_is_asked() -> None:
    assert len(system_random(33)) == 33 and system_random(32) != system_random(32)
