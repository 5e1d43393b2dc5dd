"""A module's trainable parameters as one float32 vector, and back. Knows no training and no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from chatfed.types import ChatfedError, FloatVector

if TYPE_CHECKING:
    from torch import nn


def set_trainable(module: nn.Module, globs: Sequence[str]) -> int:
    """Makes trainable the parameters whose names match one of `globs` ("all": every one); returns how many numbers
    that is.

    Raises ChatfedError when a glob matches no parameter.
    """
    names = [name for name, _ in module.named_parameters()]
    for glob in globs:
        if glob != "all" and not any(fnmatchcase(name, glob) for name in names):
            raise ChatfedError(
                f"model.trainable: {glob!r} matches no parameter; there are e.g. {', '.join(names[:3])}."
            )
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(any(glob == "all" or fnmatchcase(name, glob) for glob in globs))
    return dimension(module)


def dimension(module: nn.Module) -> int:
    """d, the length of the flat vector of trainable parameters."""
    return sum(parameter.numel() for _, parameter in _trainable(module))


def flatten(module: nn.Module) -> FloatVector:
    """The trainable parameters, in the order of their names: float32[d]."""
    return np.concatenate([p.detach().cpu().float().numpy().ravel() for _, p in _trainable(module)])


def load_flat(module: nn.Module, vector: FloatVector) -> None:
    """Writes float32[d] into the trainable parameters. Raises ValueError when d differs."""
    import torch

    if vector.shape != (dimension(module),):
        raise ValueError(f"expected float32[{dimension(module)}], got shape {vector.shape}")
    start = 0
    with torch.no_grad():
        for _, parameter in _trainable(module):
            piece = vector[start : start + parameter.numel()]
            parameter.copy_(torch.from_numpy(np.array(piece, np.float32)).view_as(parameter))
            start += parameter.numel()


def _trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return sorted((name, p) for name, p in module.named_parameters() if p.requires_grad)
