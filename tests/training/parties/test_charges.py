"""A client keeps its own book: charged once, before it learns, and never without its ledger."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Sequence

import pytest

from chatfed.privacy.accounting import Mechanism
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget, BudgetExceeded, LedgerError
from chatfed.types import ChatfedError, ClientId, FloatVector
from tests.training.federation import BASE, FOUR, MECHANISM, TERMS, WEIGHTS, Federation, Learner, invitation, update_of
from tests.training.parties.tampering import COLUMNS, flip, rows_of
from training.parties.ledgers import LEDGER, OF_ROUNDS
from training.parties.rounds import commit
from training.parties.session import round_context
from training.parties.store import SEALED, number_of

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
    with rows_of(federation, A) as database:
        assert not database.execute("select 1 from records where name = 'ledger' or name like 'charge%'").fetchall()


def test_an_update_made_under_other_terms_is_not_sent_under_these(federation: Federation) -> None:
    weak = Mechanism(0.5, 0.25, 1)
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.5, mechanism=weak)
    federation.client(A).handle(invitation(federation.session()))  # learned with little noise, and nothing has left
    federation.terms = TERMS
    assert federation.run().survivors == (B, C, D)
    assert "on other terms; it makes no second one" in federation.refusals[A]
    assert [entry.mechanism for entry in federation.client(A).ledger().entries] == [weak]


@pytest.mark.parametrize("name", OF_ROUNDS)
def test_a_ledger_that_is_gone_is_refused_where_anything_of_the_past_is_there(
    federation: Federation, name: str
) -> None:
    records = federation.records(A)
    if name in SEALED:
        records.draw_secret(SEALED[name], os.urandom)
    records.write(name, "", b"of an earlier day")
    records.commit()
    federation.restarted(A)
    with pytest.raises(LedgerError, match=f"no ledger of client-00, which took part .*{name} is there.*restore it"):
        federation.client(A).ledger()
    federation.records(A).commit()
    assert not federation.records(A).there(LEDGER)


def finish(federation: Federation, *rounds: int) -> None:
    for round_index in rounds:
        federation.run(session := federation.session(round_index))
        commit(session, federation)


@pytest.mark.parametrize("what", ["name = 'ledger'", "name = 'ledger' or name like 'charge %'"])
def test_a_client_whose_ledger_was_deleted_takes_no_part_and_a_fresh_one_does(
    federation: Federation, what: str
) -> None:
    finish(federation, 0, 1, 2)
    with rows_of(federation, A) as database:
        assert database.execute(f"delete from records where {what}").rowcount  # noqa: S608
    assert federation.run(federation.session(3)).survivors == (B, C, D)
    assert "has no ledger of client-00, which took part" in federation.refusals[A]
    assert "\n" not in federation.refusals[A]
    assert federation.learners[A].calls == 3
    federation.restarted(A)
    for path in (federation.home / A).iterdir():
        path.unlink()
    assert federation.run(federation.session(4)).survivors == FOUR


Row = tuple[bytes, str, str, bytes, bytes]


def of_ledger(database: sqlite3.Connection) -> list[Row]:
    return database.execute("select * from records where name = 'ledger' or name like 'charge %'").fetchall()


def put(database: sqlite3.Connection, rows: Sequence[Row]) -> None:
    database.executemany("insert or replace into records values (?, ?, ?, ?, ?)", rows)


def test_an_older_copy_of_the_ledger_is_found_by_the_rounds_that_were_finished_since(federation: Federation) -> None:
    finish(federation, 0)
    with rows_of(federation, A) as database:
        older = of_ledger(database)
    finish(federation, 1, 2)
    with rows_of(federation, A) as database:
        database.execute("delete from records where name like 'charge %'")
        put(database, older)
    assert federation.run(federation.session(3)).survivors == (B, C, D)
    assert "lacks the charge of 2 of the rounds that it has finished (round 1" in federation.refusals[A]
    assert federation.learners[A].calls == 3


DAMAGED = "is damaged, so what was spent is unknown: restore it from a backup"


def refused_as_damaged(federation: Federation, name: ClientId = A, at: int = 3) -> bool:
    calls = federation.learners[name].calls
    with pytest.raises(LedgerError, match=DAMAGED) as caught:
        federation.client(name).handle(invitation(federation.session(at)))
    return "\n" not in str(caught.value) and name in str(caught.value) and federation.learners[name].calls == calls


@pytest.mark.parametrize("charge", ["charge 0", "charge 1", "charge 2"])
def test_a_charge_that_is_gone_is_no_charge_less(federation: Federation, charge: str) -> None:
    finish(federation, 0, 1, 2)
    with rows_of(federation, A) as database:
        database.execute("delete from records where name = ?", (charge,))
    assert refused_as_damaged(federation)


def test_an_older_ledger_does_not_go_with_the_charges_of_another(federation: Federation) -> None:
    """The same number of charges, each with a good checksum: but not the ones that were made."""
    finish(federation, 0, 1)
    with rows_of(federation, A) as database:
        older = of_ledger(database)
        database.execute("delete from records")
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=8.0, mechanism=Mechanism(8.0, 0.25, 1))
    finish(federation, 2, 3)  # cheaper ones
    with rows_of(federation, A) as database:
        put(database, [row for row in older if row[1] == LEDGER])
    assert refused_as_damaged(federation, at=4)
    with rows_of(federation, A) as database:
        put(database, older)
        database.execute("delete from records where name = 'finished'")
    assert [entry.mechanism for entry in federation.client(A).ledger().entries] == [MECHANISM] * 2


def test_charges_do_not_change_places(federation: Federation) -> None:
    finish(federation, 0, 1)
    federation.restarted(A)
    records = federation.records(A)
    first, second = records.read("charge 0"), records.read("charge 1")
    assert first and second
    records.write("charge 0", *second)  # with good checksums
    records.write("charge 1", *first)
    records.commit()
    federation.restarted(A)
    assert refused_as_damaged(federation)


@pytest.mark.parametrize("cut", [0, 1, 40, -9])
@pytest.mark.parametrize("name", ["ledger", "charge 0"])
def test_a_ledger_cut_short_is_no_new_budget(federation: Federation, name: str, cut: int) -> None:
    federation.run()
    with rows_of(federation, A) as database:
        [(body,)] = database.execute("select body from records where name = ?", (name,))
        assert len(body) > 40
        database.execute("update records set body = ? where name = ?", (body[:cut], name))
    assert refused_as_damaged(federation)


@pytest.mark.parametrize("name", ["ledger", "charge 0", "charge 1"])
@pytest.mark.parametrize("column", COLUMNS)
def test_one_flipped_bit_in_a_ledger_is_found(federation: Federation, name: str, column: str) -> None:
    finish(federation, 0, 1)
    for bit in (0, 8, -4):
        with rows_of(federation, A) as database:
            flip(database, name, column, bit)
        assert refused_as_damaged(federation)
        with rows_of(federation, A) as database:
            flip(database, name, column, bit)
    assert federation.charges(A) == 2


def test_the_ledger_of_another_client_or_for_another_unit_is_refused(federation: Federation) -> None:
    federation.run()
    with rows_of(federation, B) as database:
        another_s = of_ledger(database)
    with rows_of(federation, A) as database:
        put(database, [(number_of(A), *row[1:]) for row in another_s])
    assert refused_as_damaged(federation)
    for name in ("ledger", "charge 0"):  # and with checksums as if they were the client's own
        found = federation.records(B).read(name)
        assert found
        federation.records(A).write(name, *found)
    federation.records(A).commit()
    with pytest.raises(LedgerError, match="of client 'client-01', not of 'client-00'"):
        federation.client(A).handle(invitation(federation.session(1)))
    whole = dataclasses.replace(TERMS, budget=dataclasses.replace(TERMS.budget, unit=Protected.CLIENT))
    with pytest.raises(LedgerError, match="one dialogue, not for one client"):
        federation.client(B, whole).handle(invitation(federation.session(1)))
