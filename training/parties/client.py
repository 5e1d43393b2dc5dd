"""A client in a federation: its own terms, ledger and records around the secure sum's pure steps.

Charges its ledger, learns, then takes part in the secure sum with what it learned: who has it learn pays, also for what
is never summed, since time and failures tell of data too. It gives a round one update only, encoded and noised once and
stored as it leaves: asking again, in whatever attempt, gets the same numbers and costs nothing. With pinned identities
it signs one survivor set a round, whatever the attempt. Knows no socket and no other client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from chatfed.privacy.ledger import BudgetExceeded, Charge, Ledger
from chatfed.privacy.noise import system_random
from chatfed.privacy.rounding import Scattered
from chatfed.secagg import client as secagg
from chatfed.secagg import primitives, states
from chatfed.secagg.masking import RingVector, ring_dtype, ring_length
from chatfed.secagg.messages import MalformedMessage, Parameters, Sign
from chatfed.types import ChatfedError, Entropy, FloatVector

from ..plan.agreement import Agreement
from ..plan.terms import ClientTerms
from ..plan.upload import NoisyUpload, Part, Upload
from .answering import Refused, Steps, answers
from .epochs import EpochKeys
from .identity import Roster, keys_of, read_key, signer
from .invitations import place_of
from .ledgers import FINISHED, LEDGER, finished, ledger_of, refuse_set_back, remember_as_finished, took_part
from .session import (
    Session,
    Step,
    decode_shares,
    read_committed,
    release_key,
    rotation_seed,
    round_context,
    round_index,
    round_name,
    round_of,
)
from .store import ClientStore, Key
from .sum_record import ROUND, Invited, SumRecord, names_in, summing

READ = (LEDGER, FINISHED, ROUND)
"""Records that a client looks at in most steps, and that are small."""

Learn = Callable[[FloatVector], Iterable[Part]]
"""Global weights float32[d] -> the parts of the client's update, float32[d] each: all of it, with the noise in it where
that is the client's own; or, where noise is shared and single dialogues are protected, what each one adds to it."""


