"""A round gets one sum: a client does no step twice, and answers for one survivor set."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from chatfed.secagg.messages import AlreadyAnswered, MalformedMessage, WrongStep
from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError, ClientId, FloatVector
from tests.training.federation import FOUR, TERMS, Federation, Learner, a_recipe, invitation, update_of
from tests.training.parties.tampering import rows_of
from training.durable import Busy
from training.parties.answering import Refused
from training.parties.rounds import commit
from training.parties.session import Step
from training.parties.store import Key, Store

A, B, C, D = FOUR


def test_after_the_round_is_committed_it_refuses_that_round_and_pays_nothing(federation: Federation) -> None:
    session = federation.session()
    federation.run(session)
    commit(session, federation)
    with pytest.raises(Refused, match="erased it; it gives no second one"):
        federation.client(A).handle(invitation(federation.session()))
    assert federation.learners[A].calls == 1
    assert federation.charges(A) == 1


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_a_step_is_not_done_twice_also_after_a_restart(tmp_path: Path, identities: str) -> None:
    """A client object lives for one message here: what it did before, it knows from its disk alone."""
    federation = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR)
    messages: dict[Step, bytes] = {}

    def watching(asked: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if A in asked:
            messages[Step(asked[A][0])] = asked[A]
        return federation(asked)

    federation.carry(federation.session(), watching)
    federation.restarted(A)
    client, last = federation.client(A), list(messages)[-1]
    assert last == (Step.CERTIFICATE if identities == "roster" else Step.SURVIVORS)
    with pytest.raises(AlreadyAnswered):
        client.handle(messages.pop(last))
    for step in (Step.ADVERTS, Step.SHARES, Step.SURVIVORS):
        if step in messages:
            with pytest.raises((WrongStep, Refused)):
                client.handle(messages[step])


def test_a_client_that_answered_for_one_survivor_set_answers_for_no_other_in_a_later_attempt(
    federation: Federation,
) -> None:
    federation.run()  # the server has the sum of all four, and is killed before its checkpoint
    for name in FOUR:
        federation.restarted(name)
    federation.silent = {Step.SHARES: [D]}  # a second sum without D would give D's update by its difference
    with pytest.raises(ChatfedError, match="unmask"):
        federation.run()
    assert all("second set" in federation.refusals[name] for name in (A, B, C))


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_without_the_record_of_its_answer_it_takes_no_part_in_that_round_again(tmp_path: Path, identities: str) -> None:
    """Else a second set could be answered for: the record's absence would read as never having answered."""
    federation = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR)
    federation.run()
    with rows_of(federation, A) as database:
        assert database.execute("delete from records where name = 'answered'").rowcount
    with pytest.raises(Refused, match="answered in this round before, but for which survivors is no longer in"):
        federation.client(A).handle(invitation(federation.session()))
    assert federation.run(federation.session(1)).survivors == FOUR


def test_the_same_survivor_set_is_answered_again_in_a_later_attempt(federation: Federation) -> None:
    federation.silent = {Step.SHARES: [D]}
    first = federation.run()
    assert federation.run().mean.tolist() == first.mean.tolist()


def serve(path: Path, told: Connection) -> None:
    try:
        Store(path)
        told.send("served")
    except Busy as busy:
        told.send(str(busy))


def test_a_client_does_one_thing_at_a_time(federation: Federation) -> None:
    """Two invitations at once must not learn twice: while one is answered, no other process takes one."""
    fork, said = multiprocessing.get_context("fork"), list[str]()

    class Interrupted(Learner):
        def __call__(self, weights: FloatVector) -> list[FloatVector]:
            here, there = fork.Pipe()
            other = fork.Process(target=serve, args=(federation.home / A / "records.db", there))
            other.start()
            said.append(here.recv())
            other.join()
            return super().__call__(weights)

    federation.learners[A] = Interrupted(update_of(A))
    federation.client(A).handle(invitation(federation.session()))
    assert said == [f"Another process is at work with {federation.home / A / 'records.db'}: wait for it, or stop it."]
    federation.client(A).handle(invitation(federation.session()))
    assert federation.learners[A].calls == federation.charges(A) == 1


