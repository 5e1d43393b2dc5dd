"""How likely each token of a text was, given those before it. Knows a model; knows no template."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from chatfed.generation.drawing import likeliest
from chatfed.generation.events import TokenScore
from chatfed.generation.joining import TokenTexts
from chatfed.model.decoding import Decoder

Scored = tuple[TokenScore | None, tuple[TokenScore, ...]]  # a token, and the likeliest in its place


def going_on() -> None:
    """What is asked between the parts of a text, where whoever waits for it always does."""


def scored(
    decoder: Decoder, texts: TokenTexts, ids: Sequence[int], top: int, check: Callable[[], object] = going_on
) -> list[Scored]:
    """Of each token; the first is given nothing. A token's own figure and its place's are of the same float32.

    check: called before each part of the text is read; what it raises ends the reading.
    """
    found: list[Scored] = [(None, ())]

    def score(token: int, log_prob: float) -> TokenScore:
        return TokenScore(token, *texts.of(token), log_prob)

    if len(ids) == 1:
        return found
    check()
    for logits in decoder.scores(ids[:-1]):
        check()
        log_probs = logits.log_softmax(-1)
        own = ids[len(found) : len(found) + len(log_probs)]
        chosen = log_probs.gather(1, torch.tensor([*own])[:, None])[:, 0].tolist()
        for token, log_prob, row in zip(own, chosen, log_probs, strict=True):
            found.append((score(token, log_prob), tuple(score(*pair) for pair in likeliest(row, top))))
    return found


@torch.inference_mode()
def bits_and_ranks(
    decoder: Decoder, ids: NDArray[np.int32], context: int, check: Callable[[], object] = going_on
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each token: bits of log-probability, and rank, given those before it.

    The first, given nothing, has 0 and 1. check: as of `scored`.
    """
    bits = np.zeros(len(ids))
    ranks = np.ones(len(ids), np.int64)
    step = max(1, context // 2)
    for start in range(0, max(1, len(ids) - step), step):  # windows overlap by half: every token sees half a context
        window = ids[start : start + context].astype(np.int64)
        at = 1
        check()
        for logits in decoder.scores(window.tolist()):
            check()
            chosen = torch.from_numpy(window[at : at + len(logits)])
            scores = logits[: len(chosen)].log_softmax(-1)
            own = scores.gather(1, chosen[:, None])
            new = slice(start + at, start + at + len(chosen))
            skip = max(0, start + step - new.start) if start else 0  # scored in the window before
            bits[new][skip:] = (own[skip:, 0] / math.log(2)).numpy()
            ranks[new][skip:] = ((scores[skip:] > own[skip:]).sum(1) + 1).numpy()
            at += len(logits)
    return bits, ranks
