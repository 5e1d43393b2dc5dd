"""The loss of an output layer whose targets are several tokens with shares, and its gradients, some places at a time.

Logits of a large vocabulary are most of a step's memory and a third of its time when autograd keeps them; here they
turn into their gradient where they stand. Knows no model and no text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_PLACES = 128  # logits at a time in float32
_TINY = 1e-30  # least share of all other tokens together


@dataclass(frozen=True, eq=False)
class Rows:
    """Tokens whose rows of an output layer learn, while those of all others are frozen."""

    tokens: Tensor  # int64[R], each once
    weight: Tensor  # float32[R, width]: they stand in the place of the layer's own


def soft_target_loss(
    hidden: Tensor, weight: Tensor, near: Tensor, shares: Tensor, lower: bool, rows: Rows | None = None
) -> Tensor:
    """The mean over places of the cross-entropy, in nats, of an output layer's probabilities: a scalar with gradients.

    hidden: float32[n, width]. weight: float32[V, width]; it has no gradient where there are `rows`, which have one.
    near: int64[n, k], different tokens of each place, and shares: float32[n, k], what is wanted of them; what is left
    to 1 is the share of all other tokens together (Hinton et al. 2015, section 2). lower: products in bfloat16.
    """
    dtype = torch.bfloat16 if lower else torch.float32
    own = (rows.tokens, rows.weight) if rows else (None, None)
    found: Tensor = _SoftTargets.apply(hidden, weight, near, shares, dtype, *own)  # type: ignore[no-untyped-call]
    return found


class _SoftTargets(torch.autograd.Function):
    """Gradients are made with the loss, while the logits are there; going back only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        near: Tensor,
        shares: Tensor,
        dtype: torch.dtype,
        tokens: Tensor | None,
        own: Tensor | None,
    ) -> Tensor:
        x, w, loss = hidden.to(dtype), weight.to(dtype), hidden.new_zeros(())
        if tokens is not None and own is not None:
            w = (w.clone() if w is weight else w).index_copy_(0, tokens, own.to(dtype))
        low = torch.empty(len(x), len(w), dtype=dtype)
        for start in range(0, len(x), _PLACES):
            some = slice(start, start + _PLACES)
            z = (x[some] @ w.t()).float()
            loss += _turned_into_gradient(z, near[some], shares[some])
            low[some] = z
        of_weight = (low.t() @ x).float() if ctx.needs_input_grad[1] and tokens is None else None
        of_own = (low[:, tokens].t() @ x).float() if tokens is not None else None
        ctx.found = (low @ w).float(), of_weight, of_own
        ctx.places = max(1, len(x))
        mean: Tensor = loss / ctx.places
        return mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0] / ctx.places
        of_hidden, of_weight, of_own = (None if each is None else each.mul_(scale) for each in ctx.found)
        return of_hidden, of_weight, None, None, None, None, of_own


def _turned_into_gradient(z: Tensor, near: Tensor, shares: Tensor) -> Tensor:
    """The summed loss of logits float32[n, V]; in their place stands its gradient.

    With p = softmax(z), s the shares, r what they leave and o the sum of p over all others: the loss is
    -(sum of s log p) - r log o, and its derivative p (1 - r / o) elsewhere and p - s at near (s and r sum to 1).
    """
    z.sub_(z.logsumexp(1, keepdim=True))
    likely = z.gather(1, near)
    left = (1 - shares.sum(1)).clamp_min(0)
    total = left + shares.sum(1)
    p = likely.exp()
    z.exp_().scatter_(1, near, 0)
    others = z.sum(1).clamp_min(_TINY)  # 1 - p.sum(1) is rounding where near has nearly all
    z.mul_((total - left / others)[:, None])
    z.scatter_(1, near, p * total[:, None] - shares)
    return -(likely * shares).sum() - (left * others.log()).sum()
