"""What a secure sum costs a client, beside its learning, and the server: bytes by count, seconds by doing it here.

One client's steps are real ones, on the adverts of as many others as there are; what its neighbours would have sent is
made up in the right size, and does not open: that takes as long. The server's are real ones too, with clients made up
that are as many as one has neighbours, and nobody drops out: of more it has more of the same to do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from chatfed.secagg import client, cost, graph, lattice, masking, messages, primitives, server, shamir, states
from chatfed.secagg.masking import ring_dtype
from chatfed.secagg.messages import Advert, Floors, Kind, Parameters, Present
from chatfed.secagg.schemes import threshold_he

_Result = TypeVar("_Result")
LEAST, MOST_BYTES = 3, 200_000_000  # of clients made up for the server; of their vectors together
RUN, RECIPE, EPOCH, CTX = bytes(16), bytes(32), bytes(16), bytes(32)  # nothing is claimed of these sums


@dataclass(frozen=True)
class SumCost:
    """Of one client and round: of what an agreement on keys costs, the part that one of its rounds bears."""

    up: float  # bytes, the vector apart
    down: float  # bytes, the model apart
    vector: int  # bytes up
    seconds: float  # of one processor


def measured(parameters: Parameters) -> SumCost:
    """Carries one client through an agreement and a sum, in memory; others sign, which takes 0.1 ms of each."""
    once, each = cost.of_agreement(parameters), cost.of_sum(parameters)
    agreement, of_sum = _seconds(parameters)
    slots = parameters.slots
    return SumCost(
        once.up / slots + each.up, once.down / slots + each.down, cost.of_vector(parameters), agreement / slots + of_sum
    )


def _seconds(parameters: Parameters) -> tuple[float, float]:
    """Of the agreement, of a sum in one of its slots."""
    everyone, identities, roster, sign, about = _people(parameters)
    opening, clock = (parameters, Floors(2, 2), about, EPOCH), _Clock()
    state, advert = clock(client.advertise, *opening, 1, os.urandom, roster, sign[1])
    others = Advert(*(primitives.public_key(os.urandom(32)) for _ in range(2)))  # one pair of keys serves to be counted
    adverts = {i: others.encode(i, state.epoch.session, sign[i]) for i in everyone} | {1: advert}
    everybody = messages.encode_adverts(state.epoch.session, adverts)
    shared, _ = clock(client.share, state, everybody, os.urandom)
    near, view = shared.view.graph.neighbours(1), shared.view.digest
    made_up = {i: os.urandom(parameters.layout.envelope(parameters.slots)) for i in near}
    ready, secrets = clock(client.open_envelopes, shared, messages.encode_envelopes(view, made_up))
    agreement, clock = clock.seconds, _Clock()

    present = Present(0, CTX, frozenset(everyone))
    turn, vector = present.turn(view), np.zeros(parameters.length, ring_dtype(parameters.ring_bits))
    slot = clock(states.Slot.from_bytes, secrets[0], ready.members, parameters.layout)
    invitation = present.encode(view, parameters.participants)
    masked, _ = clock(client.masked_input, ready, 0, slot, CTX, invitation, vector, sign[1])
    commitment = bytes(32)
    digest = messages.masked_digest(turn, commitment)
    bound = {i: commitment + primitives.sign(identities[i], digest) for i in near if identities}
    survivors = messages.encode_survivors(turn, parameters.participants, everyone, bound)
    if identities:
        consented, _ = clock(client.consent, masked, survivors, sign[1])
        digest = messages.survivors_digest(turn, everyone)
        members = sorted(graph.committee(about, parameters.participants, parameters.committee))
        signed = {i: primitives.sign(identities[i], digest) for i in members[: parameters.quorum]}
        certificate = messages.encode_entries(Kind.CERTIFICATE, messages.SERVER, turn, signed, digest)
        clock(client.unmask, consented, certificate)
    else:
        clock(client.unmask, masked, survivors)
    return agreement, clock.seconds


@dataclass(frozen=True)
class ServerCost:
    """Of one sum, and of the part of its agreement on keys that it bears."""

    seconds: float  # of one processor, for all clients
    made_up: int  # clients, with whom it was measured


def of_server(parameters: Parameters) -> ServerCost:
    """Carries the server through an agreement and a sum, in memory, with fewer clients where there are many."""
    p = _fewer(parameters)
    everyone, _, roster, sign, about = _people(p)
    once, each = _Clock(), _Clock()
    opened = once(server.open_epoch, p, about, EPOCH, roster)
    keys = Advert(*(primitives.public_key(os.urandom(32)) for _ in range(2)))
    sharing, _ = once(server.relay_adverts, opened, {i: keys.encode(i, opened.session, sign[i]) for i in everyone})
    epoch, envelopes = once(server.relay_shares, sharing, {i: _dealt(sharing, i) for i in everyone})
    once(dict, envelopes)  # they are made as they are asked for

    collecting, _ = each(server.begin, epoch, 0, CTX, everyone)
    secrets = {i: os.urandom(32) for i in everyone}
    for i, secret in secrets.items():
        hidden = _hidden(p, collecting.turn, secret if i == 1 else b"")
        commitment = _commitment(p, collecting.turn, i, secret, hidden)
        message = messages.encode_masked_input(i, collecting.turn, commitment, hidden, sign[i])
        collecting = each(server.accept, collecting, i, message)
    closed, _ = each(server.close_inputs, collecting)
    if p.quorum:
        closed, _ = each(server.certify, closed, {i: _consent(closed, i, sign[i]) for i in everyone})
    each(server.finish, closed, _answers(closed, secrets))
    seconds = (once.seconds / p.slots + each.seconds) / p.participants
    return ServerCost(seconds * parameters.participants, p.participants)


def _dealt(state: server.Sharing, sender: int) -> bytes:
    """Envelopes and rows that open for nobody, in their sizes."""
    size = state.parameters.layout.dealt(state.parameters.slots)
    mine = {j: os.urandom(size) for j in state.graph.neighbours(sender)}
    return messages.encode_entries(Kind.SHARES, sender, state.view, mine)


def _consent(state: server.Certifying, sender: int, sign: messages.Sign | None) -> bytes:
    digest = messages.survivors_digest(state.turn, state.bound)
    return messages.encode(Kind.CONSENT, sender, state.turn, digest + (sign(digest) if sign else b""))


def _hidden(parameters: Parameters, turn: bytes, secret: bytes) -> bytes:
    """Zeros, as nobody would mask them; encrypted under a secret, or under the key and errors that are zero too."""
    if parameters.scheme == messages.THRESHOLD_HE and secret:
        zeros = np.zeros(parameters.length, ring_dtype(parameters.ring_bits))
        return lattice.encrypt(zeros, secret, turn, parameters.packing)
    return bytes(cost.of_vector(parameters))


def _commitment(parameters: Parameters, turn: bytes, maker: int, secret: bytes, hidden: bytes) -> bytes:
    if parameters.scheme == messages.THRESHOLD_HE:
        return threshold_he.digest_of(hidden, maker, turn)
    return masking.commitment(secret, turn, maker)


def _answers(state: server.Certifying, seeds: Mapping[int, bytes]) -> dict[int, bytes]:
    """Everybody's shares of everybody's self-mask seed, or of the sum of keys, which the server does recover."""
    digest = messages.survivors_digest(state.turn, state.bound)
    if state.parameters.scheme == messages.THRESHOLD_HE:
        return _answers_of_keys(state, seeds[1], digest)
    given = shamir.share(list(seeds.values()), list(seeds), state.parameters.threshold, os.urandom)
    held = {
        i: {j: share.tobytes() for j, share in zip(seeds, mine, strict=True)}
        for i, mine in zip(seeds, given, strict=True)
    }
    return {i: messages.encode_entries(Kind.ANSWER, i, state.turn, mine, digest) for i, mine in held.items()}


def _answers_of_keys(state: server.Certifying, seed: bytes, digest: bytes) -> dict[int, bytes]:
    """Of a sum of keys of which all but the first one's are zero."""
    key = lattice.key_polynomial(seed) % shamir.PRIME
    shares = shamir.share_elements(key, sorted(state.bound), state.parameters.threshold, os.urandom)
    nobody = messages.encode_ids(state.parameters.participants, ())
    return {
        i: messages.encode(Kind.ANSWER, i, state.turn, digest, nobody, share.tobytes())
        for i, share in zip(sorted(state.bound), shares, strict=True)
    }


