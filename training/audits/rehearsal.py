"""A federation in one process whose entropy, inputs and silences the auditor chooses.

The real clients, ledgers, masks and sums of a run's own agreement, around inputs that are known. Judges nothing.

Identities are not pinned here, whatever the recipe says: signatures move no number that leaves.
"""

from __future__ import annotations

import hashlib
import sqlite3
import ssl
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from chatfed.privacy.ledger import Budget, Entry
from chatfed.privacy.noise import system_random
from chatfed.secagg import server as secagg
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages import encode_survivors
from chatfed.types import ChatfedError, ClientId, Entropy, FloatVector

from ..parties.aggregator import invited
from ..parties.answering import answers
from ..parties.client import Client
from ..parties.rounds import Outcome, Standing, run_round
from ..parties.session import Session, Step, encode_shares, round_context
from ..parties.store import Store, number_of
from ..plan.agreement import Agreement
from ..plan.codec import Codec
from ..plan.terms import ClientTerms
from ..plan.upload import Part

BASE = hashlib.sha256(b"what an audit rehearses with").digest()
RUN = BASE[:16]
GENEROUS = 1e6  # epsilon of a budget that a rehearsal does not end by

Inputs = Callable[[ClientId], Iterable[Part]]
"""What a client learns, whenever it is asked: its parts, float32[d] each."""


def stream(*name: object) -> Entropy:
    """Entropy that is the same each time: SHAKE-128 of a name and of how many calls for so many bytes came before.

    Who asks for more gets the same bytes first, and a call that another data set makes once more, for bytes of another
    number, moves no other: so replays differ in what data decide and not in luck.
    """
    seed, calls = repr(name).encode(), Counter[int]()

    def draw(size: int) -> bytes:
        calls[size] += 1
        return hashlib.shake_128(seed + calls[size].to_bytes(8, "big")).digest(size)

    return draw


@contextmanager
def frozen(entropy: Entropy) -> Iterator[None]:
    """The system's generator is `entropy` meanwhile, for what is not handed one: samples, and noise of one's own."""
    real = ssl.RAND_bytes
    ssl.RAND_bytes = entropy
    try:
        yield
    finally:
        ssl.RAND_bytes = real


@dataclass(frozen=True)
class Setting:
    """What is rehearsed, and how large."""

    home: Path
    agreement: Agreement
    terms: ClientTerms
    clients: tuple[ClientId, ...]
    dimension: int  # trained weights
    clip_norm: float = 0.0  # of invitations, where it follows a quantile

    @property
    def codec(self) -> Codec:
        """Of the clients' updates."""
        return self.agreement.sums.codec

    @property
    def bands(self) -> int:
        """Rounds in which an update is sent."""
        return self.agreement.schedule.bands

    def invited(self, index: int) -> dict[ClientId, int]:
        """Who is asked in a round, and the rounds since each one's update began."""
        return invited(self.clients, index, self.agreement.schedule)

    def beginner(self, index: int) -> ClientId:
        """The first of those whose update begins in a round."""
        return next(name for name, lag in self.invited(index).items() if not lag)

    @property
    def generous(self) -> Setting:
        """The same with a budget that nothing here ends."""
        return self.of_budget(GENEROUS)

    def of_budget(self, epsilon: float) -> Setting:
        """The same with another budget of each client."""
        budget = Budget(epsilon, self.terms.budget.delta, self.terms.budget.unit)
        return replace(self, terms=replace(self.terms, budget=budget))

    @contextmanager
    def rehearsal(
        self, name: str, inputs: Inputs, entropy: Callable[[ClientId], Entropy] | None = None
    ) -> Iterator[Rehearsal]:
        """Clients that have never taken part, below a folder of that name."""
        made = Rehearsal(self, self.home / name, inputs, entropy or (lambda client: system_random))
        try:
            yield made
        finally:
            made.store.close()


