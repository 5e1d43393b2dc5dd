"""What a model expects where each word of a text begins, and after whatever could stand there in the word's place.

A place keeps the prefix's attention cache, so that many alternatives of one word cost little more than their own
tokens. Knows a causal model and its tokenizer; knows no reference and draws no conclusions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from chatfed.model.decoding import Decoder, Text
from chatfed.model.tokenizer import encode_said, word_spans
from chatfed.types import Span, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Rows = NDArray[np.int64]  # int64[n, k]: n alternatives of k tokens each
LogProbs = NDArray[np.float32]  # float32[n, vocabulary], bits


class Branches:
    """Alternatives that grow side by side from one prefix, a token a step."""

    def __init__(self, decoder: Decoder, first: LogProbs, prefix: Text) -> None:
        self.first = first  # float32[1, vocabulary]: bits of each token right after the prefix
        self._after = decoder.after(prefix)  # never changes the prefix
        self._rows: Rows = np.zeros((0, 0), np.int64)  # the same number of tokens for every alternative so far

    def grow(self, tokens: NDArray[np.int64]) -> LogProbs:
        """Adds one token to each of the n alternatives; bits of each token after them, float32[n, vocabulary]."""
        new = np.asarray(tokens, np.int64)[:, None]
        self._rows = np.concatenate([self._rows, new], 1) if self._rows.size else new
        return _bits(self._after(self._rows.tolist()))


@dataclass(frozen=True)
class WordPlace:
    """Where one word of a text stands: its tokens, and alternatives that begin where it begins."""

    word: str
    span: Span
    tokens: tuple[int, ...]
    _first: LogProbs
    _prefix: Text
    _decoder: Decoder

    def branches(self) -> Branches:
        """Alternatives from this place, none begun yet."""
        return Branches(self._decoder, self._first, self._prefix)


def word_places(
    decoder: Decoder,
    tokenizer: PreTrainedTokenizerFast,
    history: Sequence[Turn],
    turn: Turn,
    context: int,
) -> Iterator[WordPlace]:
    """The place of each word of `turn`, in order, each with the same text before it as the word itself has.

    `history` and `turn` may be longer than `context` tokens: a place then sees at least the half of it before. A word
    that does not fit beside that is left out.
    """
    encoded, said = encode_said(tokenizer, history, turn)
    walk = _Walk(decoder, encoded.ids.tolist(), context)
    inside = encoded.turns == said
    for index, span in enumerate(word_spans(turn.content)):
        at = np.flatnonzero(inside & (encoded.words == index))
        if 0 < len(at) <= context // 2 and at[0]:
            first, prefix = walk.to(int(at[0]), len(at))
            tokens = tuple(int(i) for i in encoded.ids[at])
            yield WordPlace(turn.content[span.start : span.end], span, tokens, first, prefix, decoder)


def token_texts(tokenizer: PreTrainedTokenizerFast, size: int) -> list[str]:
    """The text of each token of a vocabulary of `size`; "" for markers and for tokens that are no whole character.

    Where a token begins a word its text has a space in front.
    """
    special = set(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
    texts = []
    for index, token in enumerate(tokens):
        text = str(tokenizer.convert_tokens_to_string([token]))
        whole = index not in special and "\ufffd" not in text
        leads = token.startswith(("Ġ", "▁"))
        texts.append((" " if leads else "") + text.removeprefix(" ") if whole else "")
    return texts + [""] * (size - len(texts))


class _Walk:
    """A text that is read from word to word, begun anew where the model's context is full."""

    def __init__(self, decoder: Decoder, ids: list[int], context: int) -> None:
        self._decoder, self._ids, self._context = decoder, ids, context
        self._start = self._end = 0
        self._text: Text | None = None

    def to(self, place: int, length: int) -> tuple[LogProbs, Text]:
        """(bits of each token at `place`, all before it as the model read it); `length` more tokens fit the context."""
        if self._text is None or place + length - self._start > self._context:
            self._start = self._end = max(0, place - self._context // 2) if self._text is not None else 0
            if place + length - self._start > self._context:
                self._start = self._end = place - self._context // 2
            self._text = self._decoder.text()
        else:
            self._text = self._text.copy()
        logits = self._text.add(self._ids[self._end : place])
        self._end = place
        return _bits(logits[None]), self._text


def _bits(logits: torch.Tensor) -> LogProbs:
    scores = torch.log_softmax(logits.float(), -1)
    scores /= math.log(2)  # in place: n rows of a large vocabulary are hundreds of megabytes
    found: LogProbs = scores.numpy()
    return found
