"""Texts that a model imagines with what is counted, and what it would say at each of their places: to learn from.

What is imagined follows from the model, the counts and a seed: whatever protects those protects it. Knows no client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatfed.model.decoding import Decoder, Rows
from chatfed.model.ngrams import NGrams
from chatfed.model.tokenizer import MARKER, encode_dialogue, end_ids
from chatfed.types import IntVector, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

NEAR = 64  # likeliest tokens of a place that are kept: the others share a hundredth or two


@dataclass(frozen=True, eq=False)
class Imagined:
    """Texts of one length."""

    ids: NDArray[np.int32]  # int32[texts, T]
    near: NDArray[np.int32]  # int32[texts, T, NEAR]: what might have stood in each place; of given tokens themselves
    shares: NDArray[np.float16]  # float16[texts, T, NEAR]: the probability of each; of a place they sum to 1


def opening(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens that stand before the first word of every dialogue, or of one that goes on where none do."""
    encoded = encode_dialogue(tokenizer, [Turn("user", "a")])
    first = [int(token) for token in encoded.ids[: int(np.argmax(encoded.kinds != MARKER))]]
    return first or end_ids(tokenizer)  # a model is asked after some token


def markers(tokenizer: PreTrainedTokenizerFast) -> IntVector:
    """The tokens that stand between messages and are nobody's words."""
    encoded = encode_dialogue(tokenizer, [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")])
    return np.unique(encoded.ids[encoded.kinds == MARKER]).astype(np.int64)


def imagined(model: PreTrainedModel, ngrams: NGrams, begin: list[int], texts: int, context: int, seed: int) -> Imagined:
    """So many texts that begin alike, each token drawn from the model's probabilities mixed with what is counted.

    Their common length is drawn too, between a quarter of the context and all of it.
    """
    random = np.random.default_rng(seed)
    length = max(len(begin) + 1, int(random.integers(context // 4, context + 1)))
    ids = np.zeros((texts, length), np.int32)
    ids[:, : len(begin)] = begin
    near = np.repeat(ids[:, :, None], NEAR, 2)
    shares = np.zeros(near.shape, np.float16)
    shares[:, :, 0] = 1
    rows = Rows(Decoder(model))
    logits = rows.add(ids[:, : len(begin)])
    for at in range(len(begin), length):
        mixed = ngrams.mixed(logits.softmax(-1).numpy(), ids[:, :at].astype(np.int64))
        ids[:, at] = _drawn(mixed, random)
        near[:, at], shares[:, at] = _likeliest(mixed)
        if at + 1 < length:
            logits = rows.add(ids[:, at : at + 1])
    return Imagined(ids, near, shares)


def _drawn(probabilities: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.int64]:
    """A token of each row float32[rows, V]: int64[rows]."""
    sums = probabilities.astype(np.float64).cumsum(1)
    passed: NDArray[np.int64] = (sums <= random.random((len(sums), 1)) * sums[:, -1:]).sum(1)
    drawn: NDArray[np.int64] = np.minimum(passed, sums.shape[1] - 1)
    return drawn


def _likeliest(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The NEAR likeliest tokens of each row, int64[rows, NEAR], and their shares of what they have together."""
    few = NEAR - min(NEAR, probabilities.shape[1])
    near = np.argpartition(probabilities, few - NEAR, 1)[:, few - NEAR :]
    kept = np.take_along_axis(probabilities, near, 1)
    shares = kept / kept.sum(1, keepdims=True)
    return np.pad(near, ((0, 0), (0, few))), np.pad(shares, ((0, 0), (0, few)))
