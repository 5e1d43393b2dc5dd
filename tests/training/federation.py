"""A federation in one process: real clients on stores of their own, known updates, silences scripted at every step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.privacy.accounting import Mechanism
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget
from chatfed.secagg import primitives
from chatfed.secagg.encoding import FixedPoint
from chatfed.secagg.masking import RingVector
from chatfed.types import ChatfedError, ClientId, Entropy, FloatVector
from tests.secagg.rounds import entropy_from
from training.parties.client import Client
from training.parties.identity import new_key, read_key
from training.parties.rounds import Exchange, Outcome, run_round
from training.parties.session import Session, Step
from training.parties.store import ClientStore, Store
from training.plan.agreement import Agreement, agree
from training.plan.recipe import FederationSection, PrivacySection, Recipe, SecAggSection
from training.plan.terms import ClientTerms
from training.plan.upload import PlainUpload

BASE = b"b" * 32
DIMENSION = 7
MECHANISM = Mechanism(2.0, 0.25, 1)
TERMS = ClientTerms(2.0, MECHANISM, Budget(8.0, 1e-5, Protected.DIALOGUE))
WEIGHTS = np.linspace(-1, 1, DIMENSION).astype(np.float32)


def a_recipe(
    ring_bits: int = 32,
    threshold: float = 0.6,
    update_clip: float = 1.0,
    cohort: int = 5,
    identities: str = "none",
    rotation: bool = False,
) -> Recipe:
    """Without rotation, unless it is asked for: then the integers of a sum can be read back from its mean."""
    return Recipe(
        secagg=SecAggSection(
            identities=identities,
            ring_bits=ring_bits,
            threshold=threshold,
            update_clip=update_clip,
            rotation=rotation,
        ),
        federation=FederationSection(cohort=cohort),
        privacy=PrivacySection(noise_multiplier=2.0),
    )


def names(count: int) -> tuple[ClientId, ...]:
    return tuple(ClientId(f"client-{i:02}") for i in range(count))


FOUR = names(4)


def invitation(session: Session) -> bytes:
    """The message that a session goes out in."""
    return bytes([Step.SESSION]) + session.to_bytes()


def update_of(client: ClientId, dimension: int = DIMENSION) -> FloatVector:
    """A known update with a norm of about 0.7: another for each client."""
    vector = np.random.default_rng(list(client.encode())).normal(size=dimension)
    return (0.7 * vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class Learner:
    """Gives a known update and counts how often it was asked."""

    update: FloatVector
    calls: int = 0

    def __call__(self, weights: FloatVector) -> list[FloatVector]:
        self.calls += 1
        return [self.update]


@dataclass
class Federation:
    """Clients with a store each below `home`, and the exchange that reaches them. A client lives for one message."""

    home: Path
    recipe: Recipe
    clients: tuple[ClientId, ...]
    terms: ClientTerms = TERMS
    silent: Mapping[Step, Sequence[ClientId]] = field(default_factory=dict)  # from this step on, never reached
    lost: Mapping[Step, Sequence[ClientId]] = field(default_factory=dict)  # this answer is lost
    entropy: Callable[[ClientId], Entropy] = lambda client: os.urandom
    learners: dict[ClientId, Learner] = field(default_factory=dict)
    gone: set[ClientId] = field(default_factory=set)
    wire: list[tuple[Step, ClientId, bytes]] = field(default_factory=list)  # answers that left a client
    refusals: dict[ClientId, str] = field(default_factory=dict)
    stores: dict[ClientId, Store] = field(default_factory=dict)  # that are open

    roster: dict[ClientId, bytes] = field(default_factory=dict)  # where the recipe pins identities

    def __post_init__(self) -> None:
        for client in self.clients:
            self.learners.setdefault(client, Learner(update_of(client)))
            if self.recipe.secagg.identities == "roster":
                path = self.home / client / "identity.key"
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    new_key(path, entropy_from(f"identity {client}"))  # the same in every home
                self.roster[client] = primitives.identity_public(read_key(path))

    @property
    def agreement(self) -> Agreement:
        return agree(self.recipe, self.terms.noise_multiplier)

    def client(self, name: ClientId, terms: ClientTerms | None = None, recipe: Recipe | None = None) -> Client:
        learner = self.learners[name]
        terms = terms or self.terms
        agreement = agree(recipe or self.recipe, terms.noise_multiplier)
        identity = self.home / name / "identity.key" if self.roster else None
        return Client(self.records(name), agreement, terms, BASE, learner, self.roster, identity)

    def records(self, name: ClientId) -> ClientStore:
        """What a client keeps, in a store of its own."""
        if name not in self.stores:
            self.stores[name] = Store(self.home / name / "records.db")
        return self.stores[name].of(name)

    def restarted(self, name: ClientId) -> None:
        """Its process ends, and what it had not committed is gone."""
        if name in self.stores:
            self.stores.pop(name).close()

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for name, message in messages.items():
            step = Step(message[0])
            if name in self.silent.get(step, ()):
                self.gone.add(name)
            if name in self.gone:
                continue
            try:
                answer = self.client(name).handle(message, self.entropy(name))
            except ChatfedError as error:
                self.refusals[name] = str(error)
                continue
            self.wire.append((step, name, answer))
            if name in self.lost.get(step, ()):
                self.gone.add(name)
                continue
            yield name, answer

    def session(self, round_index: int = 0, weights: FloatVector = WEIGHTS, attempt: bytes | None = None) -> Session:
        attempt = attempt or os.urandom(16)
        return Session(b"r" * 16, attempt, round_index, self.recipe.digest(), self.clients, weights)

    def run(self, session: Session | None = None) -> Outcome:
        """A round; whoever fell silent in an earlier one is back."""
        self.gone, self.refusals, self.wire = set(), {}, []
        return self.carry(session or self.session(), self)

    def carry(self, session: Session, exchange: Exchange, **how: Any) -> Outcome:
        """A round over any exchange."""
        return run_round(session, self.agreement, BASE, exchange, roster=self.roster, **how)

    def charges(self, name: ClientId) -> int:
        return len(self.client(name).ledger().entries) if self.records(name).there("ledger") else 0


def stored_upload(records: ClientStore, length: int, dtype: str) -> RingVector:
    """What a client has stored of its update: the ring elements that leave it, under its masks."""
    found = records.read("update")
    assert found is not None
    return np.frombuffer(found[1], dtype, length)


def code_of(federation: Federation) -> FixedPoint:
    """The code of a federation without rotation."""
    assert not federation.recipe.secagg.rotation
    made = federation.agreement.sums.codec.upload(len(federation.clients), DIMENSION)
    assert isinstance(made, PlainUpload)
    return made.code


def integer_sum(federation: Federation, survivors: Sequence[ClientId]) -> list[int]:
    """The obvious twin: Python integers of the survivors' stored uploads, the weight last, modulo the ring.

    Each is within a step of its update in fixed point.
    """
    code = code_of(federation)
    stored = {
        name: stored_upload(federation.records(name), DIMENSION + 1, f"<u{code.ring_bits // 8}") for name in survivors
    }
    for name, vector in stored.items():
        steps = federation.learners[name].update.astype(np.float64) * code.scale + code.level
        assert np.abs(vector[:DIMENSION] - steps).max() <= 1 + 1e-6 * code.level
    encoded = list(stored.values())
    ring = 1 << federation.recipe.secagg.ring_bits
    return [sum(int(vector[k]) for vector in encoded) % ring for k in range(len(encoded[0]))]


def ring_sum_of(federation: Federation, outcome: Outcome) -> list[int]:
    """The sum in the ring, read back from what the server decoded; 16-bit sums survive float32 exactly."""
    code = code_of(federation)
    signed = np.rint(outcome.mean.astype(np.float64) * len(outcome.survivors) * code.scale).astype(np.int64)
    zero = code.level * len(outcome.survivors)
    return [int(value) + zero for value in signed] + [round(len(outcome.survivors) * code.weight_scale)]
