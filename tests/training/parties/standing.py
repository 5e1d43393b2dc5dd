"""Rounds of a federation whose keys stand from one to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from chatfed.secagg.messages import Present
from chatfed.types import ChatfedError, ClientId
from tests.training.federation import BASE, FOUR, Federation, a_recipe, integer_sum, ring_sum_of
from training.parties.answering import Refused
from training.parties.client import Client
from training.parties.rounds import Outcome, Standing
from training.parties.session import Session, Step, decode_shares, encode_shares, round_context

A = FOUR[0]
SLOTS = 3
KEEPING = ["kept", "anew", "both by turns"]
Dropped = Mapping[Step, Sequence[ClientId]]
NONE: Mapping[Any, Any] = {}


def a_federation(home: Path, identities: str = "none", rounds: int = 10, clients: Sequence[ClientId] = FOUR) -> Epochs:
    made = a_recipe(ring_bits=16, cohort=4, identities=identities)
    secagg, plan = replace(made.secagg, key_rounds=SLOTS), replace(made.federation, rounds=rounds)
    return Epochs(home, replace(made, secagg=secagg, federation=plan), tuple(clients))


@dataclass
class Epochs(Federation):
    """Rounds of one federation on keys that stand, and what the server asked in the last of them."""

    keeping: str = "anew"
    standing: Standing = field(default_factory=Standing)
    asked: dict[Step, dict[ClientId, bytes]] = field(default_factory=dict)
    crash: Step | None = None  # where A is killed when it has the answer, before the last commit
    kept: dict[ClientId, Client] = field(default_factory=dict)
    turns: Counter[ClientId] = field(default_factory=Counter)

    def client(self, name: ClientId, *how: Any, **more: Any) -> Client:
        self.turns[name] += 1
        if self.keeping == "anew" or (self.keeping != "kept" and self.turns[name] % 2):
            return super().client(name, *how, **more)
        if name not in self.kept:
            self.kept[name] = super().client(name)
        return self.kept[name]

    def restarted(self, name: ClientId) -> None:
        self.kept.pop(name, None)
        super().restarted(name)

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if messages:
            self.asked[Step(next(iter(messages.values()))[0])] = dict(messages)
        if self.crash in self.asked and A in messages:
            for _ in self.client(A).steps(messages[A]):
                self.records(A).commit()
            self.restarted(A)
            self.gone.add(A)
            self.crash = None
        yield from super().__call__(messages)

    def round(self, index: int, silent: Dropped = NONE, lost: Dropped = NONE, **how: Any) -> Outcome:
        self.silent, self.lost, self.gone, self.asked, self.refusals = silent, lost, set(), {}, {}
        session = how.pop("session", None) or self.session(index)
        return self.carry(session, self, standing=self.standing, **how)

    def exact(self, outcome: Outcome, survivors: Sequence[ClientId]) -> bool:
        return outcome.survivors == tuple(survivors) and ring_sum_of(self, outcome) == integer_sum(self, survivors)

    @property
    def agreed_anew(self) -> bool:
        """Whether the last round began with new keys."""
        return Step.ADVERTS in self.asked

    @property
    def enveloped(self) -> set[ClientId]:
        """To whom the last round brought envelopes."""
        return {name for name, message in self.asked[Step.SHARES].items() if decode_shares(message[1:])[0]}

    def on_standing(self, index: int, slot: int, other: Mapping[str, Any] = NONE) -> Session:
        """An invitation on the keys that stand."""
        said: dict[str, Any] = {"epoch": self.standing.name, "slot": slot, **other}
        return replace(self.session(index), **said)

    def shares(self, session: Session, slot: int | None = None, ctx: bytes = b"") -> bytes:
        """What a client that was invited to a session is asked its masked input with."""
        assert self.standing.epoch is not None
        there = session.slot if slot is None else slot, ctx or round_context(session, BASE), frozenset({1, 2, 3})
        return bytes([Step.SHARES]) + encode_shares(b"", Present(*there).encode(self.standing.epoch.view, 4))

    def spent(self) -> list[tuple[int, int]]:
        return [(self.learners[name].calls, self.charges(name)) for name in self.clients]


def refuses(epochs: Epochs, message: bytes, match: str, error: type[ChatfedError] = Refused) -> bool:
    """With one line, and A neither learns nor pays."""
    before = epochs.learners[A].calls, epochs.charges(A)
    with pytest.raises(error, match=match) as caught:
        epochs.client(A).handle(message)
    return "\n" not in str(caught.value) and (epochs.learners[A].calls, epochs.charges(A)) == before
