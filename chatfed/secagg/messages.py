"""What travels between participants and server, byte by byte, and what can be wrong with it.

Codecs only: no keys are used here and no decisions taken. docs/protocol.md shows every layout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.masking import RING_BITS, RingVector, ring_dtype
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, TAG_BYTES, Buffer
from chatfed.secagg.shamir import PRIME, SHARE_BYTES
from chatfed.types import ChatfedError

VERSION = 1
SERVER = 0  # the sender of the server's messages; participants are 1..n
MAX_DIMENSION = primitives.STREAM_LIMIT // 4
SIGNATURE_BYTES = {0: 0}  # by identities byte; 0 = none: adverts carry no signature
IDENTITIES_NONE = 0
ENVELOPE_BYTES = NONCE_BYTES + 2 * SHARE_BYTES + TAG_BYTES

_HEADER = struct.Struct("<BBBBI32s")  # version, kind, identities, 0, sender, session
_ID = struct.Struct("<I")
_BODY = _HEADER.size + primitives.CHECKSUM_BYTES  # where the body starts: 56, so that vectors lie aligned
_PARAMETERS = struct.Struct("<IIQB")


class Kind(IntEnum):
    """Kinds of message, in the order of a round. Odd ones go to the server."""

    ADVERT = 1
    ADVERTS = 2
    SHARES = 3
    ENVELOPES = 4
    MASKED_INPUT = 5
    SURVIVORS = 6
    ANSWER = 7

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


class ProtocolError(ChatfedError):
    """A round of secure aggregation cannot go on as asked; no secret was spent."""


class MalformedMessage(ProtocolError):
    """A message that is not what the protocol allows. `sender` is a participant, or 0 for the server."""

    def __init__(self, sender: int, kind: str, field: str) -> None:
        self.sender, self.kind, self.field = sender, kind, field
        who = f"participant {sender}" if sender else "the server"
        super().__init__(f"{who} sent a malformed message: {kind}, wrong {field}; leave the sender out and go on")


class BelowThreshold(ProtocolError):
    """Too few participants are left at a stage; nothing was unmasked."""

    def __init__(self, stage: str, got: int, need: int) -> None:
        self.stage, self.got, self.need = stage, got, need
        super().__init__(f"only {got} participants at stage {stage}, {need} needed; nothing was unmasked, start again")


class RefusedParameters(ProtocolError):
    """Parameters that are not sound, or below what this participant accepts."""


class RefusedSurvivors(ProtocolError):
    """A survivor set that this participant does not answer."""


class AlreadyAnswered(ProtocolError):
    """This participant has answered this round's unmask request once; its secrets are erased."""


class WrongStep(ProtocolError):
    """A step was asked for out of order."""


class BadShares(ProtocolError):
    """Shares of `owner`'s secret do not give the secret it committed to. `holders`: who is to blame.

    `holders` = (owner,) when the shares agree with each other but not with the commitment: the owner cheated.
    Empty when more holders cheated than the number of shares allows to tell.
    """

    def __init__(self, owner: int, holders: tuple[int, ...]) -> None:
        self.owner, self.holders = owner, holders
        blame = f"participants {', '.join(map(str, holders))} cheated" if holders else "too many wrong to tell whose"
        super().__init__(f"shares of participant {owner}'s secret are wrong: {blame}; nothing was unmasked")


@dataclass(frozen=True)
class Parameters:
    """Public size of a round, the same for all; bound into every key and message.

    threshold: shares that recover a secret. It must be over half of all participants: then no server can collect
    enough of both kinds of share by showing two survivor sets (Bonawitz et al. 2017, section 6.2).
    """

    participants: int
    threshold: int
    dimension: int  # ring coordinates, the weight included
    ring_bits: int = 32

    def __post_init__(self) -> None:
        if self.ring_bits not in RING_BITS:
            raise RefusedParameters(f"ring_bits is {self.ring_bits}; choose one of {RING_BITS}")
        if not 2 <= self.participants < PRIME:
            raise RefusedParameters(f"participants is {self.participants}; it must be from 2 to {PRIME - 1}")
        if not self.participants < 2 * self.threshold <= 2 * self.participants:
            low = self.participants // 2 + 1
            raise RefusedParameters(f"threshold is {self.threshold}; it must be from {low} to {self.participants}")
        if not 1 <= self.dimension <= MAX_DIMENSION:
            raise RefusedParameters(f"dimension is {self.dimension}; it must be from 1 to {MAX_DIMENSION}")

    def to_bytes(self) -> bytes:
        return _PARAMETERS.pack(self.participants, self.threshold, self.dimension, self.ring_bits)

    @classmethod
    def from_bytes(cls, data: bytes) -> Parameters:
        return cls(*_PARAMETERS.unpack(data))

    def session(self, ctx: bytes) -> bytes:
        """What every key and message of the round is bound to: ctx and these parameters -> bytes[32]."""
        if len(ctx) != 32:
            raise RefusedParameters(f"ctx has {len(ctx)} bytes, not 32; make it with context()")
        return primitives.digest(b"session", ctx, self.to_bytes())


