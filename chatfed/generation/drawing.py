"""Which token comes next, of the model's logits: repetition penalty, temperature, top-p; and which were likeliest.

Knows numbers; knows no model and no text.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from chatfed.generation.settings import Generation

_GREEDY_BELOW = 1e-6  # a lower temperature takes the likeliest token: logits divided by it are no float32
_USUAL = 128  # tokens that hold most of the probability


class Dice:
    """What draws the tokens of one reply: its own generator, so that no other reply matters."""

    def __init__(self, settings: Generation) -> None:
        seed = secrets.randbits(63) if settings.seed is None else settings.seed
        self._settings, self._generator = settings, torch.Generator().manual_seed(seed)
        self.plain = settings.temperature < _GREEDY_BELOW and settings.repetition_penalty == 1  # the likeliest it is

    def take(self, logits: Tensor, drawn: Sequence[int]) -> int:
        """The next token of logits float32[vocabulary], after those drawn already."""
        return sample(logits, drawn, self._settings, self._generator)


def sample(logits: Tensor, drawn: Sequence[int], settings: Generation, generator: torch.Generator) -> int:
    """One token from logits float32[vocabulary]; of equally likely ones, at temperature 0, the first."""
    if drawn and settings.repetition_penalty != 1:
        seen = torch.tensor(sorted(set(drawn)))
        chosen = logits[seen]
        penalty = settings.repetition_penalty
        logits = logits.index_copy(0, seen, torch.where(chosen > 0, chosen / penalty, chosen * penalty))
    if settings.temperature < _GREEDY_BELOW:
        return int(logits.argmax())
    shares = torch.softmax(logits.double() / settings.temperature, dim=-1)
    if settings.top_p < 1:
        shares, order = _likely(shares, settings.top_p)
        return int(order[_thrown(shares, generator)])
    return _thrown(shares, generator)


def _likely(shares: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest tokens with that much probability, likeliest first: their shares, and which they are.

    To sort a large vocabulary takes longer than to read a small model's weights, and most of it is hardly ever needed.
    """
    most = min(_USUAL, len(shares))
    while True:
        values, order = shares.topk(most)
        sums = values.cumsum(0)
        if most == len(shares) or float(sums[-1]) >= top_p:
            kept = 1 + int((sums < top_p)[:-1].sum())  # one at least, however small top_p is
            return values[:kept], order[:kept]
        most = min(8 * most, len(shares))


def _thrown(shares: Tensor, generator: torch.Generator) -> int:
    """A place of float64[n], each as likely as its share; one number of the generator, whatever n is."""
    sums = shares.cumsum(0)
    at = torch.rand(1, generator=generator, dtype=torch.float64) * sums[-1]
    return min(int(torch.searchsorted(sums, at, right=True)), int((sums < sums[-1]).sum()))


@np.errstate(all="ignore")
def peaks_and_sums(logits: Tensor) -> tuple[list[int], list[float]]:
    """Of each row of float32[rows, vocabulary]: the likeliest token, and log(sum(exp(logits))), in float32.

    In numpy: a row's is the same beside any others, and torch takes several threads and longer for a small model's.
    """
    values = logits.numpy()
    peaks = np.maximum.reduce(values, -1, keepdims=True)
    shares = values - peaks
    sums = np.log(np.add.reduce(np.exp(shares, out=shares), -1)) + peaks[:, 0]
    return values.argmax(-1).tolist(), sums.tolist()


def likeliest(log_probs: Tensor, top: int) -> list[tuple[int, float]]:
    """So many tokens of log-probabilities float32[vocabulary], likeliest first, of equal ones the first."""
    if not top:
        return []
    values, tokens = log_probs.topk(min(top, len(log_probs)))
    return sorted(zip(tokens.tolist(), values.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
