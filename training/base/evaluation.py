"""How well a model predicts held-out dialogues, per byte and per word. Knows no training and no privacy.

A word is a run without white space. Its probability is that of all its tokens. It counts as predicted at top-k when its
first token is among the model's k likeliest and each further token is the likeliest one: what greedy completion of
the k offered beginnings would spell. Bits per byte are the bits of all words over their UTF-8 bytes (white space not
counted): unlike a word's perplexity they do not explode on a rare long word, and they compare across tokenizers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.comparison import Sums, noise_of_bits, rates
from chatfed.data.values import DataError
from chatfed.model.tokenizer import WORD_REST, WORD_START
from chatfed.types import ChatfedError, FloatVector, IntVector

from ..plan.variants import MEASURED_UNITS
from .tokens import ASSISTANT, TokenTable, Windows, windows

if TYPE_CHECKING:
    import torch


MOST_DIALOGUES = 400  # that one client measures on
MOST_PERPLEXITY = 1e6  # a word; a larger one is of a few words that were never seen, and tells nothing


def spread(count: int, most: int) -> IntVector:
    """The held-out dialogues that a run is measured on: int64[at most `most`], evenly spread over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured on each dialogue, in the order asked for: one row of sums over its words."""

    sums: Sums = field(repr=False)  # float64[dialogues, 5]: nats, bytes, words, right at first place, within three
    noise: Sums | None = field(default=None, repr=False)  # float64[5]: deviations of what is in their sum beside them

    @property
    def within(self) -> float | None:
        """How far noise may have moved the bits a byte, in 95 of 100 cases; None: there is none in them."""
        return None if self.noise is None else noise_of_bits(self.sums.sum(0), self.noise)

    @classmethod
    def of_noisy(cls, summed: FloatVector) -> Scores:
        """What clients have summed of `one_by_one`, float32[5], with noise in it: one row, of what there can be.

        Noise, or a client that gives anything, makes no figure infinite.
        """
        nats, octets, words, first, third = (summed.astype(np.float64) * MEASURED_UNITS).tolist()
        words = max(1.0, words)
        within = [min(max(0.0, right), words) for right in (first, third)]
        return cls(np.array([[max(0.0, nats), max(1.0, octets), words, *within]]))

    def result(self) -> Evaluation:
        """Over all dialogues. Raises ChatfedError when there was no word: no figure can be given."""
        nats, octets, words, _, _ = (float(value) for value in self.sums.sum(0))
        if not words:
            raise DataError(
                "The held-out dialogues have no word to measure on: give others with --validation.",
                param="data.validation",
            )
        bits, top1, top3 = (float(value) for value in rates(self.sums.sum(0)))
        told = nats / words <= math.log(MOST_PERPLEXITY)
        return Evaluation(bits, top1, top3, math.exp(nats / words) if told else None, int(words), int(octets))


def one_by_one(scores: Scores) -> Iterator[FloatVector]:
    """Each dialogue's sums in MEASURED_UNITS, float32[5], as gradients are: what is decoded is a step down them."""
    return iter((-scores.sums / MEASURED_UNITS).astype(np.float32))


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    bits_per_byte: float  # of the words' UTF-8 text
    top1: float  # share of words predicted at first place
    top3: float  # share of words predicted within three
    perplexity: float | None  # per word: exp of the mean nats of a word; None above MOST_PERPLEXITY
    words: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """The figures by name, as metrics and summary hold them."""
        return asdict(self)


def evaluate(
    model: torch.nn.Module,
    table: TokenTable,
    dialogues: IntVector,
    context: int,
    device: str = "cpu",
    rows_at_once: int = 4,  # their logits are most of a worker's memory
    whatever: bool = False,
) -> Scores:
    """Scores every word of `dialogues`, in batches of dialogues of like length.

    whatever: zeros for a dialogue of which a probability is not finite, in the place of an error. Raises ChatfedError
    when the model gives a word no finite probability: nothing that is not a number is ever right.
    """
    lengths = np.diff(table.starts)[dialogues]
    order = np.argsort(lengths, kind="stable")
    sums = np.zeros((len(dialogues), 5))
    sums[:, 1] = table.bytes[dialogues]
    for start in range(0, len(order), rows_at_once):
        places = order[start : start + rows_at_once]
        batch = windows(table, dialogues[places], context)
        sums[np.ix_(places, np.array([0, 2, 3, 4]))] = _sums(batch, len(places), *_score(model, batch, device))
    if whatever:
        sums[~np.isfinite(sums).all(1)] = 0
    if not np.isfinite(sums).all():
        broken = int((~np.isfinite(sums).all(1)).sum())
        raise ChatfedError(
            f"The model's probabilities are not finite on {broken} of {len(dialogues)} held-out dialogues: its weights "
            f"are too large for its arithmetic; learn with smaller learning rates, or take another base."
        )
    return Scores(sums)


def _score(model: torch.nn.Module, batch: Windows, device: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Nats float64[rows, T] and rank int64[rows, T] (1: likeliest) of each target. What is not a number ranks last."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(batch.ids).to(device)).logits.float()
        targets = torch.from_numpy(batch.targets).to(device)
        chosen = logits.gather(2, targets[..., None])
        nats = torch.logsumexp(logits, 2) - chosen[..., 0]
        ranks = logits.shape[2] + 1 - (logits <= chosen).sum(2)
    return nats.double().cpu().numpy(), ranks.cpu().numpy()


def _sums(batch: Windows, dialogues: int, nats: NDArray[np.float64], ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64[dialogues, 4] of a batch: nats, words, right at first place, within three."""
    kinds = (batch.kinds & ~np.uint8(ASSISTANT)).ravel()
    part_of_word = (kinds == WORD_START) | (kinds == WORD_REST)
    owner = np.repeat(batch.owner, batch.kinds.shape[1])[part_of_word]
    kinds, flat_nats, flat_ranks = kinds[part_of_word], nats.ravel()[part_of_word], ranks.ravel()[part_of_word]
    opens = np.flatnonzero(kinds == WORD_START)
    if not len(opens):
        return np.zeros((dialogues, 4))
    rest = np.where(kinds == WORD_REST, flat_ranks, 1)
    completes = np.maximum.reduceat(rest, opens) == 1
    first, of = flat_ranks[opens], owner[opens]
    hits = [np.bincount(of, completes & (first <= k), dialogues) for k in (1, 3)]
    return np.stack([np.bincount(owner, flat_nats, dialogues), np.bincount(of, None, dialogues), *hits], 1)
