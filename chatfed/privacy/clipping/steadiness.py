"""Learning in which what comes of one dialogue depends on weights and that dialogue alone: no dropout, no memory.

Dropout masks, jittered routers and skipped layers are drawn from a generator that all rows share: one dialogue more
moves it, and with it what all later ones add to a sum, so that no clipping of single dialogues bounds the difference.
What a layer keeps of its inputs (running means, adapted scales) is passed on in the same way. In evaluation mode layers
do neither; one that does it all the same is refused. Knows modules; no loss, no gradient, no clipping.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from chatfed.privacy.clipping.layers import ClippingError

_SMALL, _SMALLER = np.float32(2.0**-30), np.float32(2.0**-100)  # their product is denormal


@contextlib.contextmanager
def steady(module: nn.Module) -> Iterator[None]:
    """`module` in evaluation mode, gradients as they are, and `flushing`; all is set back afterwards."""
    training = [layer for layer in module.modules() if layer.training]
    if training:
        module.eval()
    try:
        with flushing():
            yield
    finally:
        for layer in training:
            layer.training = True


@contextlib.contextmanager
def flushing() -> Iterator[None]:
    """Denormal numbers taken as zero, and as before afterwards.

    Processors are many times slower on numbers too small for float32's full precision, and weights can be chosen that
    make one dialogue's so small. A setting of this thread, of torch's and numpy's arithmetic alike; where the processor
    has none, time stays as it was.
    """
    flushed = flushes_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def flushes_denormals() -> bool:
    """Whether float32 arithmetic of this thread takes denormal numbers as zero."""
    with np.errstate(under="ignore"):
        return not _SMALL * _SMALLER


@contextlib.contextmanager
def refusing_memory(module: nn.Module) -> Iterator[None]:
    """Raises ClippingError when what runs inside draws from a shared generator or changes what `module` keeps.

    For a first dialogue: it tells about the module's code, which does not depend on weights.
    """
    drawn, kept = _generators(module), _kept(module)
    yield
    for name, version in _kept(module).items():
        if kept.get(name) != version:
            raise ClippingError(
                f"{name} changes as the model computes, so one dialogue would be seen in what the next one gives: this "
                "model cannot be trained privately; take one whose layers keep nothing in evaluation mode"
            )
    if _generators(module) != drawn:
        raise ClippingError(
            "the model draws random numbers as it computes, also in evaluation mode, so a dialogue's gradient depends "
            "on those before it: take a model without dropout or noise of its own"
        )


def _generators(module: nn.Module) -> list[bytes]:
    """Where torch's generators stand, that of the processor and those of the module's devices."""
    kinds = {p.device.type for p in module.parameters()} - {"cpu", "meta"}
    states = [torch.get_rng_state(), *(torch.get_device_module(kind).get_rng_state() for kind in kinds)]
    return [state.numpy().tobytes() for state in states]


def _kept(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Which tensor each name stands for, and how often it was written to."""
    named: dict[str, Tensor] = dict(module.named_buffers())
    named.update(module.named_parameters())
    return {name: (id(tensor), tensor._version) for name, tensor in named.items()}
