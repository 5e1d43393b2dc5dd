"""A round carried by hand, with dropouts scripted at every stage, and deterministic entropy for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypedDict, TypeVar

import numpy as np

from chatfed.secagg import client, messages, primitives, server
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages import Floors, Kind, Parameters, Sign
from chatfed.secagg.states import Advertised, ClientState, Consented, Masked, Ready, Shared, Slot
from chatfed.types import Entropy

EPOCH = b"an epoch's name."
SCOPE = messages.scope(b"run", b"r" * 32, messages.roster_root(["anna", "ben"]))


def ctx_of(number: int) -> bytes:
    return messages.context(b"run", number, b"m" * 32, b"r" * 32, messages.roster_root(["anna", "ben"]))


CTX = ctx_of(1)
UNSIGNED = Parameters(7, 4, 5)  # nobody has an identity
FIVE = Parameters(5, 3, 4, committee=5, quorum=3, slots=3)


def entropy_from(seed: object) -> Callable[[int], bytes]:
    """SHAKE-256 of a seed and a counter: reproducible, for tests alone."""
    calls = [0]

    def entropy(size: int) -> bytes:
        calls[0] += 1
        return hashlib.shake_256(f"{seed}/{calls[0]}".encode()).digest(size)

    return entropy


def random_vectors(parameters: Parameters, seed: int = 0) -> dict[int, RingVector]:
    """One uniform ring vector for each participant."""
    generator, dtype = np.random.default_rng(seed), ring_dtype(parameters.ring_bits)
    ids, high = range(1, parameters.participants + 1), np.iinfo(dtype).max
    return {i: generator.integers(0, high, parameters.length, dtype, endpoint=True) for i in ids}


def ring_sum(parameters: Parameters, vectors: Sequence[RingVector]) -> list[int]:
    """The obvious twin of the protocol: Python integers, modulo the ring's size."""
    size = 1 << (8 * ring_dtype(parameters.ring_bits).itemsize)
    return [sum(int(v[k]) for v in vectors) % size for k in range(parameters.length)]


State = TypeVar("State")


class ServerStates(TypedDict, total=False):
    """What the server's state was after each of its steps."""

    open: server.Advertising
    sharing: server.Sharing
    epoch: server.Epoch
    collecting: server.Collecting
    certifying: server.Certifying
    unmasking: server.Unmasking


@dataclass
class Carried:
    """A round in progress: all states, and every message that went over the wire, by (kind, sender or receiver)."""

    parameters: Parameters
    ctx: bytes = CTX
    seed: object = 0
    states: dict[int, ClientState] = field(default_factory=dict)
    history: list[tuple[int, ClientState]] = field(default_factory=list)
    wire: dict[tuple[Kind, int], bytes] = field(default_factory=dict)
    server_states: ServerStates = field(default_factory=ServerStates)
    epoch: bytes = EPOCH
    scope: bytes = SCOPE
    slot: int = 0  # the one that was used last
    secrets: dict[int, tuple[bytes, ...]] = field(default_factory=dict)  # by participant: of each slot

    def secrets_of(self, who: int, slot: int | None = None) -> Slot:
        """A participant's secrets of a slot, of the one that was used last where none is named."""
        at = self.slot if slot is None else slot
        return Slot.from_bytes(self.secrets[who][at], state_of(self, who, Ready).members, self.parameters.layout)

    def keep(self, kind: Kind, who: int, state: ClientState, message: bytes) -> bytes:
        self.states[who] = state
        self.history.append((who, state))
        self.wire[kind, who] = message
        return message

    def delivered(self, kind: Kind, outbound: Mapping[int, bytes]) -> Mapping[int, bytes]:
        self.wire.update({(kind, i): message for i, message in outbound.items()})
        return outbound


def identity(i: int) -> bytes:
    """Participant i's Ed25519 private key: for tests alone."""
    return hashlib.sha256(f"identity {i}".encode()).digest()


def roster_of(parameters: Parameters) -> tuple[bytes, ...]:
    """Identities of all participants where the parameters ask for a quorum, else none."""
    everyone = range(1, parameters.participants + 1)
    return tuple(primitives.identity_public(identity(i)) for i in everyone) if parameters.quorum else ()


def signs_as(i: int) -> Sign:
    return partial(primitives.sign, identity(i))


def signer(parameters: Parameters, i: int) -> Sign | None:
    return signs_as(i) if parameters.quorum else None