def test_without_noise_too_a_finished_round_gets_no_second_sum(federation: Federation) -> None:
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    session = federation.session()
    federation.run(session)
    commit(session, federation)
    federation.silent = {Step.SHARES: [D]}  # a second sum without D would give D's bare update by its difference
    with pytest.raises(ChatfedError, match="only 0 participants"):
        federation.run()
    assert all("no second one" in reason for reason in federation.refusals.values())


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_answering_the_next_round_finishes_the_one_before_though_no_commit_came(
    tmp_path: Path, identities: str
) -> None:
    """Without noise no ledger remembers: the client itself must, or the old round could be summed over other names."""
    federation = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR)
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    federation.run(federation.session(0))
    federation.run(federation.session(1))
    federation.silent = {Step.SHARES: [D]}
    with pytest.raises(ChatfedError, match="only 0 participants"):
        federation.run(federation.session(0))
    assert all("no second one" in reason for reason in federation.refusals.values()) and len(federation.refusals) == 4
    federation.silent = {}
    assert federation.run(federation.session(1)).survivors == FOUR  # the round that is not over is answered as before
    assert [federation.learners[name].calls for name in FOUR] == [2] * 4


def test_a_survivor_set_is_read_by_the_names_of_its_own_round(federation: Federation) -> None:
    federation.run()
    _, stored = federation.records(A).read("answered") or ("", b"")
    assert json.loads(stored) == list(FOUR)


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_without_noise_too_it_makes_no_second_update_for_a_round_whose_update_another_round_replaced(
    tmp_path: Path, identities: str
) -> None:
    """No ledger knows of it. Two sums over the same names would give the difference of one client's two updates."""
    federation = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR)
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    federation.run(federation.session(0))
    federation.client(A).handle(invitation(federation.session(1)))
    federation.learners[A] = Learner(-update_of(A))
    with pytest.raises(Refused, match="no second one"):
        federation.client(A).handle(invitation(federation.session(0)))
    assert federation.learners[A].calls == 0
    with pytest.raises(ChatfedError):
        federation.run(federation.session(0))
    assert federation.learners[A].calls == 0


@pytest.mark.parametrize("step", [Step.SURVIVORS, Step.CERTIFICATE])
def test_beside_its_own_keys_an_older_copy_of_its_records_signs_and_answers_nothing_again(
    tmp_path: Path, step: Step
) -> None:
    federation = Federation(tmp_path, a_recipe(cohort=4, identities="roster"), FOUR)
    kept, messages = list[tuple[object, ...]](), list[bytes]()

    def watching(asked: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if A in asked and asked[A][0] == step:
            with rows_of(federation, A) as database:
                kept.extend(database.execute("select * from records"))
            messages.append(asked[A])
        return federation(asked)

    federation.carry(federation.session(), watching)
    federation.restarted(A)
    with rows_of(federation, A) as database:
        database.execute("delete from records")
        database.executemany("insert into records values (?, ?, ?, ?, ?)", kept)
    with pytest.raises(DamagedState):
        federation.client(A).handle(messages[0])


def test_a_message_that_is_refused_costs_no_slot(federation: Federation) -> None:
    def spoiling(asked: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if A in asked and asked[A][0] == Step.SHARES:
            with pytest.raises(MalformedMessage):
                federation.client(A).handle(asked[A][:-1] + bytes([asked[A][-1] ^ 1]))
        return federation(asked)

    assert federation.carry(federation.session(), spoiling).survivors == FOUR


@pytest.mark.parametrize("body", [b"", bytes(19), bytes(24), bytes(56)], ids=len)
def test_a_committed_of_another_length_is_refused_and_changes_nothing(federation: Federation, body: bytes) -> None:
    session = federation.session()
    federation.run(session)
    records = federation.records(A)
    before = {name: records.read(name) for name in records.names()}, [records.secret(key) for key in (Key.EPOCH,)]
    with pytest.raises(MalformedMessage):
        federation.client(A).handle(bytes([Step.COMMITTED]) + (session.run + body[16:] if len(body) > 16 else body))
    after = {name: records.read(name) for name in records.names()}, [records.secret(key) for key in (Key.EPOCH,)]
    assert before == after


def test_a_damaged_epoch_keeps_nothing_of_a_finished_round_open(federation: Federation) -> None:
    session = federation.session()
    federation.run(session)
    with rows_of(federation, A) as database:
        database.execute("update records set body = x'00' where name = 'epoch'")
    federation.client(A).handle(bytes([Step.COMMITTED]) + session.name)
    assert federation.records(A).names().isdisjoint({"update", "round", "answered", "epoch"})
    for key in (Key.RELEASE, Key.SUM, Key.EPOCH):
        with pytest.raises(DamagedState, match="is gone"):
            federation.records(A).secret(key)


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_that_it_answered_is_not_forgotten_by_being_invited_again(tmp_path: Path, identities: str) -> None:
    federation = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR)
    federation.run()
    federation.client(A).handle(invitation(federation.session()))
    federation.records(A).erase("answered")
    federation.records(A).commit()
    with pytest.raises(Refused, match="no longer in"):
        federation.client(A).handle(invitation(federation.session()))
