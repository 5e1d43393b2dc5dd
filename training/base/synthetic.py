"""Dialogues that a model says by itself, user and assistant in turn, each to its last word.

What is said follows from the model, its tokenizer, settings and a seed: what protects the model protects it. Knows no
client and no file but the model's.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatfed.model.decoding import Decoder
from chatfed.model.transformer import context_of, load_model, stay_offline
from chatfed.types import ChatfedError, IntVector, Turn

from ..workers import end_with_parent, worker_context
from .imagining import ANSWERS, USUAL, Script, script_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Say = Callable[[int, int], None]
"""How many dialogues are there, of how many."""

ROWS = 128  # that grow side by side
PATIENCE = 4  # times as many dialogues are begun at most as are wanted
ROLES = ("user", "assistant")


class NothingSaid(ChatfedError):
    """A model says no whole exchange within its context."""

    code = "nothing_said"
    mend = "take a model that was trained on dialogues, or one with a longer context"


@dataclass(frozen=True)
class Wanted:
    """What dialogues are to be drawn."""

    count: int
    exchanges: IntVector = field(repr=False)  # int64[n], 1 or more: one of these is drawn for each dialogue
    temperature: float = 1.0  # above 0
    top_p: float = 1.0  # smallest set of tokens with this much probability (Holtzman et al. 2020, section 3.1)
    seed: int = 1


@dataclass(frozen=True)
class Said:
    """A dialogue that was drawn."""

    turns: tuple[Turn, ...]
    cut: bool  # it was to go on, and had no more room in the model's context


def dialogues(source: str, context: int, wanted: Wanted, workers: int, say: Say) -> list[Said]:
    """`wanted.count` dialogues of the model in folder `source`, in an order that their lengths have no part in.

    context: tokens of a dialogue at most. One that has no more room ends with its last whole exchange, and is drawn
    again where there is none. The number of worker processes changes no word. Raises NothingSaid where most are of
    that kind, and ModelError.
    """
    random = np.random.default_rng(wanted.seed)
    found, batches = list[Said](), 0
    with _writers(source, context, wanted, workers) as write:
        for _ in range(PATIENCE):
            lengths = np.sort(random.choice(wanted.exchanges, wanted.count - len(found)))  # like ones end together
            asked = [
                (batches + at, lengths[start : start + ROWS]) for at, start in enumerate(range(0, len(lengths), ROWS))
            ]
            batches += len(asked)
            for said in write(asked):
                found += said
                say(len(found), wanted.count)
            if len(found) == wanted.count:
                return [found[place] for place in random.permutation(len(found))]
    raise NothingSaid(
        f"Of {wanted.count:,} dialogues that the model began {PATIENCE} times, {len(found):,} came to the end of an "
        f"exchange within its {context:,} tokens.",
        param="--n",
    )


Batch = tuple[int, IntVector]
"""Its number, and how many exchanges each of its dialogues has."""


@contextmanager
def _writers(
    source: str, context: int, wanted: Wanted, workers: int
) -> Iterator[Callable[[Sequence[Batch]], Iterator[list[Said]]]]:
    """What writes batches, in their order: this process, or so many others."""
    if workers == 1:
        _begin(source, context, wanted, apart=False)
        yield lambda batches: map(_write, batches)
        return
    begin = partial(_begin, source, context, wanted)
    with ProcessPoolExecutor(workers, worker_context(__name__), begin) as pool:
        try:
            yield lambda batches: pool.map(_write, batches)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_WRITER: list[_Writer | ChatfedError] = []  # a process's own


def _begin(source: str, context: int, wanted: Wanted, apart: bool = True) -> None:
    if apart:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
        end_with_parent()
    try:
        stay_offline()
        model, tokenizer = load_model(source)
        _WRITER[:] = [_Writer(model.eval(), tokenizer, context, wanted)]
    except ChatfedError as error:  # an initialiser that raises breaks the pool, and nobody learns why
        _WRITER[:] = [error]


def _write(batch: Batch) -> list[Said]:
    writer = _WRITER[0]
    if isinstance(writer, ChatfedError):
        raise writer
    number, exchanges = batch
    return writer.batch(exchanges, np.random.default_rng([writer.wanted.seed, number]))


class _Writer:
    """Draws dialogues in batches."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, context: int, wanted: Wanted
    ) -> None:
        self._decoder, self._tokenizer = Decoder(model), tokenizer
        self._context, self.wanted = min(context, context_of(model) or context), wanted
        self._script = script_of(tokenizer)
        closing = {token for each in self._script.closing for token in each}
        self._never = np.array(sorted(set(tokenizer.all_special_ids) - closing), np.int64)  # nobody's words
        self._last = [each[-1:] for each in self._script.closing]

    def batch(self, exchanges: IntVector, random: np.random.Generator) -> list[Said]:
        """A dialogue of each of so many exchanges, but those without a whole one."""
        talks = [_Talk(self._script, 2 * int(each)) for each in exchanges]
        rows = self._decoder.drawn(len(talks))
        logits = rows.add(np.tile(np.array(self._script.begin, np.int32), (len(talks), 1)))
        for at in range(len(self._script.begin), self._context):
            drawn = self._drawn(logits.numpy(), talks, random)
            tokens = [talk.go_on(int(token), random) for talk, token in zip(talks, drawn, strict=True)]
            if all(talk.over for talk in talks) or at + 1 == self._context:
                break
            logits = rows.add(np.array(tokens, np.int32)[:, None])
        return [said for talk in talks if (said := self._text(talk)) is not None]

    def _drawn(
        self, logits: NDArray[np.float32], talks: Sequence[_Talk], random: np.random.Generator
    ) -> IntVector:
        """A token of each row float32[rows, V]: none of the template's, and none that ends what has not begun."""
        scaled = logits / np.float32(self.wanted.temperature)
        scaled[:, self._never] = -np.inf
        for row, talk in enumerate(talks):
            if not talk.message:
                scaled[row, self._last[talk.speaker]] = -np.inf
        scaled -= scaled.max(1, keepdims=True)
        shares = np.exp(scaled, out=scaled)
        if self.wanted.top_p < 1:
            _keep_likely(shares, self.wanted.top_p)
        sums = shares.cumsum(1, dtype=np.float64)
        passed = (sums <= random.random((len(sums), 1)) * sums[:, -1:]).sum(1)
        drawn: IntVector = np.minimum(passed, (sums < sums[:, -1:]).sum(1))
        return drawn

    def _text(self, talk: _Talk) -> Said | None:
        """The dialogue as text up to its last whole exchange; None where there is none."""
        turns = []
        for at, message in enumerate(talk.said):
            text = str(self._tokenizer.decode(list(message), clean_up_tokenization_spaces=False)).strip()
            if not text:
                break
            turns.append(Turn(ROLES[at % 2], text))
        whole = turns[: len(turns) // 2 * 2]
        return Said(tuple(whole), len(whole) < talk.messages) if whole else None


def _keep_likely(shares: NDArray[np.float32], top_p: float) -> None:
    """Sets to 0 what is not among the fewest tokens with that much probability; of equal ones all stay."""
    shares /= shares.sum(1, keepdims=True)
    falling = -np.sort(-shares, axis=1)
    kept = falling.cumsum(1) - falling < top_p
    least = np.where(kept, falling, np.inf).min(1, keepdims=True)
    shares[shares < least] = 0.0


@dataclass
class _Talk:
    """What has been said, and what the template writes before anybody goes on."""

    script: Script
    messages: int  # wanted
    speaker: int = 0  # the user, or ANSWERS
    message: tuple[int, ...] = ()
    waits: tuple[int, ...] = ()
    said: tuple[tuple[int, ...], ...] = ()

    @property
    def over(self) -> bool:
        """Whether all is said."""
        return len(self.said) == self.messages

    def go_on(self, drawn: int, random: np.random.Generator) -> int:
        """The next token: the drawn one, or the template's."""
        if self.waits:
            token, *rest = self.waits
            self.waits = tuple(rest)
            return token
        if self.over:
            return drawn  # nobody reads it
        self.message = (*self.message, drawn)
        closing = self.script.closing[self.speaker]
        if closing and self.message[-len(closing) :] == closing:
            self._close(self.message[: -len(closing)])
        elif not closing and random.random() < 1 / USUAL:  # nobody says that it is over
            self._close(self.message)
        return drawn

    def _close(self, message: tuple[int, ...]) -> None:
        self.said, self.message = (*self.said, message), ()
        self.waits, self.speaker = self.script.between[self.speaker], ANSWERS - self.speaker
