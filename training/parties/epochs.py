"""The keys that a client has agreed on with a cohort for several sums, among its records.

The secrets of each sum lie sealed under a key of their own, and each of those keys follows from the one before; what is
needed for the agreement lies under the first of them. When the secrets of a slot are taken, the key that is kept goes
on to the next, and what lies sealed for this slot and all before it is closed for good, also for the client. So a slot
serves one sum, whatever the server asks, and who gets hold of the disk learns of slots only that this client has not
taken or passed over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chatfed.secagg import client as secagg
from chatfed.secagg import primitives, states
from chatfed.secagg.primitives import NONCE_BYTES, TAG_BYTES
from chatfed.secagg.states import Advertised, DamagedState, Epoch, Ready, Shared, Slot
from chatfed.types import ClientId, Entropy

from ..durable import from_json, to_json
from .answering import Refused
from .store import ClientStore, Key

EPOCH = "epoch"
NO_KEYS = "has no keys of the epoch"
NONE_AT_ALL = "has agreed on no keys"
USED = "has used its keys of this sum"
WITHOUT = (NO_KEYS, NONE_AT_ALL, USED)  # in what a client says that takes part again once keys are agreed on anew
_SIZE = 4  # bytes of a length


@dataclass(frozen=True)
class Agreed:
    """An epoch whose keys are agreed on, and its secrets as they lie on the disk."""

    name: str
    cohort: tuple[ClientId, ...]  # participant 1 first
    ready: Ready
    about: bytes  # bytes[32], digest of the above: what is sealed opens beside that only
    sealed: bytes = field(repr=False)  # of all slots

    def sealed_slot(self, slot: int) -> bytes:
        """The secrets of one, sealed."""
        size = NONCE_BYTES + Slot.size(len(self.ready.members), self.ready.epoch.parameters.layout) + TAG_BYTES
        return self.sealed[size * slot : size * (slot + 1)]


class EpochKeys:
    """One epoch at a time: keys of a new one take the place of those before."""

    def __init__(self, records: ClientStore) -> None:
        self.records = records
        self._at_hand: Agreed | None = None

    def begin(self, state: Advertised, run: bytes, cohort: Sequence[ClientId], entropy: Entropy) -> None:
        """Two key pairs are drawn; `cohort`: participant 1 first."""
        self.records.draw_secret(Key.EPOCH, entropy)
        self._save(state, run.hex(), cohort, entropy)

    def share(self, inbound: bytes, entropy: Entropy) -> bytes:
        """Everybody's adverts -> this client's shares."""
        state, found = self._setting_up()
        shared, message = secagg.share(state, inbound, entropy)
        self._save(shared, found.run, found.cohort, entropy)
        return message

    def open_envelopes(self, inbound: bytes, entropy: Entropy) -> None:
        """The neighbours' envelopes -> ready for sums. Once ready it stays as it is: they may come again.

        To be on the disk before a slot is taken, which closes what was needed for the agreement.
        """
        if self._read().ready:
            return
        state, found = self._setting_up()
        ready, secrets = secagg.open_envelopes(state, inbound)
        head = _head(found.run, found.cohort, ready.to_bytes())
        about, keys = primitives.digest(b"epoch", head), self._keys()
        next(keys)  # the one that is kept is the agreement's
        sealed = b"".join(_seal(key, secret, about, entropy) for key, secret in zip(keys, secrets, strict=False))
        self.records.write(EPOCH, found.name, head + sealed)
        self._at_hand = Agreed(found.name, found.cohort, ready, about, sealed)

    def agreed(self, name: str) -> Agreed:
        """The epoch of that name, once its keys are agreed on. Raises Refused, DamagedState."""
        if self._at_hand is None or self._at_hand.name != name:
            found = self._read()
            if found.name != name or not found.ready:
                raise Refused(f"{self.records.client}: {NO_KEYS} that the server speaks of.")
            about = primitives.digest(b"epoch", found.head)
            self._at_hand = Agreed(name, found.cohort, Ready.from_bytes(found.ready), about, found.sealed)
        return self._at_hand

    def known(self, name: str, slot: int) -> Epoch:
        """What is known of the epoch of that name, whose envelopes may still be on their way.

        Raises Refused where there are no keys of it, or those of the slot were taken; DamagedState.
        """
        at_hand = self._at_hand is not None and self._at_hand.name == name
        found = None if at_hand else self._read()
        if found is None or (found.name == name and found.ready):
            agreed = self.agreed(name)
            if slot < agreed.ready.epoch.parameters.slots:
                self._opened(agreed, slot)
            return agreed.ready.epoch
        state = self._setting_up()[0] if found.name == name else None
        if not isinstance(state, Shared):
            raise Refused(f"{self.records.client}: {NO_KEYS} that the server speaks of.")
        return state.epoch

    def take(self, agreed: Agreed, slot: int) -> Slot:
        """The secrets of a slot, which nobody can take again. Raises Refused where they were taken."""
        key, secret = self._opened(agreed, slot)
        self._advance(key)
        return Slot.from_bytes(secret, agreed.ready.members, agreed.ready.epoch.parameters.layout)

    def _opened(self, agreed: Agreed, slot: int) -> tuple[bytes, bytes]:
        """Key and secrets of a slot."""
        sealed = agreed.sealed_slot(slot)
        for key, _ in zip(self._keys(), range(1 + agreed.ready.epoch.parameters.slots), strict=False):
            secret = _unseal(key, sealed, agreed.about)
            if secret is not None:
                return key, secret
        raise Refused(f"{self.records.client}: {USED}, or they are damaged; they serve once.")

    def forget(self, run: str = "", name: str = "") -> None:
        """Closes and erases what is left of the epoch of that run, or of that name.

        Also one that is damaged, which serves nothing.
        """
        if not self.records.there(EPOCH):
            return
        with contextlib.suppress(DamagedState):
            found = self._read()
            if run not in ("", found.run) or name not in ("", found.name):
                return
        self._at_hand = None
        self.records.destroy_secret(Key.EPOCH)
        self.records.erase(EPOCH)

    def _keys(self) -> Iterator[bytes]:
        """The key that is kept, and those that follow from it: of one slot after another."""
        key = self.records.secret(Key.EPOCH)
        while True:
            yield key
            key = _next(key)

    def _advance(self, key: bytes) -> None:
        """Keeps the key after this one in the place of what was kept."""
        self.records.put_secret(Key.EPOCH, _next(key))

    def _setting_up(self) -> tuple[Advertised | Shared, _Found]:
        """Where an agreement stands that is under way, and with whom. Raises Refused, DamagedState."""
        found = self._read()
        if found.ready:
            raise Refused(f"{self.records.client}: has agreed on the keys of this epoch.")
        state = states.restore(found.sealed, self._set_up_key(found.head))
        assert isinstance(state, Advertised | Shared), "what lies there is none of a sum"
        return state, found

    def _save(self, state: Advertised | Shared, run: str, cohort: Sequence[ClientId], entropy: Entropy) -> None:
        head = _head(run, cohort, b"")
        sealed = states.store(state, self._set_up_key(head), entropy)
        self.records.write(EPOCH, state.epoch.name.hex(), head + sealed)
        self._at_hand = None

    def _set_up_key(self, head: bytes) -> bytes:
        return primitives.derive(self.records.secret(Key.EPOCH), b"set-up", head)

    def _read(self) -> _Found:
        """Raises Refused where there is nothing, DamagedState."""
        stored = self.records.read(EPOCH)
        if stored is None:
            raise Refused(f"{self.records.client}: {NONE_AT_ALL}; the server must begin with that.")
        name, body = stored
        try:
            size = int.from_bytes(body[:_SIZE], "little")
            about = from_json(body[_SIZE : _SIZE + size])
            end = _SIZE + size + about["ready"]
            run, cohort = about["run"], tuple(map(ClientId, about["cohort"]))
        except (ValueError, KeyError, TypeError):
            raise self.records.damaged(EPOCH) from None
        return _Found(name, run, cohort, body[_SIZE + size : end], body[:end], body[end:])


@dataclass(frozen=True)
class _Found:
    """A record as it lies on the disk."""

    name: str
    run: str
    cohort: tuple[ClientId, ...]
    ready: bytes  # what is no secret, once keys are agreed on
    head: bytes  # all but what is sealed
    sealed: bytes


def _head(run: str, cohort: Sequence[ClientId], ready: bytes) -> bytes:
    about = to_json({"run": run, "cohort": list(cohort), "ready": len(ready)}).encode()
    return len(about).to_bytes(_SIZE, "little") + about + ready


def _next(key: bytes) -> bytes:
    return primitives.derive(key, b"next slot")


def _seal(key: bytes, secret: bytes, about: bytes, entropy: Entropy) -> bytes:
    return primitives.seal_freshly(primitives.derive(key, b"slot"), secret, about, entropy)


def _unseal(key: bytes, sealed: bytes, about: bytes) -> bytes | None:
    return primitives.unseal_fresh(primitives.derive(key, b"slot"), sealed, about)
