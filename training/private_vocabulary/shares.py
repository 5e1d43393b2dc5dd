"""What a client says to a private vocabulary: three messages, one for each party, and none of them readable.

A message is `magic | agreement | party | client | shares | signature`. Knows no socket and no sum.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.primitives import SIGNATURE_BYTES
from chatfed.types import ChatfedError, InvalidValue

from .agreement import Agreement
from .field import MODULUS, NUMBER_BYTES, Field, shares, uniform

MAGIC = b"cfvocab1"
_HEAD = struct.Struct("<8s32sBI")  # magic, digest of the agreement, party, client


class BadShares(ChatfedError):
    """A client's message to a computing party is not one of this agreement; names the client where it is known."""

    code = "bad_vocabulary_shares"
    mend = "have the client send again, with the same agreement and version"


@dataclass(frozen=True)
class Given:
    """A client's shares as one party holds them."""

    client: int  # its number in the agreement
    held: Field = field(repr=False)  # uint64[width]


def message_bytes(agreed: Agreement) -> int:
    """The one length of a message, whatever a client uses."""
    return _HEAD.size + NUMBER_BYTES * agreed.width + SIGNATURE_BYTES


def vector(chosen: Sequence[int], agreed: Agreement) -> Field:
    """0 or 1 for each candidate, then ones that bring their number to `most_words`, then zeros -> uint64[width].

    So every client's vector has the same sum, and how many words it uses is not seen. Raises InvalidValue.
    """
    if len(set(chosen)) != len(chosen) or len(chosen) > agreed.most_words:
        raise InvalidValue(f"A client says {agreed.most_words} different words at most.", param="chosen")
    if any(not 0 <= each < len(agreed.candidates) for each in chosen):
        raise InvalidValue("A word that is not on the list of candidates.", param="chosen")
    entries = np.zeros(agreed.width, np.uint64)
    entries[list(chosen)] = 1
    entries[len(agreed.candidates) : agreed.width - len(chosen)] = 1
    return entries


def messages(chosen: Sequence[int], agreed: Agreement, key: bytes, seed: bytes) -> list[bytes]:
    """What a client sends to each of the three parties.

    key: its private identity; seed: 32 fresh secret bytes. The same choice and seed give the same messages, so that
    what was cut off can be sent again; another choice or client gets other slopes, or a party could subtract. Raises
    AgreementError where the key is not in the agreement, or InvalidValue.
    """
    number = agreed.number_of(key)
    said = vector(chosen, agreed)
    info = (agreed.digest, number.to_bytes(4, "little"), said.astype("<u8").tobytes())
    given = shares(said, uniform(primitives.derive(seed, b"vocabulary slopes", *info), agreed.width))
    return [_message(number, party, held, agreed, key) for party, held in enumerate(given)]


def _message(number: int, party: int, held: Field, agreed: Agreement, key: bytes) -> bytes:
    said = _HEAD.pack(MAGIC, agreed.digest, party, number) + held.astype("<u8").tobytes()
    return said + primitives.sign(key, _signed(said))


def _signed(said: bytes) -> bytes:
    return primitives.digest(b"vocabulary shares", said)


def read_message(said: bytes, agreed: Agreement, party: int) -> Given:
    """A client's shares, once length, agreement, addressee, signature and each number are right. Raises BadShares."""
    if len(said) != message_bytes(agreed):
        raise BadShares(f"A client's message has {len(said)} bytes, not {message_bytes(agreed)}.", param="length")
    magic, digest, to, number = _HEAD.unpack_from(said)
    if magic != MAGIC:
        raise BadShares("A client's message is of another version.", param="version")
    if number >= len(agreed.clients):
        raise BadShares(f"A message is from client {number}, and there is none.", param="client")
    name = agreed.clients[number][0]
    if digest != agreed.digest:  # where a client has another number, or none: nobody is blamed
        raise BadShares(f"A message in {name}'s name is of another agreement: compare the files.", param="agreement")
    body, signature = said[:-SIGNATURE_BYTES], said[-SIGNATURE_BYTES:]
    if not primitives.signed(agreed.client_key(number), signature, _signed(body)):
        raise BadShares(f"A message in the name of {name} is not signed by it.", param="signature")
    if to != party:
        raise BadShares(f"{name} sent what was meant for another party.", param="party")
    held = np.frombuffer(body, "<u8", offset=_HEAD.size).astype(np.uint64)
    if (held >= np.uint64(MODULUS)).any():
        raise BadShares(f"{name} sent a number that is no residue.", param="shares")
    return Given(number, held)
