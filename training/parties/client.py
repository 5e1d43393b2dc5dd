"""A client in a federation: its own terms, ledger and disk around the secure sum's pure steps.

Charges its ledger, learns, then takes part in the secure sum with what it learned: who has it learn pays, also for what
is never summed, since time and failures tell of data too. It gives a round one update only, encoded and noised once and
stored as it leaves: asking again, in whatever attempt, gets the same numbers and costs nothing. With pinned identities
it signs one survivor set a round, whatever the attempt. Knows no socket and no other client.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chatfed.privacy.ledger import BudgetExceeded, Charge, Ledger
from chatfed.privacy.noise import system_random
from chatfed.privacy.rounding import Scattered
from chatfed.secagg import client as secagg
from chatfed.secagg import primitives, states
from chatfed.secagg.masking import RingVector, ring_dtype, ring_length
from chatfed.secagg.messages import MalformedMessage, Sign, decode_survivors
from chatfed.types import ChatfedError, ClientId, Entropy, FloatVector

from ..durable import alone, erase, from_json, read_if_there, sweep, to_json, write_atomically
from ..plan.agreement import Agreement
from ..plan.terms import ClientTerms
from ..plan.upload import NoisyUpload, Part, Upload
from .homes import damaged, finished, ledger_of, read_tagged, remember_as_finished, tagged
from .identity import Roster, keys_of, read_key, signer
from .session import Session, Step, rotation_seed, round_context, round_name

_COUNT = struct.Struct("<I")

Learn = Callable[[FloatVector], Iterable[Part]]
"""Global weights float32[d] -> the parts of the client's update, float32[d] each: all of it, with the noise in it where
that is the client's own; or, where noise is shared and single dialogues are protected, what each one adds to it."""


class Refused(ChatfedError):
    """A client that does not take part in a round, and why."""

    code = "client_refused"
    mend = "ask for what the client's own settings allow"


@dataclass(frozen=True)
class _Invited:
    """What a client keeps of an invitation until the round is over."""

    key: str  # of the release
    cohort: list[ClientId]
    dimension: int  # of the model
    lag: int  # rounds since the update began


