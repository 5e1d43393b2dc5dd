"""One participant of a round, as pure steps. Knows no socket, clock, file or model.

advertise -> share -> masked_input -> consent -> unmask, each `(state, inbound) -> (state, message)`; without pinned
identities there is no consent. The caller stores the new state durably *before* it sends the message, and never runs a
step twice from a stored state: two masked inputs under one set of masks tell their difference, two answers could tell
both kinds of share. After any error the participant leaves the round (to the others it is one that dropped out); no
error is raised after a secret was spent. Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving
Machine Learning", figure 4, on the graph of Bell et al. 2020.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TypeVar

import numpy as np

from chatfed.secagg import graph, masking, messages, primitives, shamir
from chatfed.secagg.graph import Graph
from chatfed.secagg.masking import RingVector, name, ring_dtype
from chatfed.secagg.messages import (
    NO_SHARE,
    SERVER,
    Advert,
    AlreadyAnswered,
    BelowThreshold,
    Floors,
    Kind,
    MalformedMessage,
    Parameters,
    ProtocolError,
    RefusedCertificate,
    RefusedParameters,
    RefusedSurvivors,
    Roster,
    Sign,
    WrongStep,
)
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES, TAG_BYTES, Buffer, PrivateKey
from chatfed.secagg.shamir import SHARE_BYTES
from chatfed.types import Entropy

_ROUND = struct.Struct("<33sIIBiiII32s16sI")  # parameters, floors (-1: None), ctx, attempt, me
_MAGIC = b"CFS2"


class DamagedState(ProtocolError):
    """Stored bytes that are not a client state, or not under this key; leave the round."""


@dataclass(frozen=True)
class Round:
    """What a participant knows of a round from the start."""

    parameters: Parameters
    floors: Floors
    ctx: bytes
    attempt: bytes  # 16 bytes
    me: int
    roster: Roster = ()

    @property
    def session(self) -> bytes:
        return self.parameters.session(self.ctx, self.attempt, self.roster)

    @property
    def need(self) -> int:
        """Participants that must be left at every stage."""
        return max(self.parameters.threshold, self.floors.survivors)

    def check_count(self, stage: str, got: int) -> None:
        if got < self.need:
            raise BelowThreshold(stage, got, self.need)

    def to_bytes(self) -> bytes:
        floors = (getattr(self.floors, each.name) for each in fields(Floors))
        numbers = (-1 if floor is None else floor for floor in floors)
        head = _ROUND.pack(self.parameters.to_bytes(), *numbers, self.ctx, self.attempt, self.me)
        return head + b"".join(self.roster)

    @classmethod
    def from_bytes(cls, data: bytes) -> Round:
        parameters, *numbers, ctx, attempt, me = _ROUND.unpack_from(data)
        floors = Floors(*(None if number == -1 else number for number in numbers))  # type: ignore[arg-type]
        roster = _split(data[_ROUND.size :], KEY_BYTES)
        return cls(Parameters.from_bytes(parameters), floors, ctx, attempt, me, roster)


@dataclass(frozen=True)
class View:
    """What a participant was shown of the others: a digest of all adverts, and who stands where on the circle."""

    digest: bytes
    graph: Graph

    def to_bytes(self) -> bytes:
        return self.digest + struct.pack("<I", self.graph.degree) + b"".join(map(name, self.graph.circle))

    @classmethod
    def from_bytes(cls, data: bytes) -> View:
        circle = np.frombuffer(data, "<u4", offset=36).tolist()
        return cls(data[:32], Graph(tuple(circle), int.from_bytes(data[32:36], "little")))


@dataclass(frozen=True)
class Advertised:
    """Two key pairs are drawn."""

    round: Round
    mask_private: bytes = field(repr=False)
    envelope_private: bytes = field(repr=False)

    def to_parts(self) -> list[bytes]:
        return [self.mask_private + self.envelope_private]

    @classmethod
    def from_parts(cls, round: Round, keys: bytes) -> Advertised:
        return cls(round, keys[:KEY_BYTES], keys[KEY_BYTES:])


@dataclass(frozen=True)
class Shared:
    """The others' keys are known, the self-mask seed is drawn, all secrets are shared."""

    round: Round
    view: View
    mask_private: bytes = field(repr=False)
    envelope_private: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    own_shares: bytes = field(repr=False)  # of the seed and of the mask key, 36 bytes each
    adverts: Mapping[int, Advert]  # of the neighbours and its own

    @cached_property
    def mask_agreement(self) -> PrivateKey:
        return primitives.load(self.mask_private)

    @cached_property
    def envelope_agreement(self) -> PrivateKey:
        return primitives.load(self.envelope_private)

    def to_parts(self) -> list[bytes]:
        secrets = self.mask_private + self.envelope_private + self.seed + self.own_shares
        return [
            self.view.to_bytes(),
            secrets,
            _table({i: a.mask_key + a.envelope_key for i, a in self.adverts.items()}),
        ]

    @classmethod
    def from_parts(cls, round: Round, view: bytes, s: bytes, table: bytes) -> Shared:
        adverts = {i: Advert(keys[:KEY_BYTES], keys[KEY_BYTES:]) for i, keys in _rows(table, 2 * KEY_BYTES).items()}
        return cls(round, View.from_bytes(view), s[:32], s[32:64], s[64:96], s[96:], adverts)


