"""Products through numpy are those of the definition, whatever the layout, and on one thread in our programs."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from chatfed.privacy.clipping.products import product, sliced

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows end to end": lambda x: x,
    "columns end to end": lambda x: x.mT.contiguous().mT,
    "every other column": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
    "one row for all": lambda x: x[..., :1, :].expand_as(x),
    "wanting a gradient": lambda x: x.clone().requires_grad_(True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stack", [(), (3,)])
def test_a_product_is_that_of_the_definition_in_every_layout(layout: str, stack: tuple[int, ...]) -> None:
    drawn = torch.Generator().manual_seed(0)
    a = LAYOUTS[layout](torch.randn(*stack, 5, 7, generator=drawn))
    b = LAYOUTS[layout](torch.randn(*stack, 7, 4, generator=drawn))
    exact = (a.double().unsqueeze(-1) * b.double().unsqueeze(-3)).sum(-2).float()
    torch.testing.assert_close(product(a, b), exact.detach())
    out = torch.full(exact.shape, torch.nan)
    assert product(a, b, out=out) is out
    torch.testing.assert_close(out, exact.detach())


@pytest.mark.parametrize("positions", [1, 2, 7, 64, 97])
def test_a_matrix_times_itself_turned_is_that_of_two_copies(positions: int) -> None:
    x = torch.randn(3, positions, 33, generator=torch.Generator().manual_seed(positions))
    found = product(x, x.mT)
    torch.testing.assert_close(found, product(x, x.clone().mT))
    assert torch.equal(found, found.mT)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", [slice(0, 6), slice(2, 3), slice(1, 5), slice(3, 3)])
def test_a_slice_s_product_is_the_sum_over_its_parts(layout: str, part: slice) -> None:
    drawn = torch.Generator().manual_seed(0)
    a = LAYOUTS[layout](torch.randn(6, 5, 7, generator=drawn))
    b = LAYOUTS[layout](torch.randn(6, 5, 4, generator=drawn))
    exact, out = torch.einsum("nkp,nkq->pq", a[part].double(), b[part].double()).float(), torch.full((7, 4), torch.nan)
    with np.errstate(all="raise"):
        sliced(a, b, out)(part)
    torch.testing.assert_close(out, exact.detach())


def test_what_is_not_finite_is_said_in_the_product_and_nowhere_else() -> None:
    huge = torch.full((2, 3), 3e38)
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bool(product(huge, huge.mT).isinf().all())
        assert bool(product(torch.full((2, 3), torch.inf), torch.zeros(3, 2)).isnan().all())


def test_our_programs_take_one_thread_for_it() -> None:
    code = "import training.durable, numpy, os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    bare = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
