"""One round of a federation, as the server runs it: bytes out through an exchange, the clients' mean update back.

Composes the secure sum with the session around it. Knows no socket, no model and no single client's update.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from chatfed.secagg import server as secagg
from chatfed.secagg.messages import BelowThreshold, MalformedMessage, Parameters, ProtocolError, check_count
from chatfed.secagg.pieces import Dealt
from chatfed.secagg.server import Inbound
from chatfed.types import ClientId, FloatVector

from ..plan.agreement import Agreement
from .identity import Roster, keys_of
from .session import Session, Step, committed, encode_shares, rotation_seed, round_context

NAMED = 5  # clients in a sentence
ASKED = {
    Step.SESSION: "asked to learn",
    Step.ADVERTS: "keys were agreed on",
    Step.SHARES: "asked for masked updates",
    Step.SURVIVORS: "asked to agree on who is in the sum",
    Step.CERTIFICATE: "asked to unmask it",
}
_State = TypeVar("_State")
_Result = TypeVar("_Result")

Exchange = Callable[[Mapping[ClientId, bytes]], Iterable[tuple[ClientId, bytes]]]
"""Sends each client its message and gives back their answers as they arrive; a client that is missing dropped out.

Answers are consumed one by one, so that the server holds one masked input at a time, whatever the size of the cohort.
"""


@dataclass(frozen=True)
class Outcome:
    """What the server learned from a round."""

    mean: FloatVector = field(repr=False)  # float32[d]
    survivors: tuple[ClientId, ...]
    dropped: Mapping[Step, tuple[ClientId, ...]]  # who fell silent, by step
    faults: tuple[str, ...]  # what was wrong with messages that were left out
    bytes_up: int  # of all clients together
    within: float | None = None  # noisy share of updates within the clip norm, where that moves


class TooFewLeft(BelowThreshold):
    """Too few clients are left at a stage of a round; `dropped`: who gave no answer since its beginning, by step."""

    code = "too_few_left"
    mend = "start the round again with those who are there"

    def __init__(
        self,
        short: BelowThreshold,
        dropped: Mapping[Step, tuple[ClientId, ...]],
        unread: Collection[ClientId] = (),
    ) -> None:
        silent = {name for names in dropped.values() for name in names}
        super().__init__(short.stage, short.got, short.need, sorted(silent.union(unread)))
        self.dropped = dict(dropped)


class SurvivorsMissing(ProtocolError):
    """An attempt at the round was answered, and not all whom it was answered for are back; nothing was asked."""

    code = "survivors_missing"
    mend = "wait for the clients that are named, then go on with chatfed resume"

    def __init__(self, missing: Sequence[ClientId]) -> None:
        self.missing = tuple(missing)
        names = ", ".join(self.missing[:3]) + (f" and {len(self.missing) - 3} more" if len(self.missing) > 3 else "")
        super().__init__(
            f"clients have answered an earlier attempt at this round, and of those that it was for, {names} "
            f"{'is' if len(self.missing) == 1 else 'are'} not back; clients answer for one survivor set only, so the "
            "round waits for them"
        )


@dataclass
class Standing:
    """Keys that a cohort has agreed on and that are good for more sums; none at first.

    In memory only: whoever goes on with a run begins with new ones.
    """

    epoch: secagg.Epoch | None = None
    name: bytes = b""
    scope: bytes = b""
    used: int = 0  # slots
    waiting: Mapping[int, bytes] = field(default_factory=dict)  # envelopes of those that have not been heard of since

    def fits(self, session: Session, parameters: Parameters, least: int) -> bool:
        """Whether the session can go on with these keys, and enough clients have them."""
        if self.epoch is None or (self.scope, self.epoch.parameters) != (session.scope, parameters):
            return False
        return self.used < parameters.slots and len(self.epoch.sharers) >= least

    def renew(self, cohort: Sequence[ClientId], here: Collection[ClientId]) -> None:
        """Forgets them where somebody of the cohort is here who has none: else it would be out until they are used."""
        if self.epoch and any(name in here for i, name in enumerate(cohort, 1) if i not in self.epoch.sharers):
            self.epoch = None

    @contextlib.contextmanager
    def dropped_on_error(self) -> Iterator[None]:
        """Forgets them where something goes wrong: it may come of them."""
        try:
            yield
        except BaseException:
            self.epoch = None
            raise

    def next_slot(self) -> int:
        """One that no sum was given."""
        self.used += 1
        return self.used - 1


def run_round(
    session: Session,
    agreement: Agreement,
    base_digest: bytes,
    exchange: Exchange,
    agreed: Sequence[ClientId] | None = None,
    settle: Callable[[Sequence[ClientId]], None] = lambda survivors: None,
    roster: Roster | None = None,
    standing: Standing | None = None,
) -> Outcome:
    """Sessions out, mean of the survivors' updates back.

    `settle` makes the survivors durable before any client is asked to unmask; `agreed` are those of an earlier attempt
    at the same round, which clients may have signed or answered: no other set will be again. `roster`: where the recipe
    pins identities. `standing`: keys of the rounds before, which this one goes on with where they fit, else it begins
    with new ones and leaves them there. Raises TooFewLeft or SurvivorsMissing with nothing unmasked, or BadShares.
    """
    keys = standing or Standing()
    line, sums = _Line(session.cohort, exchange), agreement.sums
    size = agreement.size(len(session.cohort), len(session.weights))
    parameters = sums.parameters(*size)
    least = sums.floors(parameters).survivors  # with fewer, no client would go on
    identities = keys_of(roster or {}, session.cohort) if sums.pinned else ()
    ctx = round_context(session, base_digest)

    with keys.dropped_on_error(), line.named():
        if not keys.fits(session, parameters, least):
            opened = secagg.open_epoch(parameters, session.scope, session.attempt, identities)
            _agree_on_keys(line, session, opened, keys, least)
        epoch, slot = keys.epoch, keys.next_slot()
        assert epoch is not None, "keys are agreed on, or an error was raised"
        present = line.here(replace(session, epoch=keys.name, slot=slot), epoch) if slot else epoch.sharers
        check_count("share", len(present), least)
        collecting, out = secagg.begin(epoch, slot, ctx, present)
        closed, out = secagg.close_inputs(line.collect(collecting, _to_sum(out, keys.waiting), agreed))
        keys.waiting = {i: keys.waiting[i] for i in keys.waiting.keys() - out.keys()}
        check_count("masked input", len(out), least)
        settle(_survivors(session, out, agreed))
        if sums.pinned:
            closed, out = line.relay(secagg.certify, closed, Step.SURVIVORS, out)
        total = line.relay(secagg.finish, closed, Step.CERTIFICATE if sums.pinned else Step.SURVIVORS, out)

    mean = sums.codec.upload(*size, rotation_seed(ctx), session.clip_norm).decode(total.vector, len(total.survivors))
    disputes = [_dispute(*pair) for pair in total.disputes]
    return Outcome(
        mean.update,
        tuple(session.cohort[i - 1] for i in total.survivors),
        line.dropped,
        (*map(str, line.faults), *disputes),
        line.bytes_up,
        mean.within,
    )


def _agree_on_keys(line: _Line, session: Session, opened: secagg.Advertising, standing: Standing, least: int) -> None:
    """Invites, and has keys agreed on for this sum and as many after it as the recipe says."""
    session = replace(session, epoch=session.attempt, slot=0)
    everyone = dict.fromkeys(range(1, len(session.cohort) + 1), session.to_bytes())
    sharing, adverts = line.relay(secagg.relay_adverts, opened, Step.SESSION, everyone)
    check_count("advertise", len(adverts), least)
    standing.epoch, standing.waiting = secagg.hand_out(sharing, line.shares(sharing, adverts))
    standing.used = 0
    standing.name, standing.scope = session.epoch, session.scope


def _to_sum(present: Mapping[int, bytes], waiting: Mapping[int, bytes]) -> dict[int, bytes]:
    """Who is present, with the envelopes of whoever may not have them, framed; what goes to several is one copy."""
    lead = bytes([Step.SHARES])
    alike = {id(message): encode_shares(b"", message, lead) for message in present.values()}
    return {i: encode_shares(waiting[i], m, lead) if i in waiting else alike[id(m)] for i, m in present.items()}


def _survivors(session: Session, out: Iterable[int], agreed: Sequence[ClientId] | None) -> list[ClientId]:
    """Whose updates are in the sum. Raises SurvivorsMissing where an earlier attempt was answered for others."""
    survivors = [session.cohort[i - 1] for i in sorted(out)]
    if agreed is not None and set(survivors) != set(agreed):
        raise SurvivorsMissing(sorted(set(agreed) - set(survivors)))
    return survivors


def commit(session: Session, exchange: Exchange, survivors: Collection[ClientId] | None = None) -> None:
    """Tells the cohort that the round is in the server's checkpoint, so that nobody will ask for its update again.

    survivors: who is in the sum, where that is known; each is told of itself.
    """
    for _ in exchange(committed(session, survivors)):
        pass


def silent_since(dropped: Mapping[Step, Collection[ClientId]], but: Collection[ClientId] = ()) -> list[str]:
    """Who fell silent, by the step that nothing was heard at, each in words; a few of each. but: not these."""
    found = []
    for step, who in sorted(dropped.items()):
        names = [name for name in who if name not in but]
        if names:
            more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
            found.append(f"{', '.join(names[:NAMED])}{more} (silent when {ASKED[step]})")
    return found


class _Line:
    """The exchange by participants' numbers, with a count of what came and who fell silent."""

    def __init__(self, cohort: tuple[ClientId, ...], exchange: Exchange) -> None:
        self.cohort, self.exchange = cohort, exchange
        self.number = {client: i for i, client in enumerate(cohort, 1)}
        self.dropped: dict[Step, tuple[ClientId, ...]] = {}
        self.faults: list[MalformedMessage] = []
        self.bytes_up = 0

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Raises TooFewLeft in the place of what knows numbers only: who fell silent, or sent what cannot be read."""
        try:
            yield
        except BelowThreshold as short:
            unread = {self.cohort[fault.sender - 1] for fault in self.faults if fault.sender}
            raise TooFewLeft(short, self.dropped, unread) from None

    def relay(
        self,
        relay: Callable[[_State, Inbound], _Result],
        state: _State,
        step: Step,
        messages: Mapping[int, bytes],
    ) -> _Result:
        """What the sum's step makes of the answers, those that are malformed left out."""
        made, faults = secagg.leaving_out(relay, state, dict(self.stream(step, messages)))
        self.faults += faults
        return made

    def here(self, session: Session, epoch: secagg.Epoch) -> set[int]:
        """Who of those that have keys has learned, and is there for the sum."""
        left = [client for i, client in enumerate(self.cohort, 1) if i not in epoch.sharers]
        if left:
            self.dropped[Step.ADVERTS] = tuple(left)  # they missed the agreement on keys, and wait for the next
        heard = set[int]()
        for sender, answer in self.stream(Step.SESSION, dict.fromkeys(sorted(epoch.sharers), session.to_bytes())):
            if answer:
                self.faults.append(MalformedMessage(sender, "session", "length"))
            else:
                heard.add(sender)
        return heard

    def shares(self, sharing: secagg.Sharing, adverts: Mapping[int, bytes]) -> dict[int, Dealt]:
        """What clients deal to their neighbours, taken apart as it comes, those that are malformed left out."""
        dealt = dict[int, Dealt]()
        for sender, message in self.stream(Step.ADVERTS, adverts):
            try:
                dealt[sender] = secagg.take_shares(sharing, sender, message)
            except MalformedMessage as fault:
                self.faults.append(fault)
        return dealt

    def collect(
        self, collecting: secagg.Collecting, framed: Mapping[int, bytes], agreed: Sequence[ClientId] | None
    ) -> secagg.Collecting:
        """Adds masked inputs up as they come."""
        for sender, message in self.answers(Step.SHARES, framed):
            if agreed is not None and self.cohort[sender - 1] not in agreed:
                continue  # to the sum it is one that dropped out, as it was in the attempt that clients have answered
            try:
                collecting = secagg.accept(collecting, sender, message)
            except MalformedMessage as fault:
                self.faults.append(fault)
        return collecting

    def stream(self, step: Step, messages: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Answers to messages that get the step's byte before them; what goes to all is one copy."""
        items = list(messages.items())  # once: a mapping may make its messages as they are asked for
        framed = {id(message): bytes([step]) + message for message in {id(m): m for _, m in items}.values()}
        return self.answers(step, {i: framed[id(message)] for i, message in items})

    def answers(self, step: Step, framed: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Who answers, and what, without the step's byte."""
        asked = {self.cohort[i - 1]: message for i, message in framed.items()}
        missing = set(asked)
        for client, answer in self.exchange(asked):
            self.bytes_up += len(answer)
            if client not in missing or answer[:1] != bytes([step]):
                self.faults.append(MalformedMessage(self.number.get(client, 0), step.name.lower(), "step"))
                continue
            missing.discard(client)
            yield self.number[client], answer[1:]
        missing.difference_update(*self.dropped.values())  # asked once more, in case only an answer was lost
        if missing:
            self.dropped[step] = tuple(sorted(missing))


def _dispute(holder: int, owner: int) -> str:
    if not owner:
        return (
            f"participant {holder} gave a share of the sum of keys that does not fit the others'; it cheated, or one "
            "who dealt it another share than the others"
        )
    return (
        f"participant {holder} gave a share of participant {owner}'s secret that does not fit; one of the two cheated"
    )