class Client:
    """One client; everything it must remember between messages is in its folder `home`.

    roster: the client's own, where the recipe pins identities; its private key is then `identity.key` in `home`.
    """

    def __init__(
        self,
        name: ClientId,
        home: Path,
        agreement: Agreement,
        terms: ClientTerms,
        base_digest: bytes,
        learn: Learn,
        roster: Roster | None = None,
    ) -> None:
        self.name, self.home, self.agreement, self.terms = name, home, agreement, terms
        self.base_digest, self.learn, self.roster = base_digest, learn, roster or {}
        self.pinned = agreement.sums.pinned

    def handle(self, message: bytes, entropy: Entropy = system_random) -> bytes:
        """The answer to one message of the server. Raises ChatfedError when the client takes no part, saying why."""
        if not message or message[0] not in Step.__members__.values():
            raise MalformedMessage(0, "step", "number")
        step, body = Step(message[0]), message[1:]
        answers: Mapping[Step, Callable[[bytes, Entropy], bytes]] = {
            Step.SESSION: self._join,
            Step.ADVERTS: self._share,
            Step.SHARES: self._masked_input,
            Step.SURVIVORS: self._consent if self.pinned else self._unmask,
            **({Step.CERTIFICATE: self._unmask_certified} if self.pinned else {}),
            Step.COMMITTED: self._forget,
        }
        if step not in answers:
            raise MalformedMessage(0, "step", "number")
        with alone(self.home / "lock"):  # two messages at once must not learn twice for one charge
            sweep(self.home)
            return bytes([step]) + answers[step](body, entropy)

    def _join(self, body: bytes, entropy: Entropy) -> bytes:
        session = Session.from_bytes(body)
        place = self._place(session)
        lag = session.since[place - 1]
        ctx = round_context(session, self.base_digest)  # a hash of all weights: once
        key = self._key(session, ctx, lag)
        roster = keys_of(self.roster, session.cohort) if self.pinned else ()
        sign = self._sign() if self.pinned else None
        size = (len(session.cohort), len(session.weights))
        parameters = self.agreement.sums.parameters(*size)
        self._refuse_if_finished(key)
        self._refuse_forgotten_set(key)
        code = self._upload(*size, rotation_seed(ctx), session.clip_norm, lag)
        if self._stored_upload(key, code) is None:
            self._refuse_too_soon(session, key, lag)
            self._pay(key, code)
            self._store_upload(key, code, code.encode(self._parts(session, lag), entropy))
        least = self.agreement.sums.floors(parameters)
        state, advert = secagg.advertise(parameters, least, ctx, session.attempt, place, entropy, roster, sign)
        self._save(state, _Invited(key, list(session.cohort), size[1], lag), entropy)
        return advert

    def _parts(self, session: Session, lag: int) -> Iterable[Part]:
        """What this client learns in this round, or learned in the one that its update began in.

        Nothing if it was not there.
        """
        if self.agreement.schedule.bands == 1:
            return self.learn(session.weights)
        path, began = self.home / "begun.bin", f"{session.run.hex()}/{session.round - lag}/"
        if lag:
            stored, raw = read_tagged(path) or ("", b"")
            size = len(session.weights)
            return [np.frombuffer(raw, "<f4", size)] if stored == began and len(raw) == 4 * size else []
        (update,) = self.learn(session.weights)
        assert not isinstance(update, Scattered), "no update that is sent again is one"
        write_atomically(path, tagged(began, update.astype("<f4").tobytes()))
        return [update]

    def _share(self, body: bytes, entropy: Entropy) -> bytes:
        state, invited = self._load()
        shared, message = secagg.share(state, body, entropy)
        self._save(shared, invited, entropy)
        return message

    def _masked_input(self, body: bytes, entropy: Entropy) -> bytes:
        state, invited = self._load()
        code = self._upload(len(invited.cohort), invited.dimension, lag=invited.lag)
        vector = self._stored_upload(invited.key, code)
        if vector is None:
            raise Refused(f"{self.name}: the update of this round is gone; the server must begin the round anew.")
        masked, message = secagg.masked_input(state, body, vector, self._sign() if self.pinned else None)
        if (cost := self._cost(code)) is not None:
            self.ledger().charge(invited.key, cost)  # as when it learned, and so at no cost, unless that was forgotten
        self._save(masked, invited, entropy)
        return message

    def _upload(
        self,
        participants: int,
        dimension: int,
        seed: bytes = bytes(primitives.KEY_BYTES),
        clip_norm: float = 0.0,
        lag: int = 0,
    ) -> Upload:
        return self.agreement.sums.codec.upload(participants, dimension, seed, clip_norm, lag)

    def _cost(self, code: Upload) -> Charge | None:
        """What one round costs: of this client's own noise, or of its share in the sum's."""
        return code.mechanism if isinstance(code, NoisyUpload) else self.terms.mechanism

    def _consent(self, body: bytes, entropy: Entropy) -> bytes:
        state, invited = self._load()
        own = self._sign()

        def sign(digest: bytes) -> bytes:  # called once the set is found sound
            self._refuse_another_set(invited, state, body)
            return own(digest)

        consented, message = secagg.consent(state, body, sign)
        self._save(consented, invited, entropy)
        return message

    def _unmask_certified(self, body: bytes, entropy: Entropy) -> bytes:
        state, invited = self._load()
        answered, message = secagg.unmask(state, body)
        self._save(answered, invited, entropy)  # "answered" is on disk, and the secrets are not, before it leaves
        return message

    def _unmask(self, body: bytes, entropy: Entropy) -> bytes:
        state, invited = self._load()
        answered, message = secagg.unmask(state, body)
        self._refuse_another_set(invited, state, body)
        self._save(answered, invited, entropy)
        return message

    def _refuse_another_set(self, invited: _Invited, state: states.ClientState, body: bytes) -> None:
        """Of one update, one sum.

        A second sum with other survivors would give away by its difference who is in one only. Remembers the set that
        is signed, or without identities answered, before that leaves.
        """
        assert isinstance(state, states.Masked), "the step before has checked it"
        numbers = decode_survivors(body, state.view.digest, state.sharers, state.round.roster)
        chosen = to_json(sorted(invited.cohort[i - 1] for i in numbers)).encode()
        key, before = read_tagged(self.home / "answered.bin") or (invited.key, chosen)
        if key == invited.key and before != chosen:
            raise Refused(
                f"{self.name}: answered for other survivors of this round before; it answers for no second set."
            )
        if key != invited.key:  # another round's set is forgotten now, so that round is over
            remember_as_finished(self.home, key)
        write_atomically(self.home / "answered.bin", tagged(invited.key, chosen))

    def _refuse_forgotten_set(self, key: str) -> None:
        """A set that was signed or answered for must be on record: without it, any other would be answered too."""
        if (read_tagged(self.home / "round.bin") or ("",))[0] != key:
            return
        state, _ = self._load()
        chosen, _ = read_tagged(self.home / "answered.bin") or ("", b"")
        if isinstance(state, states.Consented | states.Answered) and chosen != key:
            raise Refused(
                f"{self.name}: answered in this round before, but {self.home / 'answered.bin'}, which says for which "
                "survivors, is gone: restore it, or leave the round."
            )

    def _forget(self, body: bytes, entropy: Entropy) -> bytes:
        """Erases what a finished round left; a message about any other round erases nothing."""
        over = list[str]()
        for name in ("round.bin", "update.bin", "answered.bin"):
            key, _ = read_tagged(self.home / name) or ("", b"")
            if key.startswith(round_name(body)):
                remember_as_finished(self.home, key.partition(" ")[0])
                over.append(name)
        if "round.bin" in over:  # the key first: what a disk keeps of states, erased or not, is closed from then on
            over.insert(0, "state.key")
        if self._forgets_begun(body):
            over.append("begun.bin")
        erase(self.home, *over)
        return b""

    def _forgets_begun(self, body: bytes) -> bool:
        """Whether no later round of those that an update is sent again for is left."""
        run, at, schedule = body[:16].hex(), int.from_bytes(body[16:], "little"), self.agreement.schedule
        stored, _ = read_tagged(self.home / "begun.bin") or ("", b"")
        return stored.startswith(f"{run}/") and at >= min(_round_of(stored) + schedule.bands, schedule.rounds) - 1

    def ledger(self) -> Ledger:
        """Raises LedgerError for one that is damaged, another's, gone, or older than what the client gave since."""
        return ledger_of(self.home, self.name, self.terms.budget)

    def _place(self, session: Session) -> int:
        """This client's number in the round, from 1."""
        if session.recipe != self.agreement.digest:
            raise Refused(f"{self.name}: the server runs another recipe than this client agreed to.")
        schedule = self.agreement.schedule
        if len(session.cohort) != schedule.participants(session.round):  # the threshold follows from it
            raise Refused(f"{self.name}: the server invites {len(session.cohort)} clients, not the recipe's cohort.")
        if max(session.lags, default=0) >= schedule.bands:
            raise Refused(
                f"{self.name}: the server asks for an update again after more rounds than the recipe has bands."
            )
        if bool(session.clip_norm) != self.agreement.moving_clip_norm:
            raise Refused(f"{self.name}: the invitation's clip norm is not of the recipe's kind, fixed or moving.")
        if self.name not in session.cohort:
            raise Refused(f"{self.name}: the server's invitation names other clients only.")
        return session.cohort.index(self.name) + 1

    def _key(self, session: Session, ctx: bytes, lag: int) -> str:
        """Names one release: run, round and the whole context.

        Another global model, clip norm, cohort or lag of anybody is another release, whatever round the server calls
        it: were one vector in the sums of two cohorts, each could certify a set of its own, and their difference leave
        few clients; were one in two sums that differ in another client's lag, it would leave that client's two uploads.
        A short digest a server could make agree.
        """
        key = f"{round_name(session.name)}{ctx.hex()}"
        return key if self.agreement.schedule.bands == 1 else f"{key}+{lag}"

    def _refuse_too_soon(self, session: Session, key: str, lag: int) -> None:
        """The minimum separation, from the ledger.

        A second update that begins within `bands` rounds of a first, or in the same one, would take the place of what
        is still to be sent of it, and the budget with it.
        """
        bands, run = self.agreement.schedule.bands, f"{session.run.hex()}/"
        if lag or bands == 1:
            return
        for old in (entry.key for entry in self.ledger().entries if entry.key != key):
            if old.startswith(run) and old.endswith("+0") and abs(session.round - _round_of(old)) < bands:
                raise Refused(
                    f"{self.name}: began an update in round {_round_of(old)}, and begins no other in round "
                    f"{session.round}: {bands} rounds must lie between."
                )

    def _refuse_if_finished(self, key: str) -> None:
        if key in finished(self.home):
            raise Refused(f"{self.name}: gave its update for round {key} and erased it; it gives no second one.")

    def _pay(self, key: str, code: Upload) -> None:
        """Charges before the data is looked at.

        First it marks what it pays for, in the place of the update to be: a learning that was cut short is done again
        for the charge that was made, one that gave an update is not. Refuses before any work when the ledger has no
        room, or when this round's one update was made and is gone.
        """
        cost, path = self._cost(code), self.home / "update.bin"
        if cost is None:
            return
        ledger = self.ledger()
        if (read_tagged(path) or ("",))[0] != self._made_by(key, code):
            if any(entry.key == key for entry in ledger.entries):
                raise Refused(
                    f"{self.name}: paid for round {key} before, and the update that it made is gone or was made on "
                    "other terms; it makes no second one."
                )
            if not ledger.affords(cost):
                raise BudgetExceeded(
                    f"{self.name}: another round would pass its budget of epsilon {self.terms.budget.epsilon:g}; it "
                    f"stays out."
                )
            write_atomically(path, tagged(self._made_by(key, code), b""))
        ledger.charge(key, cost)

    def _store_upload(self, key: str, code: Upload, vector: RingVector) -> None:
        """What leaves, noise included.

        It is never made again: of other noise, rounding, rotation or scale for the same update a server that has both
        could take the difference, without the noise or without the update.
        """
        write_atomically(self.home / "update.bin", tagged(self._made_by(key, code), vector.tobytes()))

    def _stored_upload(self, key: str, code: Upload) -> RingVector | None:
        path = self.home / "update.bin"
        made_by, raw = read_tagged(path) or ("", b"")
        if made_by != self._made_by(key, code) or not raw:  # nothing yet: `_pay` has marked it
            return None
        dtype = ring_dtype(code.ring_bits)
        if len(raw) != ring_length(code.coordinates, code.ring_bits) * dtype.itemsize:
            raise damaged(path)
        return np.frombuffer(raw, dtype)  # type: ignore[return-value]  # of one of the ring's types

    def _made_by(self, key: str, code: Upload) -> str:
        """What a stored update was made by: release, recipe and cost.

        It is charged as the mechanism that made it, or not used under other terms, or a code that another version of a
        library sizes otherwise.
        """
        return f"{key} {self.agreement.digest.hex()} {self._cost(code)}"

    def _sign(self) -> Sign:
        return signer(read_key(self.home / "identity.key"))

    def _state_key(self, entropy: Entropy = os.urandom) -> bytes:
        """What round states are sealed under: of the identity, else drawn for the round and erased with it."""
        if (self.home / "identity.key").exists():
            return primitives.derive(read_key(self.home / "identity.key"), b"state")
        path = self.home / "state.key"
        key = read_if_there(path)
        if key is None:
            key = primitives.draw(entropy, primitives.KEY_BYTES)
            write_atomically(path, key)
        if len(key) != primitives.KEY_BYTES:
            raise damaged(path)
        return key

    def _save(self, state: states.ClientState, invited: _Invited, entropy: Entropy) -> None:
        """State and cohort in one file: the numbers in a survivor set mean nothing without the names of that round."""
        about = to_json(vars(invited)).encode()
        sealed = states.store(state, self._round_key(about, entropy), entropy)
        write_atomically(self.home / "round.bin", tagged(invited.key, _COUNT.pack(len(about)) + about + sealed))

    def _load(self) -> tuple[states.ClientState, _Invited]:
        stored = read_tagged(self.home / "round.bin")
        if stored is None:
            raise Refused(f"{self.name}: is in no round; the server must begin with a session.")
        body = stored[1]
        at = _COUNT.size + int.from_bytes(body[: _COUNT.size], "little")
        about, sealed = body[_COUNT.size : at], body[at:]
        state = states.restore(sealed, self._round_key(about))  # opens only beside what it was stored with
        return state, _Invited(**from_json(about))

    def _round_key(self, about: bytes, entropy: Entropy = os.urandom) -> bytes:
        return primitives.derive(self._state_key(entropy), b"round", about)


def _round_of(key: str) -> int:
    return int(key.split("/")[1])
