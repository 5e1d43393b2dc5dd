"""The body of each kind of message, byte by byte; docs/protocol.md shows every layout. No decisions are taken here."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages.errors import MalformedMessage
from chatfed.secagg.messages.frames import (
    BODY,
    HEADER,
    ID,
    SERVER,
    Kind,
    check_ids,
    decode,
    decode_entries,
    encode,
    encode_entries,
)
from chatfed.secagg.messages.parameters import Parameters, Roster, Sign
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES, TAG_BYTES, Buffer
from chatfed.secagg.shamir import SHARE_BYTES

NO_SHARE = b"\xff" * SHARE_BYTES
"""No field elements: "this owner's envelope did not open"."""

ENVELOPE_BYTES = NONCE_BYTES + 2 * SHARE_BYTES + TAG_BYTES
"""Length of a sealed pair of shares."""


@dataclass(frozen=True)
class Advert:
    """A participant's two public keys for this round."""

    mask_key: bytes  # X25519 public, 32 bytes
    envelope_key: bytes  # X25519 public, 32 bytes

    def encode(self, sender: int, session: bytes, sign: Sign | None = None) -> bytes:
        """The message; with `sign` its body ends in a signature of both keys, the session and the sender."""
        signature = b"" if sign is None else sign(self._signed(sender, session))
        return encode(Kind.ADVERT, sender, session, self.mask_key, self.envelope_key, signature)

    @classmethod
    def decode(cls, message: Buffer, sender: int, session: bytes, roster: Roster) -> Advert:
        """Raises MalformedMessage naming the sender; with a roster also when the signature is not its identity's."""
        body = bytes(decode(message, Kind.ADVERT, sender, session))
        if len(body) != _advert_bytes(roster) - BODY:
            raise MalformedMessage(sender, Kind.ADVERT.label, "length")
        advert = cls(body[:KEY_BYTES], body[KEY_BYTES : 2 * KEY_BYTES])
        if advert.mask_key == advert.envelope_key:
            raise MalformedMessage(sender, Kind.ADVERT.label, "keys")
        if roster and not primitives.signed(roster[sender - 1], body[2 * KEY_BYTES :], advert._signed(sender, session)):
            raise MalformedMessage(sender, Kind.ADVERT.label, "signature")
        return advert

    def _signed(self, sender: int, session: bytes) -> bytes:
        return primitives.digest(b"advert", session, ID.pack(sender), self.mask_key, self.envelope_key)


def _advert_bytes(roster: Roster) -> int:
    return BODY + 2 * KEY_BYTES + (SIGNATURE_BYTES if roster else 0)


def encode_adverts(session: bytes, adverts: Mapping[int, bytes]) -> bytes:
    """The participants' own advert messages, whole, in order of id, with their signatures."""
    return encode(Kind.ADVERTS, SERVER, session, *(adverts[i] for i in sorted(adverts)))


def decode_adverts(message: Buffer, session: bytes, participants: int, roster: Roster) -> Mapping[int, Advert]:
    """Adverts by participant. Raises MalformedMessage, naming whose advert it is, or 0 for the server."""
    return _decode_adverts(bytes(message), session, participants, tuple(roster))


@lru_cache(maxsize=1)
def _decode_adverts(message: bytes, session: bytes, participants: int, roster: Roster) -> Mapping[int, Advert]:
    """Cached: the same bytes go to everybody, and a process may serve many participants. Nothing here is secret."""
    body, size = bytes(decode(message, Kind.ADVERTS, SERVER, session)), _advert_bytes(roster)
    if len(body) % size:
        raise MalformedMessage(SERVER, Kind.ADVERTS.label, "length")
    frames = [body[i : i + size] for i in range(0, len(body), size)]
    senders = [HEADER.unpack_from(frame)[3] for frame in frames]
    check_ids(senders, SERVER, Kind.ADVERTS, range(1, participants + 1))
    return MappingProxyType(
        {sender: Advert.decode(frame, sender, session, roster) for sender, frame in zip(senders, frames, strict=True)}
    )


def view_of(session: bytes, adverts: Mapping[int, Advert]) -> bytes:
    """Digest of all adverts: who was shown others shares no key and no message with one -> bytes[32]."""
    parts = (ID.pack(i) + adverts[i].mask_key + adverts[i].envelope_key for i in sorted(adverts))
    return primitives.digest(b"view", session, *parts)


def encode_envelopes(context: bytes, sharers: Iterable[int], envelopes: Mapping[int, bytes]) -> bytes:
    """Everybody who shared, and what those made for one participant."""
    ids = sorted(sharers)
    lead = ID.pack(len(ids)) + b"".join(map(ID.pack, ids))
    return encode_entries(Kind.ENVELOPES, SERVER, context, envelopes, lead)


def decode_envelopes(
    message: Buffer, context: bytes, present: Container[int]
) -> tuple[frozenset[int], dict[int, bytes]]:
    """The sharers, all of them `present`, and envelopes by the sharer that each is from."""
    body, label = decode(message, Kind.ENVELOPES, SERVER, context), Kind.ENVELOPES.label
    count = ID.unpack_from(body)[0] if len(body) >= ID.size else 0
    lead = body[: ID.size * (1 + count)]
    if len(lead) != ID.size * (1 + count):
        raise MalformedMessage(SERVER, label, "length")
    sharers = np.frombuffer(lead, "<u4", offset=ID.size).tolist()
    check_ids(sharers, SERVER, Kind.ENVELOPES, present)
    known = frozenset(sharers)
    return known, decode_entries(message, Kind.ENVELOPES, SERVER, context, known, ENVELOPE_BYTES, bytes(lead))


def encode_survivors(context: bytes, survivors: Mapping[int, bytes]) -> bytes:
    """By survivor, its commitment and its signature (96 bytes), or nothing where there are no identities."""
    return encode_entries(Kind.SURVIVORS, SERVER, context, survivors)


def decode_survivors(message: Buffer, context: bytes, allowed: Container[int], roster: Roster) -> dict[int, bytes]:
    """By survivor, 96 bytes or none. Raises MalformedMessage unless all of them are `allowed`."""
    size = 32 + SIGNATURE_BYTES if roster else 0
    return decode_entries(message, Kind.SURVIVORS, SERVER, context, allowed, size)


def sharers_digest(context: bytes, sharers: Iterable[int], commitment: bytes) -> bytes:
    """What the maker of a masked input signs: who had shared when it masked, and its commitment -> bytes[32]."""
    return primitives.digest(b"sharers", context, commitment, ids=sorted(sharers))


def survivors_digest(context: bytes, survivors: Iterable[int]) -> bytes:
    """What a survivor signs, and what its answer refers to -> bytes[32]."""
    return primitives.digest(b"survivors", context, ids=sorted(survivors))


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