@dataclass(frozen=True)
class Floors:
    """The least that one participant accepts, by its own configuration; never the server's word."""

    threshold: int
    survivors: int
    ring_bits: int = 16

    def refuse(self, parameters: Parameters) -> None:
        """Raise RefusedParameters for a round below these floors."""
        for name, got in (("threshold", parameters.threshold), ("ring_bits", parameters.ring_bits)):
            if got < getattr(self, name):
                raise RefusedParameters(f"{name} is {got}, below this participant's floor of {getattr(self, name)}")
        if parameters.participants < self.survivors:
            raise RefusedParameters(f"{parameters.participants} participants cannot leave {self.survivors} survivors")


def context(run: bytes, round: int, model_hash: bytes, recipe_digest: bytes, roster_root: bytes) -> bytes:
    """What a round is about -> ctx, bytes[32]; participants with another ctx get nothing to do with each other."""
    return primitives.digest(b"context", run, struct.pack("<Q", round), model_hash, recipe_digest, roster_root)


def roster_root(names: Sequence[str]) -> bytes:
    """Digest of the participants' names in order (participant i is names[i-1]) -> bytes[32]."""
    return primitives.digest(b"roster", *(name.encode() for name in names))


def encode(kind: Kind, sender: int, session: bytes, *body: Buffer) -> bytes:
    """Header (40 bytes), checksum (16), body, signature of length zero."""
    header = _HEADER.pack(VERSION, kind, IDENTITIES_NONE, 0, sender, session)
    return b"".join((header, _checksum(session, header, *body), *body))


def decode(message: Buffer, kind: Kind, sender: int, session: bytes) -> memoryview:
    """The body of a message of this kind, sender and session; raises MalformedMessage(sender, kind, field)."""
    view = memoryview(message)

    def demand(good: bool, field: str) -> None:
        if not good:
            raise MalformedMessage(sender, kind.label, field)

    demand(len(view) >= _BODY, "length")
    version, got_kind, identities, zero, got_sender, got_session = _HEADER.unpack_from(view)
    demand(version == VERSION, "version")
    demand(got_kind == kind, "kind")
    demand(identities == IDENTITIES_NONE and zero == 0, "identities")
    demand(got_sender == sender, "sender")
    demand(got_session == session, "context")
    body = view[_BODY : len(view) - SIGNATURE_BYTES[identities]]
    demand(_checksum(session, view[: _HEADER.size], body) == view[_HEADER.size : _BODY], "checksum")
    return body


def _checksum(session: bytes, *parts: Buffer) -> bytes:
    return primitives.checksum(primitives.digest(b"checksum", session), *parts)


@dataclass(frozen=True)
class Advert:
    """A participant's two public keys for this round."""

    mask_key: bytes  # X25519 public, 32 bytes
    envelope_key: bytes  # X25519 public, 32 bytes

    def encode(self, sender: int, session: bytes) -> bytes:
        return encode(Kind.ADVERT, sender, session, self.mask_key, self.envelope_key)

    @classmethod
    def decode(cls, message: Buffer, sender: int, session: bytes) -> Advert:
        body = bytes(decode(message, Kind.ADVERT, sender, session))
        if len(body) != 2 * KEY_BYTES:
            raise MalformedMessage(sender, Kind.ADVERT.label, "length")
        if body[:KEY_BYTES] == body[KEY_BYTES:]:
            raise MalformedMessage(sender, Kind.ADVERT.label, "keys")
        return cls(body[:KEY_BYTES], body[KEY_BYTES:])


ADVERT_MESSAGE_BYTES = _BODY + 2 * KEY_BYTES + SIGNATURE_BYTES[IDENTITIES_NONE]


def encode_adverts(session: bytes, adverts: Mapping[int, bytes]) -> bytes:
    """The participants' own advert messages, whole, in order of id: later they carry their signatures along."""
    return encode(Kind.ADVERTS, SERVER, session, *(adverts[i] for i in sorted(adverts)))


