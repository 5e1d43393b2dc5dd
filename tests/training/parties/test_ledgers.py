"""What the ledgers of all clients hold, and that none is lost or of another kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from chatfed.privacy.accounting import EXACT, Mechanism
from chatfed.privacy.distributed import DistributedGaussian
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget, Ledger, LedgerError
from chatfed.types import ClientId
from tests.training.federation import names
from tests.training.plans import client_level, noisy
from training.parties.homes import home_of
from training.parties.ledgers import check_ledgers, spent
from training.plan.claims import Spent
from training.plan.terms import client_terms

CLIENTS = names(10)


def test_costs_read_cohort_by_cohort_are_those_of_all_ledgers(tmp_path: Path) -> None:
    recipe = client_level(sampling_rate=0.5)
    terms = client_terms(recipe, 10)
    cost = spent(tmp_path, CLIENTS, terms)
    assert cost.charges == 0
    for index, cohort in enumerate((CLIENTS[:4], CLIENTS[2:9], CLIENTS[:1])):
        for client in cohort:
            mechanism = noisy(recipe, 1000, terms.noise_multiplier).mechanism
            path = home_of(tmp_path, client) / "ledger.json"
            path.parent.mkdir(exist_ok=True)
            Ledger.open(path, client, Budget(1000.0, 1e-5, Protected.DIALOGUE)).charge(f"round {index}", mechanism)
        generous = dataclasses.replace(terms, budget=Budget(1000.0, 1e-5, Protected.DIALOGUE))
        cost = cost.with_later(spent(tmp_path, cohort, generous))
        assert cost == spent(tmp_path, CLIENTS, generous)
    assert cost.participations == dict(zip(CLIENTS, [2, 1, 2, 2, 1, 1, 1, 1, 1], strict=False))


def test_one_ledger_does_not_mix_charges_for_dialogues_and_for_the_client(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json", ClientId("a"), Budget(100.0, 1e-5, Protected.CLIENT))
    share = DistributedGaussian(std=20.0, shares=80, norm=150.0, dimension=1000)
    ledger.charge("one", share)
    with pytest.raises(LedgerError, match="ledger of its own"):
        ledger.charge("two", Mechanism(1.0, 1.0, 1))
    for change in (False, True):
        with pytest.raises(LedgerError, match="for one client, not for one dialogue: keep a ledger of its own"):
            Ledger.open(ledger.path, ledger.owner, Budget(100.0, 1e-5, Protected.DIALOGUE), change_budget=change)
    assert Ledger.open(ledger.path, ledger.owner, ledger.budget).entries[0].mechanism == share


def test_one_lost_ledger_is_noticed_though_others_hold_more_than_was_recorded() -> None:
    a, b = ClientId("a"), ClientId("b")
    held = Spent({a: 4.0}, {a: 2}, EXACT, ())  # b's ledger is gone; an interrupted round left one charge more with a
    with pytest.raises(LedgerError, match="ledger of b holds 0 charges, but 1"):
        check_ledgers({a: 1, b: 1}, held)
    check_ledgers({a: 1}, held)
