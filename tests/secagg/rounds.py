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
from chatfed.secagg.states import Advertised, ClientState, Consented, Masked, Shared
from chatfed.types import Entropy

ATTEMPT = b"attempt 16 bytes"
CTX = messages.context(b"run", 1, b"m" * 32, b"r" * 32, messages.roster_root(["anna", "ben"]))


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
    """Run one round. gone: stage (0, 1, 2, 3, 4) -> who drops out there. order: in which masked inputs arrive.

    own: entropy of participants that do not draw from the one that `seed` gives.
    """
    gone, c = gone or {}, carried or Carried(parameters)
    lost = {stage: frozenset(gone.get(stage, ())) for stage in range(5)}
    floors, roster, everyone = Floors(2, 2), roster_of(parameters), range(1, parameters.participants + 1)
    entropy = dict.fromkeys(everyone, entropy_from(seed)) | dict(own or {})
    sign = {i: signer(parameters, i) for i in everyone}

    opened = server.open_round(parameters, ctx, ATTEMPT, roster)
    sent = {}
    for i in everyone:
        if i not in lost[0]:
            sent[i] = c.keep(
                Kind.ADVERT, i, *client.advertise(parameters, floors, ctx, ATTEMPT, i, entropy[i], roster, sign[i])
            )
    sharing, out = server.relay_adverts(opened, sent)
    c.delivered(Kind.ADVERTS, out)

    sent = {i: c.keep(Kind.SHARES, i, *client.share(c.states[i], out[i], entropy[i])) for i in out if i not in lost[1]}
    collecting, out = server.relay_shares(sharing, sent)
    c.delivered(Kind.ENVELOPES, out)

    c.server_states = {"open": opened, "sharing": sharing}
    for i in order or sorted(out):
        if i in out and i not in lost[2]:
            message = c.keep(Kind.MASKED_INPUT, i, *client.masked_input(c.states[i], out[i], vectors[i], sign[i]))
            collecting = server.accept(collecting, i, message)
    c.server_states["collecting"] = collecting
    closed, out = server.close_inputs(collecting)
    c.delivered(Kind.SURVIVORS, out)

    if parameters.quorum:
        c.server_states["certifying"] = closed
        present = [i for i in out if i not in lost[3]]
        sent = {i: c.keep(Kind.CONSENT, i, *client.consent(c.states[i], out[i], signs_as(i))) for i in present}
        closed, out = server.certify(closed, sent)
        c.delivered(Kind.CERTIFICATE, out)
        out = {i: message for i, message in out.items() if i in present}
    assert isinstance(closed, server.Unmasking)
    c.server_states["unmasking"] = closed

    sent = {i: c.keep(Kind.ANSWER, i, *client.unmask(c.states[i], out[i])) for i in out if i not in lost[4]}
    return server.finish(closed, sent)


def reseal(message: bytes, body: bytes) -> bytes:
    """The same header over another body, with a right checksum: what a malicious sender would send."""
    kind, sender, session = Kind(message[1]), int.from_bytes(message[4:8], "little"), message[8:40]
    return messages.encode(kind, sender, session, body)


def body_of(message: bytes) -> bytes:
    return message[56:]


def state_of(carried: Carried, who: int, step: type[State]) -> State:
    """The state that a participant was in at this step."""
    return next(state for i, state in carried.history if i == who and isinstance(state, step))


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
        zeros = np.zeros(p.length, dtype=ring_dtype(p.ring_bits))
        return client.masked_input(state_of(carried, who, Shared), message, zeros, sign)
    if kind is Kind.MASKED_INPUT:
        collecting = states["collecting"]
        blank = server.Accumulator(np.zeros_like(collecting.accumulator.vector))
        return server.accept(replace(collecting, bound={}, accumulator=blank), who, message)
    if kind is Kind.SURVIVORS and sign:
        return client.consent(state_of(carried, who, Masked), message, sign)
    if kind is Kind.CONSENT:
        return server.certify(states["certifying"], sent)
    if kind in (Kind.SURVIVORS, Kind.CERTIFICATE):
        return client.unmask(state_of(carried, who, Consented) if sign else state_of(carried, who, Masked), message)
    return server.finish(states["unmasking"], sent)
