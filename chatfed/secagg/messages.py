"""What travels between participants and server, byte by byte, and what can be wrong with it.

Codecs only: no decisions are taken here. docs/protocol.md shows every layout.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.masking import RING_BITS, RingVector, ring_dtype, ring_length
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES, TAG_BYTES, Buffer
from chatfed.secagg.shamir import PRIME, SHARE_BYTES
from chatfed.types import ChatfedError

VERSION = 2
SERVER = 0  # the sender of the server's messages; participants are 1..n
MAX_DIMENSION = primitives.STREAM_LIMIT // 8
NO_SHARE = b"\xff" * SHARE_BYTES  # no field elements: "this owner's envelope did not open"
ENVELOPE_BYTES = NONCE_BYTES + 2 * SHARE_BYTES + TAG_BYTES

_HEADER = struct.Struct("<BBHI32s")  # version, kind, 0, sender, context
_ID = struct.Struct("<I")
_BODY = _HEADER.size + primitives.CHECKSUM_BYTES  # where the body starts: 56, so that vectors lie aligned
_PARAMETERS = struct.Struct("<IIQBIIII")

Roster = Sequence[bytes]
"""Ed25519 public keys, 32 bytes each: participant i's is roster[i - 1]. Empty: nobody's identity is known."""

Sign = Callable[[bytes], bytes]
"""A participant's own signature, 64 bytes, on a message; its private key stays with whoever made this."""


class Kind(IntEnum):
    """Kinds of message, in the order of a round. Odd ones go to the server."""

    ADVERT = 1
    ADVERTS = 2
    SHARES = 3
    ENVELOPES = 4
    MASKED_INPUT = 5
    SURVIVORS = 6
    CONSENT = 7
    CERTIFICATE = 8
    ANSWER = 9

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


class ProtocolError(ChatfedError):
    """A round of secure aggregation cannot go on as asked; no secret was spent."""

    code = "protocol_error"
    mend = "start the round again"


class MalformedMessage(ProtocolError):
    """A message that is not what the protocol allows. `sender` is a participant, or 0 for the server."""

    code = "malformed_message"
    mend = "leave the sender out and go on"

    def __init__(self, sender: int, kind: str, field: str) -> None:
        self.sender, self.kind, self.field = sender, kind, field
        who = f"participant {sender}" if sender else "the server"
        super().__init__(
            f"{who} sent a malformed message: {kind}, wrong {field}; leave the sender out and go on", param=field
        )


class BelowThreshold(ProtocolError):
    """Too few participants are left at a stage; nothing was unmasked."""

    code = "below_threshold"
    mend = "start the round again with those who are there"

    def __init__(self, stage: str, got: int, need: int) -> None:
        self.stage, self.got, self.need = stage, got, need
        super().__init__(f"only {got} participants at stage {stage}, {need} needed; nothing was unmasked, start again")


def check_count(stage: str, got: int, need: int) -> None:
    """Raises BelowThreshold."""
    if got < need:
        raise BelowThreshold(stage, got, need)


class RefusedParameters(ProtocolError):
    """Parameters that are not sound, or below what this participant accepts."""

    code = "refused_parameters"
    mend = "agree on parameters that every participant's floors allow"


class RefusedSurvivors(ProtocolError):
    """A survivor set that this participant does not answer."""

    code = "refused_survivors"
    mend = "start the round again, with one survivor set for all"


class RefusedCertificate(ProtocolError):
    """A certificate that does not show a quorum for the survivor set that this participant consented to."""

    code = "refused_certificate"
    mend = "start the round again; where it happens twice, look at who runs the server"


class AlreadyAnswered(ProtocolError):
    """This participant has answered this round's unmask request once; its secrets are erased."""

    code = "already_answered"
    mend = "begin a new round"


class WrongStep(ProtocolError):
    """A step was asked for out of order."""

    code = "wrong_step"
    mend = "call the steps in their order"