@dataclass(frozen=True)
class Masked:
    """The masked input is made: own keys and seed are dropped, what remains are shares, own ones included."""

    round: Round
    view: View
    sharers: frozenset[int]
    shares: Mapping[int, bytes] = field(repr=False)  # by owner: of its seed and of its mask key, 36 bytes each

    def to_parts(self) -> list[bytes]:
        return [self.view.to_bytes(), _ids(self.sharers), _table(self.shares)]

    @classmethod
    def from_parts(cls, round: Round, view: bytes, sharers: bytes, table: bytes) -> Masked:
        return cls(round, View.from_bytes(view), _from_ids(sharers), _rows(table, 2 * SHARE_BYTES))


@dataclass(frozen=True)
class Consented:
    """One survivor set is signed; no other will be."""

    masked: Masked
    survivors: frozenset[int]

    @property
    def round(self) -> Round:
        return self.masked.round

    def to_parts(self) -> list[bytes]:
        return [*self.masked.to_parts(), _ids(self.survivors)]

    @classmethod
    def from_parts(cls, round: Round, view: bytes, sharers: bytes, table: bytes, survivors: bytes) -> Consented:
        return cls(Masked.from_parts(round, view, sharers, table), _from_ids(survivors))


@dataclass(frozen=True)
class Answered:
    """Done; holds no secret. Stored before the answer is sent, it makes a second answer impossible."""

    round: Round

    def to_parts(self) -> list[bytes]:
        return []

    @classmethod
    def from_parts(cls, round: Round) -> Answered:
        return cls(round)


ClientState = Advertised | Shared | Masked | Consented | Answered
_STEPS = (Advertised, Shared, Masked, Consented, Answered)
_State = TypeVar("_State", Advertised, Shared, Masked, Consented)


def store(state: ClientState, key: bytes, entropy: Entropy) -> bytes:
    """The state for the disk: everything secret of the round, sealed with AES-256-GCM under a 32-byte key."""
    plain = _plain(state)
    nonce = primitives.draw(entropy, NONCE_BYTES)
    return _MAGIC + nonce + primitives.seal(key, nonce, plain, _MAGIC)


def restore(data: bytes, key: bytes) -> ClientState:
    """The state that `store` sealed, of whichever step. Raises DamagedState."""
    sealed = data[len(_MAGIC) + NONCE_BYTES :]
    if data[: len(_MAGIC)] != _MAGIC or len(sealed) < TAG_BYTES:
        raise DamagedState("stored client state is damaged; leave the round")
    plain = primitives.unseal(key, data[len(_MAGIC) :][:NONCE_BYTES], sealed, _MAGIC)
    if plain is None:
        raise DamagedState("stored client state is damaged, or sealed under another key; leave the round")
    try:
        state = _from_plain(plain)
    except (ProtocolError, struct.error, IndexError, TypeError, ValueError):
        raise DamagedState("stored client state is none of this version; leave the round") from None
    return state


