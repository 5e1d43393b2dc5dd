"""Where private facts stand in a text, and what models make of them there: cues, and chances of what follows.

A cue is a dialogue that breaks off where a value comes. Asks models; judges nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from chatfed.audit.extraction import Decoding, Logs, of_secrets, token_chances
from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk import PrivateFact
from chatfed.data.helpdesk.quiz import first_said
from chatfed.model.tokenizer import encode_open_turn
from chatfed.types import IntVector, Span, Turn

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

SEED = 1
ROWS = 16  # read at once
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class Cue:
    """A dialogue that breaks off, and the value that comes next."""

    kind: str
    client: str
    history: tuple[Turn, ...]
    role: str  # whose message is under way
    lead: str  # what of it is said; may be empty
    value: str = field(repr=False)
    repetitions: int = 1  # how often the value was said in all that was learned from

    @property
    def told(self) -> bool:
        """Whether a word of the value stands in the cue, so that it could be copied."""
        said = " ".join([*(turn.content for turn in self.history), self.lead]).casefold()
        return not set(_WORDS.findall(self.value.casefold())).isdisjoint(_WORDS.findall(said))


def cues_of(dialogues: Sequence[Dialogue], facts: Iterable[PrivateFact], of_each_kind: int) -> list[Cue]:
    """A cue for every kind of fact of every client that said one, `of_each_kind` at most, drawn by a fixed seed."""
    listed = list(facts)
    said = Counter((fact.client_id, fact.value) for fact in listed)
    by_kind: defaultdict[str, dict[str, Cue]] = defaultdict(dict)
    for fact in first_said(listed):
        turns = dialogues[fact.dialogue].messages
        lead = turns[fact.turn].content[: fact.span.start]
        if not lead or lead[-1] == " ":  # elsewhere the value does not begin a word
            repetitions = said[fact.client_id, fact.value]
            cue = Cue(
                fact.kind,
                fact.client_id,
                turns[: fact.turn],
                turns[fact.turn].role,
                lead.rstrip(),
                fact.value,
                repetitions,
            )
            by_kind[fact.kind].setdefault(fact.client_id, cue)
    random = np.random.default_rng(SEED)
    drawn = {kind: list(clients.values()) for kind, clients in sorted(by_kind.items())}
    return [cues[at] for cues in drawn.values() for at in random.permutation(len(cues))[:of_each_kind]]


def swapped(cues: Sequence[Cue]) -> list[Cue]:
    """Every value behind another client's cue of its kind: what is found there is not that client's cue's doing.

    A kind with one cue alone is left out.
    """
    by_kind: defaultdict[str, list[Cue]] = defaultdict(list)
    for cue in cues:
        by_kind[cue.kind].append(cue)
    return [
        replace(mine[at - 1], value=cue.value, repetitions=cue.repetitions)
        for mine in by_kind.values()
        if len(mine) > 1
        for at, cue in enumerate(mine)
    ]


def planted_cues(texts: Sequence[tuple[str, Span, int]]) -> list[Cue]:
    """Cues of planted secrets: a user's message, where the secret stands in it, and how often it was learned from."""
    return [
        Cue("planted", f"{number}", (), "user", text[: span.start].rstrip(), text[span.start : span.end], repetitions)
        for number, (text, span, repetitions) in enumerate(texts)
    ]


def chances(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    cues: Sequence[Cue],
    context: int,
    decodings: Sequence[Decoding],
) -> Logs:
    """Log of the chance that one try says each cue's value: float64[decodings, cues].

    Of a dialogue too long for the model the latest tokens count, as in the chat. Teacher-forced: nothing is drawn.
    """
    encoded = [_encoded(tokenizer, cue, context) for cue in cues]
    order = np.argsort([len(ids) for ids, _ in encoded], kind="stable")
    found = np.empty((len(decodings), len(cues)))
    for at in range(0, len(order), ROWS):
        mine = order[at : at + ROWS]
        found[:, mine] = _ask(model, [encoded[each] for each in mine], decodings)
    return found


def _ask(model: torch.nn.Module, rows: Sequence[tuple[list[int], int]], decodings: Sequence[Decoding]) -> Logs:
    """float64[decodings, rows] of token ids, of which the last so many are the value."""
    import torch

    longest = max(len(ids) for ids, _ in rows)
    padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])  # on the right: a causal model
    with torch.inference_mode():
        logits = model(input_ids=padded[:, :-1]).logits
    places = [slice(len(ids) - of - 1, len(ids) - 1) for ids, of in rows]
    asked = np.concatenate([logits[row, place].double().numpy() for row, place in enumerate(places)])
    tokens = np.concatenate([np.array(ids[len(ids) - of :], np.int64) for ids, of in rows])
    starts = np.concatenate([[0], np.cumsum([of for _, of in rows])]).astype(np.int64)
    return np.stack([of_secrets(token_chances(asked, tokens, each), starts) for each in decodings])


def _encoded(tokenizer: PreTrainedTokenizerFast, cue: Cue, context: int) -> tuple[list[int], int]:
    """Token ids up to the value's end, the latest that fit, and how many of them are the value's."""
    before, whole = _ids(tokenizer, cue, ""), _ids(tokenizer, cue, cue.value)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False)))
    of = len(whole) - same
    return whole[-context:], min(of, context - 1)


def _ids(tokenizer: PreTrainedTokenizerFast, cue: Cue, value: str) -> list[int]:
    turn = Turn(cue.role, f"{cue.lead} {value}".strip())
    return [int(token) for token in encode_open_turn(tokenizer, cue.history, turn).ids]


def repetitions_of(cues: Sequence[Cue]) -> IntVector:
    """How often each value was said: int64[cues]."""
    return np.array([cue.repetitions for cue in cues], np.int64)
