"""The output layer together with its cross-entropy: logits exist once and turn into their own gradient in place.

An ordinary language model holds logits, their log-softmax and its gradient, each float32[positions, vocabulary], and
walks through memory for each. Here a few positions at a time go through the layer, the softmax and back while they are
in the processor's cache. Knows nothing of clipping: whoever wants the two factors of the weight's gradient instead of
the gradient registers a `Recorder` for the layer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from chatfed.privacy.clipping.products import product
from chatfed.types import ChatfedError

Recorder = Callable[[Tensor, Tensor], None]
"""Takes the factors of the weight's gradient: float32[rows, T, vocabulary] and float32[rows, T, width]."""

RECORDERS: weakref.WeakKeyDictionary[nn.Module, Callable[[], Recorder | None]] = weakref.WeakKeyDictionary()
"""Layers whose weight gradient is recorded; the callable gives None while nobody listens."""

_CHUNK = 1 << 20  # logits computed at a time


@dataclass(frozen=True)
class LogitForm:
    """What a model makes of its output layer's values z: cap * tanh(scale * z / cap), or scale * z where cap is 0."""

    scale: float = 1.0
    cap: float = 0.0  # Gemma 2's soft cap (Gemma team 2024, section 2)

    def applied(self, z: Tensor) -> Tensor:
        """The logits of z."""
        z = z * self.scale
        return self.cap * torch.tanh(z / self.cap) if self.cap else z


def output_layer_loss(
    hidden: Tensor,
    layer: nn.Linear,
    targets: Tensor,
    weights: Tensor,
    form: LogitForm = LogitForm(),
) -> Tensor:
    """Sum over t of weights[r, t] * cross-entropy(form(layer(hidden[r, t])), targets[r, t]) in nats: float32[rows].

    `hidden` float[rows, T, width]; `targets` int64[rows, T]; `weights` float32[rows, T]; float32 inside, also under
    autocast. Raises ChatfedError for a layer with a bias.
    """
    if layer.bias is not None:
        raise ChatfedError("the output layer has a bias: compute its logits and the loss apart")
    listening = RECORDERS.get(layer, lambda: None)()
    anchor = torch.zeros((), requires_grad=listening is not None)  # the backward pass must come here, weight or not
    with torch.autocast(hidden.device.type, enabled=False):
        found: Tensor = _OutputLayerLoss.apply(hidden.float(), layer.weight, targets, weights, anchor, listening, form)
    return found


class _OutputLayerLoss(torch.autograd.Function):
    """Gradients are made in the forward pass, for a loss that counts once, and scaled in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        weights: Tensor,
        anchor: Tensor,
        listening: Recorder | None,
        form: LogitForm,
    ) -> Tensor:
        x, t, w = hidden.flatten(0, 1), targets.flatten(), weights.flatten()
        needs = ctx.needs_input_grad
        keep = needs[1] or listening is not None
        step = max(1, _CHUNK // len(weight))
        logits = x.new_empty(len(x) if keep else min(step, len(x)), len(weight))  # in the end: their gradient
        back = torch.empty_like(x) if needs[0] else None
        losses = torch.empty_like(w)
        for start in range(0, len(x), step):
            part = slice(start, min(start + step, len(x)))
            z = logits[part] if keep else logits[: part.stop - start]
            product(x[part], weight.t(), out=z)
            losses[part] = _softmax_and_back(z, t[part], w[part], back is not None or keep, form)
            if back is not None:
                product(z, weight, out=back[part])
        ctx.listening, ctx.back, ctx.shape = listening, back, hidden.shape
        ctx.logits, ctx.x = (logits, x) if keep else (None, None)
        return losses.view_as(weights).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, go: Tensor) -> tuple[Tensor | None, ...]:
        back, logits, shape = ctx.back, ctx.logits, ctx.shape
        ctx.back = ctx.logits = None  # kept by nobody once used
        once = bool((go == 1.0).all())
        if back is not None:
            back = back.view(shape) if once else back.view(shape) * go[:, None, None]
        of_weight = None
        if logits is not None:
            g = logits.view(*shape[:2], -1)
            g = g if once else g * go[:, None, None]
            if ctx.listening is not None:
                ctx.listening(g, ctx.x.view(shape))
            if ctx.needs_input_grad[1]:
                of_weight = product(g.flatten(0, 1).t(), ctx.x)
        return back, of_weight, None, None, None, None, None


def _softmax_and_back(z: Tensor, targets: Tensor, weights: Tensor, gradient: bool, form: LogitForm) -> Tensor:
    """Weighted losses float[k] of the layer's values `z` float[k, vocabulary].

    Where `gradient` is asked for, `z` becomes the losses' gradient.
    """
    if form.scale != 1:
        z.mul_(form.scale)
    slope = None
    if form.cap:
        z.div_(form.cap).tanh_()
        slope = torch.addcmul(z.new_ones(()), z, z, value=-1) if gradient else None
        z.mul_(form.cap)
    own = z.gather(1, targets[:, None])
    top = z.amax(1, keepdim=True)
    total = z.sub_(top).exp_().sum(1, keepdim=True)
    losses = ((total.log() + top - own).squeeze(1)) * weights
    if gradient:
        z.mul_(weights[:, None] / total)
        z.scatter_add_(1, targets[:, None], -weights[:, None])
        if slope is not None:
            z.mul_(slope)
        if form.scale != 1:
            z.mul_(form.scale)
    return losses
