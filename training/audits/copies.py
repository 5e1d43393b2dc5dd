"""What a copy of the generated house's dialogues gives away, beside what it says of clients that never trained.

Attacks are chatfed/audit/synthetic.py's. Takes dialogues as text, whoever said them; knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chatfed.audit.extraction import Recovery, recovery
from chatfed.audit.leakage import AuditError
from chatfed.audit.roc import Area, area
from chatfed.audit.synthetic import (
    ATTACKS,
    EACH,
    LEAD,
    LEVEL,
    Guesser,
    People,
    Risk,
    Told,
    Words,
    echoes,
    linked,
    predicates,
    said_verbatim,
    singled_out,
)
from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk import HelpdeskCorpus, PrivateFact
from chatfed.data.helpdesk.fresh import fresh
from chatfed.types import ClientId, IntVector, Turn

from .audited import Audited
from .house import house_of, why_none

CLIENTS = 120  # that are attacked, at most, and as many that never trained
OF_EACH = 10  # dialogues of a client that are attacked, at most
TRIES = 2_000  # predicates
OF_FACTS = 3_000  # values that are guessed, at most
SEED = 1
RECOGNISING = "recognising dialogues"
_WORD = re.compile(r"\w[\w'-]*")


def words_of(text: str) -> list[str]:
    """Its words; case does not matter."""
    return _WORD.findall(text.casefold())


@dataclass(eq=False)
class Vocabulary:
    """Words as numbers, in the order in which they are met; case does not matter."""

    numbers: dict[str, int] = field(default_factory=dict)

    def of(self, text: str) -> list[int]:
        """The numbers of a text's words."""
        return [self.numbers.setdefault(word, len(self.numbers)) for word in words_of(text)]

    def dialogue(self, turns: Sequence[Turn], *roles: str) -> IntVector:
        """Those of a dialogue's messages; of some roles alone, if any are named."""
        words = [word for turn in turns if not roles or turn.role in roles for word in self.of(turn.content)]
        return np.array(words, np.int64)

    def people(self, texts: Sequence[Sequence[Turn]], owners: Sequence[Any]) -> People:
        """Dialogues and their halves."""
        every, asked, answered = (
            [self.dialogue(turns, *roles) for turns in texts] for roles in ((), ("user",), ("assistant",))
        )
        _, numbers = np.unique(np.array(owners, np.str_), return_inverse=True)
        return People(every, asked, answered, numbers.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Side:
    """Clients that are attacked: those that trained, or as many that never did."""

    people: People
    told: list[tuple[str, Told]] = field(repr=False)  # kind of each value, and what is known of it
    values: list[tuple[str, tuple[int, ...]]] = field(repr=False)  # kind, and words that one client alone says


@dataclass(frozen=True)
class Leaks:
    """What one copy gives away."""

    risks: tuple[Risk, ...]  # without attacks for which a copy gives nothing to try: it says public words alone
    echo: Area  # at LEVEL
    kinds: Mapping[str, Recovery]  # values of one client alone that stand in it, by kind
    verbatim: Recovery  # of all kinds

    @property
    def facts(self) -> list[str]:
        """The kinds of which it says more than phantoms: all kinds together by chance as seldom as one attack."""
        return [kind for kind, each in self.kinds.items() if each.p < EACH / len(self.kinds)]

    @property
    def found(self) -> list[str]:
        """What is more than chance; where all is chance, anything is here once in 1 / CHANCE copies at most."""
        risky = [each.attack for each in self.risks if each.found]
        return risky + [RECOGNISING] * (self.echo.low > 0.5) + [f"facts: {kind}" for kind in self.facts]

    @property
    def successes(self) -> int:
        """How many of the ATTACKS succeed."""
        return sum(each.found for each in self.risks) + (self.echo.low > 0.5) + bool(self.facts)

    @property
    def doubtful(self) -> list[str]:
        """Attacks that do better than on controls, and no better than with public text alone."""
        return [each.attack for each in self.risks if each.low > 0 and each.weak]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "risks": [each.to_json() for each in self.risks],
            "recognised": self.echo.to_json(),
            "facts": {kind: each.to_json() for kind, each in self.kinds.items()},
            "all_facts": self.verbatim.to_json(),
            "succeed": self.successes,
            "attacks": ATTACKS,
        }


