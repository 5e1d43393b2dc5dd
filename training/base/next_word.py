"""A next-word network for encrypted questions, taught by a model what may follow in texts of the model's own.

It learns from nothing but the model: what protects that protects the network. Knows no cipher, no client and no run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatfed.encrypted.network import DECAY, FREE, HIDDEN, MOST_TOKENS, AskerHalf, ServerHalf
from chatfed.model.ngrams import NGrams
from chatfed.model.soft_targets import soft_target_loss

from .imagining import Imagined, imagined, script_of

if TYPE_CHECKING:
    from chatfed import Chat

WIDTHS = (64, 56, 48, 40, 36, 32, 28, 24, 20, 20, 16, 16, 16, 16)  # numbers of the last token, the one before it, ...
FAR = FREE - sum(WIDTHS)  # and of all before
SHARED = 96  # numbers of a token, of which those are made
KEPT = 16  # likeliest tokens of a place that are taught; what is left is all the others' together
AT_ONCE = 128  # texts that are imagined side by side
BATCH = 12  # texts a step
IMPOSSIBLE = -30.0  # the score of a token that the network does not know
UNITS = HIDDEN - 2

Show = Callable[[str, int, int], None]  # what is done, how many, of how many


@dataclass(frozen=True)
class Teaching:
    """How much the network is taught."""

    texts: int = 3584
    passes: int = 3
    learning_rate: float = 0.004
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Lessons:
    """Texts of one length, with what the teacher would say: tokens as rows of the network's tables."""

    rows: Tensor  # int64[texts, T]
    near: Tensor  # int64[texts, T, KEPT], different rows of a place
    shares: Tensor  # float32[texts, T, KEPT]
    taught: Tensor  # bool[texts, T]


