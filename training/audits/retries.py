"""What a server that cheats tries over several attempts and rounds: it asks again, begins again, and replays.

Each attack runs against real clients of its own (`victims.py`) and gives a `Cell`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from chatfed.privacy.ledger import BudgetExceeded
from chatfed.privacy.noise import system_random
from chatfed.types import ChatfedError, ClientId, FloatVector

from ..parties.rounds import Standing, commit
from ..parties.session import Session, Step
from .cheating import Cheating
from .matched import Seen
from .outcomes import SMALL, Cell, Outcome, crafted, invitation, invited, refused
from .victims import Setting, Victims, names, victims

TRIES = 40  # of a server that asks again and again, where nothing stops it

# Asking again


def another_model_again(setting: Setting) -> Cell:
    """The same round again and again, each time with another model."""
    return _again(setting, lambda session, at: dataclasses.replace(session, weights=session.weights + np.float32(at)))


def another_run_again(setting: Setting) -> Cell:
    """The same round again and again, each time as one of another run."""
    return _again(setting, lambda session, at: dataclasses.replace(session, run=at.to_bytes(16, "little")))


def another_cohort_again(setting: Setting) -> Cell:
    """The same round again and again, each time of other clients: sums that differ in one of them."""

    def others(session: Session, at: int) -> Session:
        spare = [name for name in names(len(session.cohort) + TRIES) if name not in session.cohort]
        return dataclasses.replace(session, cohort=tuple(sorted((*session.cohort[:-1], spare[at]))))

    return _again(setting, others, names(setting.clients + TRIES))


def _again(setting: Setting, other: Callable[[Session, int], Session], clients: Sequence[ClientId] = ()) -> Cell:
    """Invited until it refuses: what it answered is charged, each time."""
    with victims(setting, SMALL, clients=clients) as those:
        target = those.session().cohort[0]
        for at in range(TRIES):
            error = refused(those, target, invitation(other(those.session(), at)))
            if error is not None:
                return _stopped(those, target, at, error)
        if setting.bare:
            return Cell(Outcome.OPEN, f"answered {TRIES} times, at no charge: nothing is claimed")
        return Cell(Outcome.OPEN, f"answered {TRIES} times for {those.charges(target)} charges")


def _stopped(those: Victims, target: ClientId, answered: int, error: ChatfedError) -> Cell:
    if not isinstance(error, BudgetExceeded):
        return Cell.of(error)
    ledger = those.client(target).ledger()
    kept = len(ledger.entries) >= answered and ledger.epsilon <= those.setting.terms.budget.epsilon
    why = f"answered {answered} times, each charged, then {error.code} at epsilon {ledger.epsilon:.2f}"
    return Cell(Outcome.BOUNDED if kept and answered else Outcome.OPEN, why, error.code)


def same_invitation_again(setting: Setting) -> Cell:
    """The same round in a second attempt: is another draw of the noise to be had?"""
    with victims(setting, SMALL) as those:
        session = those.session()
        target, uploads = session.cohort[0], list[FloatVector]()
        for _ in range(3):
            those.round(dataclasses.replace(session, attempt=system_random(16), epoch=b""))
            uploads.append(those.upload(target, session))
        alike = all(np.array_equal(uploads[0], each) for each in uploads)
        if alike and those.charges(target) == (0 if setting.bare else 1):
            return Cell(Outcome.REFUSED, "the same ring elements each time, under other masks, for one charge")
        return Cell(Outcome.OPEN, "another draw of its noise")


def round_that_is_over(setting: Setting) -> Cell:
    """A round that the server has said is kept."""
    with victims(setting, SMALL) as those:
        session = those.session()
        those.round(session)
        commit(session, those)
        return invited(those, those.session())


def another_survivor_set(setting: Setting) -> Cell:
    """A second attempt at a round that was answered, without one of its clients: the difference would be its upload."""
    with victims(setting, SMALL) as those:
        those.round(those.session())
        cheat = Cheating(those, those.session())
        cheat.agree()
        cheat.collect()
        answered = cheat.survivors(range(1, len(cheat.cohort)))
        if answered:
            return Cell.behind_noise(setting, Seen.UPLOAD, f"{len(answered)} answer for a second set")
        return Cell.of(cheat.refused[cheat.cohort[0]])


def two_sets_in_one_attempt(setting: Setting) -> Cell:
    """A client that consented, or answered, is shown another set: both kinds of share would open one client."""
    with victims(setting, SMALL) as those:
        cheat = Cheating(those, those.session())
        cheat.agree()
        cheat.collect()
        everyone = range(1, 1 + len(cheat.cohort))
        assert len(cheat.survivors(everyone)) == len(everyone), "the true set is answered"
        again = cheat.survivors(everyone[:-1], [1]) or cheat.survivors(everyone, [1])
        return Cell(Outcome.OPEN, "it answers twice") if again else Cell.of(cheat.refused[cheat.cohort[0]])


# Epochs, echoes, replays


def slot_again(setting: Setting) -> Cell:
    """Keys of a sum are asked for in another, of another model: the difference would be free of masks."""
    with victims(setting, SMALL) as those:
        standing = Standing()
        session = those.session()
        those.round(session, standing=standing)
        again = dataclasses.replace(session, attempt=bytes(16), epoch=standing.name, slot=0)
        return invited(those, dataclasses.replace(again, weights=crafted(those)))


def echo_again(setting: Setting) -> Cell:
    """An update that began before is asked for again, in more rounds than were agreed."""
    with victims(setting, SMALL) as those:
        first = those.session()
        target = first.cohort[0]
        those.round(first)
        if setting.bands == 1:
            return invited(those, dataclasses.replace(those.session(1), lags=(1,) * len(first.cohort)), target)
        for at in range(TRIES):
            session = those.session(1, weights=np.full(SMALL, at, np.float32))
            error = refused(those, target, invitation(session))
            if error is not None:
                return _stopped(those, target, at, error)
        return Cell(Outcome.OPEN, f"sent again {TRIES} times")


def begun_too_early(setting: Setting) -> Cell | None:
    """With bands, an update that begins before the last one was sent as often as was agreed; None without bands."""
    if setting.bands == 1:
        return None
    with victims(setting, SMALL) as those:
        first = those.session()
        those.round(first)
        second = those.session(1)
        lags = tuple(0 if name in first.cohort else 1 for name in second.cohort)
        return invited(those, dataclasses.replace(second, lags=lags), first.cohort[0])


def replayed_messages(setting: Setting) -> Cell:
    """Each message of a round is preceded by that of the same step of an earlier one."""
    with victims(setting, SMALL) as those:
        first = those.session()
        target = first.cohort[0]
        those.round(first)
        old, errors = {step: asked.get(target) for step, asked in those.asked.items()}, list[ChatfedError | None]()

        def replaying(messages_: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
            step = Step(messages_[target][0]) if target in messages_ else None
            if step and (message := old.get(step)) and step is not Step.SESSION:
                errors.append(refused(those, target, message))
            yield from those(messages_)

        survivors = those.round(those.session(1), replaying).survivors
        errors.append(refused(those, target, old[Step.SESSION] or b""))
        if None in errors or target not in survivors:
            return Cell(Outcome.OPEN, "a message of an earlier round is answered, or stops the later one")
        return Cell.of(next(each for each in errors if each is not None))