@dataclass
class Rehearsal:
    """Clients on one store, made anew for each message, and the exchange that reaches them."""

    setting: Setting
    home: Path
    inputs: Inputs
    make_entropy: Callable[[ClientId], Entropy]
    silent: Mapping[Step, Collection[ClientId]] = field(default_factory=dict)  # from this step on
    gone: set[ClientId] = field(default_factory=set)
    refusals: dict[ClientId, str] = field(default_factory=dict)
    wire: list[tuple[Step, ClientId, bytes]] = field(default_factory=list)  # answers, as they left
    charged: dict[ClientId, list[int]] = field(default_factory=dict)  # charges on the disk when learning began, by call
    participants: int = 0  # of the last sum

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        self.store = Store(self.home / "records.db")
        self.entropy = {name: self.make_entropy(name) for name in self.setting.clients}
        self.weights = np.zeros(self.setting.dimension, np.float32)

    def client(self, name: ClientId) -> Client:
        """The client as it begins anew on its records."""

        def learn(weights: FloatVector) -> Iterable[Part]:
            self.charged.setdefault(name, []).append(self.charges_on_disk(name))
            return self.inputs(name)

        return Client(self.store.of(name), self.setting.agreement, self.setting.terms, BASE, learn)

    def session(self, index: int, attempt: int = 0) -> Session:
        """An invitation to round `index`, whose weights are another's; attempt: tells attempts at it apart."""
        who = self.setting.invited(index)
        name = hashlib.sha256(f"{index}/{attempt}".encode()).digest()[:16]
        head = RUN, name, index, self.setting.agreement.digest, tuple(who)
        return Session(*head, self.weights + np.float32(index), self.setting.clip_norm, tuple(who.values()))

    def run(self, session: Session, standing: Standing | None = None) -> Outcome:
        """A round; whoever fell silent in an earlier one is back. Raises ChatfedError."""
        self.gone, self.refusals, self.wire = set(), {}, []
        return run_round(session, self.setting.agreement, BASE, self, standing=standing)

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        """As an exchange: the answers of those that are not silent and do not refuse."""
        step = Step(next(iter(messages.values()))[0])
        if step == Step.SESSION:
            self.participants = len(messages)
        self.gone |= set(self.silent.get(step, ()))
        asked = {name: message for name, message in messages.items() if name not in self.gone}
        steps = [self.client(name).steps(message, self.entropy[name]) for name, message in asked.items()]
        for name, answer in zip(asked, answers(steps, self.store), strict=True):
            if isinstance(answer, ChatfedError):
                self.refusals[name] = str(answer)
            else:
                self.wire.append((step, name, answer))
                yield name, answer

    def ledger(self, name: ClientId) -> tuple[tuple[Entry, ...], float]:
        """The client's charges and what they cost, by itself."""
        ledger = self.client(name).ledger()
        return ledger.entries, ledger.epsilon

    def charges_on_disk(self, name: ClientId) -> int:
        """How many charges another process would find: what was committed, and nothing that waits."""
        asked = "select count(*) from records where client = ? and name like 'charge %'"
        database = sqlite3.connect(self.store.path)
        try:
            (found,) = database.execute(asked, (number_of(name),)).fetchone()
        finally:
            database.close()
        return int(found)

    def upload(self, name: ClientId) -> RingVector:
        """What the client has stored of its update: the ring elements that leave it, under its masks."""
        _, raw = self.store.of(name).read("update") or ("", b"")
        return np.frombuffer(raw, ring_dtype(self.ring_bits))  # type: ignore[return-value]  # of one of the ring's types

    def masked(self, name: ClientId) -> RingVector:
        """The vector in the masked input that the client sent last: what its message ends with."""
        [*_, message] = [answer for step, who, answer in self.wire if step == Step.SHARES and who == name]
        upload = self.upload(name)
        return np.frombuffer(message[len(message) - upload.nbytes :], upload.dtype)  # type: ignore[return-value]  # as above

    @property
    def ring_bits(self) -> int:
        """Of the last sum."""
        size = self.setting.agreement.size(self.participants, self.setting.dimension)
        return self.setting.codec.upload(*size).ring_bits


def collected(made: Rehearsal, session: Session) -> secagg.Collecting:
    """A server that has everybody's masked input, and has asked nobody to unmask: what it asks next is up to it."""
    agreement = made.setting.agreement
    parameters = agreement.sums.parameters(*agreement.size(len(session.cohort), made.setting.dimension))
    opened = secagg.open_epoch(parameters, session.scope, session.attempt)
    everyone = dict.fromkeys(range(1, len(session.cohort) + 1), session.to_bytes())
    sharing, out = secagg.relay_adverts(opened, ask(made, session, Step.SESSION, everyone))
    epoch, envelopes = secagg.relay_shares(sharing, ask(made, session, Step.ADVERTS, out))
    collecting, out = secagg.begin(epoch, 0, round_context(session, BASE), epoch.sharers)
    sent = {i: encode_shares(envelopes[i], message) for i, message in out.items()}
    for sender, answer in ask(made, session, Step.SHARES, sent).items():
        collecting = secagg.accept(collecting, sender, answer)
    return collecting


def ask(made: Rehearsal, session: Session, step: Step, messages: Mapping[int, bytes]) -> dict[int, bytes]:
    """Answers by participants' numbers, of those that give one."""
    number = {name: i for i, name in enumerate(session.cohort, 1)}
    sent = {session.cohort[i - 1]: bytes([step]) + message for i, message in messages.items()}
    return {number[name]: answer[1:] for name, answer in made(sent)}


def ask_to_unmask(
    made: Rehearsal, session: Session, collecting: secagg.Collecting, survivors: Sequence[int]
) -> dict[int, bytes]:
    """What those that are named answer to a survivor set of the server's choice."""
    message = encode_survivors(collecting.turn, len(session.cohort), survivors, {})
    return ask(made, session, Step.SURVIVORS, dict.fromkeys(survivors, message))
