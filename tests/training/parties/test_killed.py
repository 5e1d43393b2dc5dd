"""A client that is killed at any step has paid once, and gives the update that it paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from chatfed.types import ChatfedError, ClientId, FloatVector
from tests.training.federation import (
    BASE,
    FOUR,
    WEIGHTS,
    Federation,
    Learner,
    integer_sum,
    invitation,
    ring_sum_of,
    update_of,
)
from tests.training.parties.tampering import rows_of
from training.parties.answering import Refused
from training.parties.rounds import run_round
from training.parties.session import Step

A, B, C, D = FOUR


class Killed(BaseException):
    """The end of a process: nothing in the product catches it."""


class Dying(Learner):
    """Killed while it learns, the first time."""

    def __call__(self, weights: FloatVector) -> list[FloatVector]:
        learned = super().__call__(weights)
        if self.calls == 1:
            raise Killed
        return learned


def test_killed_while_it_learns_it_learns_again_for_the_charge_that_was_made(federation: Federation) -> None:
    federation.learners[A] = Dying(update_of(A))
    with pytest.raises(Killed):
        federation.client(A).handle(invitation(federation.session()))
    federation.restarted(A)
    assert federation.charges(A) == 1
    outcome = federation.run()
    assert outcome.survivors == FOUR and federation.charges(A) == 1 and federation.learners[A].calls == 2
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)


def test_killed_before_the_charge_it_pays_when_it_is_asked_again(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dead:
        dead.setattr("chatfed.privacy.ledger.Ledger.charge", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            federation.client(A).handle(invitation(federation.session()))
    federation.restarted(A)
    assert (federation.charges(A), federation.learners[A].calls) == (0, 0)
    federation.run()
    assert (federation.charges(A), federation.learners[A].calls) == (1, 1)


def test_killed_while_it_learns_for_one_model_it_pays_for_another_and_does_not_go_back(federation: Federation) -> None:
    federation.learners[A] = Dying(update_of(A))
    first, second = federation.session(0), federation.session(0, WEIGHTS * 2)
    with pytest.raises(Killed):
        federation.client(A).handle(invitation(first))
    federation.restarted(A)
    federation.client(A).handle(invitation(second))
    federation.restarted(A)
    assert federation.charges(A) == 2
    with pytest.raises(Refused, match="no second one"):
        federation.client(A).handle(invitation(first))
    assert federation.charges(A) == 2 and federation.learners[A].calls == 2


def test_crash_after_storing_the_update_gives_that_update_and_one_charge(federation: Federation) -> None:
    federation.client(A).handle(invitation(federation.session()))
    federation.restarted(A)
    assert federation.charges(A) == 1
    federation.learners[A] = Learner(-update_of(A))  # learning again would give other numbers, as with fresh noise
    outcome = federation.run()
    assert federation.learners[A].calls == 0
    federation.learners[A] = Learner(update_of(A))
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)
    assert federation.charges(A) == 1


@pytest.mark.parametrize("disk", ["before the commit", "with the round as it was"])
def test_crash_between_using_a_slot_s_keys_and_sending_leaves_it_out_of_that_sum_and_gives_the_same_numbers_to_the_next(
    federation: Federation, disk: str
) -> None:
    """The keys go before the record of their use is there: no second message under them, whatever the disk says."""

    def crashing(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if A in messages and messages[A][0] == Step.SHARES:
            with rows_of(federation, A) as database:
                before = database.execute("select * from records where name in ('round', 'epoch')").fetchall()
            if disk == "before the commit":
                client = federation.client(A)
                going = client.steps(messages[A])
                next(going)  # the keys of all slots are on the disk
                client.records.commit()
                with pytest.raises(StopIteration):
                    next(going)
            else:
                federation.client(A).handle(messages[A])
                federation.restarted(A)
                with rows_of(federation, A) as database:
                    database.executemany("replace into records values (?, ?, ?, ?, ?)", before)
            federation.restarted(A)
        yield from federation(messages)

    outcome = run_round(federation.session(), federation.agreement, BASE, crashing)
    assert outcome.survivors == (B, C, D)
    assert [answer for step, name, answer in federation.wire if (step, name) == (Step.SHARES, A)] == []
    assert ring_sum_of(federation, outcome) == integer_sum(federation, (B, C, D))
    stored = federation.records(A).read("update")
    advert = federation.client(A).handle(invitation(federation.session()))
    assert advert and federation.records(A).read("update") == stored
    assert federation.charges(A) == federation.learners[A].calls == 1


@pytest.mark.parametrize(
    ("done", "charges", "learned", "in_all"),
    [(1, 0, 0, 1), (2, 1, 0, 1), (3, 1, 1, 2), (4, 1, 1, 1)],
    ids=["it charged", "and that is on disk", "it learned", "and that is on disk"],
)
def test_killed_between_any_two_steps_it_has_paid_for_what_it_learned_and_learns_again_what_was_not_kept(
    federation: Federation, done: int, charges: int, learned: int, in_all: int
) -> None:
    going, records = federation.client(A).steps(invitation(federation.session())), federation.records(A)
    for step in range(done):
        if step in (0, 2):
            next(going, None)
        else:
            records.commit()
    federation.restarted(A)
    assert (federation.charges(A), federation.learners[A].calls) == (charges, learned)
    outcome = federation.run()
    assert outcome.survivors == FOUR
    assert (federation.charges(A), federation.learners[A].calls) == (1, in_all)
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)


def test_crash_after_the_masked_input_was_made_loses_the_attempt_but_no_epsilon(federation: Federation) -> None:
    federation.lost = {Step.SHARES: [A, B]}
    with pytest.raises(ChatfedError, match="only 2 participants"):
        federation.run()
    federation.restarted(A)
    federation.lost = {}
    outcome = federation.run()
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)
    assert [federation.charges(name) for name in FOUR] == [1] * 4
    assert [federation.learners[name].calls for name in FOUR] == [1] * 4
