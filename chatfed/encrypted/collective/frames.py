"""What travels between parties: a fixed head, then residues, 4 bytes each. Every length is exact.

The head says kind, sender, step and purpose, names context and collective key, and holds length and digest. Residues
are checked against their primes. Knows no secret and no socket.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..errors import MalformedCiphertext
from .errors import LevelsExhausted, OtherCollectiveKey, OtherContext, OutOfTurn, TooFewParties
from .keys import DIGITS
from .parameters import LOWEST, TOP, WEIGHTS, Parameters
from .ring import PRIMES, Residues, column

MAGIC, VERSION = b"CFTE", 1
HEAD = struct.Struct("<4sBBHIBB16s16sI16s")
"""Magic, version, kind, sender, step, purpose, primes, context, key, length of what follows, its digest."""

NO_KEY = bytes(16)  # before there is one


class Kind(IntEnum):
    """What a message is. Each party sends one of each to all, in this order."""

    FIRST_SHARE = 1  # of the keys
    SECOND_SHARE = 2
    WEIGHTS = 3  # the encrypted first weights; of the first party alone
    REQUEST = 4  # a ciphertext to be refreshed
    ANSWERS = 5  # shares in all parties' requests
    GRADIENTS = 6
    RENEWAL = 7  # shares in refreshing the sum of gradients
    CLOSING = 8  # shares in the last refresh of the weights
    OPENING = 9  # shares in showing them

    @property
    def label(self) -> str:
        """As messages to people say it."""
        return self.name.lower().replace("_", " ")


class Purpose(IntEnum):
    """What is refreshed."""

    NONE = 0
    HIDDEN = 1  # the first layer's products, to be summed over features
    OUTPUT = 2  # the second's, over hidden units
    BACK = 3  # the errors' way back, over classes
    FIRST = 4  # the sum of the first layer's gradients, over examples
    SECOND = 5
    CLOSE_FIRST = 6  # the weights, before they are shown
    CLOSE_SECOND = 7


GATHERED = (Purpose.HIDDEN, Purpose.BACK)  # sums over the slowest axis: few coefficients are opened
_LEVELS = {Kind.FIRST_SHARE: len(PRIMES), Kind.SECOND_SHARE: len(PRIMES), Kind.WEIGHTS: WEIGHTS}  # else LOWEST


@dataclass(frozen=True)
class Place:
    """Which message is due: of every party, in a training's context, under its key."""

    kind: Kind
    step: int = 0
    purpose: Purpose = Purpose.NONE
    key: bytes = NO_KEY


def shapes(parameters: Parameters, place: Place) -> list[tuple[int, ...]]:
    """Of the arrays of residues in a message, one after another; the last axis but one is that of the primes."""
    n = parameters.degree
    some = n // parameters.features if place.purpose in GATHERED else n
    share: list[tuple[int, ...]] = [(LOWEST, some), (TOP, n)]
    found: dict[Kind, list[tuple[int, ...]]] = {
        Kind.FIRST_SHARE: [(1 + 2 * DIGITS, len(PRIMES), n)],
        Kind.SECOND_SHARE: [(DIGITS, len(PRIMES), n)],
        Kind.WEIGHTS: [(2, WEIGHTS, n)] * 2,
        Kind.REQUEST: [(2, LOWEST, n)],
        Kind.ANSWERS: share * len(parameters.parties),
        Kind.GRADIENTS: [(2, LOWEST, n)] * 2,
        Kind.RENEWAL: share * 2,
        Kind.CLOSING: share * 2,
        Kind.OPENING: [(LOWEST, n)] * 2,
    }
    return found[place.kind]


def written(parameters: Parameters, party: str, place: Place, arrays: list[Residues]) -> bytes:
    """The message of a party."""
    payload = b"".join(each.astype("<u4").tobytes() for each in arrays)
    sender, primes = parameters.parties.index(party), _LEVELS.get(place.kind, LOWEST)
    head = (MAGIC, VERSION, place.kind, sender, place.step, place.purpose, primes, parameters.context[:16], place.key)
    return HEAD.pack(*head, len(payload), _digest(payload)) + payload


def read(parameters: Parameters, party: str, place: Place, content: bytes) -> list[Residues]:
    """The arrays of a message that `party` sent.

    Raises MalformedCiphertext, of which OtherContext, OtherCollectiveKey and OutOfTurn are kinds, and LevelsExhausted;
    all name the party.
    """
    what = place.kind.label
    wanted = shapes(parameters, place)
    most = 4 * sum(math.prod(shape) for shape in wanted)
    if len(content) < HEAD.size:
        raise MalformedCiphertext(party, what, "it is cut off")
    magic, version, kind, sender, step, purpose, primes, context, key, length, digest = HEAD.unpack_from(content)
    if (magic, version, kind) != (MAGIC, VERSION, place.kind):
        raise MalformedCiphertext(party, what, "it does not begin as one")
    if context != parameters.context[:16]:
        raise OtherContext(party, what, "it was made for another training")
    if parameters.parties[sender : sender + 1] != (party,):
        raise MalformedCiphertext(party, what, "it says that it is another party's")
    if key != place.key:
        raise OtherCollectiveKey(party, what, "it is under another collective key")
    if (step, purpose) != (place.step, place.purpose):
        raise OutOfTurn(party, what, "it belongs to another step")
    levels = _LEVELS.get(place.kind, LOWEST)
    if primes < levels:
        raise LevelsExhausted(party, primes, levels)
    payload = memoryview(content)[HEAD.size :]
    if not primes == levels or not len(payload) == length == most:
        raise MalformedCiphertext(party, what, f"it has {len(payload):,} bytes after its head and should have {most:,}")
    if not hmac.compare_digest(digest, _digest(payload)):
        raise MalformedCiphertext(party, what, "its bytes were changed on the way")
    return _arrays(payload, wanted, party, what)


def read_all(parameters: Parameters, place: Place, inbound: Mapping[str, bytes]) -> dict[str, list[Residues]]:
    """Every party's message. Raises TooFewParties naming who is absent, and as `read` does."""
    absent = [party for party in parameters.parties if party not in inbound]
    if absent:
        raise TooFewParties(f"No {place.kind.label} came from {', '.join(absent)}; no party may be absent.")
    for stranger in sorted(set(inbound) - set(parameters.parties)):
        raise MalformedCiphertext(stranger, place.kind.label, "it is no party of this training")
    return {party: read(parameters, party, place, inbound[party]) for party in parameters.parties}


def key_of(inbound: Mapping[str, bytes]) -> bytes:
    """16 bytes that name the collective key, of all parties' second shares."""
    state = hashlib.sha256(b"chatfed collective key")
    for party in sorted(inbound):
        state.update(hashlib.sha256(inbound[party]).digest())
    return state.digest()[:16]


def _arrays(payload: memoryview, wanted: list[tuple[int, ...]], party: str, what: str) -> list[Residues]:
    found, start = [], 0
    for shape in wanted:
        words = np.frombuffer(payload, "<u4", math.prod(shape), start).reshape(shape).astype(np.uint64)
        if (words >= column(PRIMES[: shape[-2]])).any():
            raise MalformedCiphertext(party, what, "a number in it is no residue of its prime")
        found.append(words)
        start += 4 * math.prod(shape)
    return found


def _digest(payload: bytes | memoryview) -> bytes:
    return hashlib.sha256(payload).digest()[:16]
