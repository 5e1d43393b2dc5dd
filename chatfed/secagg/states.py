"""What a participant keeps between two steps of a round, and how it lies sealed on disk. Takes no step.

One state for each step, with no secret that a later step does not need.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.graph import Graph
from chatfed.secagg.masking import name
from chatfed.secagg.messages import (
    Advert,
    Floors,
    Parameters,
    ProtocolError,
    Roster,
    check_count,
)
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, TAG_BYTES, PrivateKey
from chatfed.secagg.shamir import SHARE_BYTES
from chatfed.types import Entropy

_ROUND = struct.Struct("<33sIIBiiII32s16sI")  # parameters, floors (-1: None), ctx, attempt, me
_MAGIC = b"CFS2"


class DamagedState(ProtocolError):
    """Stored bytes that are not a client state, or not under this key; leave the round."""

    code = "damaged_state"
    mend = "leave the round, and take part in the next"


@dataclass(frozen=True)
class Round:
    """What a participant knows of a round from the start."""

    parameters: Parameters
    floors: Floors
    ctx: bytes
    attempt: bytes  # 16 bytes
    me: int
    roster: Roster = ()

    @cached_property
    def session(self) -> bytes:
        """What every key and message of this attempt is bound to, bytes[32]."""
        return self.parameters.session(self.ctx, self.attempt, self.roster)

    @property
    def need(self) -> int:
        """Participants that must be left at every stage."""
        return max(self.parameters.threshold, self.floors.survivors)

    def check_count(self, stage: str, got: int) -> None:
        """Raises BelowThreshold where fewer than `need` are left."""
        check_count(stage, got, self.need)

    def to_bytes(self) -> bytes:
        """For the disk, in a fixed layout."""
        floors = (getattr(self.floors, each.name) for each in fields(Floors))
        numbers = (-1 if floor is None else floor for floor in floors)
        head = _ROUND.pack(self.parameters.to_bytes(), *numbers, self.ctx, self.attempt, self.me)
        return head + b"".join(self.roster)

    @classmethod
    def from_bytes(cls, data: bytes) -> Round:
        """What `to_bytes` wrote."""
        parameters, *numbers, ctx, attempt, me = _ROUND.unpack_from(data)
        floors = Floors(*(None if number == -1 else number for number in numbers))  # type: ignore[arg-type]
        roster = _split(data[_ROUND.size :], KEY_BYTES)
        return cls(Parameters.from_bytes(parameters), floors, ctx, attempt, me, roster)


@dataclass(frozen=True)
class View:
    """What a participant was shown of the others: a digest of all adverts, and who stands where on the circle."""

    digest: bytes
    graph: Graph

    def to_bytes(self) -> bytes:
        """For the disk, in a fixed layout."""
        return self.digest + struct.pack("<I", self.graph.degree) + b"".join(map(name, self.graph.circle))

    @classmethod
    def from_bytes(cls, data: bytes) -> View:
        """What `to_bytes` wrote."""
        circle = np.frombuffer(data, "<u4", offset=36).tolist()
        return cls(data[:32], Graph(tuple(circle), int.from_bytes(data[32:36], "little")))


@dataclass(frozen=True)
class Advertised:
    """Two key pairs are drawn."""

    round: Round
    mask_private: bytes = field(repr=False)
    envelope_private: bytes = field(repr=False)

    def to_parts(self) -> list[bytes]:
        """For the disk, all but the round."""
        return [self.mask_private + self.envelope_private]

    @classmethod
    def from_parts(cls, round: Round, keys: bytes) -> Advertised:
        """What `to_parts` wrote."""
        return cls(round, keys[:KEY_BYTES], keys[KEY_BYTES:])


@dataclass(frozen=True)
class Shared:
    """The others' keys are known, the self-mask seed is drawn, all secrets are shared."""

    round: Round
    view: View
    mask_private: bytes = field(repr=False)
    envelope_private: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    own_shares: bytes = field(repr=False)  # of the seed and of the mask key, 36 bytes each
    adverts: Mapping[int, Advert]  # of the neighbours and its own

    @cached_property
    def mask_agreement(self) -> PrivateKey:
        """The own key for pairwise masks."""
        return primitives.load(self.mask_private)

    @cached_property
    def envelope_agreement(self) -> PrivateKey:
        """The own key for envelopes of shares."""
        return primitives.load(self.envelope_private)

    @cached_property
    def agreed(self) -> dict[int, bytes]:
        """Secrets for envelopes, by neighbour, as far as they were worked out: one serves both directions."""
        return {}

    def to_parts(self) -> list[bytes]:
        """For the disk, all but the round."""
        secrets = self.mask_private + self.envelope_private + self.seed + self.own_shares
        return [
            self.view.to_bytes(),
            secrets,
            _table({i: a.mask_key + a.envelope_key for i, a in self.adverts.items()}),
        ]

    @classmethod
    def from_parts(cls, round: Round, view: bytes, s: bytes, table: bytes) -> Shared:
        """What `to_parts` wrote."""
        adverts = {i: Advert(keys[:KEY_BYTES], keys[KEY_BYTES:]) for i, keys in _rows(table, 2 * KEY_BYTES).items()}
        return cls(round, View.from_bytes(view), s[:32], s[32:64], s[64:96], s[96:], adverts)


