"""One participant of a round, as pure steps. Knows no socket, clock, file or model.

advertise -> share -> masked_input -> unmask, each `(state, inbound) -> (state, message)`. The caller stores the new
state durably *before* it sends the message, and never runs a step twice from a stored state: two masked inputs under
one set of masks tell their difference, two answers could tell both kinds of share. After any error the participant
leaves the round (to the others it is one that dropped out); no error is raised after a secret was spent.
Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning", figure 4.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from chatfed.secagg import graph, masking, messages, primitives, shamir
from chatfed.secagg.masking import RingVector, name, ring_dtype
from chatfed.secagg.messages import (
    SERVER,
    Advert,
    AlreadyAnswered,
    BelowThreshold,
    Floors,
    Kind,
    MalformedMessage,
    Parameters,
    ProtocolError,
    RefusedParameters,
    RefusedSurvivors,
    WrongStep,
)
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, Buffer
from chatfed.secagg.shamir import SHARE_BYTES
from chatfed.types import Entropy

_ROUND = struct.Struct("<4sB17sIIB32sI")  # magic, step, parameters, floors (threshold, survivors, ring), ctx, me
_MAGIC = b"CFS1"


class DamagedState(ProtocolError):
    """Stored bytes that are not a client state of the step asked for; leave the round."""


@dataclass(frozen=True)
class Round:
    """What a participant knows of a round from the start."""

    parameters: Parameters
    floors: Floors
    ctx: bytes
    me: int

    @property
    def session(self) -> bytes:
        return self.parameters.session(self.ctx)

    @property
    def need(self) -> int:
        """Participants that must be left at every stage."""
        return max(self.parameters.threshold, self.floors.survivors)

    def check_count(self, stage: str, got: int) -> None:
        if got < self.need:
            raise BelowThreshold(stage, got, self.need)


@dataclass(frozen=True)
class Advertised:
    """Two key pairs are drawn."""

    round: Round
    mask_private: bytes = field(repr=False)
    envelope_private: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        return _store(self.round, 1, self.mask_private + self.envelope_private, {})

    @classmethod
    def from_bytes(cls, data: bytes) -> Advertised:
        round, keys, _ = _load(data, 1, 2 * KEY_BYTES, 0)
        return cls(round, keys[:KEY_BYTES], keys[KEY_BYTES:])


@dataclass(frozen=True)
class Shared:
    """The others' keys are known, the self-mask seed is drawn, all secrets are shared."""

    round: Round
    mask_private: bytes = field(repr=False)
    envelope_private: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    own_shares: bytes = field(repr=False)  # of the seed and of the mask key, 36 bytes each
    adverts: Mapping[int, Advert]

    def to_bytes(self) -> bytes:
        secrets = self.mask_private + self.envelope_private + self.seed + self.own_shares
        return _store(self.round, 2, secrets, {i: a.mask_key + a.envelope_key for i, a in self.adverts.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Shared:
        round, s, table = _load(data, 2, 3 * KEY_BYTES + 2 * SHARE_BYTES, 2 * KEY_BYTES)
        adverts = {i: Advert(keys[:KEY_BYTES], keys[KEY_BYTES:]) for i, keys in table.items()}
        return cls(round, s[:32], s[32:64], s[64:96], s[96:], adverts)


@dataclass(frozen=True)
class Masked:
    """The masked input is made: own keys and seed are dropped, what remains are shares, own ones included."""

    round: Round
    shares: Mapping[int, bytes] = field(repr=False)  # by owner: of its seed and of its mask key, 36 bytes each

    def to_bytes(self) -> bytes:
        return _store(self.round, 3, b"", self.shares)

    @classmethod
    def from_bytes(cls, data: bytes) -> Masked:
        round, _, shares = _load(data, 3, 0, 2 * SHARE_BYTES)
        return cls(round, shares)


@dataclass(frozen=True)
class Answered:
    """Done; holds no secret. Stored before the answer is sent, it makes a second answer impossible."""

    round: Round

    def to_bytes(self) -> bytes:
        return _store(self.round, 4, b"", {})

    @classmethod
    def from_bytes(cls, data: bytes) -> Answered:
        return cls(_load(data, 4, 0, 0)[0])


ClientState = Advertised | Shared | Masked | Answered
_STEPS: tuple[type[Advertised] | type[Shared] | type[Masked] | type[Answered], ...]
_STEPS = (Advertised, Shared, Masked, Answered)
_State = TypeVar("_State", Advertised, Shared, Masked)


def restore(data: bytes) -> ClientState:
    """The state that `to_bytes` stored, of whichever step. Raises DamagedState."""
    step = data[len(_MAGIC)] if len(data) > len(_MAGIC) else 0
    if not 1 <= step <= len(_STEPS):
        raise DamagedState("stored client state has no known step; leave the round")
    return _STEPS[step - 1].from_bytes(data)


def advertise(
    parameters: Parameters, floors: Floors, ctx: bytes, me: int, entropy: Entropy
) -> tuple[Advertised, bytes]:
    """Step 0: draw two key pairs -> advert for the server. Raises RefusedParameters below the client's floors."""
    floors.refuse(parameters)
    if not 1 <= me <= parameters.participants:
        raise RefusedParameters(f"participant {me} is not one of 1..{parameters.participants}")
    state = Advertised(
        Round(parameters, floors, ctx, me), primitives.draw(entropy, KEY_BYTES), primitives.draw(entropy, KEY_BYTES)
    )
    advert = Advert(primitives.public_key(state.mask_private), primitives.public_key(state.envelope_private))
    return state, advert.encode(me, state.round.session)


def share(state: ClientState, inbound: Buffer, entropy: Entropy) -> tuple[Shared, bytes]:
    """Step 1: adverts -> one sealed envelope per neighbour with a share of the self-mask seed and of the mask key."""
    state, r = _at(state, Advertised), state.round
    session, own = r.session, graph.holders(r.me, r.parameters.participants)
    adverts = messages.decode_adverts(inbound, session, own)
    expected = Advert(primitives.public_key(state.mask_private), primitives.public_key(state.envelope_private))
    if adverts.get(r.me) != expected:
        raise MalformedMessage(SERVER, Kind.ADVERTS.label, "own advert")
    r.check_count("advertise", len(adverts))

    seed, points = primitives.draw(entropy, KEY_BYTES), sorted(adverts)
    shares = shamir.share([seed, state.mask_private], points, r.parameters.threshold, entropy).astype("<u2")
    dealt = {x: shares[k].tobytes() for k, x in enumerate(points)}
    shared = Shared(r, state.mask_private, state.envelope_private, seed, dealt.pop(r.me), adverts)
    envelopes = {x: _seal_shares(shared, x, dealt[x], primitives.draw(entropy, NONCE_BYTES)) for x in dealt}
    return shared, messages.encode_entries(Kind.SHARES, r.me, session, envelopes)


def masked_input(state: ClientState, inbound: Buffer, vector: RingVector) -> tuple[Masked, bytes]:
    """Step 2: envelopes and the encoded vector uint[dimension] -> masked vector and commitment to the seed.

    Raises ValueError for a vector of another shape or type, MalformedMessage(from, ...) for a bad envelope.
    """
    state, r = _at(state, Shared), state.round
    dtype = ring_dtype(r.parameters.ring_bits)
    if vector.shape != (r.parameters.dimension,) or vector.dtype != dtype:
        raise ValueError(f"the vector is {vector.dtype}{vector.shape}, not {dtype}({r.parameters.dimension},)")
    session, others = r.session, state.adverts.keys() - {r.me}
    envelopes = messages.decode_entries(inbound, Kind.ENVELOPES, SERVER, session, others, messages.ENVELOPE_BYTES)
    r.check_count("share", len(envelopes) + 1)
    shares = {x: _open_shares(state, x, envelope) for x, envelope in envelopes.items()}

    public = {x: advert.mask_key for x, advert in state.adverts.items()}
    keys = {x: _mask_key(state, x, public) for x in shares}
    masked = vector.copy()
    masking.apply_masks(
        masked,
        [masking.self_mask_key(state.seed, session, r.me), *(key for x, key in keys.items() if r.me < x)],
        [key for x, key in keys.items() if x < r.me],
    )
    commitment = masking.commitment(state.seed, session, r.me)
    held = {**shares, r.me: state.own_shares}
    return Masked(r, held), messages.encode_masked_input(r.me, session, held, commitment, masked)


def unmask(state: ClientState, inbound: Buffer) -> tuple[Answered, bytes]:
    """Step 4: the survivor set -> for each owner of shares exactly one kind, by membership alone.

    Of a survivor the share of its self-mask seed, of one that dropped out the share of its mask key.
    Raises RefusedSurvivors or BelowThreshold with no secret spent, AlreadyAnswered the second time.
    """
    if isinstance(state, Answered):
        raise AlreadyAnswered(f"participant {state.round.me} has answered this round; its secrets are erased")
    state, r = _at(state, Masked), state.round
    session, everyone = r.session, range(1, r.parameters.participants + 1)
    survivors = messages.decode_survivors(inbound, session, set(everyone))
    if r.me not in survivors:
        raise RefusedSurvivors(f"the survivor set omits participant {r.me} itself, which sent its input")
    strangers = (survivors & graph.neighbours(r.me, r.parameters.participants)) - state.shares.keys()
    if strangers:
        raise RefusedSurvivors(f"survivors {sorted(strangers)} never sent shares to participant {r.me}")
    r.check_count("masked input", len(survivors))

    answers = {x: s[:SHARE_BYTES] if x in survivors else s[SHARE_BYTES:] for x, s in state.shares.items()}
    lead = messages.survivors_digest(session, survivors)
    return Answered(r), messages.encode_entries(Kind.ANSWER, r.me, session, answers, lead)


def _at(state: ClientState, step: type[_State]) -> _State:
    if not isinstance(state, step):
        raise WrongStep(f"this step follows {step.__name__}, the state is {type(state).__name__}")
    return state


def _mask_key(state: Shared, other: int, public: dict[int, bytes]) -> bytes:
    try:
        return masking.pairwise_mask_key(state.mask_private, state.round.me, other, public, state.round.session)
    except primitives.LowOrderKey:
        raise MalformedMessage(other, Kind.ADVERT.label, "mask key") from None


def _envelope_key(state: Shared, other: int, sender: int, to: int) -> bytes:
    """Key of one direction; bound to all four public keys, so that a substituted mask key spoils the envelope."""
    keys = [key for i in (sender, to) for key in (state.adverts[i].mask_key, state.adverts[i].envelope_key)]
    try:
        secret = primitives.agree(state.envelope_private, state.adverts[other].envelope_key)
    except primitives.LowOrderKey:
        raise MalformedMessage(other, Kind.ADVERT.label, "envelope key") from None
    return primitives.derive(secret, b"share-envelope", state.round.session, name(sender), name(to), *keys)


def _seal_shares(state: Shared, to: int, shares: bytes, nonce: bytes) -> bytes:
    me = state.round.me
    key = _envelope_key(state, to, me, to)
    return nonce + primitives.seal(key, nonce, shares, state.round.session + name(me) + name(to))


def _open_shares(state: Shared, sender: int, envelope: bytes) -> bytes:
    me = state.round.me
    key = _envelope_key(state, sender, sender, me)
    nonce, sealed = envelope[:NONCE_BYTES], envelope[NONCE_BYTES:]
    shares = primitives.unseal(key, nonce, sealed, state.round.session + name(sender) + name(me))
    if shares is None:
        raise MalformedMessage(sender, "envelope", "authentication")
    if np.frombuffer(shares, dtype="<u2").max() >= shamir.PRIME:
        raise MalformedMessage(sender, "envelope", "share")
    return shares


def _store(round: Round, step: int, secrets: bytes, table: Mapping[int, bytes]) -> bytes:
    p, f = round.parameters, round.floors
    floors = (f.threshold, f.survivors, f.ring_bits)
    head = _ROUND.pack(_MAGIC, step, p.to_bytes(), *floors, round.ctx, round.me)
    data = head + secrets + b"".join(name(i) + entry for i, entry in sorted(table.items()))
    return data + primitives.digest(b"state", data)


def _load(data: bytes, step: int, secret_bytes: int, entry_bytes: int) -> tuple[Round, bytes, dict[int, bytes]]:
    data, check = data[:-32], data[-32:]
    if len(data) < _ROUND.size + secret_bytes or not primitives.same(primitives.digest(b"state", data), check):
        raise DamagedState("stored client state is damaged; leave the round")
    magic, got_step, parameters, threshold, survivors, ring_bits, ctx, me = _ROUND.unpack_from(data)
    rest, size = data[_ROUND.size + secret_bytes :], entry_bytes + 4
    if magic != _MAGIC or got_step != step or len(rest) % size or (rest and not entry_bytes):
        raise DamagedState(f"stored client state is of step {got_step}, not {step}; leave the round")
    table = {int.from_bytes(rest[i : i + 4], "little"): rest[i + 4 : i + size] for i in range(0, len(rest), size)}
    round = Round(Parameters.from_bytes(parameters), Floors(threshold, survivors, ring_bits), ctx, me)
    return round, data[_ROUND.size : _ROUND.size + secret_bytes], table
