"""The body of each kind of message, byte by byte; docs/protocol.md shows every layout. No decisions are taken here."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from chatfed.secagg import primitives
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
    decode_ids,
    encode,
    encode_entries,
    encode_ids,
)
from chatfed.secagg.messages.parameters import Parameters, Roster, Sign
from chatfed.secagg.primitives import KEY_BYTES, SIGNATURE_BYTES, Buffer


@dataclass(frozen=True)
class Advert:
    """A participant's two public keys for this epoch."""

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


def encode_envelopes(context: bytes, envelopes: Mapping[int, bytes]) -> bytes:
    """What its neighbours made for one participant, by the neighbour."""
    return encode_entries(Kind.ENVELOPES, SERVER, context, envelopes)


def decode_envelopes(
    message: Buffer, context: bytes, neighbours: Container[int], parameters: Parameters
) -> dict[int, bytes]:
    """Envelopes by the neighbour that each is from; those that are not there did not share."""
    size = parameters.layout.envelope(parameters.slots)
    return decode_entries(message, Kind.ENVELOPES, SERVER, context, neighbours, size)


@dataclass(frozen=True)
class Present:
    """Who takes part in one sum, under the keys of which slot."""

    slot: int
    ctx: bytes  # bytes[32], of the round
    ids: frozenset[int]

    def encode(self, context: bytes, participants: int) -> bytes:
        """The message: the same for all."""
        return encode(Kind.PRESENT, SERVER, context, ID.pack(self.slot), self.ctx, encode_ids(participants, self.ids))

    @classmethod
    def decode(cls, message: Buffer, context: bytes, allowed: frozenset[int], participants: int) -> Present:
        """Raises MalformedMessage unless all who are in it are `allowed`."""
        body, start = bytes(decode(message, Kind.PRESENT, SERVER, context)), ID.size + 32
        if len(body) != start + -(-participants // 8):
            raise MalformedMessage(SERVER, Kind.PRESENT.label, "length")
        ids = decode_ids(body[start:], Kind.PRESENT, allowed)
        return cls(ID.unpack_from(body)[0], body[ID.size : start], ids)

    def turn(self, context: bytes) -> bytes:
        """What everything of this sum is bound to -> bytes[32]."""
        return primitives.digest(b"turn", context, ID.pack(self.slot), self.ctx, ids=sorted(self.ids))


def encode_survivors(
    turn: bytes, participants: int, survivors: Iterable[int], neighbours: Mapping[int, bytes]
) -> bytes:
    """Who is in the sum, and what one's neighbours in it are bound to: 96 bytes each; without a roster nothing."""
    bound = b"".join(neighbours[i] for i in sorted(neighbours))
    return encode(Kind.SURVIVORS, SERVER, turn, encode_ids(participants, survivors), bound)


def decode_survivors(
    message: Buffer, turn: bytes, present: frozenset[int], neighbours: frozenset[int], parameters: Parameters
) -> tuple[frozenset[int], dict[int, bytes]]:
    """Survivors, all of them `present`; and what `neighbours` among them are bound to, where there is a roster."""
    body, lead = bytes(decode(message, Kind.SURVIVORS, SERVER, turn)), -(-parameters.participants // 8)
    if len(body) < lead:
        raise MalformedMessage(SERVER, Kind.SURVIVORS.label, "length")
    survivors = decode_ids(body[:lead], Kind.SURVIVORS, present)
    near = sorted(survivors & neighbours) if parameters.quorum else []
    size = 32 + SIGNATURE_BYTES
    if len(body) != lead + size * len(near):
        raise MalformedMessage(SERVER, Kind.SURVIVORS.label, "length")
    return survivors, {i: body[lead + size * k : lead + size * (k + 1)] for k, i in enumerate(near)}


def masked_digest(turn: bytes, commitment: bytes) -> bytes:
    """What the maker of a masked input signs: with whom and for what it masked, and its commitment -> bytes[32]."""
    return primitives.digest(b"masked input", turn, commitment)


def survivors_digest(turn: bytes, survivors: Iterable[int]) -> bytes:
    """What a survivor signs, and what its answer refers to -> bytes[32]."""
    return primitives.digest(b"survivors", turn, ids=sorted(survivors))


def encode_masked_input(sender: int, turn: bytes, commitment: bytes, vector: Buffer, sign: Sign | None) -> bytes:
    """Signed where there are identities. vector: as the scheme hides it."""
    signature = b"" if sign is None else sign(masked_digest(turn, commitment))
    return encode(Kind.MASKED_INPUT, sender, turn, commitment, signature, vector)


@dataclass(frozen=True, eq=False)
class MaskedInput:
    """A hidden vector, a view into its message, and what its maker is bound to by it."""

    commitment: bytes  # to what the scheme says, bytes[32]
    signature: bytes  # bytes[64], or none
    vector: memoryview


def decode_masked_input(message: Buffer, sender: int, turn: bytes, roster: Roster, size: int) -> MaskedInput:
    """Refused when made with others, or for another sum: its context is another turn. size: bytes of the vector."""
    body, label = decode(message, Kind.MASKED_INPUT, sender, turn), Kind.MASKED_INPUT.label
    start = 32 + (SIGNATURE_BYTES if roster else 0)
    if len(body) != start + size:
        raise MalformedMessage(sender, label, "length")
    commitment, signature = bytes(body[:32]), bytes(body[32:start])
    if roster and not primitives.signed(roster[sender - 1], signature, masked_digest(turn, commitment)):
        raise MalformedMessage(sender, label, "signature")
    return MaskedInput(commitment, signature, body[start:])
