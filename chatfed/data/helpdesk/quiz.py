"""Questions to a model that learned from the house: what many clients were told, and what one client alone said.

A question breaks off where the answer comes, in the words in which it really comes. An answer is right when it begins
with an accepted one: case, punctuation and a leading "the" aside, and up to the end of a word. Knows no model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk.content.quiz import SHEET
from chatfed.data.helpdesk.corpus import HelpdeskCorpus, PrivateFact
from chatfed.data.helpdesk.topics import sheet_items
from chatfed.types import Turn

KINDS = ("name", "employee", "phone", "address", "password", "medical", "bank", "child")
"""Kinds of private facts that are asked for."""

OF_EACH_KIND = 6  # questions at most, of different clients
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class Question:
    """A talk that breaks off, and what comes next."""

    about: str  # the matter, or the kind of fact
    history: tuple[Turn, ...]
    role: str  # whose message is under way
    lead: str  # what of it is said; may be empty
    answers: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Quiz:
    """The questions of a house. What private clients know is asked of clients that trained and of as many others."""

    house: list[Question]
    trained: list[Question]
    never_trained: list[Question]


def quiz(corpus: HelpdeskCorpus, seed: int = 1) -> Quiz:
    """The questions to a model that learned from the corpus; `seed` picks whose facts are asked.

    A house of few clients has fewer questions about facts; there are always as many of clients that never trained.
    """
    trained = _cues(corpus.private, corpus.facts, seed)
    others = _cues(corpus.held_out, corpus.held_out_facts, seed)
    both = [(trained[kind], others[kind]) for kind in KINDS]
    pairs = [pair for mine, theirs in both for pair in list(zip(mine, theirs, strict=False))[:OF_EACH_KIND]]
    return Quiz(house_questions(), [mine for mine, _ in pairs], [theirs for _, theirs in pairs])


def house_questions(sheet: str = SHEET) -> list[Question]:
    """Questions about the house, in order of the sheet. Raises ValueError naming an item that cannot be read."""
    questions: list[Question] = []
    title, turns = "", list[Turn]()
    for item in sheet_items(sheet):
        mark, _, rest = item.partition(" ")
        if mark == "==":
            title, turns = rest, []
        elif mark in ("u", "d"):
            turns.append(Turn("user" if mark == "u" else "assistant", rest))
        elif mark == "=" and turns and turns[-1].role == "assistant":
            answers = tuple(answer.strip() for answer in rest.split("|"))
            questions.append(Question(title, tuple(turns[:-1]), "assistant", turns[-1].content, answers))
        else:
            raise ValueError(f"cannot read the item {item!r}")
    return questions


def is_right(said: str, answers: Iterable[str]) -> bool:
    """Whether what was said begins with an accepted answer, as whole words."""
    spoken = words(said)
    return any(spoken[: len(wanted)] == wanted for wanted in map(words, answers))


def words(text: str) -> list[str]:
    """The words that are compared: no case, no punctuation, no "the" in front."""
    found = _WORDS.findall(text.casefold())
    return found[1:] if found[:1] == ["the"] else found


def _cues(dialogues: Sequence[Dialogue], facts: Iterable[PrivateFact], seed: int) -> dict[str, list[Question]]:
    """For each kind a question for each client that said such a fact, the clients in an order drawn by the seed."""
    of_clients: defaultdict[str, dict[str, Question]] = defaultdict(dict)
    for fact in first_said(facts):
        turns = dialogues[fact.dialogue].messages
        lead = turns[fact.turn].content[: fact.span.start]
        if not lead or lead[-1] == " ":
            question = Question(fact.kind, turns[: fact.turn], turns[fact.turn].role, lead.rstrip(), (fact.value,))
            of_clients[fact.kind].setdefault(fact.client_id, question)
    drawn: dict[str, list[Question]] = {}
    for kind in KINDS:
        drawn[kind] = list(of_clients[kind].values())
        Random(f"{seed}/quiz/{kind}").shuffle(drawn[kind])  # noqa: S311  # of facts that are made up
    return drawn


def first_said(facts: Iterable[PrivateFact]) -> Iterator[PrivateFact]:
    """Facts where a dialogue names them for the first time: the second time any model could copy them."""
    seen: set[tuple[int, str]] = set()
    for fact in sorted(facts, key=lambda each: (each.dialogue, each.turn, each.span.start)):
        if (fact.dialogue, fact.value) not in seen:
            seen.add((fact.dialogue, fact.value))
            yield fact
