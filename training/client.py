"""A client in a federation: its own terms, ledger and disk around the secure sum's pure steps.

Learns first, then takes part in the secure sum with what it learned; charges its ledger before anything leaves; and
gives a round one update only, so that asking again gets the same numbers and costs nothing. Knows no socket and no
other client.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chatfed.privacy.accounting import Mechanism
from chatfed.privacy.ledger import Budget, BudgetExceeded, Ledger
from chatfed.secagg import client as secagg
from chatfed.secagg.encoding import FixedPoint
from chatfed.secagg.messages import Floors, MalformedMessage, Parameters, decode_survivors
from chatfed.types import ChatfedError, ClientId, Entropy, FloatVector
from training.durable import alone, erase, read_if_there, sweep, write_atomically
from training.recipe import Recipe
from training.session import Session, Step, model_hash, round_context, round_name

_COUNT = struct.Struct("<I")

Learn = Callable[[FloatVector], FloatVector]
"""Global weights float32[d] -> the client's update float32[d], noise included."""


class Refused(ChatfedError):
    """A client that does not take part in a round, and why."""


@dataclass(frozen=True)
class ClientTerms:
    """What one participation costs: the client's own reckoning from its recipe, never the server's word."""

    noise_multiplier: float
    mechanism: Mechanism | None  # None: no noise, no guarantee, nothing to charge
    budget: Budget


def sum_parameters(recipe: Recipe, participants: int, dimension: int) -> Parameters:
    """The secure sum of a round: `dimension` model coordinates and the weight."""
    return Parameters(participants, threshold(recipe, participants), dimension + 1, recipe.secagg.ring_bits)


