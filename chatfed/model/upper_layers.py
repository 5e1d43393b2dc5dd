"""The uppermost layers of a plain Llama and rows of its output layer, to be learned; layers below say what these read.

What lies below goes forwards only, and nothing of it is kept for a way back: whoever trains may keep what it said, for
it does not change. Nor do the output layer's rows of other tokens: Adam takes whole steps on the smallest gradient, and
each row has one in every place that wants another token. Knows tokens and weights; no loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from chatfed.model.by_hand import plain_llama
from chatfed.model.gradient_parts import angles
from chatfed.model.llama_steps import llama_steps
from chatfed.model.refusals import ModelError
from chatfed.model.soft_targets import Rows
from chatfed.model.transformer import skeleton, untie_output
from chatfed.types import IntVector


def check_uppermost(base: str, layers: int, of: int) -> None:
    """Raises ModelError where so many uppermost layers cannot learn alone. Loads no weights.

    base: a folder or hub name; "": a small Llama of `of` layers.
    """
    _refuse_others(skeleton(base, of), layers)


def _refuse_others(module: Any, layers: int) -> None:
    if not plain_llama(module, bare=True):
        raise ModelError(
            f"ngrams.layers = {layers}: {type(module).__name__} is no plain Llama; set it to 0.", param="ngrams.layers"
        )
    if not 0 < layers <= len(module.model.layers):
        raise ModelError(
            f"ngrams.layers = {layers}: the base has {len(module.model.layers)} layers; set no more, or 0 for all.",
            param="ngrams.layers",
        )


def learn_uppermost(module: Any, layers: int, tokens: IntVector) -> None:
    """Makes trainable so many uppermost layers, the last norm and these tokens' rows of an output layer of its own.

    tokens: int64[R], each once. All else is frozen. The rows are a parameter beside the layer's weight until `settle`.
    Raises ModelError for a model that has no such layers, or is no plain Llama.
    """
    _refuse_others(module, layers)
    untie_output(module)
    module.requires_grad_(False)
    for part in (*module.model.layers[-layers:], module.model.norm):
        part.requires_grad_(True)
    head, rows = module.lm_head, torch.as_tensor(tokens)
    head.register_buffer("learning", rows, persistent=False)
    head.register_parameter("learned", torch.nn.Parameter(head.weight.detach()[rows]))


def settle(module: Any) -> None:
    """Puts the rows that `learn_uppermost` set apart back into the output layer: a plain model again."""
    head = module.lm_head
    with torch.no_grad():
        head.weight[head.learning] = head.learned
    del head.learning, head.learned


class UpperLayers:
    """What learns, by autograd, above what is frozen. Raises ModelError for a model that is no plain Llama."""

    def __init__(self, module: Any, layers: int, lower: bool) -> None:
        body = module.model
        below = llama_steps(module, "bfloat16" if lower else "float32", len(body.layers) - layers)
        if below is None:
            raise ModelError(
                f"ngrams.layers = {layers}: the base is not in float32 on the processor, or has hooks; set it to 0.",
                param="ngrams.layers",
            )
        self._below, self._layers, self._norm = below, body.layers[-layers:], body.norm
        self._rotary, self.frozen_head = body.rotary_emb, module.lm_head.weight  # some of its rows stand for no more
        self.rows = Rows(module.lm_head.learning, module.lm_head.learned)

    def read(self, ids: Tensor) -> Tensor:
        """What the lowest of them is given of int64[rows, T]: float32[rows, T, width], without a way back."""
        return self._below.stream(ids)

    def above(self, stream: Tensor) -> Tensor:
        """What the output layer is given, of what `read` says: [rows, T, width]."""
        cos, sin = angles(self._rotary, stream.shape[1])
        whole = tuple(each.repeat(1, 2)[None] for each in (cos, sin))
        for layer in self._layers:
            stream = layer(stream, position_embeddings=whole)
        said: Tensor = self._norm(stream)
        return said
