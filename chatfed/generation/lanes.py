"""Replies that grow side by side, a token a step: of a plain Llama in one batch, of any other model one after another.

Knows a model and replies; knows no threads but for who reads: a reply that is ahead of its reader waits aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from chatfed.generation.drawing import peaks_and_sums
from chatfed.generation.events import Event
from chatfed.generation.reply import Reply
from chatfed.model.decoding import Decoder, Drawn
from chatfed.model.llama_rows import LlamaRows, Place
from chatfed.model.llama_steps import LlamaSteps, StepCache

READ_AT_ONCE = 256  # tokens of prompts that a step reads: a long one does not hold the others up
_KEPT = 1 << 26  # bytes of what was read of prompts, for other replies of their requests


class Reader(Protocol):
    """Who reads a reply."""

    reply: Reply

    @property
    def left(self) -> bool:
        """Whether nobody reads it any more."""

    @property
    def ahead(self) -> bool:
        """Whether the reply is too far ahead of who reads it."""

    @property
    def gone(self) -> Gone:
        """To be set when the reply has no row any more."""

    def give(self, item: Event | BaseException) -> None:
        """Hands on what came."""


class Gone(Protocol):
    """What a reader who leaves waits for."""

    def set(self) -> None:
        """It need not wait."""


class Lane(Protocol):
    """Replies of one model."""

    def join(self, ticket: Reader) -> None:
        """Takes in a reply."""

    def step(self) -> None:
        """Every reply that may gets its next token."""

    def has_work(self) -> bool:
        """Whether a step would do anything."""

    def growing(self) -> int:
        """How many replies hold a row."""

    def tickets(self) -> Iterator[Reader]:
        """Of all replies."""

    def __len__(self) -> int: ...


def lane_of(decoder: Decoder, lanes: list[Lane]) -> Lane:
    """The lane for a model as it is now, one of `lanes` or a new one that joins them."""
    steps = decoder.steps
    for lane in lanes:
        if getattr(lane, "steps", None) is steps:
            return lane
    made: Lane = Together(steps) if steps is not None else Singly(decoder)
    lanes.append(made)
    return made


class _Row:
    """A reply while it grows."""

    def __init__(self, ticket: Reader) -> None:
        self.ticket, self.unread = ticket, list(ticket.reply.asked.prompt)
        self.token = -1  # the last one, which the model has not read
        self.cache: StepCache | None = None  # while the prompt is read, and while it waits aside
        self.place: Place | None = None
        self.text: Drawn | None = None


class _Rows:
    """What lanes share: who is in, and what becomes of a row that is over."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    def join(self, ticket: Reader) -> None:
        self._rows.append(_Row(ticket))

    def has_work(self) -> bool:
        return any(row.ticket.left or not row.ticket.ahead for row in self._rows)

    def growing(self) -> int:
        return sum(not row.ticket.ahead for row in self._rows)

    def tickets(self) -> Iterator[Reader]:
        return (row.ticket for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def _let_go(self) -> None:
        for row in [row for row in self._rows if row.ticket.left]:
            self._over(row)

    def _over(self, row: _Row) -> None:
        self._rows.remove(row)
        row.ticket.gone.set()

    def _went(self, rows: Sequence[_Row], logits: Tensor) -> None:
        """Rows and what the model says after each: float32[rows, vocabulary]."""
        likeliest, sums = peaks_and_sums(logits)
        for at, row in enumerate(rows):
            reply = row.ticket.reply
            try:
                row.token = reply.choose(logits, at, likeliest[at])
                event = reply.take(row.token, logits, at, sums[at])
            except Exception as error:  # the others go on
                row.ticket.give(error)
                self._over(row)
                continue
            row.ticket.give(event)
            if event.ending:
                self._over(row)


class Together(_Rows):
    """Rows of a plain Llama, in one batch."""

    def __init__(self, steps: LlamaSteps) -> None:
        super().__init__()
        self.steps, self._batch = steps, LlamaRows(steps)
        self._known: dict[tuple[int, tuple[int, ...]], tuple[object, StepCache, Tensor]] = {}  # prompts that were read

    def step(self) -> None:
        """Reads of the prompts that wait, then grows every row that has read its own."""
        self._let_go()
        self._read_prompts()
        for row in self._rows:
            self._seat(row)
        seated = {row.place: row for row in self._rows if row.place is not None}
        if seated:
            places, logits = self._batch.grow({place: row.token for place, row in seated.items()})
            self._went([seated[place] for place in places], logits)

    def _read_prompts(self) -> None:
        room = READ_AT_ONCE
        for row in [row for row in self._rows if row.unread]:
            if room <= 0:
                return
            room -= self._read(row)

    def _read(self, row: _Row) -> int:
        """Reads the next part of a prompt, always the same parts of it; how many tokens that was."""
        asked = row.ticket.reply.asked
        known = id(asked.request), tuple(asked.prompt)
        if known in self._known:
            row.unread = []
            _, row.cache, logits = self._known[known]
            self._went([row], logits)
            return 0
        row.cache = row.cache or self.steps.begin(1)
        part, row.unread = row.unread[:READ_AT_ONCE], row.unread[READ_AT_ONCE:]
        logits = self.steps.add(row.cache, torch.tensor([part]))
        if not row.unread:
            if asked.request is not None:
                self._keep(known, (asked.request, row.cache, logits))
            self._went([row], logits)
        return len(part)

    def _keep(self, known: tuple[int, tuple[int, ...]], read: tuple[object, StepCache, Tensor]) -> None:
        """For other replies of the same request alone: how soon an answer comes tells nobody what others have sent.

        It holds the request, whose id stays its own. The batch takes copies, so that what is kept stays as it is.
        """
        self._known[known] = read
        while len(self._known) > 1 and sum(c.keys.nbytes * 2 for _, c, _ in self._known.values()) > _KEPT:
            del self._known[next(iter(self._known))]

    def _seat(self, row: _Row) -> None:
        """A row that is ahead of its reader waits aside, without a place in the batch."""
        if row.ticket.ahead and row.place is not None:
            row.cache, row.place = self._batch.take(row.place), None
        elif not row.unread and not row.ticket.ahead and row.place is None and row.cache is not None:
            row.place, row.cache = self._batch.put(row.cache), None

    def _over(self, row: _Row) -> None:
        if row.place is not None:
            self._batch.drop(row.place)
        super()._over(row)


class Singly(_Rows):
    """Rows of any other model, each with a text of its own."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.steps, self._decoder = None, decoder

    def step(self) -> None:
        """Grows each row."""
        self._let_go()
        for row in [row for row in self._rows if not row.ticket.ahead]:
            if row.text is None:
                row.text = self._decoder.drawn()
            ids, row.unread = row.unread or [row.token], []
            self._went([row], row.text.add(np.array([ids], np.int32)))
