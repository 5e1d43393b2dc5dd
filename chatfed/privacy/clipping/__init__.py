"""Clipped sums of dialogues' gradients: the one face of all that is inside.

`DialogueGradients` adds them up, `ClipRule` says how long one may be. From the ground up: `products` (of matrices),
`rules` (norms and factors), `factors` (of weight gradients), `layers` (their kinds), `steadiness` (no dropout, no
memory), `output_layer` (with its loss), `recording` (hooks), `gradients` (the sums).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "STYLES",
    "Bounds",
    "ClipRule",
    "ClippingError",
    "DialogueGradients",
    "Gradient",
    "LogitForm",
    "Loss",
    "clip_factor",
    "flushes_denormals",
    "flushing",
    "output_layer_loss",
    "refuse_unsuitable",
    "refusing_memory",
    "steady",
    "sum_of_squares",
]

if TYPE_CHECKING:
    from chatfed.privacy.clipping.gradients import Bounds, DialogueGradients
    from chatfed.privacy.clipping.layers import ClippingError, refuse_unsuitable
    from chatfed.privacy.clipping.output_layer import LogitForm, output_layer_loss
    from chatfed.privacy.clipping.recording import Gradient, Loss
    from chatfed.privacy.clipping.rules import STYLES, ClipRule, clip_factor, sum_of_squares
    from chatfed.privacy.clipping.steadiness import flushes_denormals, flushing, refusing_memory, steady
else:
    from chatfed.lazy import loading

    __getattr__, __dir__ = loading(
        __name__,
        {
            "gradients": "Bounds DialogueGradients",
            "layers": "ClippingError refuse_unsuitable",
            "output_layer": "LogitForm output_layer_loss",
            "recording": "Gradient Loss",
            "rules": "STYLES ClipRule clip_factor sum_of_squares",
            "steadiness": "flushes_denormals flushing refusing_memory steady",
        },
    )
