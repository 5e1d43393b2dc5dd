"""How much of a conversation a model sees: the latest messages that fit, in time that does not grow with the rest.

What is near enough to fit is made into tokens once. Which messages stay is then counted in these tokens, and the prompt
is put together of what opens it and of their end: between two markers, which tokenizers never read across. Where a
template has none, or writes a shorter conversation otherwise, starts are tried, from where that count says on. Knows
tokens and templates; knows no model.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatfed.model.spelling import added_tokens, speller
from chatfed.model.template import Rendered, render
from chatfed.model.tokenizer import encode_prompt
from chatfed.types import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_CHARACTERS = 16  # a token hardly ever stands for more: what is longer is cut before it is encoded
_TRIED = 4  # markers from a message's beginning on, of which one is where two conversations become the same
_SLACK = 8  # tokens by which the beginnings of two prompts differ, beside their first messages


def latest_that_fit(tokenizer: PreTrainedTokenizerFast, history: Sequence[Turn], most: int) -> list[int]:
    """Token ids of the prompt with as many of the latest messages as `most` tokens hold.

    An opening system message stays, and what follows it begins with a user's: templates may demand both. Of a last
    message that is too long alone its end is kept.
    """
    opening, turns = ([history[0]], history[1:]) if history[0].role == "system" else ([], history)
    opening = [Turn(turn.role, turn.content[: _CHARACTERS * most]) for turn in opening]
    if not turns:
        return encode_prompt(tokenizer, opening)[-most:]
    starts = [0, *_starts(turns, _CHARACTERS * most, most)]
    near = _near(opening, turns, starts, most)
    found: list[int] | None = []
    if near:
        whole = _Near.of(tokenizer, opening, turns, near)
        found = whole.latest(most)
        if found is None:  # no markers, or a template that writes fewer messages otherwise
            found = whole.tried(most)
    return found or _cut(tokenizer, opening, turns[starts[-1] :], most)


def fit_whole(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], most: int) -> bool:
    """Whether the prompt with all of these messages takes `most` tokens at most."""
    return _fitting(tokenizer, turns, most) is not None


@dataclass
class _Near:
    """The conversation from the earliest start that may fit, as tokens."""

    tokenizer: PreTrainedTokenizerFast
    opening: list[Turn]
    turns: Sequence[Turn]
    starts: Sequence[int]
    whole: Rendered
    ids: list[int]
    begins: list[int]  # the character at which each token begins
    owners: list[int] | None  # the message of each run; None where the template writes them in another order

    @classmethod
    def of(
        cls, tokenizer: PreTrainedTokenizerFast, opening: list[Turn], turns: Sequence[Turn], starts: Sequence[int]
    ) -> _Near:
        whole = render(tokenizer, [*opening, *turns[starts[0] :]], generate=True)
        ids, spans = next(speller(tokenizer).encode([whole]))
        owners = [run.turn for run in whole.runs]
        known = owners if owners == sorted(owners) else None
        return cls(tokenizer, opening, turns, starts, whole, [*ids], spans[:, 0].tolist(), known)

    def latest(self, most: int) -> list[int] | None:
        """The prompt of the earliest start that fits; [] where none does; None where it cannot be put together."""
        if len(self.ids) <= most:
            return self.ids
        at, beside = 1, 0
        while at < len(self.starts):
            tail = self._tail(self.starts[at])
            if tail is None:
                return None
            if tail + beside > most:
                at += 1
                continue
            ids = self._from(self.starts[at])
            if ids is None or len(ids) <= most:
                return ids
            at, beside = at + 1, max(beside, len(ids) - tail - _SLACK)
        return []

    def _tail(self, start: int) -> int | None:
        """Tokens from a message's first character on."""
        at = bisect_left(self.owners or [], len(self.opening) + start - self.starts[0])
        if self.owners is None or at == len(self.owners):
            return None
        return len(self.ids) - bisect_left(self.begins, self.whole.runs[at].start)

    def tried(self, most: int) -> list[int]:
        """The prompt of the earliest start that fits, found by tries; [] where none does. All of it does not."""
        kept: list[int] = []
        low, high, step, middle = 1, len(self.starts) - 1, 1, self._likely(most)
        while low <= high:
            ids = _fitting(self.tokenizer, [*self.opening, *self.turns[self.starts[middle] :]], most)
            low, high, kept = (low, middle - 1, ids) if ids else (middle + 1, high, kept)
            if low > 1 and kept:
                middle = (low + high) // 2
            else:  # away from what is likely, in steps that grow
                middle = max(low, high + 1 - step) if kept else min(high, low + step - 1)
            step *= 2
        return kept

    def _likely(self, most: int) -> int:
        """Which start's prompt is likely the longest that fits."""
        tails = (self._tail(start) for start in self.starts)
        known = (at for at, tail in enumerate(tails) if at and (tail is None or tail <= most))
        return len(self.starts) // 2 if self.owners is None else next(known, len(self.starts) - 1)

    def _from(self, start: int) -> list[int] | None:
        """The prompt that begins with that message."""
        cut = render(self.tokenizer, [*self.opening, *self.turns[start:]], generate=True)
        longer, fewer = len(self.whole.text) - len(cut.text), start - self.starts[0]
        before = [run.stop for run in self.whole.runs if run.turn < len(self.opening) + fewer]
        markers, gaps = {index: name for name, index in added_tokens(self.tokenizer).items() if name.strip()}, 0
        for at in range(bisect_left(self.begins, before[-1] if before else 0), len(self.ids)):
            name, place = markers.get(self.ids[at]), self.begins[at]
            if name is None or not self.whole.text.startswith(name, place):  # or what stands for unknown characters
                continue
            if place >= longer and cut.text.endswith(self.whole.text[place:]) and self._same(cut, place, longer, fewer):
                head = next(speller(self.tokenizer).encode([cut.until(place - longer)]))[0]
                return [*head, *self.ids[at:]]
            gaps += 1
            if gaps == _TRIED:
                break
        return None

    def _same(self, cut: Rendered, place: int, longer: int, fewer: int) -> bool:
        """Whether the same characters came from the same messages, in both from there on."""
        mine = [(r.start, r.stop, r.turn, r.offset) for r in self.whole.runs]
        its = [(r.start + longer, r.stop + longer, r.turn + fewer, r.offset) for r in cut.runs]
        mine, its = ([run for run in runs if run[1] > place] for runs in (mine, its))
        return mine == its and all(start > place for start, *_ in mine)  # it is the template's own


