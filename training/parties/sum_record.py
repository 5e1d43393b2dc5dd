"""What a client keeps of one sum, from its invitation to its answer: a record that says what it is about, and a state.

The state is sealed under a key that goes on to another with every step: a copy of a state before it signed a survivor
set, or before it answered, does not open once it has, wherever the disk still has it. It opens beside its invitation
and its epoch only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from chatfed.secagg import primitives, states
from chatfed.secagg.messages import WrongStep
from chatfed.secagg.primitives import NONCE_BYTES, TAG_BYTES
from chatfed.types import Entropy

from ..durable import from_json, to_json
from .answering import Refused
from .epochs import EpochKeys
from .store import ClientStore, Key

ROUND = "round"
_INVITED = b"invited"  # what is sealed beside an invitation before there is a masked input
_SIZE = 4  # bytes of a length


@dataclass(frozen=True)
class Invited:
    """What a client keeps of an invitation until the round is over."""

    key: str  # of the release
    ctx: str  # of the round, in hexadecimal digits
    dimension: int  # of the model
    lag: int  # rounds since the update began
    epoch: str  # of the keys
    slot: int
    said: bool = False  # whether it has signed a survivor set, or answered


@dataclass
class SumRecord:
    """One sum at a time: the record of another takes its place."""

    records: ClientStore
    epochs: EpochKeys
    _at_hand: tuple[bytes, states.Summing | None, Invited] | None = None  # what is stored, and what it says

    def save(self, state: states.Summing | None, invited: Invited, entropy: Entropy = os.urandom) -> None:
        """state: None before there is a masked input."""
        about = to_json(vars(invited)).encode()
        self.records.draw_secret(Key.SUM, entropy)
        key = self._key(about)
        if state is None:  # an invitation, too, opens only as it was written
            sealed = primitives.seal_freshly(key, b"", _INVITED, entropy)
        else:
            sealed = states.store(state, key, entropy)
        body = len(about).to_bytes(_SIZE, "little") + about + sealed
        self.records.write(ROUND, invited.key, body)
        self._at_hand = body, state, invited

    def let_go(self) -> None:
        """Forgets what is at hand: of a sum that is over, where it never came to an answer, shares are."""
        self._at_hand = None

    def invited(self) -> Invited:
        """What the client was invited to last. Raises Refused."""
        return self._about(self._read()[1])

    def _about(self, written: bytes) -> Invited:
        try:
            return Invited(**from_json(written))
        except (ValueError, TypeError):
            raise self.records.damaged(ROUND) from None

    def load(self) -> tuple[states.Summing | None, Invited]:
        """Where the sum stands. Raises Refused, DamagedState."""
        body, about, sealed = self._read()
        if self._at_hand and self._at_hand[0] == body:
            return self._at_hand[1:]
        invited = self._about(about)
        if len(sealed) == NONCE_BYTES + TAG_BYTES:
            if primitives.unseal_fresh(self._key(about), sealed, _INVITED) is None:
                raise self.records.damaged(ROUND)
            return None, invited
        ready = self.epochs.agreed(invited.epoch).ready
        state = states.restore(sealed, self._key(about), ready)
        assert isinstance(state, states.Masked | states.Consented | states.Answered), "of a sum, not of an agreement"
        return state, invited

    def _read(self) -> tuple[bytes, bytes, bytes]:
        stored = self.records.read(ROUND)
        if stored is None:
            raise Refused(f"{self.records.client}: is in no round; the server must begin with a session.")
        body = stored[1]
        at = _SIZE + int.from_bytes(body[:_SIZE], "little")
        return body, body[_SIZE:at], body[at:]

    def _key(self, about: bytes) -> bytes:
        return primitives.derive(self.records.secret(Key.SUM), b"round", about)


@lru_cache(maxsize=2)
def names_in(cohort: tuple[str, ...], participants: frozenset[int]) -> bytes:
    """Some of a cohort, as they are on record: written once for all clients of a process."""
    return to_json(sorted(cohort[i - 1] for i in participants)).encode()


def summing(state: states.Summing | None) -> states.Summing:
    """Raises WrongStep where there is no masked input yet."""
    if state is None:
        raise WrongStep("a client that has given no masked input is asked what comes after it")
    return state