def decode_adverts(message: Buffer, session: bytes, allowed: Set[int]) -> dict[int, Advert]:
    body = bytes(decode(message, Kind.ADVERTS, SERVER, session))
    if len(body) % ADVERT_MESSAGE_BYTES:
        raise MalformedMessage(SERVER, Kind.ADVERTS.label, "length")
    frames = [body[i : i + ADVERT_MESSAGE_BYTES] for i in range(0, len(body), ADVERT_MESSAGE_BYTES)]
    senders = [_HEADER.unpack_from(frame)[4] for frame in frames]
    _check_ids(senders, SERVER, Kind.ADVERTS, allowed)
    return {sender: Advert.decode(frame, sender, session) for sender, frame in zip(senders, frames, strict=True)}


def encode_entries(kind: Kind, sender: int, session: bytes, entries: Mapping[int, bytes], lead: bytes = b"") -> bytes:
    """Entries of one fixed size, each after the id it is from, to or about, in order of id."""
    return encode(kind, sender, session, lead, *(_ID.pack(i) + entries[i] for i in sorted(entries)))


def decode_entries(
    message: Buffer, kind: Kind, sender: int, session: bytes, allowed: Set[int], size: int, lead: bytes = b""
) -> dict[int, bytes]:
    """Ids strictly rising, each one allowed; every entry `size` bytes. A lead other than `lead` is refused."""
    body = bytes(decode(message, kind, sender, session))
    if (len(body) - len(lead)) % (_ID.size + size) or len(body) < len(lead):
        raise MalformedMessage(sender, kind.label, "length")
    if body[: len(lead)] != lead:
        raise MalformedMessage(sender, kind.label, "survivors")
    starts = range(len(lead), len(body), _ID.size + size)
    ids = [_ID.unpack_from(body, start)[0] for start in starts]
    _check_ids(ids, sender, kind, allowed)
    return {i: body[start + _ID.size : start + _ID.size + size] for i, start in zip(ids, starts, strict=True)}


def encode_survivors(session: bytes, survivors: Iterable[int]) -> bytes:
    return encode_entries(Kind.SURVIVORS, SERVER, session, dict.fromkeys(survivors, b""))


def decode_survivors(message: Buffer, session: bytes, allowed: Set[int]) -> frozenset[int]:
    return frozenset(decode_entries(message, Kind.SURVIVORS, SERVER, session, allowed, 0))


def survivors_digest(session: bytes, survivors: Iterable[int]) -> bytes:
    """What an answer refers to, and what a certificate stage would sign -> bytes[32]."""
    return primitives.digest(b"survivors", session, *(_ID.pack(i) for i in sorted(survivors)))


def sharers_digest(session: bytes, sharers: Iterable[int]) -> bytes:
    """Whose shares a participant holds: those that it masked with, and itself -> bytes[32]."""
    return primitives.digest(b"sharers", session, *(_ID.pack(i) for i in sorted(sharers)))


def encode_masked_input(
    sender: int, session: bytes, sharers: Iterable[int], commitment: bytes, vector: RingVector
) -> bytes:
    masked_with = sharers_digest(session, sharers)
    return encode(Kind.MASKED_INPUT, sender, session, masked_with, commitment, vector.data.cast("B"))


def decode_masked_input(
    message: Buffer, sender: int, session: bytes, sharers: Iterable[int], parameters: Parameters
) -> tuple[bytes, RingVector]:
    """The commitment bytes[32] and a view uint[dimension] into the message.

    Refused when it was masked with others than `sharers`: such masks would not cancel, and the sum be wrong.
    """
    body = decode(message, Kind.MASKED_INPUT, sender, session)
    dtype = ring_dtype(parameters.ring_bits)
    if len(body) != 64 + parameters.dimension * dtype.itemsize:
        raise MalformedMessage(sender, Kind.MASKED_INPUT.label, "length")
    if body[:32] != sharers_digest(session, sharers):
        raise MalformedMessage(sender, Kind.MASKED_INPUT.label, "sharers")
    vector: RingVector = np.frombuffer(body, dtype=dtype, offset=64)  # type: ignore[assignment]  # width known at run time
    return bytes(body[32:64]), vector


def _check_ids(ids: Sequence[int], sender: int, kind: Kind, allowed: Set[int]) -> None:
    if any(a >= b for a, b in zip(ids, ids[1:], strict=False)):
        raise MalformedMessage(sender, kind.label, "order of ids")
    if any(i not in allowed for i in ids):
        raise MalformedMessage(sender, kind.label, "ids")
