"""How much of a conversation a model sees: the latest messages that fit, in time that does not grow with the rest.

Knows tokens and templates; knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatfed.model.tokenizer import encode_prompt
from chatfed.types import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_CHARACTERS = 16  # a token hardly ever stands for more: what is longer is cut before it is encoded


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
    kept = _fitting(tokenizer, [*opening, *turns], most)
    if kept:
        return kept
    low, high = 1, len(starts) - 1  # the earliest start that fits lies within
    while low <= high:
        middle = (low + high) // 2
        ids = _fitting(tokenizer, [*opening, *turns[starts[middle] :]], most)
        low, high, kept = (low, middle - 1, ids) if ids else (middle + 1, high, kept)
    return kept or _cut(tokenizer, opening, turns[starts[-1] :], most)


def fit_whole(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], most: int) -> bool:
    """Whether the prompt with all of these messages takes `most` tokens at most."""
    return _fitting(tokenizer, turns, most) is not None


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
