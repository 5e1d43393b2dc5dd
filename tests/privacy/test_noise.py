"""Samples are Poisson, and random words come whole from the given entropy alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chatfed.privacy.noise import poisson_sample, random_words, system_random
from chatfed.types import ChatfedError

from .entropy import replay


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


def test_an_entropy_source_that_falls_short_is_refused() -> None:
    with pytest.raises(ChatfedError, match="entropy"):
        random_words(4, lambda n: b"short")


def test_system_random_gives_what_is_asked() -> None:
    assert len(system_random(33)) == 33 and system_random(32) != system_random(32)