@dataclass(frozen=True)
class Masked:
    """The masked input is made: own keys and seed are dropped, what remains are shares, own ones included."""

    round: Round
    view: View
    sharers: frozenset[int]
    shares: Mapping[int, bytes] = field(repr=False)  # by owner: of its seed and of its mask key, 36 bytes each

    def to_parts(self) -> list[bytes]:
        """For the disk, all but the round."""
        return [self.view.to_bytes(), _ids(self.sharers), _table(self.shares)]

    @classmethod
    def from_parts(cls, round: Round, view: bytes, sharers: bytes, table: bytes) -> Masked:
        """What `to_parts` wrote."""
        return cls(round, View.from_bytes(view), _from_ids(sharers), _rows(table, 2 * SHARE_BYTES))


@dataclass(frozen=True)
class Consented:
    """One survivor set is signed; no other will be."""

    masked: Masked
    survivors: frozenset[int]

    @property
    def round(self) -> Round:
        """The round that it is in."""
        return self.masked.round

    def to_parts(self) -> list[bytes]:
        """For the disk, all but the round."""
        return [*self.masked.to_parts(), _ids(self.survivors)]

    @classmethod
    def from_parts(cls, round: Round, view: bytes, sharers: bytes, table: bytes, survivors: bytes) -> Consented:
        """What `to_parts` wrote."""
        return cls(Masked.from_parts(round, view, sharers, table), _from_ids(survivors))


@dataclass(frozen=True)
class Answered:
    """Done; holds no secret. Stored before the answer is sent, it makes a second answer impossible."""

    round: Round

    def to_parts(self) -> list[bytes]:
        """For the disk, all but the round."""
        return []

    @classmethod
    def from_parts(cls, round: Round) -> Answered:
        """What `to_parts` wrote."""
        return cls(round)


ClientState = Advertised | Shared | Masked | Consented | Answered
"""Where a participant is in its round; a step takes one of these and gives the next."""

_STEPS = (Advertised, Shared, Masked, Consented, Answered)


def store(state: ClientState, key: bytes, entropy: Entropy) -> bytes:
    """The state for the disk: everything secret of the round, sealed with AES-256-GCM under a 32-byte key."""
    plain = _plain(state)
    nonce = primitives.draw(entropy, NONCE_BYTES)
    return _MAGIC + nonce + primitives.seal(key, nonce, plain, _MAGIC)


def restore(data: bytes, key: bytes) -> ClientState:
    """The state that `store` sealed, of whichever step. Raises DamagedState."""
    sealed = data[len(_MAGIC) + NONCE_BYTES :]
    if data[: len(_MAGIC)] != _MAGIC or len(sealed) < TAG_BYTES:
        raise DamagedState("stored client state is damaged; leave the round")
    plain = primitives.unseal(key, data[len(_MAGIC) :][:NONCE_BYTES], sealed, _MAGIC)
    if plain is None:
        raise DamagedState("stored client state is damaged, or sealed under another key; leave the round")
    try:
        state = _from_plain(plain)
    except (ProtocolError, struct.error, IndexError, TypeError, ValueError):
        raise DamagedState("stored client state is none of this version; leave the round") from None
    return state


def _plain(state: ClientState) -> bytes:
    parts = [state.round.to_bytes(), *state.to_parts()]
    return bytes([_STEPS.index(type(state))]) + b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _from_plain(plain: bytes) -> ClientState:
    parts, at = list[bytes](), 1
    while at < len(plain):
        size = int.from_bytes(plain[at : at + 4], "little")
        parts.append(plain[at + 4 : at + 4 + size])
        at += 4 + size
    return _STEPS[plain[0]].from_parts(Round.from_bytes(parts[0]), *parts[1:])


def _table(rows: Mapping[int, bytes]) -> bytes:
    return b"".join(name(i) + row for i, row in sorted(rows.items()))


def _rows(table: bytes, size: int) -> dict[int, bytes]:
    return {int.from_bytes(row[:4], "little"): row[4:] for row in _split(table, 4 + size)}


def _ids(participants: frozenset[int]) -> bytes:
    return b"".join(map(name, sorted(participants)))


def _from_ids(data: bytes) -> frozenset[int]:
    return frozenset(np.frombuffer(data, "<u4").tolist())


def _split(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[i : i + size] for i in range(0, len(data), size))
