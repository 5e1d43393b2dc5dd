"""What a client's part in a secure sum costs, beside its learning: bytes by count, processor seconds by doing it here.

One client's steps are real ones, on the adverts of as many others as there are; what its neighbours would have sent is
made up in the right size, and does not open: that takes as long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from chatfed.secagg import client, cost, graph, messages, primitives, states
from chatfed.secagg.masking import ring_dtype
from chatfed.secagg.messages import Advert, Floors, Kind, Parameters, Present

_Result = TypeVar("_Result")
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
    everyone = range(1, parameters.participants + 1)
    identities = {i: os.urandom(32) for i in everyone} if parameters.quorum else {}
    roster = tuple(primitives.identity_public(each) for each in identities.values())
    sign = {i: partial(primitives.sign, identities[i]) if identities else None for i in everyone}
    about = messages.scope(RUN, RECIPE, messages.roster_root([str(i) for i in everyone]))
    opening, clock = (parameters, Floors(2, 2), about, EPOCH), _Clock()
    state, advert = clock(client.advertise, *opening, 1, os.urandom, roster, sign[1])
    others = Advert(*(primitives.public_key(os.urandom(32)) for _ in range(2)))  # one pair of keys serves to be counted
    adverts = {i: others.encode(i, state.epoch.session, sign[i]) for i in everyone} | {1: advert}
    everybody = messages.encode_adverts(state.epoch.session, adverts)
    shared, _ = clock(client.share, state, everybody, os.urandom)
    near, view = shared.view.graph.neighbours(1), shared.view.digest
    made_up = {i: os.urandom(messages.envelope_bytes(parameters.slots)) for i in near}
    ready, secrets = clock(client.open_envelopes, shared, messages.encode_envelopes(view, made_up))
    agreement, clock = clock.seconds, _Clock()

    present = Present(0, CTX, frozenset(everyone))
    turn, vector = present.turn(view), np.zeros(parameters.length, ring_dtype(parameters.ring_bits))
    slot = clock(states.Slot.from_bytes, secrets[0], ready.members)
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


class _Clock:
    """Adds up the processor seconds of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, step: Callable[..., _Result], *inputs: object) -> _Result:
        began = time.process_time()
        result = step(*inputs)
        self.seconds += time.process_time() - began
        return result
