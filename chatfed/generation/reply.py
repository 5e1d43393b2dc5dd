"""One reply while it is drawn: which token is next, how likely it was, what of its text may be shown, when it ends.

Takes logits and gives events; knows no model, and nothing of the replies beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from chatfed.generation.drawing import Dice, likeliest
from chatfed.generation.events import Ending, Event, TokenScore
from chatfed.generation.joining import ReplyText, TokenTexts
from chatfed.generation.settings import Generation


@dataclass(frozen=True)
class Asked:
    """What is to be drawn."""

    prompt: Sequence[int] = field(repr=False)  # token ids, one at least
    settings: Generation
    room: int  # tokens that the reply may have; 0: none fits the context
    top: int = 0
    opening: Sequence[int] = field(default=(), repr=False)  # ids of tokens with which the reply begins
    chat: bool = True  # a message: without the spaces that lead it
    stops: Sequence[str] = field(default=(), repr=False)  # beside those of the settings
    lead: str = ""  # what stands before the marker that ends a message
    request: object = field(default=None, repr=False, compare=False)  # replies of one read a shared prompt once


class Reply:
    """The state of one reply."""

    def __init__(self, asked: Asked, texts: TokenTexts, ends: set[int]) -> None:
        self.asked, self._texts, self._ends = asked, texts, ends
        self._dice = Dice(asked.settings)
        self._text = ReplyText(texts.joiner(), (*asked.settings.stop, *asked.stops), asked.lead, asked.chat)
        self.drawn: list[int] = []

    def choose(self, logits: Tensor, at: int, likeliest: int) -> int:
        """The next token, of row `at` of logits float32[rows, vocabulary] and the likeliest in it."""
        drawn = len(self.drawn)
        if drawn < len(self.asked.opening):
            return self.asked.opening[drawn]
        return likeliest if self._dice.plain else self._dice.take(logits[at], self.drawn)

    def take(self, token: int, logits: Tensor, at: int, total: float) -> Event:
        """Goes on with a token, of row `at` of logits and the logarithm of the sum of their exponentials."""
        if self.asked.top:
            log_probs = logits[at] - total
            score = self._score(token, float(log_probs[token]))
            top = tuple(self._score(*pair) for pair in likeliest(log_probs, self.asked.top))
        else:
            score, top = self._score(token, float(logits.numpy()[at, token] - np.float32(total))), ()  # torch: 3 calls
        if token in self._ends:
            return Event(self._text.end(), score, top, "stop")
        self.drawn.append(token)
        text = self._text.add(token)
        ending = self._ending()
        return Event(text + self._text.end() if ending else text, score, top, ending)

    def nothing(self) -> Event:
        """The only event of a reply that has no room."""
        return Event("", None, (), "length")

    def _ending(self) -> Ending | None:
        if self._text.stopped:
            return "stop"
        return "length" if len(self.drawn) >= self.asked.room else None

    def _score(self, token: int, log_prob: float) -> TokenScore:
        return TokenScore(token, *self._texts.of(token), log_prob)
