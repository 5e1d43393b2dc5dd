"""A client keeps its own book: charged once, before it learns, and never without its ledger."""

from __future__ import annotations

import dataclasses

import pytest

from chatfed.privacy.accounting import Mechanism
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget, BudgetExceeded, LedgerError
from chatfed.types import ChatfedError, FloatVector
from tests.training.federation import BASE, FOUR, MECHANISM, TERMS, WEIGHTS, Federation, Learner, invitation, update_of
from training.parties.homes import OF_ROUNDS
from training.parties.rounds import commit
from training.parties.session import round_context

A, B, C, D = FOUR


def test_charges_once_for_a_round_that_takes_several_attempts(federation: Federation) -> None:
    for _ in range(3):
        federation.run()
    assert [federation.charges(name) for name in FOUR] == [1] * 4
    assert [federation.learners[name].calls for name in FOUR] == [1] * 4


def test_charges_each_round_and_keeps_exactly_what_was_planned(federation: Federation) -> None:
    for round_index in range(3):
        session = federation.session(round_index)
        federation.run(session)
        commit(session, federation)
    entries = federation.client(A).ledger().entries
    assert [entry.mechanism for entry in entries] == [MECHANISM] * 3
    assert [entry.key.split("/")[1] for entry in entries] == ["0", "1", "2"]
    assert entries[0].key.endswith("/" + round_context(federation.session(0), BASE).hex())  # not a short form of it


def test_another_global_model_under_the_same_round_number_is_charged_and_learned_anew(federation: Federation) -> None:
    federation.run(federation.session(0))
    federation.run(federation.session(0, WEIGHTS * 2))
    assert [federation.charges(name) for name in FOUR] == [2] * 4
    assert [federation.learners[name].calls for name in FOUR] == [2] * 4


def test_another_run_or_round_number_is_charged_anew_for_the_same_model(federation: Federation) -> None:
    federation.run(federation.session(0))
    federation.run(federation.session(1))
    federation.run(dataclasses.replace(federation.session(0), run=b"s" * 16))
    assert [federation.charges(name) for name in FOUR] == [3] * 4


def test_is_charged_before_it_learns(federation: Federation) -> None:
    """What it learns shows before anything is sent: in the time that it takes, and in whether it fails."""
    seen = []

    class Watching(Learner):
        def __call__(self, weights: FloatVector) -> list[FloatVector]:
            seen.append(federation.charges(A))
            return super().__call__(weights)

    federation.learners[A] = Watching(update_of(A))
    federation.run()
    assert seen == [1] and federation.charges(A) == 1


def test_a_server_that_asks_with_one_model_after_another_is_charged_for_each_until_the_budget_is_spent(
    federation: Federation,
) -> None:
    """No message but the invitation is ever sent: the client learned all the same."""
    federation.terms = dataclasses.replace(TERMS, budget=Budget(2.0, 1e-5, Protected.DIALOGUE))
    asked = 0

    def insist() -> None:
        nonlocal asked
        for asked in range(50):
            federation.client(A).handle(invitation(federation.session(0, WEIGHTS * (asked + 1))))

    with pytest.raises(BudgetExceeded):
        insist()
    ledger = federation.client(A).ledger()
    assert 1 < asked < 50 and federation.learners[A].calls == len(ledger.entries) == asked
    assert ledger.epsilon <= 2.0


def test_an_exhausted_budget_refuses_before_learning_and_the_round_goes_on_without_it(federation: Federation) -> None:
    one = TERMS.mechanism
    assert one is not None
    poor = dataclasses.replace(TERMS, budget=Budget(0.1, 1e-5, Protected.DIALOGUE))
    with pytest.raises(BudgetExceeded, match=A):
        federation.client(A, poor).handle(invitation(federation.session()))
    assert federation.learners[A].calls == 0
    assert federation.client(A, poor).ledger().entries == ()


