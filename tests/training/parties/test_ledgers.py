"""What the ledgers of all clients hold, and that none is lost or of another kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chatfed.privacy.accounting import EXACT, Mechanism
from chatfed.privacy.distributed import DistributedGaussian
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget, Entry, Ledger, LedgerError, Written
from chatfed.types import ClientId
from tests.training.federation import names
from tests.training.parties.tampering import rows
from tests.training.plans import client_level, noisy
from training.parties import ledgers
from training.parties.database import PAGE
from training.parties.homes import Homes, store_of
from training.parties.ledgers import (
    LEDGER,
    LedgerRecords,
    check_ledgers,
    finished,
    ledger_of,
    remember_as_finished,
    spent,
)
from training.parties.store import Store
from training.plan.claims import Spent
from training.plan.terms import client_terms

CLIENTS = names(10)
A = CLIENTS[0]


@pytest.mark.parametrize("together", [3, 256])
def test_costs_read_cohort_by_cohort_are_those_of_all_ledgers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(ledgers, "TOGETHER", together)
    recipe = client_level(sampling_rate=0.5)
    terms = client_terms(recipe, 10)
    generous = dataclasses.replace(terms, budget=Budget(1000.0, 1e-5, Protected.DIALOGUE))
    homes = Homes(tmp_path)
    cost = spent(homes, CLIENTS, terms)
    assert cost.charges == 0 and not list(tmp_path.glob("*.db"))
    for index, cohort in enumerate((CLIENTS[:4], CLIENTS[2:9], CLIENTS[:1])):
        for client in cohort:
            mechanism = noisy(recipe, 1000, terms.noise_multiplier).mechanism
            ledger_of(homes.of(client), generous.budget).charge(f"round {index}", mechanism)
        homes.commit()
        cost = cost.with_later(spent(homes, cohort, generous))
        assert cost == spent(homes, CLIENTS, generous)
    homes.close()
    assert cost == spent(Homes(tmp_path), CLIENTS, generous)
    assert cost.participations == dict(zip(CLIENTS, [2, 1, 2, 2, 1, 1, 1, 1, 1], strict=False))


def test_of_ledgers_that_are_read_together_the_damaged_one_is_named(tmp_path: Path) -> None:
    recipe = client_level(sampling_rate=0.5)
    terms, many = client_terms(recipe, 10), names(400)
    with closing(Homes(tmp_path)) as homes:
        for client in many:
            ledger_of(homes.of(client), terms.budget)
            homes.of(client).write("round", "", bytes(600))
        homes.commit()
    path = tmp_path / "0.db"
    raw = bytearray(path.read_bytes())
    leaf = [at for at in range(PAGE, len(raw), PAGE) if raw[at] == 13][2]
    raw[leaf] = 0x77  # no kind of page
    path.write_bytes(raw)
    with closing(Homes(tmp_path)) as homes, pytest.raises(LedgerError, match=r"client-\d+: the privacy ledger is dam"):
        spent(homes, many, terms)


def test_reading_ahead_opens_the_stores_that_are_there_and_makes_none(tmp_path: Path) -> None:
    with closing(Homes(tmp_path)) as homes, homes.remembering(CLIENTS, (LEDGER,)):
        assert not list(tmp_path.glob("*.db"))
    with closing(Homes(tmp_path)) as homes:
        for client in CLIENTS:
            homes.of(client).write(LEDGER, client, b"")
        homes.commit()
    with closing(Homes(tmp_path)) as homes, homes.remembering([*CLIENTS, A], (LEDGER,)):
        with rows(store_of(tmp_path, A)) as database:  # what is read ahead is not read again
            database.execute("delete from records")
        assert homes.of(A).read(LEDGER) == (A, b"")
        assert [homes.of(client).tag(LEDGER) for client in CLIENTS] == list(CLIENTS)


def test_one_ledger_does_not_mix_charges_for_dialogues_and_for_the_client(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json", ClientId("a"), Budget(100.0, 1e-5, Protected.CLIENT))
    share = DistributedGaussian(std=20.0, shares=80, norm=150.0, dimension=1000)
    ledger.charge("one", share)
    with pytest.raises(LedgerError, match="ledger of its own"):
        ledger.charge("two", Mechanism(1.0, 1.0, 1))
    for change in (False, True):
        with pytest.raises(LedgerError, match="for one client, not for one dialogue: keep a ledger of its own"):
            Ledger.open(ledger.paper, ledger.owner, Budget(100.0, 1e-5, Protected.DIALOGUE), change_budget=change)
    assert Ledger.open(ledger.paper, ledger.owner, ledger.budget).entries[0].mechanism == share


DIALOGUES = Budget(1000.0, 1e-5, Protected.DIALOGUE)
ONE = Mechanism(2.0, 0.25, 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "records.db")
    yield made
    made.close()


def test_a_ledger_among_records_says_what_it_says_on_a_file(tmp_path: Path, store: Store) -> None:
    """Kept in memory or read anew, and whatever another Ledger over the same records wrote meanwhile."""
    records = store.of(A)
    on_file = Ledger.open(tmp_path / "book", A, DIALOGUES)
    for at in range(5):
        for book in (on_file, ledger_of(records, DIALOGUES)):
            book.charge(f"round/{at % 4}", Mechanism(2.0 + at % 4, 0.25, 1))
        store.commit()
        for _ in range(2):
            among = ledger_of(records, DIALOGUES)
            assert (among.entries, among.epsilon) == (on_file.entries, on_file.epsilon)
            store.remembered.clear()
    assert len(on_file.entries) == 4


def test_a_charge_that_was_not_committed_was_not_made(store: Store) -> None:
    ledger_of(store.of(A), DIALOGUES).charge("run/0", ONE)
    store.commit()
    assert ledger_of(store.of(A), DIALOGUES).charge("run/1", ONE) > 0
    assert len(ledger_of(store.of(A), DIALOGUES).entries) == 2
    store.discard()
    assert [entry.key for entry in ledger_of(store.of(A), DIALOGUES).entries] == ["run/0"]


def test_a_charge_that_was_made_is_not_taken_back(store: Store) -> None:
    ledger = ledger_of(store.of(A), DIALOGUES)
    for at in range(3):
        ledger.charge(f"run/{at}", ONE)
    store.commit()
    paper, entries = LedgerRecords(store.of(A)), ledger.entries
    cheap = Entry(entries[1].key, Mechanism(9.0, 0.25, 1))
    for less in ((), entries[:2], entries[1:], (entries[0], cheap, entries[2])):
        with pytest.raises(LedgerError, match="not taken back"):
            paper.write(Written(A, DIALOGUES, less))
    store.commit()
    store.remembered.clear()
    assert ledger_of(store.of(A), DIALOGUES).entries == entries


def test_two_clients_of_one_store_have_two_ledgers(store: Store) -> None:
    for at, client in enumerate(CLIENTS[:3]):
        for turn in range(at + 1):
            ledger_of(store.of(client), DIALOGUES).charge(f"run/{turn}", ONE)
    store.commit()
    store.remembered.clear()
    assert [len(ledger_of(store.of(client), DIALOGUES).entries) for client in CLIENTS[:3]] == [1, 2, 3]
    assert not store.of(CLIENTS[3]).there(LEDGER)


def test_what_is_finished_stays_so_and_is_named_once(store: Store) -> None:
    records = store.of(A)
    assert finished(records) == []
    for key in ("run/0/x", "run/1/y", "run/0/x"):
        remember_as_finished(records, key)
        store.commit()
    assert finished(records) == ["run/0/x", "run/1/y"]


def test_one_lost_ledger_is_noticed_though_others_hold_more_than_was_recorded() -> None:
    a, b = ClientId("a"), ClientId("b")
    held = Spent({a: 4.0}, {a: 2}, EXACT, ())  # b's ledger is gone; an interrupted round left one charge more with a
    with pytest.raises(LedgerError, match="ledger of b holds 0 charges, but 1"):
        check_ledgers({a: 1, b: 1}, held)
    check_ledgers({a: 1}, held)
