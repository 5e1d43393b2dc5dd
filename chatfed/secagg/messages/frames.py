"""How every message is framed: header, checksum, and bodies of entries by id. Knows no kind's own layout."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import IntEnum
from functools import lru_cache

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.messages.errors import MalformedMessage
from chatfed.secagg.primitives import Buffer

VERSION = 3
SERVER = 0
"""The sender of the server's messages; participants are 1..n."""

HEADER = struct.Struct("<BBHI32s")  # version, kind, 0, sender, context
ID = struct.Struct("<I")
"""How a participant's number is written."""
BODY = HEADER.size + primitives.CHECKSUM_BYTES
"""Where the body of a message starts: at 56, so that vectors lie aligned."""


class Kind(IntEnum):
    """Kinds of message, in the order in which they travel: the first four once an epoch, the others once a slot."""

    ADVERT = 1
    ADVERTS = 2
    SHARES = 3
    ENVELOPES = 4
    PRESENT = 5
    MASKED_INPUT = 6
    SURVIVORS = 7
    CONSENT = 8
    CERTIFICATE = 9
    ANSWER = 10

    @property
    def label(self) -> str:
        """Its name as errors write it."""
        return self.name.lower().replace("_", " ")


def encode(kind: Kind, sender: int, context: bytes, *body: Buffer) -> bytes:
    """Header (40 bytes), checksum (16), body. context: session, view or turn."""
    header = HEADER.pack(VERSION, kind, 0, sender, context)
    return b"".join((header, _checksum(context, header, *body), *body))


def decode(message: Buffer, kind: Kind, sender: int, context: bytes) -> memoryview:
    """The body of a message of this kind, sender and context; raises MalformedMessage(sender, kind, field)."""
    view = memoryview(message)

    def demand(good: bool, field: str) -> None:
        if not good:
            raise MalformedMessage(sender, kind.label, field)

    demand(len(view) >= BODY, "length")
    version, got_kind, zero, got_sender, got_context = HEADER.unpack_from(view)
    demand(version == VERSION and zero == 0, "version")
    demand(got_kind == kind, "kind")
    demand(got_sender == sender, "sender")
    demand(got_context == context, "context")
    body = view[BODY:]
    demand(_checksum(context, view[: HEADER.size], body) == view[HEADER.size : BODY], "checksum")
    return body


def _checksum(context: bytes, *parts: Buffer) -> bytes:
    return primitives.checksum(_checksum_key(context), *parts)


@lru_cache(maxsize=16)
def _checksum_key(context: bytes) -> bytes:
    """Public, and one for all messages of a step."""
    return primitives.digest(b"checksum", context)


def encode_entries(kind: Kind, sender: int, context: bytes, entries: Mapping[int, bytes], lead: bytes = b"") -> bytes:
    """Entries of one fixed size, each after the id it is from, to or about, in order of id."""
    return encode(kind, sender, context, lead, *(ID.pack(i) + entries[i] for i in sorted(entries)))


def decode_entries(
    message: Buffer, kind: Kind, sender: int, context: bytes, allowed: Container[int], size: int, lead: bytes = b""
) -> dict[int, bytes]:
    """Ids strictly rising, each one allowed; every entry `size` bytes. A lead other than `lead` is refused."""
    body = bytes(decode(message, kind, sender, context))
    if (len(body) - len(lead)) % (ID.size + size) or len(body) < len(lead):
        raise MalformedMessage(sender, kind.label, "length")
    if body[: len(lead)] != lead:
        raise MalformedMessage(sender, kind.label, "survivors")
    entries = list(struct.iter_unpack(f"{ID.format}{size}s", body[len(lead) :]))
    check_ids([i for i, _ in entries], sender, kind, allowed)
    return dict(entries)


def check_ids(ids: Sequence[int], sender: int, kind: Kind, allowed: Container[int]) -> None:
    """Raises MalformedMessage unless `ids` are strictly rising and `allowed`."""
    if list(ids) != sorted(set(ids)):
        raise MalformedMessage(sender, kind.label, "order of ids")
    if not all(map(allowed.__contains__, ids)):
        raise MalformedMessage(sender, kind.label, "ids")


def encode_ids(participants: int, ids: Iterable[int]) -> bytes:
    """Some of 1..participants as a bit each, participant 1 the lowest of the first byte; the rest of the last is 0."""
    bits = np.zeros(participants, np.uint8)
    bits[[i - 1 for i in ids]] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def decode_ids(data: bytes, kind: Kind, allowed: AbstractSet[int], sender: int = SERVER) -> frozenset[int]:
    """What `encode_ids` wrote. Raises MalformedMessage(sender, kind, "ids") for others than are `allowed`."""
    ids = _ids_in(data)
    if not ids <= allowed:
        raise MalformedMessage(sender, kind.label, "ids")
    return ids


@lru_cache(maxsize=8)
def _ids_in(data: bytes) -> frozenset[int]:
    """Cached: a process may serve many participants, who are told the same."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return frozenset((np.flatnonzero(bits) + 1).tolist())
