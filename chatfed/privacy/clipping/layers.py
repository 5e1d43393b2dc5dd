"""Layer kinds: which weights are kept as factors, which layers have small gradients for each row, what is refused.

Knows one layer at a time, its input and its output's gradient; no loss, no norms, no clipping.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.grad_sample.functorch import ft_compute_per_sample_gradient
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from chatfed.privacy.clipping.factors import Use
from chatfed.types import ChatfedError

_log = logging.getLogger(__name__)


class ClippingError(ChatfedError):
    """A model whose per-dialogue gradients cannot be told apart; the message names the layer."""

    code = "unclippable_model"
    mend = "replace the layer that the message names"


def refuse_unsuitable(module: nn.Module) -> None:
    """Raises ClippingError, naming the layer, for layers that mix examples or that Opacus refuses."""
    mixing = (nn.modules.batchnorm._BatchNorm, nn.EmbeddingBag)
    for name, layer in module.named_modules():
        if isinstance(layer, mixing):
            raise ClippingError(
                f"layer {name or type(layer).__name__} ({type(layer).__name__}) mixes the examples of a batch, so no "
                "dialogue has a gradient of its own: replace it, for instance by LayerNorm or GroupNorm"
            )
    was_training = module.training
    module.training = True  # Opacus asks for the flag of the outermost module only
    try:
        errors = ModuleValidator.validate(module, strict=False)
    finally:
        module.training = was_training
    if errors:
        raise ClippingError(f"Opacus refuses this model: {str(errors[0]).splitlines()[0]}")


def layer_numbers(named: dict[str, nn.Parameter]) -> dict[nn.Parameter, int]:
    """The number of the layer that each parameter belongs to, in the order of `named`."""
    layers: dict[str, int] = {}
    return {p: layers.setdefault(name.rpartition(".")[0], len(layers)) for name, p in named.items()}


def is_factored(layer: nn.Module) -> bool:
    """Layers whose weight gradient is a product of activations and output gradients kept apart until needed."""
    return type(layer) in (nn.Linear, nn.Embedding) or _is_conv1d(layer)


def _is_conv1d(layer: nn.Module) -> bool:
    # transformers' Conv1D is a Linear whose weight lies [in, out]; this room may not import transformers
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf") and hasattr(layer, "nx")


def is_rms_norm(layer: nn.Module) -> bool:
    """Whether it is a transformers RMSNorm, whatever the model calls it."""
    own = [name for name, _ in layer.named_parameters()]
    return type(layer).__name__.endswith("RMSNorm") and own == ["weight"] and hasattr(layer, "variance_epsilon")


def refuse_layer_call(name: str, layer: nn.Module, inputs: list[Any], output: Any, rows: int) -> None:
    """Raises ClippingError for a layer that takes or gives other than one tensor whose first axis is the rows."""
    if not isinstance(output, Tensor) or not inputs or not isinstance(inputs[0], Tensor):
        raise ClippingError(f"layer {name} ({type(layer).__name__}) is not one tensor in, one tensor out: freeze it")
    if inputs[0].shape[:1] != (rows,) or output.shape[:1] != (rows,):
        raise ClippingError(
            f"layer {name} ({type(layer).__name__}) saw {list(inputs[0].shape)} in a batch of {rows} rows: it is used "
            "once for the whole batch, so no dialogue has a gradient of its own: freeze it or give it one entry a row"
        )


def use_of(layer: nn.Module, a: Tensor, g: Tensor) -> Use:
    """The factors of the weight's gradient, rows apart: its rows times its columns."""
    if not isinstance(layer, nn.Embedding):
        return Use(a, g) if _is_conv1d(layer) else Use(g, a)
    if layer.scale_grad_by_freq or layer.sparse or layer.max_norm is not None:
        raise ClippingError("nn.Embedding with scale_grad_by_freq, sparse or max_norm is not supported: set them off")
    if layer.padding_idx is not None:
        g = g * (a != layer.padding_idx).unsqueeze(-1)  # autograd gives the padding row no gradient
    return Use(a.long(), g)


_said: set[str] = set()


def say_when_unknown(name: str, layer: nn.Module) -> None:
    """Warns, once for each name and kind, of a layer whose gradients Opacus makes row by row."""
    known = is_factored(layer) or is_rms_norm(layer) or type(layer) in (nn.LayerNorm, nn.RMSNorm)
    words = f"layer {name} ({type(layer).__name__}) is not one that chatfed knows: Opacus makes a gradient for each row"
    if not known and words not in _said:
        _said.add(words)
        _log.warning("%s, which costs time and memory", words)


def per_row_gradients(layer: nn.Module, a: Tensor, g: Tensor) -> dict[nn.Parameter, Tensor]:
    """Gradient of each row for the small and the unknown layers: {parameter: float[rows, *shape]}."""
    if is_rms_norm(layer):  # sum over positions of g * a / sqrt(mean a^2 + eps)
        mean = torch.linalg.vector_norm(a, dim=-1, dtype=torch.float32).square_().div_(a.shape[-1])
        root = mean.add_(float(layer.variance_epsilon)).rsqrt_().reshape(len(g), 1, -1)  # type: ignore[arg-type]
        product = (g * a).float().reshape(len(g), -1, g.shape[-1])
        return {layer.weight: torch.bmm(root, product).squeeze(1)}  # type: ignore[dict-item]
    sampler = GradSampleHooks.GRAD_SAMPLERS.get(type(layer), None)
    if sampler is None:
        found: dict[nn.Parameter, Tensor] = ft_compute_per_sample_gradient(layer, [a], g)
        return found
    return dict(sampler(layer, [a], g))
