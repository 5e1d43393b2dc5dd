"""How well a model predicts held-out dialogues, per word. Knows no training and no privacy.

A word is a run without white space. Its probability is that of all its tokens. It counts as predicted at top-k when its
first token is among the model's k likeliest and each further token is the likeliest one: what greedy completion of
the k
offered beginnings would spell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatfed.model.tokenizer import WORD_REST, WORD_START
from chatfed.types import ChatfedError, IntVector
from training.tokens import ASSISTANT, TokenTable, Windows, windows

if TYPE_CHECKING:
    import torch


MOST_NATS = 700.0  # a word, as far as it is told apart: e^709 is beyond a float, and infinity beyond JSON


@dataclass(frozen=True)
class Counts:
    """Sums over words; adding two evaluates both sets of dialogues."""

    nats: float = 0.0
    words: int = 0
    top1: int = 0
    top3: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.nats + other.nats, self.words + other.words, self.top1 + other.top1, self.top3 + other.top3)

    def result(self) -> Evaluation:
        """Raises ChatfedError when there was no word: no figure can be given."""
        if not self.words:
            raise ChatfedError("The held-out dialogues have no word to measure on: give others with --validation.")
        words = self.words
        nats = min(self.nats / words, MOST_NATS)
        return Evaluation(math.exp(nats), self.top1 / words, self.top3 / words, words)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    perplexity: float  # per word: exp of the mean nats of a word
    top1: float  # share of words predicted at first place
    top3: float  # share of words predicted within three
    words: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    model: torch.nn.Module,
    table: TokenTable,
    dialogues: IntVector,
    context: int,
    device: str = "cpu",
    rows_at_once: int = 4,  # their logits are most of a worker's memory
) -> Counts:
    """Scores every word of `dialogues`, in batches of dialogues of like length."""
    lengths = np.diff(table.starts)[dialogues]
    ordered = dialogues[np.argsort(lengths, kind="stable")]
    total = Counts()
    for start in range(0, len(ordered), rows_at_once):
        batch = windows(table, ordered[start : start + rows_at_once], context)
        total += _count(batch, *_score(model, batch, device))
    return total


def _score(model: torch.nn.Module, batch: Windows, device: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Nats float64[rows, T] and rank int64[rows, T] (1: likeliest) of each target."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(batch.ids).to(device)).logits.float()
        targets = torch.from_numpy(batch.targets).to(device)
        chosen = logits.gather(2, targets[..., None])
        nats = torch.logsumexp(logits, 2) - chosen[..., 0]
        ranks = (logits > chosen).sum(2) + 1
    return nats.double().cpu().numpy(), ranks.cpu().numpy()


def _count(batch: Windows, nats: NDArray[np.float64], ranks: NDArray[np.int64]) -> Counts:
    kinds = (batch.kinds & ~np.uint8(ASSISTANT)).ravel()
    part_of_word = (kinds == WORD_START) | (kinds == WORD_REST)
    kinds, flat_nats, flat_ranks = kinds[part_of_word], nats.ravel()[part_of_word], ranks.ravel()[part_of_word]
    opens = np.flatnonzero(kinds == WORD_START)
    if not len(opens):
        return Counts()
    rest = np.where(kinds == WORD_REST, flat_ranks, 1)
    completes = np.maximum.reduceat(rest, opens) == 1
    first = flat_ranks[opens]
    hit: Callable[[int], int] = lambda k: int((completes & (first <= k)).sum())  # noqa: E731
    return Counts(float(flat_nats.sum()), len(opens), hit(1), hit(3))
