"""What a scheme can do, for `client` and `server`, which know none. Knows none either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from chatfed.secagg.masking import RingVector
from chatfed.secagg.messages import MaskedInput, Parameters
from chatfed.secagg.primitives import Buffer
from chatfed.secagg.states import Epoch, Masked, Ready, Slot, View
from chatfed.types import Entropy

if TYPE_CHECKING:
    from chatfed.secagg.server import Certifying, Inbound

Disputes = tuple[tuple[int, int], ...]
"""(holder, owner) pairs, one of whom cheated; owner 0 where the holder answered for all at once."""


@dataclass(frozen=True)
class Dealt:
    """A participant's secrets of all slots, and what of them it gives to whom."""

    seeds: bytes = field(repr=False)  # 32 bytes a slot
    own: bytes = field(repr=False)  # the own share, of each slot
    shares: Mapping[int, bytes] = field(repr=False)  # by neighbour, of each slot
    rows: Mapping[int, bytes] = field(repr=False)  # by neighbour, of each slot, for the server


class Running(Protocol):
    """The sum of hidden vectors, changed in place so that memory stays O(d) whatever the number of participants."""

    added: int

    def add(self, hidden: Buffer) -> bool:
        """Whether it is one of this size; else nothing is added."""

    def blank(self) -> Running:
        """An empty one of the same size."""


class Scheme(Protocol):
    """Five functions for a participant, four for the server."""

    def deal(self, epoch: Epoch, view: View, roots: Mapping[int, bytes], entropy: Entropy) -> Dealt:
        """Draws the slots' secrets and shares them. roots: by neighbour, what the two alone have, 32 bytes."""

    def pairs(self, root: bytes, slots: int) -> bytes:
        """What the two keep of a root for each slot; nothing where the scheme has no use for it."""

    def hide(self, ready: Ready, slot: Slot, turn: bytes, others: frozenset[int], vector: RingVector) -> MaskedInput:
        """A vector as it leaves, unsigned. others: neighbours that take part."""

    def only(self, shares: Mapping[int, bytes], survivors: frozenset[int]) -> dict[int, bytes]:
        """By owner, of its shares those that may be given once this set is signed; 0xFF in the place of the others."""

    def answer(self, masked: Masked, survivors: frozenset[int]) -> bytes:
        """What opens the sum of these survivors, of this participant's shares, and opens nothing else."""

    def collect(self, parameters: Parameters) -> Running:
        """An empty sum."""

    def genuine(self, masked: MaskedInput, sender: int, turn: bytes) -> bool:
        """Whether a hidden vector is what its maker is bound to."""

    def size(self, parameters: Parameters) -> int:
        """Bytes of a hidden vector."""

    def finish(self, state: Certifying, inbound: Inbound) -> tuple[RingVector, Disputes]:
        """The answers -> the sum. Raises MalformedMessage, BelowThreshold, or what names those who cheated."""
