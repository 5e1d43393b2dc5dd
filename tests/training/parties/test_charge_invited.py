"""A server's own books of what its sessions may have cost: what clients charge, however often a session is begun."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from chatfed.privacy.accounting import Mechanism
from chatfed.privacy.guarantee import Noise, Protected, Unit
from chatfed.privacy.ledger import Budget, BudgetExceeded, Entry
from chatfed.types import ClientId
from tests.training.federation import BASE, FOUR, TERMS, Federation, a_recipe, invitation
from training.parties.homes import Homes
from training.parties.ledgers import charge_invited, ledger_of, spent
from training.parties.rounds import commit
from training.parties.session import Session, Step, round_context
from training.plan.recipe import PrivacySection
from training.plan.terms import ClientTerms

BUDGET = Budget(1e4, 1e-5, Protected.DIALOGUE)


def of_kind(kind: str, folder: Path) -> Federation:
    """A federation whose clients add noise of their own, or shares of it."""
    recipe = a_recipe(threshold=0.75, cohort=4)
    if kind == "own":
        return Federation(folder, replace(recipe, federation=replace(recipe.federation, cohort=4)), FOUR)
    shared = PrivacySection(noise=Noise.DISTRIBUTED, unit=Unit.CLIENT, noise_multiplier=2.0)
    return Federation(
        folder,
        replace(recipe, privacy=shared),
        FOUR,
        terms=replace(TERMS, budget=replace(BUDGET, unit=Protected.CLIENT)),
    )


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_the_books_hold_what_clients_charge_and_are_charged_once_however_often_a_session_is_begun(
    kind: str, tmp_path: Path
) -> None:
    place = of_kind(kind, tmp_path / "clients")
    books = Homes(tmp_path / "books")
    for number in range(2):
        for _ in range(3):  # attempts
            session = place.session(number)
            charge_invited(books, session, round_context(session, BASE), place.agreement, place.terms)
            place.run(session)
        commit(session, place)
    for name in FOUR:
        assert entries(books, name, place.terms) == place.client(name).ledger().entries != ()
    assert spent(books, FOUR, place.terms).participations == dict.fromkeys(
        FOUR, len(entries(books, FOUR[0], place.terms))
    )
    books.close()


def entries(books: Homes, name: ClientId, terms: ClientTerms) -> tuple[Entry, ...]:
    return ledger_of(books.of(name), terms.budget).entries


def test_they_hold_more_where_a_client_was_invited_and_did_not_hear_of_it(tmp_path: Path) -> None:
    place, books = of_kind("own", tmp_path / "clients"), Homes(tmp_path / "books")
    place.silent = {Step.SESSION: FOUR[:1]}
    session = place.session()
    charge_invited(books, session, round_context(session, BASE), place.agreement, place.terms)
    place.run(session)
    assert place.charges(FOUR[0]) == 0 and len(entries(books, FOUR[0], place.terms)) == 1
    books.close()


def test_what_is_charged_is_on_the_disk_and_another_model_is_another_charge(tmp_path: Path) -> None:
    place, books = of_kind("own", tmp_path / "clients"), Homes(tmp_path / "books")
    first, other = place.session(), place.session(weights=place.session().weights * 2)
    for session in (first, other, first):
        charge_invited(books, session, round_context(session, BASE), place.agreement, place.terms)
    books.discard()
    books.close()
    again = Homes(tmp_path / "books")
    assert len(entries(again, FOUR[0], place.terms)) == 2
    again.close()


def test_where_nothing_is_claimed_there_are_no_books(tmp_path: Path) -> None:
    place, books = of_kind("own", tmp_path / "clients"), Homes(tmp_path / "books")
    session, free = place.session(), replace(TERMS, noise_multiplier=0.0, mechanism=None)
    charge_invited(books, session, round_context(session, BASE), place.agreement, free)
    assert not any(books.there(name) for name in FOUR)
    books.close()


def test_over_the_budget_nobody_is_invited(tmp_path: Path) -> None:
    place, books = of_kind("own", tmp_path / "clients"), Homes(tmp_path / "books")
    poor = replace(TERMS, budget=Budget(2.0, 1e-5, Protected.DIALOGUE), mechanism=Mechanism(2.0, 0.25, 1))

    def insist() -> None:
        for number in range(60):
            session = place.session(number)
            charge_invited(books, session, round_context(session, BASE), place.agreement, poor)

    with pytest.raises(BudgetExceeded):
        insist()
    assert spent(books, FOUR, poor).most <= 2.0
    books.close()


def test_a_session_is_what_its_message_says(tmp_path: Path) -> None:
    """Whoever charges by the session that it sends charges by the one that is received."""
    place = of_kind("own", tmp_path)
    session = place.session(attempt=os.urandom(16))
    received = Session.from_bytes(invitation(session)[1:])
    assert round_context(received, BASE) == round_context(session, BASE)