class Client:
    """One client; everything it must remember between messages is among its records.

    A client may be made anew for each message. One that is kept has its state of the round at hand. identity: the file
    of its private key, and roster: its own, both where the recipe pins identities. weights: how many numbers of the
    model it trains, where it looks at them.
    """

    def __init__(
        self,
        records: ClientStore,
        agreement: Agreement,
        terms: ClientTerms,
        base_digest: bytes,
        learn: Learn,
        roster: Roster | None = None,
        identity: Path | None = None,
        weights: int = 0,
    ) -> None:
        self.name, self.records, self.agreement, self.terms = records.client, records, agreement, terms
        self.base_digest, self.learn, self.roster, self.identity = base_digest, learn, roster or {}, identity
        self.weights = weights
        self.pinned = agreement.sums.pinned
        self.epochs = EpochKeys(records)
        self.sum = SumRecord(records, self.epochs)

    def handle(self, message: bytes, entropy: Entropy = system_random) -> bytes:
        """The answer to one message of the server, once it is on record. Raises ChatfedError where it takes no part."""
        [answer] = answers([self.steps(message, entropy)], self.records.store)
        if isinstance(answer, ChatfedError):
            raise answer
        return answer

    def steps(self, message: bytes, entropy: Entropy = system_random) -> Steps:
        """Comes to the answer to a message, and yields where what it wrote must be on the disk before it goes on.

        Before the answer leaves, too.
        """
        if not message or message[0] not in Step.__members__.values():
            raise MalformedMessage(0, "step", "number")
        step, body = Step(message[0]), message[1:]
        answering: Mapping[Step, Callable[[bytes, Entropy], bytes]] = {
            Step.ADVERTS: self._share,
            Step.SURVIVORS: self._consent if self.pinned else self._unmask,
            **({Step.CERTIFICATE: self._unmask_certified} if self.pinned else {}),
            Step.COMMITTED: self._forget,
        }
        if step == Step.SESSION:
            return bytes([step]) + (yield from self._join(message, entropy))
        if step == Step.SHARES:
            return bytes([step]) + (yield from self._masked_input(body, entropy))
        if step not in answering:
            raise MalformedMessage(0, "step", "number")
        return bytes([step]) + answering[step](body, entropy)

    def _join(self, message: bytes, entropy: Entropy) -> Steps:
        session, ctx = _invitation(message, self.base_digest)
        place = place_of(self.name, session, self.agreement, self.weights)
        lag = session.since[place - 1]
        key = release_key(session, ctx, self.agreement.schedule.bands, lag)
        roster = keys_of(self.roster, session.cohort) if self.pinned else ()
        sign = self._sign()
        size = self.agreement.size(len(session.cohort), len(session.weights))
        parameters = self.agreement.sums.parameters(*size)
        if session.given and self.terms.mechanism is not None:
            refuse_set_back(self.records, self.ledger(), session.run, session.given[place - 1])
        self._refuse_if_finished(key)
        self._refuse_forgotten_set(key)
        self._refuse_other_keys(session, parameters, roster)
        code = self._upload(*size, rotation_seed(ctx), session.clip_norm, lag)
        if self._stored_upload(key, code) is None:
            self._refuse_too_soon(session, key, lag)
            self._pay(key, code, entropy)
            yield  # what it pays for begins once the charge is on the disk
            self._store_upload(key, code, code.encode(self._parts(session, lag, entropy), entropy), entropy)
        advert = b""
        if session.begins:
            least = self.agreement.sums.floors(parameters)
            state, advert = secagg.advertise(
                parameters, least, session.scope, session.epoch, place, entropy, roster, sign
            )
            self.epochs.begin(state, session.run, session.cohort, entropy)
        said = self.records.tag("round") == key and self.sum.invited().said
        invited = Invited(key, ctx.hex(), size[1], lag, session.epoch.hex(), session.slot, said)
        self.sum.save(None, invited, entropy)
        return advert

    def _parts(self, session: Session, lag: int, entropy: Entropy) -> Iterable[Part]:
        """What this client learns in this round, or learned in the one that its update began in, if it was there."""
        if self.agreement.schedule.bands == 1:
            return self.learn(session.weights)
        began = f"{session.run.hex()}/{session.round - lag}/"
        if lag:
            if self.records.tag("begun") != began:
                return []
            _, raw = self.records.read("begun") or ("", b"")
            size = len(session.weights)
            return [np.frombuffer(raw, "<f4", size)] if len(raw) == 4 * size else []
        (update,) = self.learn(session.weights)
        assert not isinstance(update, Scattered), "no update that is sent again is one"
        self.records.draw_secret(Key.BEGUN, entropy)
        self.records.write("begun", began, update.astype("<f4").tobytes(), entropy)
        return [update]

    def _share(self, body: bytes, entropy: Entropy) -> bytes:
        return self.epochs.share(body, entropy)

    def _masked_input(self, body: bytes, entropy: Entropy) -> Steps:
        _, invited = self.sum.load()
        envelopes, present = decode_shares(body)
        if envelopes:
            self.epochs.open_envelopes(envelopes, entropy)
            yield  # a slot's keys go once what they open is on the disk
        agreed = self.epochs.agreed(invited.epoch)
        code = self._upload(len(agreed.cohort), invited.dimension, lag=invited.lag)
        vector = self._stored_upload(invited.key, code)
        if vector is None:
            raise Refused(f"{self.name}: the update of this round is gone; the server must begin the round anew.")
        ctx = bytes.fromhex(invited.ctx)
        secagg.check_present(agreed.ready, invited.slot, ctx, present)
        slot = self.epochs.take(agreed, invited.slot)
        masked, message = secagg.masked_input(agreed.ready, invited.slot, slot, ctx, present, vector, self._sign())
        if (cost := self._cost(code)) is not None:
            self.ledger().charge(invited.key, cost)  # as when it learned, and so at no cost, unless that was forgotten
        self.sum.save(masked, invited, entropy)
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
        state, invited = self.sum.load()
        own = self._sign()
        assert own is not None, "only where identities are pinned there is anything to sign"

        def sign(digest: bytes) -> bytes:  # called once the set is found sound
            self._refuse_another_set(invited, state, body)
            return own(digest)

        consented, message = secagg.consent(summing(state), body, sign)
        self.sum.save(consented, replace(invited, said=True), entropy)
        return message

    def _unmask_certified(self, body: bytes, entropy: Entropy) -> bytes:
        state, invited = self.sum.load()
        answered, message = secagg.unmask(summing(state), body)
        self.sum.save(answered, invited, entropy)  # "answered" is on disk, and the secrets are not, before it leaves
        return message

    def _unmask(self, body: bytes, entropy: Entropy) -> bytes:
        state, invited = self.sum.load()
        answered, message = secagg.unmask(summing(state), body)
        self._refuse_another_set(invited, state, body)
        self.sum.save(answered, replace(invited, said=True), entropy)
        return message

    def _refuse_another_set(self, invited: Invited, state: states.Summing | None, body: bytes) -> None:
        """Of one update, one sum.

        A second sum with other survivors would give away by its difference who is in one only. Remembers the set that
        is signed, or without identities answered, before that leaves.
        """
        assert isinstance(state, states.Masked), "the step before has checked it"
        cohort = self.epochs.agreed(invited.epoch).cohort
        chosen = names_in(cohort, secagg.survivors_in(state, body))
        key, before = self.records.read("answered") or (invited.key, chosen)
        if key == invited.key and before != chosen:
            raise Refused(
                f"{self.name}: answered for other survivors of this round before; it answers for no second set."
            )
        if key != invited.key:  # another round's set is forgotten now, so that round is over
            remember_as_finished(self.records, key)
        self.records.write("answered", invited.key, chosen)

    def _refuse_forgotten_set(self, key: str) -> None:
        """A set that was signed or answered for must be on record: without it, any other would be answered too."""
        if self.records.tag("round") != key:
            return
        chosen, _ = self.records.read("answered") or ("", b"")
        if self.sum.invited().said and chosen != key:
            raise Refused(
                f"{self.name}: answered in this round before, but for which survivors is no longer in its store: "
                "restore that, or leave the round."
            )

    def _refuse_other_keys(self, session: Session, parameters: Parameters, roster: Sequence[bytes]) -> None:
        """Keys that stand are those that were agreed on with this very cohort, and for so many sums of this size."""
        if session.begins:
            return
        epoch = self.epochs.known(session.epoch.hex(), session.slot)
        same = (epoch.scope, epoch.parameters, epoch.roster) == (session.scope, parameters, tuple(roster))
        if not same or session.slot >= parameters.slots:
            raise Refused(f"{self.name}: the keys that the server speaks of are not for this sum.")

    def _forget(self, body: bytes, entropy: Entropy) -> bytes:
        """Erases what a finished round left; a message about any other round erases nothing."""
        body, _ = read_committed(body)
        name, over = round_name(body), list[str]()
        last = self._served_last(name)
        for record in ("round", "update", "answered"):
            key = self.records.tag(record)
            if key.startswith(name):
                remember_as_finished(self.records, key.partition(" ")[0])
                over.append(record)
        if over and ("update" in over or not self.records.there("update")):  # else the key is another release's
            self.records.destroy_secret(Key.RELEASE)  # what a disk keeps of these is closed for good
        if "round" in over:
            self.records.destroy_secret(Key.SUM)
            self.sum.let_go()
        if self._forgets_begun(body):
            self.records.destroy_secret(Key.BEGUN)
            over.append("begun")
        self.records.erase(*over)
        if round_index(body) + 1 >= self.agreement.schedule.rounds:
            self.epochs.forget(run=body[:16].hex())  # also where it missed the run's end
        elif last:
            self.epochs.forget(name=last)
        return b""

    def _served_last(self, name: str) -> str:
        """The epoch of which the round of that name used the last slot; empty where it did not."""
        invited = self.sum.invited() if self.records.tag("round").startswith(name) else None
        return invited.epoch if invited and invited.slot + 1 >= self.agreement.sums.slots else ""

    def _forgets_begun(self, body: bytes) -> bool:
        """Whether no later round of those that an update is sent again for is left."""
        run, at, schedule = body[:16].hex(), round_index(body), self.agreement.schedule
        stored = self.records.tag("begun")
        return stored.startswith(f"{run}/") and at >= min(round_of(stored) + schedule.bands, schedule.rounds) - 1

    def ledger(self) -> Ledger:
        """Raises LedgerError for one that is damaged, another's, gone, or older than what the client gave since."""
        return ledger_of(self.records, self.terms.budget)

    def charged(self, name: bytes) -> bool:
        """Whether the round of that name (`Session.name`) was charged for. Raises LedgerError."""
        wanted = round_name(name)
        return self.spends and any(entry.key.startswith(wanted) for entry in self.ledger().entries)

    @property
    def spends(self) -> bool:
        """Whether there is a ledger with something in it."""
        return self.terms.mechanism is not None and took_part(self.records)

    def _refuse_too_soon(self, session: Session, key: str, lag: int) -> None:
        """The minimum separation, from the ledger.

        A second update that begins within `bands` rounds of a first, or in the same one, would take the place of what
        is still to be sent of it, and the budget with it.
        """
        bands, run = self.agreement.schedule.bands, f"{session.run.hex()}/"
        if lag or bands == 1:
            return
        for old in (entry.key for entry in self.ledger().entries if entry.key != key):
            if old.startswith(run) and old.endswith("+0") and abs(session.round - round_of(old)) < bands:
                raise Refused(
                    f"{self.name}: began an update in round {round_of(old)}, and begins no other in round "
                    f"{session.round}: {bands} rounds must lie between."
                )

    def _refuse_if_finished(self, key: str) -> None:
        if key in finished(self.records):
            raise Refused(f"{self.name}: gave its update for round {key} and erased it; it gives no second one.")

    def _pay(self, key: str, code: Upload, entropy: Entropy) -> None:
        """Charges before the data is looked at.

        First it marks what it pays for, in the place of the update to be: a learning that was cut short is done again
        for the charge that was made, one that gave an update is not. Refuses before any work when the ledger has no
        room, or when this round's one update was made and is gone.
        """
        cost, marked = self._cost(code), self.records.tag("update") == self._made_by(key, code)
        ledger = self.ledger() if cost is not None else None
        if not marked:
            if ledger and any(entry.key == key for entry in ledger.entries):
                raise Refused(
                    f"{self.name}: paid for round {key} before, and the update that it made is gone or was made on "
                    "other terms; it makes no second one."
                )
            if ledger and cost is not None and not ledger.affords(cost):
                raise BudgetExceeded(
                    f"{self.name}: another round would pass its budget of epsilon {self.terms.budget.epsilon:g}; it "
                    f"stays out."
                )
            before = self.records.tag("update").partition(" ")[0]
            if before not in ("", key):  # it goes now, and no second one may be made for that release
                remember_as_finished(self.records, before)
            self.records.draw_secret(Key.RELEASE, entropy)
            self.records.write("update", self._made_by(key, code), b"", entropy)
        if ledger and cost is not None:
            ledger.charge(key, cost)

    def _store_upload(self, key: str, code: Upload, vector: RingVector, entropy: Entropy) -> None:
        """What leaves, noise included.

        It is never made again: of other noise, rounding, rotation or scale for the same update a server that has both
        could take the difference, without the noise or without the update.
        """
        self.records.write("update", self._made_by(key, code), vector.tobytes(), entropy)

    def _stored_upload(self, key: str, code: Upload) -> RingVector | None:
        if self.records.tag("update") != self._made_by(key, code):
            return None
        _, raw = self.records.read("update") or ("", b"")
        if not raw:  # nothing yet: `_pay` has marked it
            return None
        dtype = ring_dtype(code.ring_bits)
        if len(raw) != ring_length(code.coordinates, code.ring_bits) * dtype.itemsize:
            raise self.records.damaged("update")
        return np.frombuffer(raw, dtype)  # type: ignore[return-value]  # of one of the ring's types

    def _made_by(self, key: str, code: Upload) -> str:
        """What a stored update was made by: release, recipe and cost.

        It is charged as the mechanism that made it, or not used under other terms, or a code that another version of a
        library sizes otherwise.
        """
        return f"{key} {self.agreement.digest.hex()} {self._cost(code)}"

    def _sign(self) -> Sign | None:
        """Who signs for this client, where identities are pinned."""
        if not self.pinned:
            return None
        assert self.identity is not None, "where identities are pinned, whoever makes a client names its key"
        return signer(read_key(self.identity))


@lru_cache(maxsize=1)
def _invitation(message: bytes, base: bytes) -> tuple[Session, bytes]:
    """The session in a message, and the context that it is: worked out once for all clients of a process."""
    session = Session.from_bytes(message[1:])
    return session, round_context(session, base)
