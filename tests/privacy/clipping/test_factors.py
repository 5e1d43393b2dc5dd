"""Norms from products of two factors, against the gradients formed."""

from __future__ import annotations

import pytest
import torch

from chatfed.privacy.clipping import factors
from chatfed.privacy.clipping.factors import Use, squares


def formed(use: Use, rows: int) -> torch.Tensor:
    """float64[n, p, q]: each dialogue's gradient, by its definition."""
    left = torch.nn.functional.one_hot(use.left, rows) if use.left.dtype == torch.int64 else use.left
    return left.double().transpose(1, 2) @ use.right.double()


@pytest.mark.parametrize("positions", [1, 2, 7, 8])
@pytest.mark.parametrize("at_once", [1, 1 << 19])
def test_norms_from_products_are_those_of_the_gradients(
    positions: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factors, "_AT_ONCE", at_once)  # one dialogue at a time, or all
    drawn = torch.Generator().manual_seed(positions)

    def normal(width: int) -> torch.Tensor:
        return torch.randn(3, positions, width, generator=drawn)

    right, places = normal(5), torch.randint(0, 3, (3, positions), generator=drawn)  # places come again
    alone = [[Use(normal(4), right)], [Use(normal(6), right)], [Use(places, right)], [Use(places, normal(2))]]
    twice = [Use(places, right), Use(normal(3), normal(5))]
    found = squares([*alone, twice])
    for measured, (use,) in zip(found, alone, strict=False):
        torch.testing.assert_close(measured, formed(use, 3).square().sum((1, 2)), rtol=1e-5, atol=1e-6)
    both = formed(twice[0], 3) + formed(twice[1], 3)
    torch.testing.assert_close(found[-1], both.square().sum((1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", [7, 8])
def test_what_is_not_finite_stays_so_and_in_its_own_dialogue(positions: int) -> None:
    left, right = torch.ones(2, positions, 3), torch.ones(2, positions, 3)
    left[1, 0, 0] = torch.nan  # in the block above
    first, second = squares([[Use(left, right)]])[0].tolist()
    assert first == 9.0 * positions**2 and second != second