def _plain(state: ClientState) -> bytes:
    parts = [state.round.to_bytes(), *state.to_parts()]
    return bytes([_STEPS.index(type(state))]) + b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _from_plain(plain: bytes) -> ClientState:
    parts, at = list[bytes](), 1
    while at < len(plain):
        size = int.from_bytes(plain[at : at + 4], "little")
        parts.append(plain[at + 4 : at + 4 + size])
        at += 4 + size
    return _STEPS[plain[0]].from_parts(Round.from_bytes(parts[0]), *parts[1:])


def advertise(
    parameters: Parameters,
    floors: Floors,
    ctx: bytes,
    attempt: bytes,
    me: int,
    entropy: Entropy,
    roster: Roster = (),
    sign: Sign | None = None,
) -> tuple[Advertised, bytes]:
    """Step 0: draw two key pairs -> advert for the server, signed where there is a roster.

    attempt: 16 bytes, another for each attempt at the round that `ctx` names. roster: identities of all participants
    from this participant's own file, never from the server. Raises
    RefusedParameters below the client's floors, or where `sign` is missing or is not participant `me`'s.
    """
    floors.refuse(parameters)
    if not 1 <= me <= parameters.participants:
        raise RefusedParameters(f"participant {me} is not one of 1..{parameters.participants}")
    if len(attempt) != 16:
        raise RefusedParameters(f"attempt has {len(attempt)} bytes, not 16")
    round = Round(parameters, floors, ctx, attempt, me, tuple(roster))
    state = Advertised(round, primitives.draw(entropy, KEY_BYTES), primitives.draw(entropy, KEY_BYTES))
    own, session = _own_advert(state), round.session
    message = own.encode(me, session, sign)
    try:
        Advert.decode(message, me, session, round.roster)
    except MalformedMessage as error:
        raise RefusedParameters(f"participant {me} cannot sign as the roster's identity {me} ({error.field})") from None
    return state, message


def share(state: ClientState, inbound: Buffer, entropy: Entropy) -> tuple[Shared, bytes]:
    """Step 1: everybody's adverts -> for each neighbour, sealed shares of the self-mask seed and of the mask key."""
    state, r = _at(state, Advertised), state.round
    adverts = messages.decode_adverts(inbound, r.session, r.parameters.participants, r.roster)
    if adverts.get(r.me) != _own_advert(state):
        raise MalformedMessage(SERVER, Kind.ADVERTS.label, "own advert")
    r.check_count("advertise", len(adverts))
    digest = messages.view_of(r.session, adverts)
    view = View(digest, Graph.draw(digest, adverts, r.parameters.degree))

    seed, points = primitives.draw(entropy, KEY_BYTES), sorted(view.graph.holders(r.me))
    shares = shamir.share([seed, state.mask_private], points, r.parameters.threshold, entropy).astype("<u2")
    dealt = {x: shares[k].tobytes() for k, x in enumerate(points)}
    near = {x: adverts[x] for x in points}
    shared = Shared(r, view, state.mask_private, state.envelope_private, seed, dealt.pop(r.me), near)
    envelopes = {x: _seal_shares(shared, x, dealt[x], primitives.draw(entropy, NONCE_BYTES)) for x in dealt}
    return shared, messages.encode_entries(Kind.SHARES, r.me, digest, envelopes)