class BadShares(ProtocolError):
    """Shares of `owner`'s secret do not give the secret it committed to: it dealt wrong ones, or `holders` gave such.

    Who of them cannot be told without a proof of correct sharing: enough holders who lie alike can make an honest
    owner look guilty, and an owner who deals badly makes its holders look so.
    """

    code = "bad_shares"
    mend = "start the round again, without the participants named where it happens twice"

    def __init__(self, owner: int, holders: tuple[int, ...]) -> None:
        self.owner, self.holders = owner, holders
        super().__init__(
            f"participant {owner}'s secret cannot be recovered: it dealt wrong shares, or some of the {len(holders)} "
            f"who hold them lied; nothing was unmasked"
        )


@dataclass(frozen=True)
class Parameters:
    """Public size of a round, the same for all; bound into every key and message.

    threshold: shares that recover a secret. In a complete graph it must be over half of all participants: then no
    server can collect enough of both kinds of share by showing two survivor sets (Bonawitz et al. 2017, section 6.2).
    degree: neighbours of each participant, -1 for all. committee, quorum: how many may sign a survivor set, and how
    many must; both 0 where no identities are known.
    """

    participants: int
    threshold: int
    dimension: int  # coordinates, the weight included
    ring_bits: int = 32
    degree: int = -1
    most_gone: int = 0  # of degree/2 places of the circle in a row, the most that may have dropped out
    committee: int = 0
    quorum: int = 0

    def __post_init__(self) -> None:
        if self.degree == -1:
            object.__setattr__(self, "degree", self.participants - 1)
        n, half = self.participants, self.degree // 2
        least = n // 2 + 1 if self.complete else 2
        self._demand("ring_bits", self.ring_bits in RING_BITS, f"one of {RING_BITS}")
        self._demand("participants", 2 <= n < PRIME, f"from 2 to {PRIME - 1}")
        even = self.degree % 2 == 0 and 2 <= self.degree < n
        self._demand("degree", self.complete or even, f"even and from 2 to {n - 1}, or {n - 1}")
        most = n if self.complete else self.degree + 1
        self._demand("threshold", least <= self.threshold <= most, f"from {least} to {most}")
        self._demand("dimension", 1 <= self.dimension <= MAX_DIMENSION, f"from 1 to {MAX_DIMENSION}")
        self._demand("most_gone", 0 <= self.most_gone <= half, f"from 0 to {half}")
        self._demand("committee", 0 <= self.committee <= n, f"from 0 to {n}")
        signed = self.committee < 2 * self.quorum <= 2 * self.committee or self.committee == self.quorum == 0
        self._demand("quorum", signed, f"from {self.committee // 2 + 1} to {self.committee}")

    def _demand(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise RefusedParameters(f"{name} is {getattr(self, name)}; it must be {allowed}")

    @property
    def complete(self) -> bool:
        return self.degree == self.participants - 1

    @property
    def length(self) -> int:
        """Ring elements of a vector."""
        return ring_length(self.dimension, self.ring_bits)

    def to_bytes(self) -> bytes:
        sizes = (self.degree, self.most_gone, self.committee, self.quorum)
        return _PARAMETERS.pack(self.participants, self.threshold, self.dimension, self.ring_bits, *sizes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Parameters:
        return cls(*_PARAMETERS.unpack(data))

    def record(self, ctx: bytes, roster: Roster = ()) -> bytes:
        """What a round is, whatever the attempt: ctx, parameters and identities -> bytes[32]. Picks the committee."""
        if len(ctx) != 32:
            raise RefusedParameters(f"ctx has {len(ctx)} bytes, not 32; make it with context()")
        if len(roster) != (self.participants if self.quorum else 0):
            raise RefusedParameters(
                f"{len(roster)} identities for {self.participants} participants, quorum {self.quorum}"
            )
        if len(set(roster)) != len(roster):
            raise RefusedParameters("two participants have one identity; correct the roster")
        return primitives.digest(b"record", ctx, self.to_bytes(), *roster)

    def session(self, ctx: bytes, attempt: bytes, roster: Roster = ()) -> bytes:
        """What every key and message of one attempt at the round is bound to -> bytes[32]."""
        return primitives.digest(b"session", self.record(ctx, roster), attempt)


@dataclass(frozen=True)
class Floors:
    """What one participant accepts at the least, by its own configuration; never the server's word.

    A threshold means something for its degree only, and a quorum for its committee: more neighbours or members hold
    more corrupt ones. So degree and committee are those that the participant has derived itself, no more and no fewer
    (None: whatever the parameters say, which is for tests and for rounds without identities).
    """

    threshold: int
    survivors: int  # at every stage: those who advertised, too, must be so many
    ring_bits: int = 16
    degree: int | None = None
    committee: int | None = None
    quorum: int = 0
    most_gone: int = PRIME  # the most, not the least

    def refuse(self, parameters: Parameters) -> None:
        """Raise RefusedParameters for a round below these floors."""
        for name in ("threshold", "ring_bits", "quorum"):
            got, least = getattr(parameters, name), getattr(self, name)
            if got < least:
                raise RefusedParameters(f"{name} is {got}, below this participant's floor of {least}")
        for name in ("degree", "committee"):
            got, own = getattr(parameters, name), getattr(self, name)
            if own is not None and got != own:
                raise RefusedParameters(f"{name} is {got}, this participant has derived {own}")
        if parameters.most_gone > self.most_gone:
            raise RefusedParameters(f"most_gone is {parameters.most_gone}, above this participant's {self.most_gone}")
        if parameters.participants < self.survivors:
            raise RefusedParameters(f"{parameters.participants} participants cannot leave {self.survivors} survivors")


def context(run: bytes, round: int, model_hash: bytes, recipe_digest: bytes, roster_root: bytes) -> bytes:
    """What a round is about -> ctx, bytes[32]; participants with another ctx get nothing to do with each other."""
    return primitives.digest(b"context", run, struct.pack("<Q", round), model_hash, recipe_digest, roster_root)


def roster_root(names: Sequence[str]) -> bytes:
    """Digest of the participants' names in order (participant i is names[i-1]) -> bytes[32].

    Their identities are bound beside it, by `Parameters.session`.
    """
    return primitives.digest(b"roster", *(name.encode() for name in names))


def encode(kind: Kind, sender: int, context: bytes, *body: Buffer) -> bytes:
    """Header (40 bytes), checksum (16), body. context: the session for adverts, the view from then on."""
    header = _HEADER.pack(VERSION, kind, 0, sender, context)
    return b"".join((header, _checksum(context, header, *body), *body))


def decode(message: Buffer, kind: Kind, sender: int, context: bytes) -> memoryview:
    """The body of a message of this kind, sender and context; raises MalformedMessage(sender, kind, field)."""
    view = memoryview(message)

    def demand(good: bool, field: str) -> None:
        if not good:
            raise MalformedMessage(sender, kind.label, field)

    demand(len(view) >= _BODY, "length")
    version, got_kind, zero, got_sender, got_context = _HEADER.unpack_from(view)
    demand(version == VERSION and zero == 0, "version")
    demand(got_kind == kind, "kind")
    demand(got_sender == sender, "sender")
    demand(got_context == context, "context")
    body = view[_BODY:]
    demand(_checksum(context, view[: _HEADER.size], body) == view[_HEADER.size : _BODY], "checksum")
    return body


def _checksum(context: bytes, *parts: Buffer) -> bytes:
    return primitives.checksum(primitives.digest(b"checksum", context), *parts)


@dataclass(frozen=True)
class Advert:
    """A participant's two public keys for this round."""

    mask_key: bytes  # X25519 public, 32 bytes
    envelope_key: bytes  # X25519 public, 32 bytes

    def encode(self, sender: int, session: bytes, sign: Sign | None = None) -> bytes:
        signature = b"" if sign is None else sign(self._signed(sender, session))
        return encode(Kind.ADVERT, sender, session, self.mask_key, self.envelope_key, signature)

    @classmethod
    def decode(cls, message: Buffer, sender: int, session: bytes, roster: Roster) -> Advert:
        """Raises MalformedMessage naming the sender; with a roster also when the signature is not its identity's."""
        body = bytes(decode(message, Kind.ADVERT, sender, session))
        if len(body) != _advert_bytes(roster) - _BODY:
            raise MalformedMessage(sender, Kind.ADVERT.label, "length")
        advert = cls(body[:KEY_BYTES], body[KEY_BYTES : 2 * KEY_BYTES])
        if advert.mask_key == advert.envelope_key:
            raise MalformedMessage(sender, Kind.ADVERT.label, "keys")
        if roster and not primitives.signed(roster[sender - 1], body[2 * KEY_BYTES :], advert._signed(sender, session)):
            raise MalformedMessage(sender, Kind.ADVERT.label, "signature")
        return advert

    def _signed(self, sender: int, session: bytes) -> bytes:
        return primitives.digest(b"advert", session, _ID.pack(sender), self.mask_key, self.envelope_key)


def _advert_bytes(roster: Roster) -> int:
    return _BODY + 2 * KEY_BYTES + (SIGNATURE_BYTES if roster else 0)


def encode_adverts(session: bytes, adverts: Mapping[int, bytes]) -> bytes:
    """The participants' own advert messages, whole, in order of id, with their signatures."""
    return encode(Kind.ADVERTS, SERVER, session, *(adverts[i] for i in sorted(adverts)))


def decode_adverts(message: Buffer, session: bytes, participants: int, roster: Roster) -> Mapping[int, Advert]:
    return _decode_adverts(bytes(message), session, participants, tuple(roster))


@lru_cache(maxsize=1)
def _decode_adverts(message: bytes, session: bytes, participants: int, roster: Roster) -> Mapping[int, Advert]:
    """Cached: the same bytes go to everybody, and a process may serve many participants. Nothing here is secret."""
    body, size = bytes(decode(message, Kind.ADVERTS, SERVER, session)), _advert_bytes(roster)
    if len(body) % size:
        raise MalformedMessage(SERVER, Kind.ADVERTS.label, "length")
    frames = [body[i : i + size] for i in range(0, len(body), size)]
    senders = [_HEADER.unpack_from(frame)[3] for frame in frames]
    _check_ids(senders, SERVER, Kind.ADVERTS, range(1, participants + 1))
    return MappingProxyType(
        {sender: Advert.decode(frame, sender, session, roster) for sender, frame in zip(senders, frames, strict=True)}
    )


def view_of(session: bytes, adverts: Mapping[int, Advert]) -> bytes:
    """Digest of all adverts: who was shown others shares no key and no message with one -> bytes[32]."""
    parts = (_ID.pack(i) + adverts[i].mask_key + adverts[i].envelope_key for i in sorted(adverts))
    return primitives.digest(b"view", session, *parts)


def encode_entries(kind: Kind, sender: int, context: bytes, entries: Mapping[int, bytes], lead: bytes = b"") -> bytes:
    """Entries of one fixed size, each after the id it is from, to or about, in order of id."""
    return encode(kind, sender, context, lead, *(_ID.pack(i) + entries[i] for i in sorted(entries)))


def decode_entries(
    message: Buffer, kind: Kind, sender: int, context: bytes, allowed: Container[int], size: int, lead: bytes = b""
) -> dict[int, bytes]:
    """Ids strictly rising, each one allowed; every entry `size` bytes. A lead other than `lead` is refused."""
    body = bytes(decode(message, kind, sender, context))
    if (len(body) - len(lead)) % (_ID.size + size) or len(body) < len(lead):
        raise MalformedMessage(sender, kind.label, "length")
    if body[: len(lead)] != lead:
        raise MalformedMessage(sender, kind.label, "survivors")
    starts = range(len(lead), len(body), _ID.size + size)
    ids = [_ID.unpack_from(body, start)[0] for start in starts]
    _check_ids(ids, sender, kind, allowed)
    return {i: body[start + _ID.size : start + _ID.size + size] for i, start in zip(ids, starts, strict=True)}


def encode_envelopes(context: bytes, sharers: Iterable[int], envelopes: Mapping[int, bytes]) -> bytes:
    """Everybody who shared, and what those made for one participant."""
    ids = sorted(sharers)
    lead = _ID.pack(len(ids)) + b"".join(map(_ID.pack, ids))
    return encode_entries(Kind.ENVELOPES, SERVER, context, envelopes, lead)


def decode_envelopes(
    message: Buffer, context: bytes, present: Container[int]
) -> tuple[frozenset[int], dict[int, bytes]]:
    """The sharers, all of them `present`, and envelopes by the sharer that each is from."""
    body, label = decode(message, Kind.ENVELOPES, SERVER, context), Kind.ENVELOPES.label
    count = _ID.unpack_from(body)[0] if len(body) >= _ID.size else 0
    lead = body[: _ID.size * (1 + count)]
    if len(lead) != _ID.size * (1 + count):
        raise MalformedMessage(SERVER, label, "length")
    sharers = np.frombuffer(lead, "<u4", offset=_ID.size).tolist()
    _check_ids(sharers, SERVER, Kind.ENVELOPES, present)
    known = frozenset(sharers)
    return known, decode_entries(message, Kind.ENVELOPES, SERVER, context, known, ENVELOPE_BYTES, bytes(lead))


def encode_survivors(context: bytes, survivors: Mapping[int, bytes]) -> bytes:
    """By survivor, its commitment and its signature (96 bytes), or nothing where there are no identities."""
    return encode_entries(Kind.SURVIVORS, SERVER, context, survivors)


def decode_survivors(message: Buffer, context: bytes, allowed: Container[int], roster: Roster) -> dict[int, bytes]:
    size = 32 + SIGNATURE_BYTES if roster else 0
    return decode_entries(message, Kind.SURVIVORS, SERVER, context, allowed, size)


def sharers_digest(context: bytes, sharers: Iterable[int], commitment: bytes) -> bytes:
    """What the maker of a masked input signs: who had shared when it masked, and its commitment -> bytes[32]."""
    return primitives.digest(b"sharers", context, commitment, *map(_ID.pack, sorted(sharers)))


def survivors_digest(context: bytes, survivors: Iterable[int]) -> bytes:
    """What a survivor signs, and what its answer refers to -> bytes[32]."""
    return primitives.digest(b"survivors", context, *map(_ID.pack, sorted(survivors)))


def encode_masked_input(
    sender: int, context: bytes, digest: bytes, commitment: bytes, vector: RingVector, sign: Sign | None
) -> bytes:
    """digest: that of the sharers. The signature, where there are identities, is on it."""
    signature = b"" if sign is None else sign(digest)
    return encode(Kind.MASKED_INPUT, sender, context, digest, commitment, signature, vector.data.cast("B"))


@dataclass(frozen=True, eq=False)
class MaskedInput:
    """A masked vector, a view into its message, and what its maker is bound to by it."""

    commitment: bytes  # to the self-mask seed, bytes[32]
    signature: bytes  # bytes[64], or none
    vector: RingVector  # uint[parameters.length]


def decode_masked_input(
    message: Buffer, sender: int, context: bytes, sharers: Iterable[int], parameters: Parameters, roster: Roster
) -> MaskedInput:
    """Refused when masked with others than `sharers`: such masks would not cancel, and the sum be wrong."""
    body, label = decode(message, Kind.MASKED_INPUT, sender, context), Kind.MASKED_INPUT.label
    dtype, start = ring_dtype(parameters.ring_bits), 64 + (SIGNATURE_BYTES if roster else 0)
    if len(body) != start + parameters.length * dtype.itemsize:
        raise MalformedMessage(sender, label, "length")
    digest, commitment, signature = bytes(body[:32]), bytes(body[32:64]), bytes(body[64:start])
    if digest != sharers_digest(context, sharers, commitment):
        raise MalformedMessage(sender, label, "sharers")
    if roster and not primitives.signed(roster[sender - 1], signature, digest):
        raise MalformedMessage(sender, label, "signature")
    vector: RingVector = np.frombuffer(body, dtype=dtype, offset=start)  # type: ignore[assignment]  # width known at run time
    return MaskedInput(commitment, signature, vector)


def _check_ids(ids: Sequence[int], sender: int, kind: Kind, allowed: Container[int]) -> None:
    if any(a >= b for a, b in itertools.pairwise(ids)):
        raise MalformedMessage(sender, kind.label, "order of ids")
    if any(i not in allowed for i in ids):
        raise MalformedMessage(sender, kind.label, "ids")