def _near(opening: Sequence[Turn], turns: Sequence[Turn], starts: Sequence[int], most: int) -> list[int]:
    """Of the starts those from which the prompt may fit: what cannot is not even encoded."""
    characters = _CHARACTERS * most - sum(len(turn.content) for turn in opening)
    first = max(0, len(turns) + len(opening) - most)
    place = len(turns)
    while place > first and len(turns[place - 1].content) <= characters:
        place -= 1
        characters -= len(turns[place].content)
    return [start for start in starts if start >= place]


def _fitting(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], most: int) -> list[int] | None:
    """The prompt's ids if they fit; what cannot fit is not even encoded."""
    if len(turns) > most or sum(len(turn.content) for turn in turns) > _CHARACTERS * most:
        return None
    ids = encode_prompt(tokenizer, turns)
    return ids if len(ids) <= most else None


def _starts(turns: Sequence[Turn], characters: int, most: int) -> list[int]:
    """Places behind the first message where a user's stands, as far back as characters and `most` messages reach.

    The last one, however long.
    """
    found: list[int] = []
    held = 0
    for place in range(len(turns) - 1, 0, -1):
        held += len(turns[place].content)
        if found and (held > characters or len(turns) - place > most):
            break
        if turns[place].role == "user":
            found.append(place)
    return found[::-1]


def _cut(tokenizer: PreTrainedTokenizerFast, opening: list[Turn], turns: Sequence[Turn], most: int) -> list[int]:
    """The last user's message (or what there is) cut at its beginning until the prompt fits."""
    *before, last = turns[-1:] if len(turns) == 1 or turns[-1].role == "user" else turns[-2:]
    length = min(len(last.content), _CHARACTERS * most)
    while True:
        kept = Turn(last.role, last.content[len(last.content) - length :])
        ids = encode_prompt(tokenizer, [*opening, *before, kept])
        if len(ids) <= most or not length:
            return ids[-most:]
        length = min(length - 1, length * most // len(ids))