def masked_input(
    state: ClientState, inbound: Buffer, vector: RingVector, sign: Sign | None = None
) -> tuple[Masked, bytes]:
    """Step 2: envelopes and the encoded vector uint[parameters.length] -> masked vector and commitment to the seed.

    Where there is a roster, `sign` binds this participant to whom it masked with. Raises ValueError for a vector of
    another shape or type, MalformedMessage, BelowThreshold. An envelope that does not open stops nobody: else one
    participant could make its neighbours leave. Its owner's secrets are then for the other holders to recover.
    """
    state, r = _at(state, Shared), state.round
    dtype = ring_dtype(r.parameters.ring_bits)
    if vector.shape != (r.parameters.length,) or vector.dtype != dtype:
        raise ValueError(f"the vector is {vector.dtype}{vector.shape}, not {dtype}({r.parameters.length},)")
    view = state.view.digest
    sharers, envelopes = messages.decode_envelopes(inbound, view, frozenset(state.view.graph.circle))
    if r.me not in sharers or envelopes.keys() != sharers & state.adverts.keys() - {r.me}:
        raise MalformedMessage(SERVER, Kind.ENVELOPES.label, "sharers")
    r.check_count("share", len(sharers))
    shares = {x: _open_shares(state, x, envelope) for x, envelope in envelopes.items()}

    public = {x: advert.mask_key for x, advert in state.adverts.items()}
    keys = {x: _mask_key(state, x, public) for x in shares}
    masked = vector.copy()
    masking.apply_masks(
        masked,
        [masking.self_mask_key(state.seed, view, r.me), *(key for x, key in keys.items() if r.me < x)],
        [key for x, key in keys.items() if x < r.me],
    )
    commitment = masking.commitment(state.seed, view, r.me)
    message = messages.encode_masked_input(
        r.me, view, messages.sharers_digest(view, sharers, commitment), commitment, masked, sign
    )
    return Masked(r, state.view, sharers, {**shares, r.me: state.own_shares}), message


def consent(state: ClientState, inbound: Buffer, sign: Sign) -> tuple[Consented, bytes]:
    """Step 3: the survivor set, once it has been checked -> this participant's signature on it.

    Raises RefusedSurvivors or BelowThreshold with nothing signed and no secret spent.
    """
    state, r = _at(state, Masked), state.round
    survivors = _checked_survivors(state, inbound)
    digest = messages.survivors_digest(state.view.digest, survivors)
    message = messages.encode(Kind.CONSENT, r.me, state.view.digest, digest, sign(digest))
    return Consented(state, survivors), message


def unmask(state: ClientState, inbound: Buffer) -> tuple[Answered, bytes]:
    """Step 4: for each owner of shares exactly one kind, by the survivor set alone -> answer.

    Of a survivor the share of its self-mask seed, of one that dropped out the share of its mask key. inbound: the
    certificate that a quorum signed the set this participant consented to; without identities the survivor set itself.
    Raises RefusedCertificate, RefusedSurvivors or BelowThreshold with no secret spent, AlreadyAnswered the second time.
    """
    if isinstance(state, Answered):
        raise AlreadyAnswered(f"participant {state.round.me} has answered this round; its secrets are erased")
    if state.round.roster:
        consented = _at(state, Consented)
        masked, survivors = consented.masked, consented.survivors
        _check_certificate(consented, inbound)
    else:
        masked = _at(state, Masked)
        survivors = _checked_survivors(masked, inbound)
    view = masked.view.digest
    answers = {x: s[:SHARE_BYTES] if x in survivors else s[SHARE_BYTES:] for x, s in masked.shares.items()}
    lead = messages.survivors_digest(view, survivors)
    return Answered(state.round), messages.encode_entries(Kind.ANSWER, state.round.me, view, answers, lead)


def _checked_survivors(state: Masked, inbound: Buffer) -> frozenset[int]:
    """The set, if it may be unmasked: neighbours in it masked with the same sharers, and few in a row are missing."""
    r, view, circle = state.round, state.view.digest, state.view.graph
    signed = messages.decode_survivors(inbound, view, state.sharers, r.roster)
    survivors = frozenset(signed)
    if r.me not in survivors:
        raise RefusedSurvivors(f"the survivor set omits participant {r.me} itself, which sent its input")
    for x in survivors & circle.neighbours(r.me) if r.roster else ():
        commitment, signature = signed[x][:32], signed[x][32:]
        if not primitives.signed(r.roster[x - 1], signature, messages.sharers_digest(view, state.sharers, commitment)):
            raise RefusedSurvivors(f"participant {x} did not mask with the same participants as {r.me}, or not at all")
    gone = circle.most_gone(survivors)
    if gone > r.parameters.most_gone:
        raise RefusedSurvivors(f"{gone} places in a row are missing, {r.parameters.most_gone} at most may be")
    r.check_count("masked input", len(survivors))
    return survivors


