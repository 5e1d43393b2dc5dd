"""What comes of drawing a reply: one event a token. Knows no model and no tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["stop", "length"]


@dataclass(frozen=True)
class TokenScore:
    """A token and how likely the model found it in its place."""

    token: int
    text: str  # the token's own; "bytes:\\xe2\\x80" where its bytes are no whole characters; of a marker its name
    data: bytes  # its bytes in UTF-8
    log_prob: float  # nats, under the model itself: before temperature, top-p and penalties; <= 0


@dataclass(frozen=True)
class Event:
    """A token of a reply, and what of the reply's text may be shown with it."""

    text: str  # may be "": held back until it is sure; the pieces join to the reply exactly
    score: TokenScore | None  # of the token drawn, the one that ends a reply too; None: no token had room
    top: tuple[TokenScore, ...]  # the likeliest at its place, likeliest first; as many as were asked for
    ending: Ending | None  # on the last event, and only there; "stop": an end or a stop text, "length": no more room