class NextWord(nn.Module):
    """The network in clear, as it is trained and measured: called as a causal model is.

    tokens: the ids int32[n] that it knows. vocabulary: of the model that it stands for.
    """

    def __init__(self, tokens: NDArray[np.int32], vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.vocabulary = tokens, vocabulary
        rows = np.full(vocabulary, len(tokens), np.int64)
        rows[tokens] = np.arange(len(tokens))
        self.row_of = torch.from_numpy(rows)
        self.shared = nn.Parameter(torch.randn(len(tokens) + 1, SHARED))
        self.parts = nn.Parameter(torch.randn(SHARED, FREE) * 0.5 / math.sqrt(SHARED))
        self.first = nn.Linear(FREE, UNITS)
        self.second = nn.Parameter(torch.randn(len(tokens), UNITS + 1) * 0.02)
        nn.init.normal_(self.first.weight, std=1.5 / math.sqrt(FREE))
        nn.init.normal_(self.first.bias, std=0.7)

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        """Logits float32[texts, T, vocabulary] after each token of int64[texts, T]."""
        known = self.hidden(self.row_of[input_ids]) @ self.second.t()
        logits = known.new_full((*known.shape[:2], self.vocabulary), IMPOSSIBLE)
        logits[..., torch.from_numpy(self.tokens).long()] = known
        return SimpleNamespace(logits=logits)

    def hidden(self, rows: Tensor) -> Tensor:
        """Squares, and a one, float32[texts, T, UNITS + 1], after each token of rows int64[texts, T]."""
        squares = self.first(self.features(rows)).square()
        return torch.cat([squares, squares.new_ones((*rows.shape, 1))], 2)

    def features(self, rows: Tensor) -> Tensor:
        """What the asker looks up after each token: float32[texts, T, FREE], as `AskerHalf.features` says."""
        texts, length = rows.shape
        none = rows.new_full((texts, len(WIDTHS)), len(self.tokens))
        before = torch.cat([none, rows], 1)
        *tables, far = self.tables()
        parts = [
            table[before[:, len(WIDTHS) - back : len(WIDTHS) - back + length]] for back, table in enumerate(tables)
        ]
        return torch.cat([*parts, _fading(length) @ far[rows]], 2)

    def tables(self) -> tuple[Tensor, ...]:
        """The asker's tables, float32[n + 1, d] each, the one of all earlier tokens last."""
        tables: tuple[Tensor, ...] = torch.tanh(self.shared @ self.parts).split([*WIDTHS, FAR], 1)
        return tables

    @torch.no_grad()
    def halves(self) -> tuple[AskerHalf, ServerHalf]:
        """What the asker and the server are given."""
        *near, far = (table.numpy().copy() for table in self.tables())
        asker = AskerHalf(self.tokens, tuple(near), far)
        weight, bias = (each.detach().numpy() for each in (self.first.weight, self.first.bias))
        second = self.second.detach().numpy()
        return asker, ServerHalf.of(asker.digest, weight, bias, second[:, :UNITS], second[:, UNITS])


def _fading(length: int) -> Tensor:
    """float32[T, T]: how much each earlier token counts at a place, those of tables of their own left out."""
    place = torch.arange(length)
    back = place[:, None] - place - len(WIDTHS)
    return torch.where(back >= 0, (1 - DECAY) * DECAY ** back.clamp_min(0), 0.0)


def lessons(chat: Chat, teaching: Teaching, show: Show) -> tuple[NDArray[np.int32], list[Lessons]]:
    """The tokens that the network is to know, int32[n], and what it is to learn: all of the model's own saying."""
    script, found, none = script_of(chat.tokenizer), list[Imagined](), NGrams((), ())
    for start in range(0, teaching.texts, AT_ONCE):
        show("imagining texts", start, teaching.texts)
        count = min(AT_ONCE, teaching.texts - start)
        found.append(_brief(imagined(chat.model, none, script, count, chat.context, teaching.seed + start)))
    return taught_from(found, int(chat.model.config.vocab_size))


def taught_from(found: list[Imagined], vocabulary: int) -> tuple[NDArray[np.int32], list[Lessons]]:
    """The same, of texts that are there."""
    tokens = _commonest(found, vocabulary)
    rows = np.full(vocabulary, len(tokens), np.int64)
    rows[tokens] = np.arange(len(tokens))
    return tokens, [_lessons(each, rows, len(tokens)) for each in found]


def _brief(texts: Imagined) -> Imagined:
    """With the KEPT likeliest tokens of a place alone."""
    order = np.argsort(-texts.shares, 2, kind="stable")[:, :, :KEPT]
    near, shares = np.take_along_axis(texts.near, order, 2), np.take_along_axis(texts.shares, order, 2)
    return Imagined(texts.ids, near, shares, texts.said)


def _commonest(found: list[Imagined], vocabulary: int) -> NDArray[np.int32]:
    """The tokens that are said most, in order of their ids; markers that stand in the texts are among them."""
    said = np.zeros(vocabulary)
    for texts in found:
        said += np.bincount(texts.near.ravel(), texts.shares.ravel().astype(np.float64), vocabulary)
        said += np.bincount(texts.ids.ravel(), minlength=vocabulary)
    most = np.argsort(-said, kind="stable")[:MOST_TOKENS]
    return np.sort(most).astype(np.int32)


def _lessons(texts: Imagined, row_of: NDArray[np.int64], none: int) -> Lessons:
    near = row_of[texts.near]
    whole = (near < none).all(2)  # a place of which a token is unknown is left out: its rows would not be different
    shares, taught = torch.from_numpy(texts.shares.astype(np.float32)), torch.from_numpy(texts.said & whole)
    return Lessons(torch.from_numpy(row_of[texts.ids]), torch.from_numpy(near), shares, taught)


def teach(tokens: NDArray[np.int32], vocabulary: int, given: list[Lessons], how: Teaching, show: Show) -> NextWord:
    """The network that has learned what the lessons say."""
    torch.manual_seed(how.seed)
    network = NextWord(tokens, vocabulary)
    batches = [part for each in given for part in _batches(each)]
    steps = how.passes * len(batches)
    optimizer = torch.optim.Adam(network.parameters(), lr=how.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.learning_rate, total_steps=steps + 1, pct_start=0.1)
    lower = bool(torch.cpu._is_amx_tile_supported()) if hasattr(torch.cpu, "_is_amx_tile_supported") else False
    for step, batch in enumerate(_in_turns(batches, how)):
        show("teaching", step, steps)
        optimizer.zero_grad(set_to_none=True)
        _loss(network, batch, lower).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def _batches(lessons: Lessons) -> Iterator[Lessons]:
    parts = (vars(lessons)[name].split(BATCH) for name in ("rows", "near", "shares", "taught"))
    return (Lessons(*each) for each in zip(*parts, strict=True))


def _in_turns(batches: list[Lessons], how: Teaching) -> Iterator[Lessons]:
    order = np.random.default_rng(how.seed)
    for _ in range(how.passes):
        yield from (batches[at] for at in order.permutation(len(batches)))


def _loss(network: NextWord, batch: Lessons, lower: bool) -> Tensor:
    """Cross-entropy in nats a place: each is taught after the tokens before it."""
    taught = batch.taught[:, 1:]
    hidden = network.hidden(batch.rows[:, :-1])[taught]
    near, shares = (each[:, 1:][taught] for each in (batch.near, batch.shares))
    return soft_target_loss(hidden, network.second, near, shares, lower)