def carry(
    parameters: Parameters,
    vectors: Mapping[int, RingVector],
    gone: Mapping[int, Collection[int]] | None = None,
    order: Sequence[int] | None = None,
    ctx: bytes = CTX,
    seed: object = 0,
    carried: Carried | None = None,
    own: Mapping[int, Entropy] | None = None,
) -> server.Total:
    """Agree on keys, and run one sum. gone: stage (0, 1, 2, 3, 4) -> who drops out there.

    order: in which masked inputs arrive. own: entropy of participants that do not draw from the one that `seed` gives.
    """
    c = carried or Carried(parameters)
    c.ctx = ctx
    agree_on_keys(c, gone, seed, own)
    return carry_on(c, 0, vectors, gone, order, ctx)


def agree_on_keys(
    c: Carried,
    gone: Mapping[int, Collection[int]] | None = None,
    seed: object = 0,
    own: Mapping[int, Entropy] | None = None,
) -> None:
    """What is done once an epoch. gone: stage (0, 1) -> who drops out there."""
    lost = _lost(gone)
    parameters = c.parameters
    floors, roster, everyone = Floors(2, 2), roster_of(parameters), range(1, parameters.participants + 1)
    entropy = dict.fromkeys(everyone, entropy_from(seed)) | dict(own or {})
    sign = {i: signer(parameters, i) for i in everyone}

    opened = server.open_epoch(parameters, c.scope, c.epoch, roster)
    sent = {}
    for i in everyone:
        if i not in lost[0]:
            advertised = client.advertise(parameters, floors, c.scope, c.epoch, i, entropy[i], roster, sign[i])
            sent[i] = c.keep(Kind.ADVERT, i, *advertised)
    sharing, out = server.relay_adverts(opened, sent)
    c.delivered(Kind.ADVERTS, out)

    sent = {i: c.keep(Kind.SHARES, i, *client.share(c.states[i], out[i], entropy[i])) for i in out if i not in lost[1]}
    epoch, out = server.relay_shares(sharing, sent)
    c.delivered(Kind.ENVELOPES, out)
    for i, message in out.items():
        ready, c.secrets[i] = client.open_envelopes(c.states[i], message)
        c.history.append((i, ready))
    c.server_states = {"open": opened, "sharing": sharing, "epoch": epoch}


def agreed_on(parameters: Parameters, seed: object = 0) -> Carried:
    carried = Carried(parameters)
    agree_on_keys(carried, seed=seed)
    return carried


def assert_exact_sum(parameters: Parameters, gone: Mapping[int, Collection[int]]) -> None:
    """A round with such dropouts gives the sum of whoever sent a masked input, to the last bit."""
    vectors = random_vectors(parameters)
    total = carry(parameters, vectors, gone)
    survivors = tuple(i for i in vectors if not any(i in gone.get(stage, ()) for stage in (0, 1, 2)))
    assert total.survivors == survivors
    assert total.vector.tolist() == ring_sum(parameters, [vectors[i] for i in survivors])
    assert total.disputes == ()


def carry_on(
    c: Carried,
    slot: int,
    vectors: Mapping[int, RingVector],
    gone: Mapping[int, Collection[int]] | None = None,
    order: Sequence[int] | None = None,
    ctx: bytes = CTX,
    present: Collection[int] | None = None,
) -> server.Total:
    """One sum in a slot of an epoch that is agreed on. gone: stage (2, 3, 4) -> who drops out there."""
    lost, parameters, epoch = _lost(gone), c.parameters, c.server_states["epoch"]
    c.slot, c.ctx = slot, ctx
    collecting, out = server.begin(epoch, slot, ctx, epoch.sharers if present is None else present)
    c.delivered(Kind.PRESENT, out)
    for i in order or sorted(out):
        if i in out and i not in lost[2]:
            ready, secrets, sign = state_of(c, i, Ready), c.secrets_of(i), signer(parameters, i)
            masked = client.masked_input(ready, slot, secrets, ctx, out[i], vectors[i], sign)
            collecting = server.accept(collecting, i, c.keep(Kind.MASKED_INPUT, i, *masked))
    c.server_states["collecting"] = collecting
    closed, out = server.close_inputs(collecting)
    c.delivered(Kind.SURVIVORS, out)

    if parameters.quorum:
        c.server_states["certifying"] = closed
        there = [i for i in out if i not in lost[3]]
        sent = {i: c.keep(Kind.CONSENT, i, *client.consent(c.states[i], out[i], signs_as(i))) for i in there}
        closed, out = server.certify(closed, sent)
        c.delivered(Kind.CERTIFICATE, out)
        out = {i: message for i, message in out.items() if i in there}
    assert isinstance(closed, server.Unmasking)
    c.server_states["unmasking"] = closed

    sent = {i: c.keep(Kind.ANSWER, i, *client.unmask(c.states[i], out[i])) for i in out if i not in lost[4]}
    return server.finish(closed, sent)


