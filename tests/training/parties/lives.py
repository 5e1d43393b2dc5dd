"""A federation's server and clients in one process that ends at any moment, what is said of it, and what must hold."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chatfed.privacy.accounting import compose
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget
from chatfed.secagg import primitives
from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError, ClientId, FloatVector
from tests.training.federation import FOUR, MECHANISM, WEIGHTS, Federation, Learner, a_recipe, update_of
from training.durable import read_if_there, write_atomically
from training.parties.answering import answers
from training.parties.client import READ
from training.parties.homes import Homes
from training.parties.rounds import commit
from training.parties.session import Session, Step
from training.parties.store import ClientStore, Key
from training.plan.terms import ClientTerms

GENEROUS = ClientTerms(2.0, MECHANISM, Budget(1e6, 1e-5, Protected.DIALOGUE))


@dataclass
class Diary:
    """What happened, a line each, written before it goes on; a killed process's lines stay."""

    path: Path

    def say(self, **what: object) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, json.dumps(what).encode() + b"\n")
        os.close(handle)

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (read_if_there(self.path) or b"").splitlines()]


class Saying(Learner):
    """Says that it learns, and learns something else each time, as fresh noise is."""

    def __init__(self, name: ClientId, diary: Diary) -> None:
        super().__init__(update_of(name))
        self.name, self.diary = name, diary

    def __call__(self, weights: FloatVector) -> list[FloatVector]:
        self.diary.say(what="learns", client=self.name, round=round(float(weights[0])))
        time.sleep(random.uniform(0, 0.01))
        return [self.update * random.random()]


class Together(Federation):
    """Clients that share their stores, and commit together what they answer together, as in a simulation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.homes = Homes(self.home)

    def records(self, name: ClientId) -> ClientStore:
        return self.homes.of(name)

    def restarted(self, name: ClientId) -> None:
        self.homes.close()
        self.homes = Homes(self.home)

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        self.gone |= {name for name in messages if name in self.silent.get(Step(messages[name][0]), ())}
        asked = [name for name in messages if name not in self.gone]
        for name in asked:
            self.records(name)
        given = answers([self.client(name).steps(messages[name]) for name in asked], self.homes, asked, READ)
        for name, answer in zip(asked, given, strict=True):
            if isinstance(answer, ChatfedError):
                self.refusals[name] = str(answer)
            else:
                yield name, answer


@dataclass
class Life:
    """A server and its clients in one process, from where the last one was killed."""

    folder: Path
    identities: str
    kind: type[Federation] = Federation
    all_there: bool = False  # whether nobody falls silent
    diary: Diary = field(init=False)

    def __post_init__(self) -> None:
        self.diary = Diary(self.folder / "diary")
        recipe = a_recipe(ring_bits=16, cohort=4, identities=self.identities)
        self.federation = self.kind(self.folder / "homes", recipe, FOUR, GENEROUS)
        self.federation.learners = {name: Saying(name, self.diary) for name in FOUR}

    def end(self) -> None:
        """Lets go of all files."""
        for name in FOUR:
            self.federation.restarted(name)
        if isinstance(self.federation, Together):
            self.federation.homes.close()

    def session(self, index: int) -> Session:
        """The model says the round, so that a learner knows it."""
        return self.federation.session(index, (0 * WEIGHTS + index).astype(WEIGHTS.dtype))

    def go_on(self, until: int | None = None) -> None:
        while until is None or self.done < until:
            self.play(self.done)

    @property
    def done(self) -> int:
        return int(read_if_there(self.folder / "done") or b"0")

    def play(self, index: int) -> None:
        self.federation.gone = set()
        self.federation.silent = {random.choice([Step.SESSION, Step.ADVERTS, Step.SHARES]): random.choices(FOUR, k=1)}
        if self.all_there or random.random() < 0.5:
            self.federation.silent = {}
        settled, session = self.folder / f"settled-{index}", self.session(index)
        agreed = read_if_there(settled)
        try:
            self.federation.carry(
                session,
                self.watched,
                agreed=agreed and [ClientId(name) for name in json.loads(agreed)],
                settle=lambda survivors: write_atomically(settled, json.dumps(list(survivors)).encode()),
            )
        except ChatfedError as error:
            self.diary.say(what="no sum", why=str(error))
            return
        write_atomically(self.folder / "done", str(index + 1).encode())
        self.federation.gone, self.federation.silent = set(), {}
        commit(session, self.federation)
        self.diary.say(what="committed")

    def watched(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        """Says what leaves, with what is on the client's disk at that moment."""
        for name, answer in self.federation(messages):
            records = self.federation.records(name)
            update, answered = records.read("update"), records.read("answered")
            self.diary.say(
                what=Step(answer[0]).name,
                client=name,
                round=self.done,
                update=primitives.digest(b"test", update[1]).hex() if update else "",
                survivors=answered[1].decode() if answered else "",
            )
            yield name, answer


def check_charges(last: Life, said: Sequence[Mapping[str, Any]]) -> None:
    """Whoever learned for a round had paid for it, once, whatever came in between."""
    learned = defaultdict[str, set[int]](set)
    for each in said:
        if each["what"] == "learns":
            learned[each["client"]].add(each["round"])
    for name in FOUR:
        ledger = last.federation.client(name).ledger()
        paid = Counter(int(entry.key.split("/")[1]) for entry in ledger.entries)
        assert set(paid.values()) <= {1}, paid
        assert learned[name] <= set(paid)
        assert set(paid) <= set(range(last.done + 1))
        assert ledger.epsilon == compose([MECHANISM] * len(paid), delta=1e-5)


def check_answers(said: Sequence[Mapping[str, Any]]) -> None:
    """Of each client one update a round, in whatever attempt, and one survivor set."""
    updates, sets = defaultdict[tuple[str, int], set[str]](set), defaultdict[tuple[str, int], set[str]](set)
    for each in said:
        if each["what"] in ("SESSION", "ADVERTS", "SHARES"):
            updates[each["client"], each["round"]].add(each["update"])
        if each["what"] in ("SURVIVORS", "CERTIFICATE"):
            sets[each["client"], each["round"]].add(each["survivors"])
    assert updates and sets
    assert {len(found) for found in updates.values()} == {1}
    assert {len(found) for found in sets.values()} == {1}
    assert "" not in set().union(*updates.values()) | set().union(*sets.values())


def check_that_nothing_is_left(last: Life) -> None:
    for name in FOUR:
        records = last.federation.records(name)
        assert not any(records.there(each) for each in ("update", "round", "answered", "begun"))
        with pytest.raises(DamagedState, match="is gone"):
            records.secret(Key.RELEASE)
