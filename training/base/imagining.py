"""Texts that a model imagines with what is counted, and what it would say at each of their places: to learn from.

What is imagined follows from the model, its tokenizer, the counts and a seed: what protects those protects it. Knows
no client.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatfed.model.decoding import Decoder
from chatfed.model.ngrams import NGrams
from chatfed.model.template import TemplateError
from chatfed.model.tokenizer import MARKER, TURN_END, WORD_START, Encoded, encode_dialogue, end_ids
from chatfed.types import IntVector, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

USUAL = 24  # tokens of a message that a template closes with nothing that anybody says
ANSWERS = 1  # the speaker of a talk who is the assistant
NEAR = 64  # likeliest tokens of a place that are kept: the others share a hundredth, on unlike text a quarter


@dataclass(frozen=True, eq=False)
class Imagined:
    """Texts of one length."""

    ids: NDArray[np.int32]  # int32[texts, T]
    near: NDArray[np.int32]  # int32[texts, T, NEAR]: what might have stood in each place; of given tokens themselves
    shares: NDArray[np.float16]  # float16[texts, T, NEAR]: the probability of each; what is left is all the others'
    said: NDArray[np.bool_]  # bool[texts, T]: to be learned: drawn, not written by the template

    def put(self, at: int, ids: NDArray[np.int32], said: NDArray[np.bool_], mixed: NDArray[np.float32]) -> None:
        """The tokens of a place int32[texts]; those that are said come from probabilities float32[texts, V]."""
        self.ids[:, at], self.said[:, at], self.near[:, at] = ids, said, ids[:, None]
        self.near[said, at], self.shares[said, at] = _likeliest(mixed[said])


@dataclass(frozen=True)
class Script:
    """What a template writes around the messages of a talk, in which the user and the assistant take turns."""

    begin: tuple[int, ...]  # before the first word of all; one token or more
    closing: tuple[tuple[int, ...], ...] = ((), ())  # what the user's messages end with, and the assistant's
    between: tuple[tuple[int, ...], ...] = ((), ())  # what stands behind that, before the other one's first word


def script_of(tokenizer: PreTrainedTokenizerFast) -> Script:
    """The script of the tokenizer's template. Where it opens nothing, a talk begins as one that goes on."""
    encoded = _talk(tokenizer)
    ids = [int(token) for token in encoded.ids]
    words = [np.flatnonzero((encoded.turns == turn) & (encoded.kinds >= WORD_START)) for turn in range(3)]
    begin = tuple(ids[: words[0][0]]) or tuple(end_ids(tokenizer))  # a model is asked after some token
    closing, between = [], []
    for here, after in pairwise(words):
        closes = int(here[-1]) + 1 if len(here) else len(ids)
        opens = closes
        while opens < len(ids) and encoded.kinds[opens] == TURN_END:
            opens += 1
        closing.append(tuple(ids[closes:opens]))
        between.append(tuple(ids[opens : after[0]]) if len(after) else begin)  # no more is said: another talk begins
    return Script(begin, tuple(closing), tuple(between))


def markers(tokenizer: PreTrainedTokenizerFast) -> IntVector:
    """The tokens that stand between messages and are nobody's words."""
    encoded = _talk(tokenizer)
    return np.unique(encoded.ids[encoded.kinds == MARKER]).astype(np.int64)


def _talk(tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """A short talk, of as many messages as the template takes: some take one exchange alone."""
    turns = [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")]
    for taken in (turns, turns[:2]):
        try:
            return encode_dialogue(tokenizer, taken)
        except TemplateError:
            continue
    return encode_dialogue(tokenizer, turns[:1])


def imagined(
    model: PreTrainedModel,
    ngrams: NGrams,
    script: Script,
    texts: int,
    context: int,
    seed: int,
    *,
    train_on: str = "all",
) -> Imagined:
    """So many talks, each token drawn from the model's probabilities mixed with what is counted.

    Their common length is drawn too, between a quarter of the context and all of it. What the template writes is given,
    as in a real dialogue. train_on: as in recipes; "assistant" mixes, and lets learn, what the assistant says.
    """
    random = np.random.default_rng(seed)
    length = max(len(script.begin) + 1, int(random.integers(context // 4, context + 1)))
    talks = [_Talk(script, random) for _ in range(texts)]
    found = _begun(np.tile(np.array(script.begin, np.int32), (texts, 1)), length)
    rows = Decoder(model).drawn(texts)
    logits = rows.add(found.ids[:, : len(script.begin)])
    for at in range(len(script.begin), length):
        learned = np.array([train_on == "all" or talk.speaker == ANSWERS for talk in talks])
        mixed = logits.softmax(-1).numpy()
        mixed[learned] = ngrams.mixed(mixed[learned], found.ids[learned, :at].astype(np.int64))
        tokens, own = zip(
            *(talk.go_on(int(token)) for talk, token in zip(talks, _drawn(mixed, random), strict=True)), strict=True
        )
        found.put(at, np.array(tokens, np.int32), np.array(own) & learned, mixed)
        if at + 1 < length:
            logits = rows.add(found.ids[:, at : at + 1])
    return found


@dataclass
class _Talk:
    """Who speaks, and what the template writes before anybody goes on."""

    script: Script
    random: np.random.Generator
    speaker: int = 0  # the user, or ANSWERS
    message: tuple[int, ...] = ()
    waits: tuple[int, ...] = ()

    def go_on(self, drawn: int) -> tuple[int, bool]:
        """The next token, and whether it is the drawn one or the template's."""
        if self.waits:
            token, *rest = self.waits
            self.waits = tuple(rest)
            return token, False
        self.message = (*self.message, drawn)
        if self._is_over():
            self.waits, self.message = self.script.between[self.speaker], ()
            self.speaker = 1 - self.speaker
        return drawn, True

    def _is_over(self) -> bool:
        closing = self.script.closing[self.speaker]
        if closing:
            return self.message[-len(closing) :] == closing
        return bool(self.random.random() < 1 / USUAL)  # nobody says that it is


def _begun(begin: NDArray[np.int32], length: int) -> Imagined:
    """Texts of which the first tokens int32[texts, n] are there."""
    ids = np.zeros((len(begin), length), np.int32)
    ids[:, : begin.shape[1]] = begin
    near = np.repeat(ids[:, :, None], NEAR, 2)
    shares = np.zeros(near.shape, np.float16)
    shares[:, :, 0] = 1
    return Imagined(ids, near, shares, np.zeros(ids.shape, np.bool_))


def _drawn(probabilities: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.int64]:
    """A token of each row float32[rows, V]: int64[rows]."""
    sums = probabilities.astype(np.float64).cumsum(1)
    passed: NDArray[np.int64] = (sums <= random.random((len(sums), 1)) * sums[:, -1:]).sum(1)
    drawn: NDArray[np.int64] = np.minimum(passed, sums.shape[1] - 1)
    return drawn


def _likeliest(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The NEAR likeliest tokens of each row, int64[rows, NEAR], and their probabilities float32[rows, NEAR]."""
    few = NEAR - min(NEAR, probabilities.shape[1])
    near = np.argpartition(probabilities, few - NEAR, 1)[:, few - NEAR :]
    shares = np.take_along_axis(probabilities, near, 1)
    return np.pad(near, ((0, 0), (0, few))), np.pad(shares, ((0, 0), (0, few)))