def _lost(gone: Mapping[int, Collection[int]] | None) -> dict[int, frozenset[int]]:
    return {stage: frozenset((gone or {}).get(stage, ())) for stage in range(5)}


def reseal(message: bytes, body: bytes) -> bytes:
    """The same header over another body, with a right checksum: what a malicious sender would send."""
    kind, sender, session = Kind(message[1]), int.from_bytes(message[4:8], "little"), message[8:40]
    return messages.encode(kind, sender, session, body)


def body_of(message: bytes) -> bytes:
    return message[56:]


def of_epoch(parameters: Parameters, epoch: bytes = EPOCH, scope: bytes = SCOPE) -> bytes:
    """The session that an agreement on keys is bound to."""
    return parameters.session(scope, epoch, roster_of(parameters))


def made_for(carried: Carried, who: int) -> dict[int, bytes]:
    """The envelopes that the server relayed to `who`, by who made them."""
    sharing, message = carried.server_states["sharing"], carried.wire[Kind.ENVELOPES, who]
    return messages.decode_envelopes(message, sharing.view, sharing.graph.neighbours(who), carried.parameters)


def shown(carried: Carried, ids: Collection[int], ctx: bytes | None = None, slot: int | None = None) -> bytes:
    """What a server says of who is present, whoever is."""
    there = messages.Present(
        carried.slot if slot is None else slot, carried.ctx if ctx is None else ctx, frozenset(ids)
    )
    return there.encode(carried.server_states["sharing"].view, carried.parameters.participants)


def begun_again(carried: Carried, present: Collection[int] | None = None) -> server.Collecting:
    """The slot that was used last, once more from its start: what the rules forbid and a test may do."""
    epoch = carried.server_states["epoch"]
    return server.begin(epoch, carried.slot, carried.ctx, epoch.sharers if present is None else present)[0]


def state_of(carried: Carried, who: int, step: type[State]) -> State:
    """The state that a participant was in at this step, the last time."""
    return next(state for i, state in reversed(carried.history) if i == who and isinstance(state, step))


def deliver(carried: Carried, kind: Kind, who: int, message: bytes) -> object:
    """Hand a message of this kind, from or to `who`, to the party that reads it, in the state it is read in."""
    p, states, sign = carried.parameters, carried.server_states, signer(carried.parameters, who)
    sent = {i: m for (each, i), m in carried.wire.items() if each is kind} | {who: message}
    if kind is Kind.ADVERT:
        return server.relay_adverts(states["open"], sent)
    if kind is Kind.ADVERTS:
        return client.share(state_of(carried, who, Advertised), message, entropy_from(0))
    if kind is Kind.SHARES:
        return server.relay_shares(states["sharing"], sent)
    if kind is Kind.ENVELOPES:
        return client.open_envelopes(state_of(carried, who, Shared), message)
    if kind is Kind.PRESENT:
        zeros, ready = np.zeros(p.length, dtype=ring_dtype(p.ring_bits)), state_of(carried, who, Ready)
        secrets = carried.secrets_of(who)
        return client.masked_input(ready, carried.slot, secrets, carried.ctx, message, zeros, sign)
    if kind is Kind.MASKED_INPUT:
        collecting = states["collecting"]
        blank = collecting.accumulator.blank()
        return server.accept(replace(collecting, bound={}, accumulator=blank), who, message)
    if kind is Kind.SURVIVORS and sign:
        return client.consent(state_of(carried, who, Masked), message, sign)
    if kind is Kind.CONSENT:
        return server.certify(states["certifying"], sent)
    if kind in (Kind.SURVIVORS, Kind.CERTIFICATE):
        return client.unmask(state_of(carried, who, Consented) if sign else state_of(carried, who, Masked), message)
    return server.finish(states["unmasking"], sent)
