"""How long one dialogue's gradient may be: flat, per-layer and automatic clipping. Knows norms; no layer, no noise.

Whatever the style, the factors bound the L2 norm over all trained parameters by `norm`, so noise and accounting are the
same for all three:

- `flat` (Abadi et al. 2016): min(1, C / |g|).
- `per_layer` (McMahan et al. 2018): each of K layers is clipped by itself to C / sqrt(K), so all together to C.
- `automatic` (Bu et al. 2022, AUTO-S): C / (|g| + gamma), always below C: short gradients are lengthened as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chatfed.privacy.guarantee import Adjacency

STYLES = ("flat", "per_layer", "automatic")
"""The styles of clipping; see the module's first lines."""

_LONGEST = 1e30  # clip norms; float32 keeps its full precision down to 1e-38
_PIECE = 64  # squares summed in float32 before float64 takes over
_SMALL = 1 << 12
_SURE = 1.0 - 3e-6  # a sum of 64 squares is off by 64 * 2^-24 at most, its root by half of that; then one product


@dataclass(frozen=True)
class ClipRule:
    """A style and its numbers, all public."""

    norm: float  # L2, per dialogue, over all trained parameters together
    style: str = "flat"
    gamma: float = 0.01  # automatic only: the norm below which gradients count less

    def sensitivity(self, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE) -> float:
        """Most L2 distance between neighbours' sums of clipped gradients, in real numbers, whatever the weights are.

        >>> ClipRule(0.5).sensitivity(), ClipRule(0.5, "per_layer").sensitivity(Adjacency.REPLACE)
        (0.5, 1.0)
        """
        return adjacency.sensitivity(self.norm)

    def factors(self, squares: Tensor) -> Tensor:
        """What each dialogue's gradient is multiplied with in each layer: float64[layers, n].

        `squares` float64[layers, n]: squared L2 norms. A dialogue with a norm that is not finite anywhere gets 0
        everywhere, and so does one so long that the factor would lose digits in float32.

        Guarantee: the L2 norm over all layers of factor * gradient, computed in float32, is at most `norm`.
        """
        norms = squares.sum(0, keepdim=True).sqrt()
        usable = norms <= self.norm * _LONGEST  # False for what is not a number
        if self.style == "automatic":
            found = self.norm * _SURE / (norms + self.gamma)
        elif self.style == "per_layer":
            found = (self.norm / math.sqrt(len(squares)) * _SURE / squares.sqrt()).clamp(max=1.0)
        else:
            found = (self.norm * _SURE / norms).clamp(max=1.0)
        return torch.where(usable, found, 0.0).expand(len(squares), -1)


def clip_factor(gradient: Tensor, clip_norm: float) -> float:
    """min(1, clip_norm / L2 norm) of one gradient, rounded so that the product never exceeds clip_norm.

    >>> clip_factor(torch.tensor([3.0, 4.0]), 10.0)
    1.0
    >>> round(clip_factor(torch.tensor([3.0, 4.0]), 1.0), 4)
    0.2
    """
    square = torch.tensor([[sum_of_squares(gradient)]], dtype=torch.float64)
    return float(ClipRule(clip_norm).factors(square))


def sum_of_squares(x: Tensor) -> float:
    """Of all elements, with a relative error below 64 * 2^-24 whatever they are (so no one hides length in rounding).

    float32 sums of 64 squares, then float64: thirty times as fast as float64 throughout, which is left for what over-
    or underflows.
    """
    flat = x.detach().reshape(-1)
    if flat.dtype in (torch.bfloat16, torch.float16):
        flat = flat.float()  # a norm of theirs would be rounded to two or three digits
    whole = len(flat) - len(flat) % _PIECE
    pieces = torch.linalg.vector_norm(flat[:whole].view(-1, _PIECE), dim=1).double()
    found = float(torch.dot(pieces, pieces))
    if whole < len(flat):
        found += float(torch.linalg.vector_norm(flat[whole:], dtype=torch.float64)) ** 2
    if 1e-16 < found < 1e36:
        return found
    return float(torch.linalg.vector_norm(flat, dtype=torch.float64)) ** 2


def squares_together(tensors: Sequence[Tensor]) -> float:
    """`sum_of_squares` of all together; the small ones are laid end to end, which spares calls."""
    large = [x for x in tensors if x.numel() >= _SMALL]
    small = [x.reshape(-1) for x in tensors if x.numel() < _SMALL]
    return sum(map(sum_of_squares, large)) + (sum_of_squares(torch.cat(small)) if small else 0.0)
