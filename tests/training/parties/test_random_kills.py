"""Killed at random moments, again and again, a federation loses no charge, makes none twice and answers once.

CHATFED_KILLS says how often (CI: 12). `make test-kills` runs 200.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
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
from training.parties.rounds import commit
from training.parties.session import Session, Step
from training.parties.store import Key
from training.plan.terms import ClientTerms

KILLS = int(os.environ.get("CHATFED_KILLS", "12"))
GENEROUS = ClientTerms(2.0, MECHANISM, Budget(1e6, 1e-5, Protected.DIALOGUE))
LONGEST = 0.12  # seconds that a process lives, some rounds


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


@dataclass
class Life:
    """A server and its clients in one process, from where the last one was killed."""

    folder: Path
    identities: str
    diary: Diary = field(init=False)

    def __post_init__(self) -> None:
        self.diary = Diary(self.folder / "diary")
        recipe = a_recipe(ring_bits=16, cohort=4, identities=self.identities)
        self.federation = Federation(self.folder / "homes", recipe, FOUR, GENEROUS)
        self.federation.learners = {name: Saying(name, self.diary) for name in FOUR}

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
        if random.random() < 0.5:
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


def lives(folder: Path, identities: str, seed: int) -> None:
    random.seed(seed)
    Life(folder, identities).go_on()


def killed_again_and_again(folder: Path, identities: str, kills: int) -> None:
    forked, chance = multiprocessing.get_context("fork"), random.Random(7)
    for seed in range(kills):
        process = forked.Process(target=lives, args=(folder, identities, seed))
        process.start()
        time.sleep(chance.uniform(0.0, LONGEST))
        assert process.is_alive(), "it ended by itself"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        dead = Life(folder, identities)
        _check_charges(dead, dead.diary.read())
        for name in FOUR:
            dead.federation.restarted(name)


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_killed_at_random_moments_no_charge_is_lost_or_doubled_and_no_second_answer_leaves(
    tmp_path: Path, identities: str
) -> None:
    Life(tmp_path, identities)  # draws the keys
    killed_again_and_again(tmp_path, identities, KILLS)
    last = Life(tmp_path, identities)
    killed_in = last.done
    random.seed(99)
    last.go_on(killed_in + 3)
    said = last.diary.read()
    assert len({each["round"] for each in said if "round" in each}) > 2
    assert {each["what"] for each in said} >= {"SESSION", "ADVERTS", "SHARES", "SURVIVORS", "learns"}
    _check_charges(last, said)
    _check_answers(said)
    _check_that_nothing_is_left(last)


def _check_charges(last: Life, said: Sequence[Mapping[str, Any]]) -> None:
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


def _check_answers(said: Sequence[Mapping[str, Any]]) -> None:
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


def _check_that_nothing_is_left(last: Life) -> None:
    for name in FOUR:
        records = last.federation.records(name)
        assert not any(records.there(each) for each in ("update", "round", "answered", "begun"))
        with pytest.raises(DamagedState, match="is gone"):
            records.secret(Key.RELEASE)
