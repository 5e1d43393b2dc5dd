"""Products of matrices outside autograd, through the quicker library. Knows no layers and no gradients.

On a CPU that is numpy, which computes half of a matrix times itself turned and whose wheels bring OpenBLAS: 12 to 20 %
less time than the MKL in torch on the AMD machine of docs/log.md, the only one measured. It has threads of its own,
whatever torch was told: OPENBLAS_NUM_THREADS, read when numpy is imported (`training` sets one). Elsewhere it is torch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a @ b, float32[..., p, q] of float32[..., p, k] and float32[..., k, q], written into `out` if given."""
    if a.device.type != "cpu":
        return torch.matmul(a, b, out=out)
    with np.errstate(all="ignore"):  # torch says nothing either, and no warning may depend on a dialogue
        found = np.matmul(_plain(a), _plain(b), out=None if out is None else out.numpy())
    return torch.from_numpy(found) if out is None else out


def _plain(x: Tensor) -> NDArray[np.float32]:
    """Without a copy if rows or columns lie end to end; numpy takes other layouts through a slow loop."""
    x = x.detach()
    found: NDArray[np.float32] = (x if x.is_contiguous() or x.mT.is_contiguous() else x.contiguous()).numpy()
    return found
