"""What a participant keeps between two steps of a sum, and how it lies sealed on disk. Takes no step.

One state for each step, with no secret that a later step does not need; and of an epoch's secrets a piece for each
slot, so that those of a slot can be destroyed once they are used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.graph import Graph
from chatfed.secagg.masking import name
from chatfed.secagg.messages import (
    LAYOUTS,
    MASKS,
    Floors,
    Layout,
    Parameters,
    ProtocolError,
    Roster,
    check_count,
)
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, TAG_BYTES, split
from chatfed.types import Entropy

_EPOCH = struct.Struct("<37sIIBiiIIi32s16sI")  # parameters, floors (-1: None), scope, name, me
_MAGIC = b"CFS3"


class DamagedState(ProtocolError):
    """Stored bytes that are not a client state, or not under this key; leave the round."""

    code = "damaged_state"
    mend = "leave the round, and take part in the next"


@dataclass(frozen=True)
class Epoch:
    """What a participant knows of an epoch from the start."""

    parameters: Parameters
    floors: Floors
    scope: bytes
    name: bytes  # 16 bytes
    me: int
    roster: Roster = ()

    @cached_property
    def session(self) -> bytes:
        """What every key and message of this agreement on keys is bound to, bytes[32]."""
        return self.parameters.session(self.scope, self.name, self.roster)

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
        head = _EPOCH.pack(self.parameters.to_bytes(), *numbers, self.scope, self.name, self.me)
        return head + b"".join(self.roster)

    @classmethod
    def from_bytes(cls, data: bytes) -> Epoch:
        """What `to_bytes` wrote."""
        parameters, *numbers, scope, name, me = _EPOCH.unpack_from(data)
        floors = Floors(*(None if number == -1 else number for number in numbers))  # type: ignore[arg-type]
        roster = split(data[_EPOCH.size :], KEY_BYTES)
        return cls(Parameters.from_bytes(parameters), floors, scope, name, me, roster)


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

    epoch: Epoch
    mask_private: bytes = field(repr=False)
    envelope_private: bytes = field(repr=False)

    def to_parts(self) -> list[bytes]:
        """For the disk."""
        return [self.epoch.to_bytes(), self.mask_private + self.envelope_private]

    @classmethod
    def from_parts(cls, epoch: bytes, keys: bytes) -> Advertised:
        """What `to_parts` wrote."""
        return cls(Epoch.from_bytes(epoch), keys[:KEY_BYTES], keys[KEY_BYTES:])


@dataclass(frozen=True)
class Shared:
    """Keys are agreed on with each neighbour, the secrets of all slots are drawn and shared; own keys are dropped."""

    epoch: Epoch
    view: View
    seeds: bytes = field(repr=False)  # of self-masks or keys, 32 bytes a slot
    own_shares: bytes = field(repr=False)  # of a slot's own secret: who answers has not dropped out
    keys: Mapping[int, bytes] = field(repr=False)  # by neighbour: the pair's root and the key of its envelope

    def to_parts(self) -> list[bytes]:
        """For the disk."""
        secrets = self.seeds + self.own_shares
        return [self.epoch.to_bytes(), self.view.to_bytes(), secrets, _table(self.keys)]

    @classmethod
    def from_parts(cls, epoch: bytes, view: bytes, secrets: bytes, table: bytes) -> Shared:
        """What `to_parts` wrote."""
        known = Epoch.from_bytes(epoch)
        seeds = KEY_BYTES * known.parameters.slots
        return cls(known, View.from_bytes(view), secrets[:seeds], secrets[seeds:], _rows(table, 2 * KEY_BYTES))


@dataclass(frozen=True)
class Ready:
    """An epoch's keys are agreed on: what of it is no secret. The secrets are apart, a `Slot` for each sum."""

    epoch: Epoch
    view: View
    members: frozenset[int]  # neighbours that shared

    @cached_property
    def neighbours(self) -> frozenset[int]:
        """Who shares masks and secrets with this participant, or would have."""
        return self.view.graph.neighbours(self.epoch.me)

    def to_bytes(self) -> bytes:
        """For the disk."""
        return _joined([self.epoch.to_bytes(), self.view.to_bytes(), _ids(self.members)])

    @classmethod
    def from_bytes(cls, data: bytes) -> Ready:
        """What `to_bytes` wrote. Raises DamagedState."""
        try:
            epoch, view, members = _parted(data)
            return cls(Epoch.from_bytes(epoch), View.from_bytes(view), _from_ids(members))
        except (ProtocolError, struct.error, ValueError):
            raise DamagedState("what is stored of an epoch is none of this version; leave the round") from None


@dataclass(frozen=True)
class Slot:
    """The secrets of one slot: for one sum, and then to be destroyed."""

    seed: bytes = field(repr=False)  # of the self-mask, or of the key
    own_share: bytes = field(repr=False)  # of the seed, or of the key
    pairs: Mapping[int, bytes] = field(repr=False)  # by neighbour: what only the two know, where the scheme has it
    shares: Mapping[int, bytes] = field(repr=False)  # by neighbour: of its seed and of its recovery key, or of its key

    @staticmethod
    def size(members: int, layout: Layout = LAYOUTS[MASKS]) -> int:
        """Bytes of what `from_bytes` reads."""
        return layout.slot(members)

    @classmethod
    def from_bytes(cls, data: bytes, members: frozenset[int], layout: Layout = LAYOUTS[MASKS]) -> Slot:
        """Seed ‖ own share ‖ for each neighbour that shared, in order of id: the pair's secret ‖ its shares."""
        if len(data) != layout.slot(len(members)):
            raise DamagedState("stored secrets of a slot are of another length; leave the round")
        lead, pair = KEY_BYTES + layout.own, layout.pair
        rows = dict(zip(sorted(members), split(data[lead:], layout.kept), strict=True))
        pairs = {i: row[:pair] for i, row in rows.items()}
        return cls(data[:KEY_BYTES], data[KEY_BYTES:lead], pairs, {i: row[pair:] for i, row in rows.items()})


