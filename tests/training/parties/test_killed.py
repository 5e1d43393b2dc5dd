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
from training.parties.client import Refused
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
    assert (federation.charges(A), federation.learners[A].calls) == (0, 0)
    federation.run()
    assert (federation.charges(A), federation.learners[A].calls) == (1, 1)


def test_killed_while_it_learns_for_one_model_it_pays_for_another_and_does_not_go_back(federation: Federation) -> None:
    federation.learners[A] = Dying(update_of(A))
    first, second = federation.session(0), federation.session(0, WEIGHTS * 2)
    with pytest.raises(Killed):
        federation.client(A).handle(invitation(first))
    federation.client(A).handle(invitation(second))
    assert federation.charges(A) == 2
    with pytest.raises(Refused, match="makes no second one"):
        federation.client(A).handle(invitation(first))
    assert federation.charges(A) == 2 and federation.learners[A].calls == 2


def test_crash_after_storing_the_update_gives_that_update_and_one_charge(federation: Federation) -> None:
    federation.client(A).handle(invitation(federation.session()))  # and the process is gone
    assert federation.charges(A) == 1
    federation.learners[A] = Learner(-update_of(A))  # learning again would give other numbers, as with fresh noise
    outcome = federation.run()
    assert federation.learners[A].calls == 0
    federation.learners[A] = Learner(update_of(A))
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)
    assert federation.charges(A) == 1


def test_crash_after_charging_and_before_storing_or_sending_gives_the_same_message_and_no_second_charge(
    federation: Federation,
) -> None:
    kept: dict[str, bytes] = {}
    given: list[bytes] = []

    def crashing(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if A in messages and messages[A][0] == Step.SHARES:
            kept["round"] = (federation.home / A / "round.bin").read_bytes()
            given.append(federation.client(A).handle(messages[A]))
            (federation.home / A / "round.bin").write_bytes(kept["round"])  # the disk as a crash after charging has it
        yield from federation(messages)

    outcome = run_round(federation.session(), federation.agreement, BASE, crashing)
    again = [answer for step, name, answer in federation.wire if (step, name) == (Step.SHARES, A)]
    assert again == given
    assert federation.charges(A) == 1
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)


def test_crash_after_the_masked_input_was_made_loses_the_attempt_but_no_epsilon(federation: Federation) -> None:
    federation.lost = {Step.SHARES: [A, B]}
    with pytest.raises(ChatfedError, match="only 2 participants"):
        federation.run()
    federation.lost = {}
    outcome = federation.run()
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)
    assert [federation.charges(name) for name in FOUR] == [1] * 4
    assert [federation.learners[name].calls for name in FOUR] == [1] * 4