@dataclass(frozen=True, eq=False)
class Beside:
    """Held-out clients' dialogues and public ones as text: what a copy's shape is compared with."""

    controls: Sequence[Sequence[Turn]]
    owners: Sequence[ClientId | None]
    public: Sequence[Sequence[Turn]]

    @classmethod
    def of(cls, corpus: HelpdeskCorpus) -> Beside:
        """Of a house."""
        held, public = corpus.held_out, corpus.public
        return cls([each.messages for each in held], [each.client_id for each in held], [d.messages for d in public])


@dataclass(frozen=True, eq=False)
class House:
    """The dialogues of both sides, and public ones."""

    vocabulary: Vocabulary
    public: People = field(repr=False)  # nobody's: each dialogue is its own owner
    members: Side
    controls: Side

    real: Sequence[Sequence[Turn]] = field(repr=False)  # all that was learned from
    beside: Beside = field(repr=False)

    @classmethod
    def of(cls, run: Audited) -> House:
        """Raises AuditError where nobody recorded what is private: the generated house alone has such records."""
        corpus = house_of(run)
        if corpus is None:
            raise AuditError(
                f"{why_none(run)}, and no more clients can be drawn: copies are audited on the generated help desk "
                "as it speaks",
                param=str(run.folder.path),
            )
        words = Vocabulary()
        public = words.people([each.messages for each in corpus.public], range(len(corpus.public)))
        random = np.random.default_rng(SEED)
        clients = min(CLIENTS, len(_by_client(corpus.private)))
        new = fresh(corpus, run.plan.recipe.data.seed, OF_EACH, clients).new
        members, new = attacked(corpus.private, new, random)
        theirs = Counts.of(corpus, words, public.texts)
        return cls(
            words,
            public,
            _side(words, members, corpus.private, corpus.facts, theirs, random),
            _side(words, new, corpus.held_out, corpus.held_out_facts, theirs, random),
            [each.messages for each in corpus.private],
            Beside.of(corpus),
        )


@dataclass(frozen=True, eq=False)
class Counts:
    """Who says a value: one that several clients or public text say is nobody's alone."""

    clients: Mapping[tuple[int, ...], frozenset[str]]
    public: frozenset[tuple[int, ...]]

    @classmethod
    def of(cls, corpus: HelpdeskCorpus, words: Vocabulary, public: Words) -> Counts:
        """Of all recorded facts."""
        clients: dict[tuple[int, ...], set[str]] = {}
        for fact in (*corpus.facts, *corpus.held_out_facts):
            clients.setdefault(tuple(words.of(fact.value)), set()).add(fact.client_id)
        values = [value for value in clients if value]
        there = said_verbatim(public, values)
        known = frozenset(value for value, said in zip(values, there, strict=True) if said)
        return cls({value: frozenset(each) for value, each in clients.items()}, known)

    def alone(self, value: tuple[int, ...]) -> bool:
        """Whether one client alone says it, and no public text."""
        return bool(value) and len(self.clients.get(value, ())) == 1 and value not in self.public


def _by_client(dialogues: Sequence[Dialogue]) -> dict[ClientId | None, list[Dialogue]]:
    by_client: dict[ClientId | None, list[Dialogue]] = {}
    for each in dialogues:
        by_client.setdefault(each.client_id, []).append(each)
    return by_client


def attacked(
    private: Sequence[Dialogue], new: Sequence[Dialogue], random: np.random.Generator
) -> tuple[list[Dialogue], list[Dialogue]]:
    """Of both parts as many clients, CLIENTS at most, with as many dialogues each, OF_EACH at most."""
    mine, theirs = (list(_by_client(each).values()) for each in (private, new))
    clients = min(CLIENTS, len(mine), len(theirs))
    drawn = [mine[at] for at in np.sort(random.permutation(len(mine))[:clients])]
    each = min(OF_EACH, *(len(client) for client in (*drawn, *theirs[:clients])))
    members = [client[at] for client in drawn for at in np.sort(random.permutation(len(client))[:each])]
    return members, [talk for client in theirs[:clients] for talk in client[:each]]


