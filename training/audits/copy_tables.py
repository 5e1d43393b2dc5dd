"""Copies side by side: what attacks make of each, what it is good for, and how its dialogues are shaped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatfed.audit.gain import Gain
from chatfed.audit.part import Table

from ..base.evaluation import Scores
from .copies import RECOGNISING, Leaks
from .shapes import Shape

COPY, BARE, REAL = "the copy", "a copy of the run without noise", "the clients' own dialogues"
HELD = "clients that never trained"
SHOWN = 12  # topical words in the page; audit.json has all

Used = Mapping[str, tuple[Scores, Gain | None]]
Cells = list[str | int | float | None]


@dataclass(frozen=True)
class Shapes:
    """Of each copy and of HELD, and the share of its dialogues that have each topical word."""

    told: Mapping[str, Shape]
    topics: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: {**each.to_json(), "words": dict(self.topics[name])} for name, each in self.told.items()}


def side_by_side(found: Mapping[str, Leaks], used: Used, shapes: Shapes, sizes: Mapping[str, int]) -> Table:
    """A column each: the copy, one without noise where there is a run for it, and the dialogues themselves."""
    names = [*found, HELD]
    rows: list[Cells] = [["dialogues", *(sizes.get(name) for name in found), None]]
    attacks = dict.fromkeys(risk.attack for each in found.values() for risk in each.risks)
    rows += [[f"{attack}: risk", *(_risk(each, attack) for each in found.values()), None] for attack in attacks]
    rows.append([f"{RECOGNISING}: area", *(each.echo.value for each in found.values()), None])
    rows.append(["private values word for word: share", *(_share(each) for each in found.values()), None])
    rows.append(["attacks that succeed", *(each.successes for each in found.values()), None])
    if used:
        rows.append(["learning: share of the gain in bits a word", *(_gain(used, name) for name in found), None])
    shaped = [shapes.told.get(name) for name in names]
    for said, field in SHAPED:
        rows.append([said, *(getattr(each, field) if each else None for each in shaped)])
    return Table("Side by side", ["", *names], rows)


SHAPED = (
    ("messages of a dialogue", "turns"),
    ("words of a user's message", "words_user"),
    ("words of an answer", "words_assistant"),
    ("share of dialogues that the model's context has no more room for", "early"),
    ("dialogues' first words, overlap with clients that never trained", "first_words"),
    ("topical words, overlap with clients that never trained", "topics"),
)


def topics(shapes: Shapes) -> Table:
    """The commonest topical words, and the share of dialogues that have each."""
    words = list(shapes.topics[HELD])[:SHOWN]
    rows: list[Cells] = [[word, *(each[word] for each in shapes.topics.values())] for word in words]
    caption = "What dialogues are about, as far as single words tell: the share that has each of the commonest"
    return Table(caption, ["Word", *shapes.topics], rows)


def _risk(told: Leaks, attack: str) -> float | None:
    return next((each.value for each in told.risks if each.attack == attack), None)


def _share(told: Leaks) -> float | None:
    of = told.verbatim.found.of
    return told.verbatim.found.hits / of if of else None


def _gain(used: Used, name: str) -> float | None:
    gain = used[name][1]
    return gain.bits_a_word.share if gain else None
