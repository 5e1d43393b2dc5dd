"""Refuses runs that would spend their epsilon on noise alone: nothing to predict, or nothing that moves.

Everything here is asked before any client is charged.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from chatfed.data.values import DataError
from chatfed.model.refusals import ModelError
from chatfed.types import ClientId, IntVector, Turn

from .overlap import Part, Parts
from .tokens import DialogueExamples, TokenTable, next_token_loss

if TYPE_CHECKING:
    import torch

_AT_ONCE = 64  # dialogues


def has_target(turns: Sequence[Turn], train_on: str) -> bool:
    """Whether a dialogue has a word that is learned."""
    return any(turn.learn and (train_on == "all" or turn.role == "assistant") for turn in turns)


def with_targets(parts: Parts, train_on: str, notes: list[str]) -> Parts:
    """The parts without clients' dialogues that nothing is learned from.

    Raises DataError where none is left, or the held-out dialogues have nothing of what is learned.
    """
    for name in ("private", "held_out", "public"):
        part = parts.part(name) if name in parts.sketches else None
        if part is None:
            continue
        silent = np.flatnonzero([not has_target(dialogue.messages, train_on) for dialogue in part])
        if not len(silent):
            continue
        why = f"{len(silent):,} of {len(part):,} have {_nothing(train_on)}"
        if len(silent) == len(part) and name != "public":
            raise DataError(_silent(part, name, train_on), param=part.source)
        if name == "private":
            parts = parts.without(name, silent)
            notes.append(f"Of {part.name}, {why}: nothing is learned from those, and they are left out.")
        else:
            notes.append(f"Of {part.name}, {why}.")
    return parts


def _nothing(train_on: str) -> str:
    if train_on == "all":
        return "no message that is learned: all are marked as context"
    return f'no assistant\'s message that is learned (data.train_on = "{train_on}")'


def _silent(part: Part, name: str, train_on: str) -> str:
    follows = (
        "nothing could be learned, and epsilon would be spent on noise"
        if name == "private"
        else "nothing of what is learned could be measured"
    )
    mend = 'mark less as context (README, "Your own dialogues")'
    if train_on == "assistant":
        mend = 'say who speaks (README, "Your own dialogues"), or set data.train_on to "all"'
    return f"Of {part.name} in {part.source}, all have {_nothing(train_on)}: {follows}; {mend}."


def refuse_without_targets(table: TokenTable, context: int, train_on: str) -> None:
    """Raises DataError when a client has no token to learn from: what only the base's tokenizer could tell."""
    examples = DialogueExamples(table, np.arange(len(table)), context, train_on)
    owned = np.concatenate([np.empty(0, np.int64), *table.clients.values()])
    targets = np.zeros(len(table), bool)
    targets[owned] = _has_targets(examples, owned)
    idle = [client for client, mine in table.clients.items() if len(mine) and not targets[mine].any()]
    if idle:
        raise DataError(_idle(idle, len(table.clients)), param="data.train_on")


def _has_targets(examples: DialogueExamples, dialogues: IntVector) -> IntVector:
    """bool[n]: whether any token of each dialogue counts in its loss."""
    by_length = np.argsort(np.diff(examples.table.starts)[dialogues], kind="stable")
    counts = np.zeros(len(dialogues), bool)
    for start in range(0, len(by_length), _AT_ONCE):
        batch = by_length[start : start + _AT_ONCE]
        rows, owner = examples.rows(dialogues[batch])
        some = (rows["weights"] != 0).any(1).numpy()
        counts[batch] = np.bincount(owner.numpy(), some, minlength=len(batch)) > 0
    return counts


def _idle(idle: Sequence[ClientId], clients: int) -> str:
    return (
        f"{len(idle):,} of {clients:,} clients (the first is {idle[0]}) have no token that is learned, and would spend "
        "epsilon on noise: leave them out of the data, or change data.train_on."
    )


def refuse_unmoved(model: torch.nn.Module, examples: DialogueExamples) -> None:
    """Raises ModelError, naming it, when a trainable parameter has no part in the loss: noise alone would move it.

    examples: of text that no claim covers.
    """
    import torch

    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows, _ = examples.rows(np.arange(min(len(examples), 1)))
    loss = next_token_loss(model.eval(), rows).sum()
    moves = torch.autograd.grad(loss, list(trained.values()), allow_unused=True) if loss.requires_grad else [None]
    idle = [name for name, move in zip(trained, itertools.cycle(moves)) if move is None]
    if idle:
        raise ModelError(
            f"model.trainable: {len(idle)} of {len(trained)} trained parameters have no part in the model's loss (the "
            f"first is {idle[0]}): only noise would move them; name others.",
            param="model.trainable",
        )