def threshold(recipe: Recipe, participants: int) -> int:
    """Survivors without whom nothing is unmasked: the recipe's share of the cohort, and over half of it."""
    return max(int(np.ceil(recipe.secagg.threshold * participants - 1e-9)), participants // 2 + 1)


def codec(recipe: Recipe, participants: int) -> FixedPoint:
    """Updates are clipped to `update_clip` in L2, so no coordinate exceeds it; every client weighs 1.

    A client with more dialogues weighs more all the same: its update is a sum over its dialogues divided by a public
    constant. Its count of dialogues therefore need not travel, in the ring or outside.
    """
    return FixedPoint(recipe.secagg.update_clip, 1.0, participants, recipe.secagg.ring_bits)


class Client:
    """One client; everything it must remember between messages is in its folder `home`."""

    def __init__(
        self, name: ClientId, home: Path, recipe: Recipe, terms: ClientTerms, base_digest: bytes, learn: Learn
    ) -> None:
        self.name, self.home, self.recipe, self.terms = name, home, recipe, terms
        self.base_digest, self.learn = base_digest, learn

    def handle(self, message: bytes, entropy: Entropy = os.urandom) -> bytes:
        """The answer to one message of the server. Raises ChatfedError when the client takes no part, saying why."""
        if not message or message[0] not in Step.__members__.values():
            raise MalformedMessage(0, "step", "number")
        step, body = Step(message[0]), message[1:]
        answers = {
            Step.SESSION: self._join,
            Step.ADVERTS: self._share,
            Step.SHARES: self._masked_input,
            Step.SURVIVORS: self._unmask,
            Step.COMMITTED: self._forget,
        }
        with alone(self.home / "lock"):  # two messages at once must not learn twice for one charge
            sweep(self.home)
            return bytes([step]) + answers[step](body, entropy)

    def _join(self, body: bytes, entropy: Entropy) -> bytes:
        session = Session.from_bytes(body)
        place = self._place(session)
        key = self._key(session)
        if self._stored_update(key) is None:
            self._refuse_if_spent(key)
            self._store_update(key, self.learn(session.weights))
        parameters = sum_parameters(self.recipe, len(session.cohort), len(session.weights))
        least = threshold(self.recipe, len(session.cohort))
        floors = Floors(threshold=least, survivors=least, ring_bits=self.recipe.secagg.ring_bits)
        state, advert = secagg.advertise(parameters, floors, round_context(session, self.base_digest), place, entropy)
        self._save(state, key, session.cohort)
        return advert

    def _share(self, body: bytes, entropy: Entropy) -> bytes:
        state, key, cohort = self._load()
        shared, message = secagg.share(state, body, entropy)
        self._save(shared, key, cohort)
        return message

    def _masked_input(self, body: bytes, entropy: Entropy) -> bytes:
        state, key, cohort = self._load()
        update = self._stored_update(key)
        if update is None:
            raise Refused(f"{self.name}: the update of this round is gone; the server must begin the round anew.")
        vector = codec(self.recipe, state.round.parameters.participants).encode(_clipped(update, self.recipe), 1.0)
        masked, message = secagg.masked_input(state, body, vector)
        if self.terms.mechanism is not None:
            self.ledger().charge(key, self.terms.mechanism)  # on disk before anything that depends on the data leaves
        self._save(masked, key, cohort)
        return message

    def _unmask(self, body: bytes, entropy: Entropy) -> bytes:
        state, key, cohort = self._load()
        answered, message = secagg.unmask(state, body)
        survivors = decode_survivors(body, state.round.session, set(range(1, 1 + len(cohort))))
        self._refuse_another_set(key, sorted(cohort[i - 1] for i in survivors))
        self._save(answered, key, cohort)  # "answered" is on disk, and the secrets are not, before the answer leaves
        return message

    def _refuse_another_set(self, key: str, survivors: list[ClientId]) -> None:
        """Of one update, one sum: a second sum with other survivors would give away by its difference who is in one
        only."""
        chosen = json.dumps(survivors).encode()
        before = _untagged(read_if_there(self.home / "answered.bin"), key)
        if before is not None and before != chosen:
            raise Refused(
                f"{self.name}: answered for other survivors of this round before; it answers for no second set."
            )
        write_atomically(self.home / "answered.bin", _tagged(key, chosen))

    def _forget(self, body: bytes, entropy: Entropy) -> bytes:
        """Erases what a finished round left; a message about any other round erases nothing."""
        for name in ("round.bin", "update.bin", "answered.bin"):
            stored = read_if_there(self.home / name)
            if stored is not None and _split(stored)[0].startswith(round_name(body)):
                self._remember_as_finished(_split(stored)[0].partition(" ")[0])
                erase(self.home / name)
        return b""

    def _finished(self) -> list[str]:
        return (read_if_there(self.home / "finished") or b"").decode().split()

    def _remember_as_finished(self, key: str) -> None:
        finished = self._finished()
        if key not in finished:
            write_atomically(self.home / "finished", "\n".join([*finished, key]).encode())

    def ledger(self) -> Ledger:
        return Ledger.open(self.home / "ledger.json", self.name, self.terms.budget)

    def _place(self, session: Session) -> int:
        """This client's number in the round, from 1."""
        if session.recipe != self.recipe.digest():
            raise Refused(f"{self.name}: the server runs another recipe than this client agreed to.")
        if len(session.cohort) != self.recipe.federation.cohort:  # the threshold follows from it: not the server's word
            raise Refused(f"{self.name}: the server invites {len(session.cohort)} clients, not the recipe's cohort.")
        if self.name not in session.cohort:
            raise Refused(f"{self.name}: the server's invitation names other clients only.")
        return session.cohort.index(self.name) + 1

    def _key(self, session: Session) -> str:
        """Names one release. Another global model is another release, whatever round the server calls it."""
        return f"{round_name(session.name)}{model_hash(self.base_digest, session.weights).hex()[:16]}"

    def _refuse_if_spent(self, key: str) -> None:
        """Refuses before any work when the ledger has no room, or when this round's one update was given and erased."""
        mechanism = self.terms.mechanism
        ledger = None if mechanism is None else self.ledger()
        if key in self._finished() or (ledger and any(entry.key == key for entry in ledger.entries)):
            raise Refused(f"{self.name}: gave its update for round {key} and erased it; it gives no second one.")
        if ledger is None or mechanism is None:
            return
        if not ledger.affords(mechanism):
            raise BudgetExceeded(
                f"{self.name}: another round would pass its budget of epsilon {self.terms.budget.epsilon:g}; it "
                f"stays out."
            )

    def _store_update(self, key: str, update: FloatVector) -> None:
        write_atomically(self.home / "update.bin", _tagged(self._made_by(key), update.astype("<f4").tobytes()))

    def _stored_update(self, key: str) -> FloatVector | None:
        raw = _untagged(read_if_there(self.home / "update.bin"), self._made_by(key))
        return None if raw is None else np.frombuffer(raw, "<f4").astype(np.float32)

    def _made_by(self, key: str) -> str:
        """A stored update is charged as the mechanism that made it, or not used: other terms learn anew."""
        return f"{key} {self.recipe.digest().hex()} {self.terms.mechanism}"

    def _save(self, state: secagg.ClientState, key: str, cohort: Sequence[ClientId]) -> None:
        """State and cohort in one file: the numbers in a survivor set mean nothing without the names of that round."""
        names = json.dumps(cohort).encode()
        write_atomically(self.home / "round.bin", _tagged(key, _COUNT.pack(len(names)) + names + state.to_bytes()))

    def _load(self) -> tuple[secagg.ClientState, str, list[ClientId]]:
        raw = read_if_there(self.home / "round.bin")
        if raw is None:
            raise Refused(f"{self.name}: is in no round; the server must begin with a session.")
        try:
            key, body = _split(raw)
            at = _COUNT.size + _COUNT.unpack_from(body)[0]
            cohort = [ClientId(name) for name in json.loads(body[_COUNT.size : at])]
        except (struct.error, ValueError):
            raise secagg.DamagedState(f"{self.home / 'round.bin'} is damaged; leave the round") from None
        return secagg.restore(body[at:]), key, cohort


def _clipped(update: FloatVector, recipe: Recipe) -> FloatVector:
    """The update scaled down to L2 norm `update_clip`; what it says is already private, so this costs nothing."""
    norm = float(np.linalg.norm(update.astype(np.float64)))
    limit = recipe.secagg.update_clip * (1 - 1e-6)  # float32 rounding must not carry a coordinate over the range
    return update if norm <= limit else (update * (limit / norm)).astype(np.float32)


def _tagged(key: str, body: bytes) -> bytes:
    name = key.encode()
    return len(name).to_bytes(2, "little") + name + body


def _split(raw: bytes) -> tuple[str, bytes]:
    size = int.from_bytes(raw[:2], "little")
    return raw[2 : 2 + size].decode(), raw[2 + size :]


def _untagged(raw: bytes | None, key: str) -> bytes | None:
    """The body stored under `key`, or None when nothing, or another round's, is stored."""
    if raw is None:
        return None
    name, body = _split(raw)
    return body if name == key else None