def test_the_budget_ends_participation_at_the_planned_number_of_rounds(federation: Federation) -> None:
    from chatfed.privacy.accounting import epsilon

    two = epsilon(MECHANISM.noise_multiplier, MECHANISM.sampling_rate, 2, delta=1e-5)
    federation.terms = dataclasses.replace(TERMS, budget=Budget(two, 1e-5, Protected.DIALOGUE))
    for round_index in range(2):
        assert federation.run(federation.session(round_index)).survivors == FOUR
    with pytest.raises(ChatfedError, match="only 0 participants"):
        federation.run(federation.session(2))
    assert all("budget of epsilon" in reason for reason in federation.refusals.values())
    assert [federation.learners[name].calls for name in FOUR] == [2] * 4
    assert federation.client(A).ledger().epsilon == pytest.approx(two)


def test_without_noise_nothing_is_charged_and_no_ledger_is_begun(federation: Federation) -> None:
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    federation.run()
    assert not (federation.home / A / "ledger.json").exists()


def test_an_update_made_under_other_terms_is_not_sent_under_these(federation: Federation) -> None:
    weak = Mechanism(0.5, 0.25, 1)
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.5, mechanism=weak)
    federation.client(A).handle(invitation(federation.session()))  # learned with little noise, and nothing has left
    federation.terms = TERMS
    assert federation.run().survivors == (B, C, D)
    assert "on other terms; it makes no second one" in federation.refusals[A]
    assert [entry.mechanism for entry in federation.client(A).ledger().entries] == [weak]


@pytest.mark.parametrize("file", OF_ROUNDS)
def test_a_ledger_that_is_gone_is_refused_where_anything_of_the_past_is_there(
    federation: Federation, file: str
) -> None:
    home = federation.home / A
    home.mkdir()
    (home / file).write_bytes(b"of an earlier day")
    with pytest.raises(LedgerError, match=f"is gone, but client-00 took part .*{file} is there.*restore the ledger"):
        federation.client(A).ledger()
    assert not (home / "ledger.json").exists()


def test_a_client_whose_ledger_was_deleted_takes_no_part_and_a_fresh_one_does(federation: Federation) -> None:
    for round_index in range(3):
        federation.run(session := federation.session(round_index))
        commit(session, federation)
    (federation.home / A / "ledger.json").unlink()
    assert federation.run(federation.session(3)).survivors == (B, C, D)
    assert "ledger.json is gone" in federation.refusals[A] and "\n" not in federation.refusals[A]
    assert federation.learners[A].calls == 3
    for path in (federation.home / A).iterdir():
        path.unlink()
    assert federation.run(federation.session(4)).survivors == FOUR


def test_an_older_copy_of_the_ledger_is_found_by_the_rounds_that_were_finished_since(federation: Federation) -> None:
    path = federation.home / A / "ledger.json"
    for round_index in range(3):
        federation.run(session := federation.session(round_index))
        commit(session, federation)
        if round_index == 0:
            older = path.read_bytes()
    path.write_bytes(older)
    assert federation.run(federation.session(3)).survivors == (B, C, D)
    assert "lacks the charge of 2 of the rounds that client-00 has finished (round 1" in federation.refusals[A]
    assert federation.learners[A].calls == 3


@pytest.mark.parametrize("cut", [0, 1, 100, -9])
def test_a_ledger_cut_short_is_no_new_budget(federation: Federation, cut: int) -> None:
    federation.run()
    path = federation.home / A / "ledger.json"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(LedgerError, match="is damaged, so what was spent is unknown: restore it from a backup"):
        federation.client(A).handle(invitation(federation.session(1)))
    assert federation.learners[A].calls == 1


def test_the_ledger_of_another_client_or_for_another_unit_is_refused(federation: Federation) -> None:
    federation.run()
    (federation.home / A / "ledger.json").write_bytes((federation.home / B / "ledger.json").read_bytes())
    with pytest.raises(LedgerError, match="of client 'client-01', not of 'client-00'"):
        federation.client(A).handle(invitation(federation.session(1)))
    whole = dataclasses.replace(TERMS, budget=dataclasses.replace(TERMS.budget, unit=Protected.CLIENT))
    with pytest.raises(LedgerError, match="one dialogue, not for one client"):
        federation.client(B, whole).handle(invitation(federation.session(1)))
