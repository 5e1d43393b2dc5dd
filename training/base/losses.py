"""What a replica's step goes down: the mean cross-entropy of some dialogues' tokens, of a whole model or of its top.

Knows dialogues as rows of tokens, and how a model is asked; takes no step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatfed.types import IntVector

from .tokens import LENGTHS, DialogueExamples, next_token_loss

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Whole:
    """The loss of a model all of which may learn."""

    network: torch.nn.Module
    lower: bool  # in bfloat16 (autocast)

    def of(self, examples: DialogueExamples, mine: IntVector) -> tuple[Tensor, float]:
        """Mean cross-entropy of the dialogues `mine`, nats a token, and how many tokens were counted."""
        import torch

        rows, _ = examples.rows(mine)
        counted = (rows["weights"] > 0).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.lower):
            losses = next_token_loss(self.network, {**rows, "weights": counted}, LENGTHS if self.lower else 1)
        return losses.sum() / counted.sum().clamp(min=1), float(counted.sum())


class Above:
    """The loss of a model whose uppermost layers learn, on tables with several possible tokens in each place.

    What lies below does not change, so what it says of a row is kept: 2 bytes a number, 1 KB a token of a model of
    width 576.
    """

    def __init__(self, network: torch.nn.Module, layers: int, lower: bool) -> None:
        from chatfed.model.upper_layers import UpperLayers

        self.upper, self.lower = UpperLayers(network, layers, lower), lower
        self._kept: dict[tuple[int, int], Tensor] = {}  # by dialogue and window

    def of(self, examples: DialogueExamples, mine: IntVector) -> tuple[Tensor, float]:
        """As `Whole.of`."""
        import torch

        from chatfed.model.soft_targets import soft_target_loss

        rows, owner = examples.rows(mine)
        counted = rows["weights"] > 0
        with torch.autocast("cpu", torch.bfloat16, enabled=self.lower):
            said = self.upper.above(self._read(rows["ids"], mine[owner.numpy()]))
        near, shares = (rows[name][counted] for name in ("near", "shares"))
        head = self.upper.frozen_head
        loss = soft_target_loss(said[counted].float(), head, near, shares, self.lower, self.upper.rows)
        return loss, float(counted.sum())

    def _read(self, ids: Tensor, dialogues: IntVector) -> Tensor:
        """What the learned layers are given of int64[rows, T], of which a dialogue's rows stand together."""
        import torch

        keys = [(int(each), row - list(dialogues).index(each)) for row, each in enumerate(dialogues)]
        length = ids.shape[1]
        short = [row for row, key in enumerate(keys) if key not in self._kept or len(self._kept[key]) < length]
        if short:
            kept = self.upper.read(ids[short]).to(torch.bfloat16 if self.lower else torch.float32)
            self._kept |= {keys[row]: found.clone() for row, found in zip(short, kept, strict=True)}
        return torch.stack([self._kept[key][:length] for key in keys]).float()