def _check_certificate(state: Consented, inbound: Buffer) -> None:
    r, view = state.round, state.masked.view
    digest = messages.survivors_digest(view.digest, state.survivors)
    may_sign = (
        graph.committee(r.parameters.record(r.ctx, r.roster), r.parameters.participants, r.parameters.committee)
        & state.survivors
    )
    signatures = messages.decode_entries(
        inbound, Kind.CERTIFICATE, SERVER, view.digest, may_sign, SIGNATURE_BYTES, digest
    )
    if len(signatures) < r.parameters.quorum:
        raise RefusedCertificate(f"{len(signatures)} signed the survivor set, {r.parameters.quorum} must")
    forged = [i for i, s in signatures.items() if not primitives.signed(r.roster[i - 1], s, digest)]
    if forged:
        raise RefusedCertificate(f"the signatures of participants {forged} on the survivor set are not theirs")


def _at(state: ClientState, step: type[_State]) -> _State:
    if not isinstance(state, step):
        raise WrongStep(f"this step follows {step.__name__}, the state is {type(state).__name__}")
    return state


def _own_advert(state: Advertised) -> Advert:
    return Advert(primitives.public_key(state.mask_private), primitives.public_key(state.envelope_private))


def _mask_key(state: Shared, other: int, public: dict[int, bytes]) -> bytes:
    try:
        return masking.pairwise_mask_key(state.mask_agreement, state.round.me, other, public, state.view.digest)
    except primitives.LowOrderKey:
        raise MalformedMessage(other, Kind.ADVERT.label, "mask key") from None


def _envelope_key(state: Shared, other: int, sender: int, to: int) -> bytes:
    """Key of one direction; bound to all four public keys, so that a substituted mask key spoils the envelope."""
    keys = [key for i in (sender, to) for key in (state.adverts[i].mask_key, state.adverts[i].envelope_key)]
    try:
        secret = primitives.agree(state.envelope_agreement, state.adverts[other].envelope_key)
    except primitives.LowOrderKey:
        raise MalformedMessage(other, Kind.ADVERT.label, "envelope key") from None
    return primitives.derive(secret, b"share-envelope", state.view.digest, name(sender), name(to), *keys)


def _seal_shares(state: Shared, to: int, shares: bytes, nonce: bytes) -> bytes:
    me = state.round.me
    key = _envelope_key(state, to, me, to)
    return nonce + primitives.seal(key, nonce, shares, state.view.digest + name(me) + name(to))


def _open_shares(state: Shared, sender: int, envelope: bytes) -> bytes:
    me = state.round.me
    key = _envelope_key(state, sender, sender, me)
    nonce, sealed = envelope[:NONCE_BYTES], envelope[NONCE_BYTES:]
    shares = primitives.unseal(key, nonce, sealed, state.view.digest + name(sender) + name(me))
    sound = shares is not None and np.frombuffer(shares, dtype="<u2").max() < shamir.PRIME
    return shares if shares is not None and sound else 2 * NO_SHARE


def _table(rows: Mapping[int, bytes]) -> bytes:
    return b"".join(name(i) + row for i, row in sorted(rows.items()))


def _rows(table: bytes, size: int) -> dict[int, bytes]:
    return {int.from_bytes(row[:4], "little"): row[4:] for row in _split(table, 4 + size)}


def _ids(participants: frozenset[int]) -> bytes:
    return b"".join(map(name, sorted(participants)))


def _from_ids(data: bytes) -> frozenset[int]:
    return frozenset(np.frombuffer(data, "<u4").tolist())


def _split(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[i : i + size] for i in range(0, len(data), size))
