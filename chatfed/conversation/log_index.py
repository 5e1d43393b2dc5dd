"""The steps of an index that can be searched without being readable: Mitra, and the padding of what a search asks for.

Pure: no file, no server, no cipher but HMAC. After Ghareh Chamani, Papadopoulos, Papamanthou and Jalili, "New
Constructions for Forward and Backward Private Symmetric Searchable Encryption" (CCS 2018, section 4): the n-th entry of
a word w lies at address HMAC(K, w, n, 0) and is (id, op) xor HMAC(K, w, n, 1); the owner keeps n. So an address that
was searched for says nothing of the next one (forward privacy), and what a deletion took away is known to the owner
alone, who sees (id, delete) among the entries (backward privacy of type II). Ours beside the paper: each word has a key
of its own, HMAC(K, w); an entry carries a check, so that a damaged one is found, and its mask is HMAC(K, w, n, 1,
check); and dummies, which pad.

**Padding.** Dummies are written among the entries of every batch, where nobody can tell them apart. A search that has m
entries of a word that no search asked for before takes along so many dummies, drawn at random among those that no
search took yet, that it asks for a power of two of new addresses. A word keeps its dummies, so that a search that is
done again asks for the same addresses. Bodies are padded likewise, by decoys: messages without the word.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from .log_errors import DamagedLog

ADDRESS_BYTES = 16
VALUE_BYTES = 16
MOST_MESSAGES = 2**31 - 1
BATCH_UNIT = 512  # entries; a batch is a multiple of it
_STEP = struct.Struct("<QB")
_PLAIN = struct.Struct("<Q")
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))  # HMAC's
_DECOY = struct.Struct("<QBI")
_SEGMENT = struct.Struct("<IIQ")


class Op(IntEnum):
    """What an entry says of a message."""

    ADD = 1
    DELETE = 2
    DUMMY = 3


@dataclass(frozen=True)
class Segment:
    """What one search asked for that no earlier one had asked for."""

    upto: int  # entries of the word by then
    dummies: int  # so many were taken along
    horizon: int  # the last message of the index by then: decoys are drawn from 1 to it


@dataclass(frozen=True)
class Counter:
    """What the owner keeps of one word."""

    count: int = 0  # entries, deletions among them
    segments: tuple[Segment, ...] = ()

    @property
    def asked(self) -> int:
        """Entries that some search asked for."""
        return self.segments[-1].upto if self.segments else 0

    @property
    def missing(self) -> int:
        """Dummies that the next search takes along."""
        new = self.count - self.asked
        return padded(new) - new

    def searched(self, dummies: int, horizon: int) -> Counter:
        """The counter once a search asks for all entries there are."""
        if self.asked == self.count:
            return self
        return Counter(self.count, (*self.segments, Segment(self.count, dummies, horizon)))

    def to_bytes(self) -> bytes:
        """Fixed layout: the count, then each segment."""
        each = b"".join(_SEGMENT.pack(part.upto, part.dummies, part.horizon) for part in self.segments)
        return self.count.to_bytes(4, "little") + each

    @classmethod
    def from_bytes(cls, data: bytes) -> Counter:
        """What `to_bytes` wrote."""
        return cls(int.from_bytes(data[:4], "little"), tuple(Segment(*part) for part in _SEGMENT.iter_unpack(data[4:])))


@dataclass(frozen=True)
class Entry:
    """One entry of the index, as it was found."""

    message: int
    op: Op


def padded(count: int) -> int:
    """The power of two that a search asks for in the place of `count`.

    >>> [padded(count) for count in (0, 1, 2, 3, 100)]
    [0, 1, 2, 4, 128]
    """
    return 1 << (count - 1).bit_length() if count else 0


class Prf:
    """HMAC-SHA256 (RFC 2104) under one key, whose first blocks are hashed once: a third of what hmac.digest takes."""

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))

    def __call__(self, message: bytes) -> bytes:
        """-> bytes[32]."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    def __repr__(self) -> str:
        return "Prf()"


def word_key(index: Prf, word: str) -> Prf:
    """The key of a word's entries."""
    return Prf(index(b"word" + word.encode()))


def dummy_key(index: Prf) -> Prf:
    """The key of dummies, which are entries of no word."""
    return Prf(index(b"none"))


