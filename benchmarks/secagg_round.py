"""Whole rounds of secure aggregation in memory: processor seconds and bytes of each party, checked for the right sum.

Knows nothing of networks or training. All messages are real ones; every tenth participant (or another fraction) drops
out after it has shared, before its masked input, which costs the server most. A client's seconds are the median over
those that stayed to the end; its encoding of the vector is timed apart from the cryptography. Where keys serve several
rounds, a round has its share of what agreeing on them takes: one sum is carried, and of the agreement one part in
`slots` is counted.
"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, TypeVar

import numpy as np

from chatfed.secagg import client, graph, primitives, rotation, server
from chatfed.secagg.encoding import FixedPoint
from chatfed.secagg.messages import (
    Floors,
    Parameters,
    Sign,
    context,
    decode_adverts,
    decode_entries,
    roster_root,
    scope,
)
from chatfed.secagg.states import ClientState, Slot
from chatfed.types import FloatVector

_T = TypeVar("_T")


@dataclass(frozen=True)
class Setting:
    """One round. `degree` -1: everybody is everybody's neighbour."""

    participants: int
    degree: int
    threshold: int
    dimension: int  # coordinates of a client's vector
    ring_bits: int
    rotation: bool = False
    signed: bool = False  # pinned identities, a certificate; as against a server that cheats
    dropout: float = 0.1
    slots: int = 1  # rounds that keys serve

    @property
    def code(self) -> FixedPoint:
        """Vectors of norm 1."""
        seed = bytes(32) if self.rotation else None
        return FixedPoint(1.0, self.dimension, self.participants, self.ring_bits, seed)

    @property
    def parameters(self) -> Parameters:
        """Rows of neighbours are bounded by nothing here: who drops out is chance."""
        committee, quorum = graph.derive_quorum(self.participants, 0.1) if self.signed else (0, 0)
        most_gone = max(0, self.degree // 2)
        sizes = self.code.coordinates, self.ring_bits, self.degree, most_gone, committee, quorum
        return Parameters(self.participants, self.threshold, *sizes, self.slots)

    @property
    def words(self) -> str:
        """For a table."""
        k = self.parameters.degree
        signed = ", signed" if self.signed else ""
        keys = f", keys for {self.slots}" if self.slots > 1 else ""
        size = f"n {self.participants}, k {k}, t {self.threshold}, d {self.dimension:,}, {self.ring_bits} bits"
        return f"{size}{signed}{keys}"


@dataclass(frozen=True)
class Figures:
    """Of one round; seconds of processor time."""

    client_s: float  # cryptography: keys, shares, envelopes, masks, checks
    encode_s: float  # the vector's encoding, a client
    server_s: float  # from the first advert to the sum
    client_bytes_up: int
    client_bytes_down: int
    dropped: int


@dataclass
class Parties:
    """Runs each party's steps, adding up its processor seconds and a client's bytes."""

    states: dict[int, ClientState] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    encoding: dict[int, float] = field(default_factory=dict)
    up: dict[int, float] = field(default_factory=dict)
    down: dict[int, float] = field(default_factory=dict)
    server_seconds: float = 0.0
    memory: bool = False  # measure the server's instead of the times
    held: int = 0  # bytes that the server's steps have left behind
    peak: int = 0  # the most that they held at any time, the message in hand included

    def at_client(self, i: int, step: Callable[..., tuple[ClientState, bytes]], *inputs: Any) -> bytes:
        """Runs a step of client i -> its message."""
        forget_what_others_worked_out()
        self.states[i], message = _timed(self.seconds, i, step, *inputs)
        self.up[i] = self.up.get(i, 0) + len(message)
        return message

    def at_server(self, step: Callable[..., _T], *inputs: Any, in_hand: int = 0) -> _T:
        """Runs a step of the server. in_hand: bytes of messages that it must hold meanwhile."""
        if not self.memory:
            spent = dict[int, float]()
            result = _timed(spent, 0, step, *inputs)
            self.server_seconds += spent[0]
            return result
        tracemalloc.start()
        result = step(*inputs)
        left, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.peak = max(self.peak, self.held + peak + in_hand)
        self.held += left
        return result

    def relay(self, step: Callable[..., tuple[_T, server.Outbound]], *inputs: Any) -> tuple[_T, server.Outbound]:
        """Runs a step of the server that has messages for clients."""
        state, outbound = self.at_server(_made, step, *inputs)
        for i, message in outbound.items():
            self.down[i] = self.down.get(i, 0) + len(message)
        return state, outbound

    def share_out(self, rounds: int) -> None:
        """What was counted so far serves so many rounds, of which one is counted."""
        for counted in (self.seconds, self.up, self.down):
            for i, much in counted.items():
                counted[i] = much / rounds
        self.server_seconds /= rounds


def forget_what_others_worked_out() -> None:
    """A client on a machine of its own checks every signature and decodes every advert itself."""
    primitives.signed.cache_clear()
    graph._circle.cache_clear()
    graph._most_gone.cache_clear()
    rotation._only_signs.cache_clear()
    sys.modules[decode_adverts.__module__]._decode_adverts.cache_clear()
    sys.modules[Parameters.__module__]._session.cache_clear()
    frames = sys.modules[decode_entries.__module__]
    frames._ids_in.cache_clear()
    frames._checksum_key.cache_clear()


def _made(step: Callable[..., tuple[_T, server.Outbound]], *inputs: Any) -> tuple[_T, server.Outbound]:
    """A step with its messages, also those that are made as they are asked for."""
    state, outbound = step(*inputs)
    return state, dict(outbound)


def _timed(spent: dict[int, float], who: int, step: Callable[..., _T], *inputs: Any) -> _T:
    start = time.process_time()
    result = step(*inputs)
    spent[who] = spent.get(who, 0.0) + time.process_time() - start
    return result


def whole_round(setting: Setting) -> Figures:
    """Carries one round, and checks who is in the sum and that it decodes to the clients' mean."""
    p = Parties()
    dropped = _carry(setting, p)
    stayed = list(p.encoding)
    return Figures(
        client_s=median(p.seconds[i] for i in stayed),
        encode_s=median(p.encoding[i] for i in stayed),
        server_s=p.server_seconds,
        client_bytes_up=round(p.up[stayed[0]]),
        client_bytes_down=round(p.down[stayed[0]]),
        dropped=dropped,
    )


def median_round(setting: Setting, repeats: int) -> Figures:
    """Each figure's median over `repeats` rounds."""
    taken = [whole_round(setting) for _ in range(repeats)]
    return Figures(*(median(getattr(each, name) for each in taken) for name in Figures.__annotations__))


def server_memory(setting: Setting) -> int:
    """Most bytes that the server's steps held in such a round at any time, one upload in hand."""
    p = Parties(memory=True)
    _carry(setting, p)
    return p.peak


def _carry(setting: Setting, p: Parties) -> int:
    """One round -> how many dropped out."""
    parameters, code, random = setting.parameters, setting.code, os.urandom
    everyone = range(1, setting.participants + 1)
    identities = [random(32) for _ in everyone] if setting.signed else []
    roster = tuple(map(primitives.identity_public, identities))
    sign = {i: _signer(identities, i) for i in everyone}
    floors = Floors(setting.threshold, setting.threshold, setting.ring_bits)
    run, recipe, names, epoch = random(16), random(32), roster_root([str(i) for i in everyone]), random(16)
    about, ctx = scope(run, recipe, names), context(run, 1, random(32), recipe, names)
    every = round(1 / setting.dropout) if setting.dropout else setting.participants + 1
    gone, update = set(everyone[every - 1 :: every]), unit_vector(setting.dimension)

    def advert(i: int) -> bytes:
        return p.at_client(i, client.advertise, parameters, floors, about, epoch, i, random, roster, sign[i])

    opened = p.at_server(server.open_epoch, parameters, about, epoch, roster)
    sharing, out = p.relay(server.relay_adverts, opened, {i: advert(i) for i in everyone})
    shares = {i: p.at_client(i, client.share, p.states[i], out[i], random) for i in everyone}
    agreed, out = p.relay(server.relay_shares, sharing, shares)
    ready = {i: _timed(p.seconds, i, client.open_envelopes, p.states[i], out[i]) for i in everyone}
    p.share_out(setting.slots)
    collecting, out = p.relay(server.begin, agreed, 0, ctx, everyone)
    for i in sorted(set(everyone) - gone):
        vector = _timed(p.encoding, i, code.encode, update, 1.0, random)
        state, secrets = ready[i]
        slot = _timed(p.seconds, i, Slot.from_bytes, secrets[0], state.members)
        message = p.at_client(i, client.masked_input, state, 0, slot, ctx, out[i], vector, sign[i])
        collecting = p.at_server(server.accept, collecting, i, message, in_hand=len(message))
    closed, out = p.relay(server.close_inputs, collecting)
    if setting.signed:
        consents = {i: p.at_client(i, client.consent, p.states[i], out[i], sign[i]) for i in out}
        closed, out = p.relay(server.certify, closed, consents)
    answers = {i: p.at_client(i, client.unmask, p.states[i], out[i]) for i in out}
    total = p.at_server(server.finish, closed, answers)

    require(set(total.survivors) == set(everyone) - gone == set(answers), "the sum is not that of the survivors")
    mean, weight = code.decode(total.vector, len(answers))
    require(round(weight) == len(answers), "the total weight is not the number of survivors")
    require(float(np.abs(mean - update).max()) <= 8 * code.step, "the decoded mean is not the clients' update")
    return len(gone)


def _signer(identities: Sequence[bytes], i: int) -> Sign | None:
    return partial(primitives.sign, identities[i - 1]) if identities else None


def unit_vector(dimension: int) -> FloatVector:
    """float32[dimension] in a random direction, a little shorter than 1."""
    vector = np.random.default_rng(1).standard_normal(dimension, np.float32)
    vector *= np.float32(0.999) / np.linalg.norm(vector)
    return vector


def require(right: bool, wrong: str) -> None:
    """Ends the program when what was timed is wrong."""
    if not right:
        raise SystemExit(f"benchmarks.secagg: {wrong}; no time of a wrong result is worth printing")
