"""Texts that a model imagines with what is counted, and what it would say at each of their places: to learn from.

What is imagined follows from the model, the counts and a seed: whatever protects those protects it. Knows no client.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatfed.model.decoding import Decoder, Rows
from chatfed.model.ngrams import NGrams
from chatfed.model.tokenizer import MARKER, TURN_END, encode_dialogue, end_ids
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
    said: NDArray[np.bool_]  # bool[texts, T]: drawn, not written by the template


@dataclass(frozen=True)
class Script:
    """What a template writes around the messages of a talk, in which the user and the assistant take turns."""

    begin: list[int]  # before the first word of all; one token or more
    closing: tuple[list[int], ...] = ([], [])  # what the user's messages end with, and the assistant's; may be nothing
    between: tuple[list[int], ...] = ([], [])  # what the template writes behind that, before the other one's first word


def script(tokenizer: PreTrainedTokenizerFast) -> Script:
    """The script of the tokenizer's template. Where it opens nothing, a talk begins as one that goes on."""
    turns = [Turn(role, "a") for role in ("user", "assistant", "user")]
    encoded = encode_dialogue(tokenizer, turns)

    def written(turn: int, kind: int) -> list[int]:
        return [int(token) for token in encoded.ids[(encoded.turns == turn) & (encoded.kinds == kind)]]

    begin = [int(token) for token in encoded.ids[: int(np.argmax(encoded.kinds != MARKER))]]
    return Script(
        begin or end_ids(tokenizer),  # a model is asked after some token
        (written(0, TURN_END), written(1, TURN_END)),
        (written(1, MARKER), written(2, MARKER)),
    )


def markers(tokenizer: PreTrainedTokenizerFast) -> IntVector:
    """The tokens that stand between messages and are nobody's words."""
    encoded = encode_dialogue(tokenizer, [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")])
    return np.unique(encoded.ids[encoded.kinds == MARKER]).astype(np.int64)


def imagined(model: PreTrainedModel, ngrams: NGrams, script: Script, texts: int, context: int, seed: int) -> Imagined:
    """So many talks, each token drawn from the model's probabilities mixed with what is counted.

    Their common length is drawn too, between a quarter of the context and all of it. What the template writes is given:
    no model learns to say it.
    """
    random, begin = np.random.default_rng(seed), script.begin
    length = max(len(begin) + 1, int(random.integers(context // 4, context + 1)))
    talks = [_Talk(script, list(begin)) for _ in range(texts)]
    found = _given(np.tile(np.array(begin, np.int32), (texts, 1)), length)
    rows = Rows(Decoder(model))
    logits = rows.add(found.ids[:, : len(begin)])
    for at in range(len(begin), length):
        mixed = ngrams.mixed(logits.softmax(-1).numpy(), found.ids[:, :at].astype(np.int64))
        drawn, (near, shares) = _drawn(mixed, random), _likeliest(mixed)
        for row, talk in enumerate(talks):
            if talk.waits:
                _give(found, row, at, talk.waits.pop(0))
            else:
                found.said[row, at], found.ids[row, at] = True, drawn[row]
                found.near[row, at], found.shares[row, at] = near[row], shares[row]
            talk.hear(int(found.ids[row, at]))
        if at + 1 < length:
            logits = rows.add(found.ids[:, at : at + 1])
    return found


@dataclass
class _Talk:
    """One text as it grows: who speaks, and what the template writes before anybody goes on."""

    script: Script
    heard: list[int]
    speaker: int = 0
    waits: list[int] = field(default_factory=list)

    def hear(self, token: int) -> None:
        """Takes the next token, and gives the floor to the other where it ends a message."""
        self.heard.append(token)
        closing = self.script.closing[self.speaker]
        if closing and not self.waits and self.heard[-len(closing) :] == closing:
            self.waits = list(self.script.between[self.speaker])
            self.speaker = 1 - self.speaker


def _given(begin: NDArray[np.int32], length: int) -> Imagined:
    """Texts of which the first tokens int32[texts, n] are there."""
    ids = np.zeros((len(begin), length), np.int32)
    ids[:, : begin.shape[1]] = begin
    near = np.repeat(ids[:, :, None], NEAR, 2)
    shares = np.zeros(near.shape, np.float16)
    shares[:, :, 0] = 1
    return Imagined(ids, near, shares, np.zeros(ids.shape, np.bool_))


def _give(found: Imagined, row: int, at: int, token: int) -> None:
    found.ids[row, at], found.near[row, at] = token, token


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
