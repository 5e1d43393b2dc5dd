"""Products of matrices outside autograd, through the quicker library. Knows no layers and no gradients.

On a CPU that is numpy, which computes half of a matrix times itself turned and whose wheels bring OpenBLAS: 12 to 20 %
less time than the MKL in torch on the AMD machine of docs/log.md, the only one measured. It has threads of its own,
whatever torch was told: OPENBLAS_NUM_THREADS, read when numpy is imported (`training` sets one). Elsewhere it is torch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """A @ b, float32[..., p, q] of float32[..., p, k] and float32[..., k, q], written into `out` if given."""
    if a.device.type != "cpu":
        return torch.matmul(a, b, out=out)
    found = _multiply(_plain(a), _plain(b), None if out is None else out.numpy())
    return torch.from_numpy(found) if out is None else out


def sliced(a: Tensor, b: Tensor, out: Tensor) -> Callable[[slice], object]:
    """A function of a slice that writes the sum over it of a[n]^T b[n] into `out` float32[p, q].

    `a` float32[n, k, p], `b` float32[n, k, q]. Layouts are settled once: half the cost of a small product's call.
    """
    a, b = a.detach().contiguous(), b.detach().contiguous()
    if out.device.type != "cpu":
        return lambda part: torch.mm(a[part].flatten(0, 1).t(), b[part].flatten(0, 1), out=out)
    left, right, into, p, q = a.numpy(), b.numpy(), out.numpy(), a.shape[-1], b.shape[-1]
    return lambda part: _multiply(left[part].reshape(-1, p).T, right[part].reshape(-1, q), into)


@np.errstate(all="ignore")  # torch says nothing either, and no warning may depend on a dialogue
def _multiply(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32] | None) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.matmul(a, b, out=out)
    return found


def _plain(x: Tensor) -> NDArray[np.float32]:
    """Without a copy if rows or columns lie end to end; numpy takes other layouts through a slow loop."""
    x = x.detach()
    found: NDArray[np.float32] = (x if x.is_contiguous() or x.mT.is_contiguous() else x.contiguous()).numpy()
    return found
