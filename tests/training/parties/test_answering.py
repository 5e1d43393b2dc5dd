"""Clients go side by side from commit to commit, and no answer leaves before what it rests on is on the disk."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget, BudgetExceeded
from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError, ClientId, FloatVector
from tests.training.federation import BASE, FOUR, TERMS, Federation, Learner, invitation, names, update_of
from tests.training.parties.tampering import Once, flip, rows
from training.durable import DiskError
from training.parties.answering import Steps, answers
from training.parties.client import Client
from training.parties.session import Step
from training.parties.store import Key, Store, number_of
from training.plan.agreement import agree
from training.plan.terms import ClientTerms

A, B, C, D = FOUR


class Counted(Once):
    """Counts what reaches the disk."""

    commits = 0

    def commit(self) -> None:
        super().commit()
        self.commits += 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counted]:
    made = Counted(tmp_path / "0.db")
    yield made
    made.close()


def steps(store: Store, client: ClientId, stops: int = 0, fails: ChatfedError | None = None) -> Steps:
    """Writes how far it has come, and stops for the disk; fails after its last stop."""
    for at in range(stops):
        store.of(client).write("round", str(at), b"")
        yield
    if fails:
        raise fails
    store.of(client).write("round", "end", b"")
    return f"answer of {client}".encode()


def on_disk(store: Store) -> dict[str, str]:
    """As another process finds it there."""
    with rows(store.path) as database:
        found = dict(database.execute("select client, key from records where name in ('round', 'update')").fetchall())
    return {client: found[number_of(client)] for client in names(9) if number_of(client) in found}


def test_answers_come_in_order_and_all_that_they_rest_on_is_on_the_disk(store: Counted) -> None:
    given = answers([steps(store, client, stops) for client, stops in zip(FOUR, (2, 0, 1, 0), strict=True)], store)
    assert given == [f"answer of {client}".encode() for client in FOUR]
    assert on_disk(store) == dict.fromkeys(FOUR, "end")


@pytest.mark.parametrize(("stops", "commits"), [((0,) * 9, 1), ((1,) * 9, 2), ((0, 3, 1), 4)])
def test_clients_share_a_commit_each_time(store: Counted, stops: tuple[int, ...], commits: int) -> None:
    answers([steps(store, client, each) for client, each in zip(names(9), stops, strict=False)], store)
    assert store.commits == commits


def test_nobody_goes_on_before_what_was_written_is_on_the_disk(store: Counted) -> None:
    seen = list[dict[str, str]]()

    def looking(client: ClientId) -> Steps:
        store.of(client).write("round", "paid", b"")
        yield
        seen.append(on_disk(store))
        return b""

    answers([looking(client) for client in FOUR], store)
    assert seen == [dict.fromkeys(FOUR, "paid")] * 4


def test_one_client_s_refusal_does_not_stop_the_others(store: Counted) -> None:
    no, later = ChatfedError("not this round"), DamagedState("damaged")
    asked = [steps(store, A, 1), steps(store, B, 0, no), steps(store, C, 2, later), steps(store, D)]
    assert answers(asked, store) == [b"answer of client-00", no, later, b"answer of client-03"]
    assert on_disk(store) == {A: "end", C: "1", D: "end"}


@pytest.mark.parametrize("failing", [1, 2])
def test_a_disk_that_refuses_gives_nobody_an_answer_and_keeps_nothing_of_it(
    store: Counted, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        if store.commits == failing - 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def with_a_key(client: ClientId) -> Steps:
        for at in range(2):
            store.of(client).draw_secret(Key.RELEASE, os.urandom)  # what os.fsync is asked for
            store.of(client).write("update", str(at), b"")
            yield
        return b""

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuse)
        with pytest.raises(DiskError, match="Input/output error") as caught:
            answers([steps(store, A), with_a_key(B), steps(store, C, 3)], store)
    assert "\n" not in str(caught.value)
    store.close()
    again = Store(store.path)
    again.commit()
    assert on_disk(again) == ({} if failing == 1 else {A: "end", B: "0", C: "0"})
    again.close()


def test_a_disk_that_refuses_one_client_s_reading_stops_all(store: Counted) -> None:
    full = DiskError("the disk is full")
    with pytest.raises(DiskError, match="the disk is full"):
        answers([steps(store, A), steps(store, B, 0, full), steps(store, C)], store)
    store.commit()
    assert on_disk(store) == {}


def test_what_was_in_hand_at_an_end_of_another_kind_is_forgotten(store: Counted) -> None:
    def killed() -> Steps:
        yield
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers([steps(store, A, 3), killed()], store)
    store.commit()
    assert on_disk(store) == {A: "0"}


# Real clients in one store, as in a simulation.


def client(store: Store, federation: Federation, name: ClientId, terms: ClientTerms = TERMS) -> Client:
    agreement = agree(federation.recipe, terms.noise_multiplier)
    return Client(store.of(name), agreement, terms, BASE, federation.learners[name])


def test_all_charges_of_a_batch_reach_the_disk_together_and_before_anybody_learns(
    store: Counted, federation: Federation
) -> None:
    charged = list[int]()

    class Looking(Learner):
        def __call__(self, weights: FloatVector) -> list[FloatVector]:
            with rows(store.path) as database:
                [(count,)] = database.execute("select count(*) from records where name = 'charge 0'")
            charged.append(count)
            return super().__call__(weights)

    federation.learners = {name: Looking(update_of(name)) for name in FOUR}
    invited = invitation(federation.session())
    given = answers([client(store, federation, name).steps(invited) for name in FOUR], store)
    assert [type(answer) for answer in given] == [bytes] * 4
    assert charged == [4] * 4 and store.commits == 2  # the charges; then updates and states


def test_a_spent_budget_and_a_damaged_record_leave_out_those_two_clients_alone(
    store: Counted, federation: Federation
) -> None:
    for name in FOUR:
        client(store, federation, name).handle(invitation(federation.session()))
    with rows(store.path) as database:
        flip(database, "update", "body", client=C)
    invited = invitation(federation.session())
    given = answers([client(store, federation, name).steps(invited) for name in FOUR], store)
    assert [type(answer) for answer in given] == [bytes, bytes, DamagedState, bytes]
    little = dataclasses.replace(TERMS, budget=Budget(0.1, 1e-5, Protected.DIALOGUE))
    newcomer = ClientId("client-0x")
    federation.learners[newcomer] = federation.learners[B]
    session = dataclasses.replace(federation.session(1), cohort=(*FOUR[:3], newcomer))
    asked = [
        client(store, federation, name, little if name == newcomer else TERMS).steps(invitation(session))
        for name in session.cohort
    ]
    given = answers(asked, store)
    assert [type(answer) for answer in given] == [bytes, bytes, bytes, BudgetExceeded]
    assert [federation.learners[name].calls for name in FOUR] == [2, 2, 2, 1]


def test_a_client_s_answer_is_on_record_when_handle_returns(store: Counted, federation: Federation) -> None:
    answer = client(store, federation, A).handle(invitation(federation.session()))
    assert answer[0] == Step.SESSION
    with rows(store.path) as database:
        kept = {name for (name,) in database.execute("select name from records")}
    assert kept == {"ledger", "charge 0", "update", "round", "epoch"}
    with pytest.raises(ChatfedError):
        client(store, federation, A).handle(bytes([Step.SURVIVORS]) + b"x")