def _side(
    words: Vocabulary,
    texts: Sequence[Dialogue],
    recorded: Sequence[Dialogue],
    facts: Sequence[PrivateFact],
    counts: Counts,
    random: np.random.Generator,
) -> Side:
    """texts: attacked as they are; recorded: those of which facts are known."""
    alone = [fact for fact in facts if counts.alone(tuple(words.of(fact.value)))]
    chosen = [alone[at] for at in np.sort(random.permutation(len(alone))[:OF_FACTS])]
    numbers = {name: at for at, name in enumerate(dict.fromkeys(fact.client_id for fact in chosen))}
    told = [
        (fact.kind, _told(words, recorded[fact.dialogue].messages, fact, numbers[fact.client_id])) for fact in chosen
    ]
    values = dict.fromkeys((fact.kind, tuple(words.of(fact.value))) for fact in alone)
    people = words.people([each.messages for each in texts], [each.client_id for each in texts])
    return Side(people, told, list(values))


def _told(words: Vocabulary, turns: Sequence[Turn], fact: PrivateFact, owner: int) -> Told:
    value = tuple(words.of(fact.value))
    lead = tuple(words.of(turns[fact.turn].content[: fact.span.start]))[-LEAD:]
    known = words.dialogue(turns)
    return Told(lead, known[~np.isin(known, value)], value, owner)


def leaks(house: House, texts: Sequence[Sequence[Turn]]) -> Leaks:
    """What a copy gives away."""
    words, random = house.vocabulary, np.random.default_rng(SEED)
    copy = words.people(texts, range(len(texts)))
    size = len(words.numbers)
    members, controls = house.members, house.controls
    risks = (
        _singling_out(house, copy.texts, size, random),
        Risk.of(
            "linking a question to its answer",
            linked(copy, members.people, size),
            linked(copy, controls.people, size),
            linked(house.public, members.people, size),
        ),
        _inferring(Guesser(copy.texts, size), Guesser(house.public.texts, size), members, controls),
    )
    mine, theirs = (echoes(copy.texts, house.public.texts, side.people, size) for side in (members, controls))
    owners = members.people.owners, controls.people.owners + len(members.people.owners)
    told = _phantoms(copy.texts, members, controls)
    return Leaks(tuple(each for each in risks if each), area(mine, theirs, owners, LEVEL), *told)


def _singling_out(house: House, copy: Words, size: int, random: np.random.Generator) -> Risk | None:
    public = house.public.texts
    pairs = predicates(copy, public, size, TRIES, random)
    blind = predicates(public, public, size, TRIES, random, naive=True)
    if not len(pairs) or not len(blind):
        return None
    members, controls = house.members.people, house.controls.people
    rates = (singled_out(pairs, members, size), singled_out(pairs, controls, size), singled_out(blind, members, size))
    return Risk.of("singling out a client", *rates)


def _inferring(copy: Guesser, public: Guesser, members: Side, controls: Side) -> Risk | None:
    mine, theirs = ([told for _, told in side.told] for side in (members, controls))
    if not mine or not theirs:
        return None
    return Risk.of("inferring a private value", copy.rate(mine), copy.rate(theirs), public.rate(mine, naive=True))


def _phantoms(copy: Words, members: Side, controls: Side) -> tuple[dict[str, Recovery], Recovery]:
    """Values that the copy says, by kind and all: of one client that trained alone, and of one that never did."""
    said = [said_verbatim(copy, [value for _, value in side.values]) for side in (members, controls)]
    kinds = [np.array([kind for kind, _ in side.values], np.str_) for side in (members, controls)]
    by_kind = {
        str(kind): recovery(said[0][kinds[0] == kind], said[1][kinds[1] == kind]) for kind in np.unique(kinds[0])
    }
    return by_kind, recovery(*said)
