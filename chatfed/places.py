"""What a model expects where each word of a text begins, and after whatever could stand there in the word's place.

A place keeps the prefix's attention cache, so that many alternatives of one word cost little more than their own
tokens. Knows a causal model and its tokenizer; knows no reference and draws no conclusions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatfed.model.tokenizer import encode_dialogue, word_spans
from chatfed.model.transformer import cache_argument, new_cache
from chatfed.types import Span, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LogProbs = NDArray[np.float32]  # float32[n, vocabulary], bits


class Branches:
    """Alternatives that grow side by side from one prefix, a token a step."""

    def __init__(self, model: PreTrainedModel, first: LogProbs, cache: Any) -> None:
        self.first = first  # float32[1, vocabulary]: bits of each token right after the prefix
        self._model = model
        self._argument = cache_argument(model)
        self._cache = cache  # of the prefix, one row; never changed
        self._rows: Any = None  # the same for every alternative so far

    @torch.inference_mode()
    def grow(self, tokens: NDArray[np.int64]) -> LogProbs:
        """Adds one token to each of the n alternatives; bits of each token after them, float32[n, vocabulary]."""
        if self._rows is None:
            self._rows = copy.deepcopy(self._cache)
            self._rows.batch_repeat_interleave(len(tokens))
        ids = torch.from_numpy(np.ascontiguousarray(tokens, np.int64))[:, None]
        said = self._model(input_ids=ids, use_cache=True, **{self._argument: self._rows})
        return _bits(said.logits[:, -1])


@dataclass(frozen=True)
class WordPlace:
    """Where one word of a text stands: its tokens, and alternatives that begin where it begins."""

    word: str
    span: Span
    tokens: tuple[int, ...]
    _prefix: LogProbs
    _cache: Any
    _model: PreTrainedModel

    def branches(self) -> Branches:
        """Alternatives from this place, none begun yet."""
        return Branches(self._model, self._prefix, self._cache)


def word_places(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    history: Sequence[Turn],
    turn: Turn,
    context: int,
) -> Iterator[WordPlace]:
    """The place of each word of `turn`, in order, each with the same text before it as the word itself has.

    `history` and `turn` may be longer than `context` tokens: a place then sees at least the half of it before. A word
    that does not fit beside that is left out.
    """
    encoded = encode_dialogue(tokenizer, [*history, turn])
    walk = _Walk(model, encoded.ids.astype(np.int64), context)
    inside = encoded.turns == len(history)
    for index, span in enumerate(word_spans(turn.content)):
        at = np.flatnonzero(inside & (encoded.words == index))
        if 0 < len(at) <= context // 2 and at[0]:
            first, cache = walk.to(int(at[0]), len(at))
            tokens = tuple(int(i) for i in encoded.ids[at])
            yield WordPlace(turn.content[span.start : span.end], span, tokens, first, cache, model)


def token_texts(tokenizer: PreTrainedTokenizerFast, size: int) -> list[str]:
    """The text of each token of a vocabulary of `size`, with a space in front where it begins a word; "" for markers
    and for tokens that are no whole character."""
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
    """A cache that goes through a text from word to word, begun anew where the model's context is full."""

    def __init__(self, model: PreTrainedModel, ids: NDArray[np.int64], context: int) -> None:
        self._model, self._ids, self._context = model, ids, context
        self._argument = cache_argument(model)
        self._start = self._end = 0
        self._cache: Any = None
        self._first: LogProbs = np.zeros((1, 0), np.float32)

    @torch.inference_mode()
    def to(self, place: int, length: int) -> tuple[LogProbs, Any]:
        """(bits of each token at `place`, the cache of all before it); `length` more tokens fit the context."""
        if self._cache is None or place + length - self._start > self._context:
            whole = self._cache is None and place + length <= self._context
            self._start = self._end = 0 if whole else max(0, place - self._context // 2)
            self._cache = new_cache(self._model)
        else:
            self._cache = copy.deepcopy(self._cache)
        ids = torch.from_numpy(self._ids[None, self._end : place])
        said = self._model(input_ids=ids, use_cache=True, **{self._argument: self._cache})
        self._end = place
        return _bits(said.logits[:, -1]), self._cache


def _bits(logits: torch.Tensor) -> LogProbs:
    scores = torch.log_softmax(logits.float(), -1)
    scores /= math.log(2)  # in place: n rows of a large vocabulary are hundreds of megabytes
    found: LogProbs = scores.numpy()
    return found
