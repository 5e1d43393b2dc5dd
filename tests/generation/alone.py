"""One reply by itself, in the caller's own thread: what the engine does for many, told plainly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from chatfed.generation.drawing import peaks_and_sums
from chatfed.generation.events import Event
from chatfed.generation.reply import Reply
from chatfed.model.decoding import Decoder


def drawn_alone(decoder: Decoder, reply: Reply) -> Iterator[Event]:
    """The events of a reply; each costs a token's work."""
    text, ids = decoder.drawn(), list(reply.asked.prompt)
    while reply.asked.room:
        with torch.inference_mode():
            logits = text.add(np.array([ids], np.int32))
            [likeliest], [total] = peaks_and_sums(logits)
            token = reply.choose(logits, 0, likeliest)
            event = reply.take(token, logits, 0, total)
        yield event
        if event.ending:
            return
        ids = [token]
    yield reply.nothing()
