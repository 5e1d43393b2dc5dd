"""How every message is framed: header, checksum, and bodies of entries by id. Knows no kind's own layout."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Container, Mapping, Sequence
from enum import IntEnum

from chatfed.secagg import primitives
from chatfed.secagg.messages.errors import MalformedMessage
from chatfed.secagg.primitives import Buffer

VERSION = 2
SERVER = 0
"""The sender of the server's messages; participants are 1..n."""

HEADER = struct.Struct("<BBHI32s")  # version, kind, 0, sender, context
ID = struct.Struct("<I")
BODY = HEADER.size + primitives.CHECKSUM_BYTES  # where the body starts: 56, so that vectors lie aligned


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
        """Its name as errors write it."""
        return self.name.lower().replace("_", " ")


def encode(kind: Kind, sender: int, context: bytes, *body: Buffer) -> bytes:
    """Header (40 bytes), checksum (16), body. context: the session for adverts, the view from then on."""
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
    return primitives.checksum(primitives.digest(b"checksum", context), *parts)


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
    starts = range(len(lead), len(body), ID.size + size)
    ids = [ID.unpack_from(body, start)[0] for start in starts]
    check_ids(ids, sender, kind, allowed)
    return {i: body[start + ID.size : start + ID.size + size] for i, start in zip(ids, starts, strict=True)}


def check_ids(ids: Sequence[int], sender: int, kind: Kind, allowed: Container[int]) -> None:
    """Raises MalformedMessage unless `ids` are strictly rising and `allowed`."""
    if any(a >= b for a, b in itertools.pairwise(ids)):
        raise MalformedMessage(sender, kind.label, "order of ids")
    if any(i not in allowed for i in ids):
        raise MalformedMessage(sender, kind.label, "ids")