@dataclass(frozen=True)
class Masked:
    """The masked input is made: the slot's seed and pair secrets are dropped, what remains are shares, own included."""

    ready: Ready
    turn: bytes  # bytes[32]: what this one sum is
    present: frozenset[int]
    shares: Mapping[int, bytes] = field(repr=False)  # by owner, as they lie in envelopes

    def to_parts(self) -> list[bytes]:
        """For the disk, all but what is no secret of the epoch."""
        return [self.turn, _ids(self.present), _table(self.shares)]

    @classmethod
    def from_parts(cls, ready: Ready, turn: bytes, present: bytes, table: bytes) -> Masked:
        """What `to_parts` wrote."""
        return cls(ready, turn, _from_ids(present), _rows(table, ready.epoch.parameters.layout.share))


@dataclass(frozen=True)
class Consented:
    """One survivor set is signed, and no other will be; of each owner the one share is left that it lets be given."""

    masked: Masked
    survivors: frozenset[int]

    @property
    def ready(self) -> Ready:
        """The epoch that it is in."""
        return self.masked.ready

    def to_parts(self) -> list[bytes]:
        """For the disk, all but what is no secret of the epoch."""
        return [*self.masked.to_parts(), _ids(self.survivors)]

    @classmethod
    def from_parts(cls, ready: Ready, turn: bytes, present: bytes, table: bytes, survivors: bytes) -> Consented:
        """What `to_parts` wrote."""
        return cls(Masked.from_parts(ready, turn, present, table), _from_ids(survivors))


@dataclass(frozen=True)
class Answered:
    """Done; holds no secret. Stored before the answer is sent, it makes a second answer impossible."""

    ready: Ready

    def to_parts(self) -> list[bytes]:
        """For the disk, all but what is no secret of the epoch."""
        return []

    @classmethod
    def from_parts(cls, ready: Ready) -> Answered:
        """What `to_parts` wrote."""
        return cls(ready)


SettingUp = Advertised | Shared
"""Where a participant is while keys are agreed on; then it is `Ready`."""

Summing = Masked | Consented | Answered
"""Where a participant is in one sum."""

ClientState = SettingUp | Ready | Summing
"""A step takes one of these and gives the next."""

_STEPS = (Advertised, Shared, Masked, Consented, Answered)


def store(state: SettingUp | Summing, key: bytes, entropy: Entropy) -> bytes:
    """The state for the disk: what is secret of it, sealed with AES-256-GCM under a 32-byte key."""
    plain = bytes([_STEPS.index(type(state))]) + _joined(state.to_parts())
    ready = None if isinstance(state, SettingUp) else state.ready
    return _MAGIC + primitives.seal_freshly(key, plain, _about(ready), entropy)


def restore(data: bytes, key: bytes, ready: Ready | None = None) -> SettingUp | Summing:
    """The state that `store` sealed, of whichever step; of one sum beside the epoch that it is in.

    Raises DamagedState.
    """
    sealed = data[len(_MAGIC) + NONCE_BYTES :]
    if data[: len(_MAGIC)] != _MAGIC or len(sealed) < TAG_BYTES:
        raise DamagedState("stored client state is damaged; leave the round")
    plain = primitives.unseal_fresh(key, data[len(_MAGIC) :], _about(ready))
    if plain is None:
        raise DamagedState("stored client state is damaged, or sealed under another key; leave the round")
    try:
        step, parts = _STEPS[plain[0]], _parted(plain[1:])
        if (ready is None) != (step in (Advertised, Shared)):
            raise ValueError("a step of a sum where keys are agreed on, or the reverse")
        return step.from_parts(*parts) if ready is None else step.from_parts(ready, *parts)  # type: ignore[arg-type]
    except (ProtocolError, struct.error, IndexError, TypeError, ValueError):
        raise DamagedState("stored client state is none of this version; leave the round") from None


def _about(ready: Ready | None) -> bytes:
    """What a sealed state is bound to: one of a sum opens beside its own epoch only."""
    return _MAGIC if ready is None else _MAGIC + ready.view.digest


def _joined(parts: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _parted(data: bytes) -> list[bytes]:
    parts, at = list[bytes](), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        parts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return parts


def _table(rows: Mapping[int, bytes]) -> bytes:
    return b"".join(name(i) + row for i, row in sorted(rows.items()))


def _rows(table: bytes, size: int) -> dict[int, bytes]:
    return {int.from_bytes(row[:4], "little"): row[4:] for row in split(table, 4 + size)}


def _ids(participants: frozenset[int]) -> bytes:
    return b"".join(map(name, sorted(participants)))


def _from_ids(data: bytes) -> frozenset[int]:
    return frozenset(np.frombuffer(data, "<u4").tolist())
