"""A module's trainable parameters as one float32 vector, and back. Knows no training and no protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.refusals import ModelError
from chatfed.types import FloatVector

if TYPE_CHECKING:
    import torch
    from torch import nn


def set_trainable(module: nn.Module, globs: Sequence[str]) -> int:
    """Makes the parameters trainable whose names match one of `globs` ("all": every one), and counts their numbers.

    An output layer tied to the embedding is one parameter with two names. Raises ModelError when a glob matches none.
    """
    named = list(module.named_parameters(remove_duplicate=False))
    names = [name for name, _ in named]
    for glob in globs:
        if glob != "all" and not any(fnmatchcase(name, glob) for name in names):
            raise ModelError(
                f"model.trainable: {glob!r} matches no parameter; there are e.g. {', '.join(names[:3])}.",
                param="model.trainable",
            )
    chosen = {id(p) for name, p in named if any(glob == "all" or fnmatchcase(name, glob) for glob in globs)}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
    return dimension(module)


def dimension(module: nn.Module) -> int:
    """d, the length of the flat vector of trainable parameters."""
    return sum(parameter.numel() for _, parameter in trainable(module))


def flatten(module: nn.Module) -> FloatVector:
    """The trainable parameters, in the order of their names: float32[d]."""
    return read_flat([p for _, p in trainable(module)])


def read_flat(parameters: Sequence[nn.Parameter]) -> FloatVector:
    """Their numbers, one after another: float32[d]."""
    return np.concatenate([p.detach().cpu().float().numpy().ravel() for p in parameters])


def load_flat(module: nn.Module, vector: FloatVector) -> None:
    """Writes float32[d] into the trainable parameters. Raises ValueError when d differs."""
    write_flat([p for _, p in trainable(module)], vector)


def write_flat(parameters: Sequence[nn.Parameter], vector: FloatVector) -> None:
    """Writes float32[d] into parameters, one after another. Raises ValueError when d differs."""
    import torch

    count = sum(parameter.numel() for parameter in parameters)
    if vector.shape != (count,):
        raise ValueError(f"expected float32[{count}], got shape {vector.shape}")
    start = 0
    with torch.no_grad():
        for parameter in parameters:
            piece = vector[start : start + parameter.numel()]
            parameter.copy_(torch.from_numpy(np.array(piece, np.float32)).view_as(parameter))
            start += parameter.numel()


def non_finite(module: nn.Module) -> list[str]:
    """Names of the tensors with a number that is none or without bound, in the order of the module.

    A buffer may hold minus infinity: that is how masks say "never".
    """
    weights = [name for name, tensor in module.named_parameters() if not _bounded(tensor)]
    return weights + [name for name, tensor in module.named_buffers() if not _bounded(tensor, mask=True)]


def refuse_non_finite(module: nn.Module, base: object) -> None:
    """Raises ModelError where a weight, trained or frozen, is not finite.

    All that follows would be noise, and paid for.
    """
    if names := non_finite(module):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ModelError(
            f"The base model {base} holds numbers that are not finite (NaN or infinity) in {', '.join(names[:3])}{more}"
            f": nothing can be learned on it; give another base, or the weights in a wider type.",
            param=str(base),
        )


def _bounded(tensor: torch.Tensor, mask: bool = False) -> bool:
    """Whether least and most of the tensor are finite; both are NaN where any number is. Takes no second copy of it."""
    if not tensor.is_floating_point() or not tensor.numel() or tensor.is_meta:
        return True
    low, high = (float(end) for end in tensor.detach().aminmax())
    return math.isfinite(high) and (math.isfinite(low) or (mask and low < 0))


def trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The trainable parameters in the order of their names, which is that of every flat vector."""
    return sorted((name, p) for name, p in module.named_parameters() if p.requires_grad)