def address(key: Prf, number: int) -> bytes:
    """Where a word's entry of that number (from 0) lies, bytes[16]."""
    return key(_STEP.pack(number, 0))[:ADDRESS_BYTES]


def close_entry(key: Prf, number: int, entry: Entry) -> bytes:
    """What lies there, bytes[16]: 8 of message and operation under their mask, 8 of a check of them."""
    plain = entry.message << 2 | entry.op
    check = _check(key, number, plain)
    return _PLAIN.pack(plain ^ _mask(key, number, check)) + check


def open_entry(key: Prf, number: int, value: bytes | None) -> Entry:
    """What `close_entry` closed. Raises DamagedLog for what is not there or is not that."""
    if isinstance(value, bytes) and len(value) == VALUE_BYTES:
        plain = int.from_bytes(value[:8], "little") ^ _mask(key, number, value[8:])
        if hmac.compare_digest(value[8:], _check(key, number, plain)):
            return Entry(plain >> 2, Op(plain & 3))
    what = "An entry of the index is damaged" if value else "An entry of the index is gone"
    raise DamagedLog(f"{what}: make index and counters anew from the messages with chatfed log rotate.", param="index")


def _mask(key: Prf, number: int, check: bytes) -> int:
    """Follows from what it masks, by the check, as a synthetic nonce does (RFC 5297).

    So a log that went on from an old backup, which closes other entries under numbers it has used, uses no mask twice.
    """
    return int.from_bytes(key(_STEP.pack(number, 1) + check)[:8], "little")


def _check(key: Prf, number: int, plain: int) -> bytes:
    return key(_STEP.pack(number, 2) + _PLAIN.pack(plain))[:8]


Closed = dict[bytes, bytes]  # value by address


def close_entries(key: Prf, first: int, entries: Sequence[Entry]) -> Closed:
    """A word's next entries."""
    return {address(key, n): close_entry(key, n, entry) for n, entry in enumerate(entries, first)}


def dummies_for(entries: int) -> int:
    """How many dummies a batch of so many entries holds: half as many, and to a multiple of BATCH_UNIT.

    >>> dummies_for(1000), dummies_for(1)
    (536, 511)
    """
    most = -(-(entries + entries // 2) // BATCH_UNIT) * BATCH_UNIT
    return max(most, BATCH_UNIT) - entries


def live(entries: Sequence[Entry]) -> list[int]:
    """The messages that were added and not deleted, oldest first."""
    gone = {each.message for each in entries if each.op == Op.DELETE}
    return sorted({each.message for each in entries if each.op == Op.ADD} - gone)


def to_fetch(key: Prf, counter: Counter, entries: Sequence[Entry], erased: Collection[int]) -> list[int]:
    """The messages that a search asks for: those with the word and decoys, without those that were erased.

    entries: all of the word, in their order. A segment has as many decoys as dummies, or as there are messages for:
    the same ones whenever this word is searched for.
    """
    known: set[int] = set()
    decoys: set[int] = set()
    first = 0
    for number, segment in enumerate(counter.segments):
        known |= {each.message for each in entries[first : segment.upto]}
        first = segment.upto
        taken = known | decoys
        wanted = min(segment.dummies, segment.horizon - len(taken))
        decoys |= first_drawn(key, number, segment.horizon, taken, wanted)
    return sorted((set(live(entries)) | decoys) - set(erased))


def first_drawn(key: Prf, label: int, most: int, without: Collection[int], wanted: int) -> set[int]:
    """So many numbers from 1 to `most` that are not among `without`, each set as likely: the same ones each time."""
    found: set[int] = set()
    numbers = _drawn(key, label, most, wanted + len(without))
    while len(found) < wanted:
        if (number := next(numbers)) not in without:
            found.add(number)
    return found


def _drawn(key: Prf, label: int, most: int, needed: int) -> Iterator[int]:
    """Numbers from 1 to `most`: one by one or, where `needed` are many of them, all in a drawn order."""

    def draw(number: int) -> int:
        return int.from_bytes(key(_DECOY.pack(number, 3, label))[:8], "little")

    if needed * 4 < most:
        yield from (draw(number) % most + 1 for number in itertools.count())  # off from uniform by less than 2^-32
    yield from sorted(range(1, most + 1), key=draw)
