"""What a sum is: its public size, what a participant accepts of it, and the digests that bind keys to both."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from chatfed.secagg import primitives
from chatfed.secagg.lattice.packing import Packing
from chatfed.secagg.masking import RING_BITS, ring_length
from chatfed.secagg.messages.errors import RefusedParameters
from chatfed.secagg.messages.layouts import LAYOUTS, MASKS, SCHEMES, THRESHOLD_HE, Layout
from chatfed.secagg.shamir import PRIME

MAX_DIMENSION = primitives.STREAM_LIMIT // 8
MOST_SLOTS = 256
LEAST_KEYS = 3  # in a sum of keys that is told: of two, one of which is corrupt, the other is known

_PARAMETERS = struct.Struct("<IIQBIIIII")

Roster = Sequence[bytes]
"""Ed25519 public keys, 32 bytes each: participant i's is roster[i - 1]. Empty: nobody's identity is known."""

Sign = Callable[[bytes], bytes]
"""A participant's own signature, 64 bytes, on a message; its private key stays with whoever made this."""


@dataclass(frozen=True)
class Parameters:
    """Public size of an epoch's sums, the same for all; bound into every key and message.

    threshold: shares that recover a secret. In a complete graph it must be over half of all participants: then no
    server can collect enough of both kinds of share by showing two survivor sets (Bonawitz et al. 2017, section 6.2).
    degree: neighbours of each participant, -1 for all. committee, quorum: how many may sign a survivor set, and how
    many must; both 0 where no identities are known. slots: sums that one agreement on keys is good for, one after
    another. scheme: "masks", or "threshold-he", in a complete graph alone.
    """

    participants: int
    threshold: int
    dimension: int  # coordinates, the weight included
    ring_bits: int = 32
    degree: int = -1
    most_gone: int = 0  # of degree/2 places of the circle in a row, the most that may have dropped out
    committee: int = 0
    quorum: int = 0
    slots: int = 1
    scheme: str = MASKS

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
        self._demand("slots", 1 <= self.slots <= MOST_SLOTS, f"from 1 to {MOST_SLOTS}")
        self._demand("scheme", self.scheme in SCHEMES, f"one of {SCHEMES}")
        if self.scheme == THRESHOLD_HE:
            most = Packing.most(self.ring_bits)
            self._demand("degree", self.complete, f"{n - 1}: with {THRESHOLD_HE} everybody holds shares of everybody")
            self._demand("participants", n <= most, f"at most {most} with {THRESHOLD_HE} in this ring")
            shown = self.packing.shows_another_key(self.length)
            self._demand("dimension", shown, f"more with {THRESHOLD_HE}: {n} participants' errors hide a wrong key")
            self._demand("threshold", self.threshold >= LEAST_KEYS, f"at least {LEAST_KEYS} with {THRESHOLD_HE}")

    def _demand(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise RefusedParameters(f"{name} is {getattr(self, name)}; it must be {allowed}")

    @property
    def complete(self) -> bool:
        """Whether all participants are neighbours."""
        return self.degree == self.participants - 1

    @property
    def layout(self) -> Layout:
        """How the scheme's secrets of a slot lie in envelopes and states."""
        return LAYOUTS[self.scheme]

    @property
    def packing(self) -> Packing:
        """How the scheme of threshold keys carries a vector."""
        return Packing(self.ring_bits, self.participants)

    @property
    def length(self) -> int:
        """Ring elements of a vector."""
        return ring_length(self.dimension, self.ring_bits)

    def to_bytes(self) -> bytes:
        """Its fixed layout (docs/protocol.md)."""
        sizes = (self.degree, self.most_gone, self.committee, self.quorum, self.slots)
        ring = self.ring_bits | SCHEMES.index(self.scheme) << 7
        return _PARAMETERS.pack(self.participants, self.threshold, self.dimension, ring, *sizes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Parameters:
        """What `to_bytes` wrote. Raises RefusedParameters for parameters that are not sound."""
        n, threshold, dimension, ring, degree, most_gone, committee, quorum, slots = _PARAMETERS.unpack(data)
        bits, scheme = ring & 0x7F, SCHEMES[ring >> 7]
        return cls(n, threshold, dimension, bits, degree, most_gone, committee, quorum, slots, scheme)

    def record(self, scope: bytes, roster: Roster = ()) -> bytes:
        """What a cohort's sums are, in whatever epoch -> bytes[32]. scope: from `scope`."""
        if len(scope) != 32:
            raise RefusedParameters(f"scope has {len(scope)} bytes, not 32; make it with scope()")
        if len(roster) != (self.participants if self.quorum else 0):
            raise RefusedParameters(
                f"{len(roster)} identities for {self.participants} participants, quorum {self.quorum}"
            )
        if len(set(roster)) != len(roster):
            raise RefusedParameters("two participants have one identity; correct the roster")
        return primitives.digest(b"record", scope, self.to_bytes(), *roster)

    def session(self, scope: bytes, epoch: bytes, roster: Roster = ()) -> bytes:
        """What every key and message of one agreement on keys is bound to -> bytes[32]."""
        return _session(self, scope, epoch, tuple(roster))


@lru_cache(maxsize=2)
def _session(parameters: Parameters, scope: bytes, epoch: bytes, roster: tuple[bytes, ...]) -> bytes:
    """Cached: a process may serve many participants, and all of a large roster goes into it. Nothing here is secret."""
    return primitives.digest(b"session", parameters.record(scope, roster), epoch)


@dataclass(frozen=True)
class Floors:
    """What one participant accepts at the least, by its own configuration; never the server's word.

    A threshold means something for its degree only, and a quorum for its committee: more neighbours or members hold
    more corrupt ones; and keys that stand for more sums open more of them when they leak. So degree, committee and
    slots are those that the participant has derived itself, no more and no fewer (None: whatever the parameters say,
    which is for tests and for rounds without identities).
    """

    threshold: int
    survivors: int  # at every stage: those who advertised, too, must be so many
    ring_bits: int = 16
    degree: int | None = None
    committee: int | None = None
    quorum: int = 0
    most_gone: int = PRIME  # the most, not the least
    slots: int | None = None

    def refuse(self, parameters: Parameters) -> None:
        """Raises RefusedParameters for a round below these floors."""
        for name in ("threshold", "ring_bits", "quorum"):
            got, least = getattr(parameters, name), getattr(self, name)
            if got < least:
                raise RefusedParameters(f"{name} is {got}, below this participant's floor of {least}")
        for name in ("degree", "committee", "slots"):
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


def scope(run: bytes, recipe_digest: bytes, roster_root: bytes) -> bytes:
    """What a cohort's sums have in common, whatever the round and the epoch -> bytes[32]."""
    return primitives.digest(b"scope", run, recipe_digest, roster_root)


def roster_root(names: Sequence[str]) -> bytes:
    """Digest of the participants' names in order (participant i is names[i-1]) -> bytes[32].

    Their identities are bound beside it, by `Parameters.session`.
    """
    return primitives.digest(b"roster", *(name.encode() for name in names))
