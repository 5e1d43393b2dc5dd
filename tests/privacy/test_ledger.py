"""The ledger is durable, charges once, and closes at the budget, whatever happens to the process."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.privacy.accounting import Mechanism, PrivacyError, compose
from chatfed.privacy.distributed import DistributedGaussian
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget, BudgetExceeded, Ledger, LedgerError
from chatfed.types import ChatfedError, ClientId

OWNER = ClientId("client-7")
BUDGET = Budget(epsilon=6.0, delta=1e-5, unit=Protected.DIALOGUE)
ONE = Mechanism(2.0, 1.0, 1)  # epsilon about 2.1 alone


def ledger(path: Path, budget: Budget = BUDGET) -> Ledger:
    return Ledger.open(path, OWNER, budget)


def test_a_charge_is_on_disk_and_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "ledgers" / "client-7.json"
    first = ledger(path).charge("run/0", ONE)
    assert first == compose([ONE], delta=1e-5) == ledger(path).epsilon
    assert ledger(path).charge("run/0", ONE) == first
    assert [entry.key for entry in ledger(path).entries] == ["run/0"]


def test_the_same_key_for_other_work_is_an_error(tmp_path: Path) -> None:
    book = ledger(tmp_path / "book")
    book.charge("run/0", ONE)
    with pytest.raises(LedgerError, match="run/0"):
        book.charge("run/0", Mechanism(3.0, 1.0, 1))
    assert len(book.entries) == 1


def test_work_over_the_budget_is_refused_and_nothing_written(tmp_path: Path) -> None:
    book = ledger(tmp_path / "book")
    count = 0
    while book.affords(ONE):
        book.charge(f"run/{count}", ONE)
        count += 1
    before = (tmp_path / "book").read_bytes()
    assert count > 1 and book.epsilon <= BUDGET.epsilon < compose([ONE] * (count + 1), delta=1e-5)
    with pytest.raises(BudgetExceeded, match="client-7"):
        book.charge("more", ONE)
    with pytest.raises(BudgetExceeded):
        book.charge("no noise", Mechanism(0.0, 0.1, 1))
    assert (tmp_path / "book").read_bytes() == before
    assert book.charge("run/0", ONE) == book.epsilon  # what was charged stays done


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        ledger(tmp_path / "book").charge("a", ONE)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "damage", ["empty", "half", "not json", "deep", "a digit", "endless", "an entry gone", "not text"]
)
def test_a_damaged_ledger_is_an_error_and_never_an_empty_one(tmp_path: Path, damage: str) -> None:
    import json

    path = tmp_path / "book"
    ledger(path).charge("a", ONE)
    good = path.read_bytes()
    without, endless = json.loads(good), json.loads(good)
    without["body"]["entries"] = []
    endless["body"]["entries"][0]["mechanism"]["steps"] = float("inf")
    body = json.dumps(endless["body"], sort_keys=True, separators=(",", ":"))  # ours writes no Infinity
    path.write_bytes(
        {
            "empty": b"",
            "half": good[: len(good) // 2],
            "not json": b"[1]",
            "deep": b"[" * 100_000,
            "endless": json.dumps({**endless, "sha256": hashlib.sha256(body.encode()).hexdigest()}).encode(),
            "a digit": good.replace(b'"noise_multiplier": 2.0', b'"noise_multiplier": 3.0'),
            "an entry gone": json.dumps(without).encode(),
            "not text": b"\xff" + good,
        }[damage]
    )
    broken = path.read_bytes()
    with pytest.raises(LedgerError, match="damaged"):
        ledger(path)
    assert path.read_bytes() == broken


def test_another_clients_ledger_and_another_budget_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "book"
    ledger(path).charge("a", ONE)
    with pytest.raises(LedgerError, match="client-7"):
        Ledger.open(path, ClientId("client-8"), BUDGET)
    with pytest.raises(LedgerError, match="budget"):
        ledger(path, Budget(100.0, 1e-5, Protected.DIALOGUE))
    raised = Ledger.open(path, OWNER, Budget(100.0, 1e-6, Protected.DIALOGUE), change_budget=True)
    again = ledger(path, Budget(100.0, 1e-6, Protected.DIALOGUE))
    assert raised.epsilon == compose([ONE], delta=1e-6) and again.entries == raised.entries


@pytest.mark.parametrize(
    ("eps", "delta"), [(float("inf"), 1e-5), (-1.0, 1e-5), (float("nan"), 1e-5), (1.0, 0.0), (1.0, 1.0)]
)
def test_impossible_budgets_are_refused(eps: float, delta: float) -> None:
    with pytest.raises(ChatfedError):
        Budget(eps, delta, Protected.DIALOGUE)


KINDS = [Mechanism(2.0, 1.0, 1), Mechanism(4.0, 1.0, 2), Mechanism(8.0, 1.0, 1)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(KINDS), st.booleans()), max_size=10))
def test_any_sequence_of_charges_matches_a_plain_dictionary(charges: list[tuple[str, Mechanism, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, spent = Path(folder) / "book", dict[str, Mechanism]()
        book = ledger(path)
        for key, mechanism, reopen in charges:
            book = ledger(path) if reopen else book
            new = {**spent, key: mechanism}
            if key in spent and spent[key] != mechanism:
                with pytest.raises(LedgerError):
                    book.charge(key, mechanism)
            elif compose(new.values(), delta=1e-5) > BUDGET.epsilon:
                with pytest.raises(BudgetExceeded):
                    book.charge(key, mechanism)
            else:
                spent = new
                assert book.charge(key, mechanism) == compose(spent.values(), delta=1e-5)
        assert {entry.key: entry.mechanism for entry in ledger(path).entries} == spent


def _charge_many(path: Path, name: str, count: int) -> None:
    book = Ledger.open(path, OWNER, Budget(1000.0, 1e-5, Protected.DIALOGUE))
    for i in range(count):
        book.charge(f"{name}/{i}", Mechanism(200.0, 1.0, 1))


def test_processes_charging_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_charge_many, args=(tmp_path / "book", str(w), 6)) for w in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    keys = {entry.key for entry in ledger(tmp_path / "book", Budget(1000.0, 1e-5, Protected.DIALOGUE)).entries}
    assert keys == {f"{w}/{i}" for w in range(4) for i in range(6)}


def test_a_killed_process_leaves_a_whole_ledger_that_can_go_on(tmp_path: Path) -> None:
    path, budget = tmp_path / "book", Budget(1000.0, 1e-5, Protected.DIALOGUE)
    ledger(path, budget)
    context = multiprocessing.get_context("fork")
    for attempt in range(4):
        worker = context.Process(target=_charge_many, args=(path, str(attempt), 10_000))
        worker.start()
        seen = len(ledger(path, budget).entries)
        while len(ledger(path, budget).entries) < seen + 3:
            assert worker.is_alive()
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        keys = [entry.key for entry in ledger(path, budget).entries if entry.key.startswith(f"{attempt}/")]
        assert keys == [f"{attempt}/{i}" for i in range(len(keys))] and len(keys) >= 1
    assert ledger(path, budget).charge("after", ONE) > 0


def test_a_full_disk_charges_nothing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "book"
    book = ledger(path)
    (tmp_path / "book.tmp").mkdir()  # the temporary file cannot be made
    with pytest.raises(LedgerError, match="cannot be written"):
        book.charge("a", ONE)
    (tmp_path / "book.tmp").rmdir()
    assert book.entries == ()


def test_a_charge_whose_bound_nobody_can_show_is_over_any_budget(tmp_path: Path) -> None:
    """Tables of noise show no epsilon of a hundred; the error must be the one that leaves the client out."""
    book = Ledger.open(tmp_path / "book", ClientId("a"), Budget(1e9, 1e-5, Protected.CLIENT))
    loud = DistributedGaussian(std=40.0, shares=3, norm=700.0, dimension=1000, rounds=1)
    assert not book.affords(loud)
    with pytest.raises(BudgetExceeded, match="over any budget"):
        book.charge("run/0", loud)
    assert book.epsilon == 0


LEDGER_BEFORE_ENUMS = b"""{
 "format": "chatfed privacy ledger 1",
 "sha256": "4c0e991e14a5300564772f75f5ffc65a48e485c1f8b6718d325250baecdcd704",
 "body": {
  "owner": "client-7",
  "budget": {
   "epsilon": 6.0,
   "delta": 1e-05,
   "unit": "client"
  },
  "entries": [
   {
    "key": "run/1",
    "mechanism": {
     "noise_multiplier": 2.0,
     "sampling_rate": 1.0,
     "steps": 1
    }
   }
  ]
 }
}
"""


def test_a_ledger_is_written_as_it_was_before_units_were_enums(tmp_path: Path) -> None:
    book = Ledger.open(tmp_path / "book", OWNER, Budget(6.0, 1e-5, Protected.CLIENT))
    book.charge("run/1", ONE)
    assert (tmp_path / "book").read_bytes() == LEDGER_BEFORE_ENUMS
    assert Ledger.open(book.paper, OWNER, Budget(6.0, 1e-5, Protected("client"))).budget.unit is Protected.CLIENT


def test_a_budget_for_a_unit_that_nobody_knows_is_refused() -> None:
    with pytest.raises(PrivacyError, match="household"):
        Budget(6.0, 1e-5, "household")  # type: ignore[arg-type]