def _fewer(parameters: Parameters) -> Parameters:
    """A sum of as many as one client has neighbours and itself, all neighbours of each other: as much for each."""
    bearable = max(LEAST, MOST_BYTES // cost.of_vector(parameters))
    n = min(parameters.participants, parameters.degree + 1, bearable)
    committee = min(n, parameters.committee)
    return replace(
        parameters,
        participants=n,
        threshold=min(n, max(n // 2 + 1, parameters.threshold)),
        degree=-1,
        most_gone=0,
        committee=committee,
        quorum=min(committee, max(committee // 2 + 1, parameters.quorum)) if parameters.quorum else 0,
    )


def _people(
    parameters: Parameters,
) -> tuple[range, dict[int, bytes], tuple[bytes, ...], dict[int, messages.Sign | None], bytes]:
    """Numbers, private and public identities (none where nobody signs), how each signs, and what their sums are of."""
    everyone = range(1, parameters.participants + 1)
    identities = {i: os.urandom(32) for i in everyone} if parameters.quorum else {}
    roster = tuple(primitives.identity_public(each) for each in identities.values())
    sign: dict[int, messages.Sign | None] = {
        i: partial(primitives.sign, identities[i]) if identities else None for i in everyone
    }
    about = messages.scope(RUN, RECIPE, messages.roster_root([str(i) for i in everyone]))
    return everyone, identities, roster, sign, about


class _Clock:
    """Adds up the processor seconds of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, step: Callable[..., _Result], *inputs: object) -> _Result:
        began = time.process_time()
        result = step(*inputs)
        self.seconds += time.process_time() - began
        return result
