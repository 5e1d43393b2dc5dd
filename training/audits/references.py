"""Models to compare with: the public one, and for membership attacks that one taught held-out dialogues without noise.

The taught ones know the house as the served model does, and no member. Made anew for every audit and kept nowhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.transformer import load_model
from chatfed.types import IntVector

from ..base.tokens import DialogueExamples, TokenTable, next_token_loss
from .audited import Audited

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REFERENCES = 2  # taught ones
LARGEST = 20_000_000  # parameters of a base that is taught here: a larger one takes more than the audit's minutes
EPOCHS, BATCH, RATE = 2, 4, 2e-3


def public_folder(run: Audited) -> str:
    """Where the public model is that a run began with: beside the served one, or where the run found it."""
    beside = run.folder.path / "reference"
    return str(beside) if beside.is_dir() else run.base


def taught(
    base: str, table: TokenTable, dialogues: IntVector, context: int, train_on: str, seed: int
) -> PreTrainedModel:
    """The model in folder `base` after EPOCHS passes over the dialogues: AdamW, cosine to 0, `seed` for their order."""
    import torch

    model, _ = load_model(base)
    model.eval()  # no dropout
    examples = DialogueExamples(table, dialogues, context, train_on)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    batches = list(_batches(len(dialogues), seed))
    for step, mine in enumerate(batches):
        rate = RATE * (1 + math.cos(math.pi * step / len(batches))) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows, _ = examples.rows(mine)
        optimizer.zero_grad(set_to_none=True)
        next_token_loss(model, rows).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def _batches(count: int, seed: int) -> list[IntVector]:
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(count) for _ in range(EPOCHS)])
    return [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
