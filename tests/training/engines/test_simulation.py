"""Worker processes carry the same bytes to the same end as clients called one by one."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import training.engines.simulation
import training.parties.store
from chatfed.secagg.messages import BelowThreshold
from chatfed.types import ChatfedError, ClientId, FloatVector
from tests.training.engines.places import NAMES, ONE, A, B, C, D, session
from tests.training.federation import invitation
from training.base.learner import Learner
from training.durable import DiskError
from training.engines.simulation import (
    AT_HAND,
    LONG,
    TOGETHER,
    Simulation,
    Workplace,
    _answer_all,
    _Worker,
    simulation,
)
from training.parties.client import Client
from training.parties.homes import Homes, home_of, store_of
from training.parties.rounds import Outcome, commit, run_round
from training.parties.session import Step, rotation_seed, round_context
from training.parties.store import Key
from training.plan.upload import PlainUpload
from training.workers import THREADS, worker_context

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


RECORDS = ("ledger", "update", "round", "answered", "begun", "finished")


@pytest.fixture(scope="module")
def running(place: Workplace) -> Iterator[Simulation]:
    with simulation(place) as processes:
        yield processes


@pytest.fixture
def workers(running: Simulation) -> Simulation:
    """All clients answer, whatever a test before had them do."""
    running.dropouts = {}
    return running


@pytest.fixture(scope="module")
def learner(place: Workplace) -> Learner:
    return Learner.open(place.plan.learning, place.base, place.tokens, place.held_out)


def same(one: Outcome, other: Outcome) -> bool:
    return one.mean.tobytes() == other.mean.tobytes() and (one.survivors, one.dropped, one.bytes_up) == (
        other.survivors,
        other.dropped,
        other.bytes_up,
    )


def test_facts_are_those_of_the_base_model(workers: Simulation, learner: Learner) -> None:
    digest, weights, parameters = workers.facts()
    assert digest == learner.base_digest
    assert weights.tobytes() == learner.initial.tobytes()
    assert parameters == learner.parameters > len(weights)


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize(
    "silent",
    [{}, {Step.SESSION: [A]}, {Step.ADVERTS: [B]}, {Step.SHARES: [ONE]}, {Step.SURVIVORS: [D]}],
    ids=["nobody", "session", "adverts", "shares", "survivors"],
)
def test_workers_and_one_process_give_the_same_sum_under_the_same_dropouts(
    place: Workplace,
    workers: Simulation,
    learner: Learner,
    tmp_path: Path,
    silent: Mapping[Step, Sequence[ClientId]],
    together: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training.engines.simulation, "TOGETHER", together)
    monkeypatch.setattr(training.engines.simulation, "LONG", together)
    monkeypatch.setattr(training.engines.simulation, "LEAST", together)
    digest, weights, _ = workers.facts()
    begun = session(place, weights, 10 * len(str(silent)) + together)
    workers.dropouts = {step: frozenset(who) for step, who in silent.items()}
    outcome = run_round(begun, place.plan.agreement, digest, workers)

    def in_process(homes: Homes) -> Outcome:
        gone: set[ClientId] = set()

        def exchange(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
            for name, message in messages.items():
                if name in silent.get(Step(message[0]), ()):
                    gone.add(name)
                if name not in gone:
                    learn = learner.for_client(name)
                    client = Client(homes.of(name), place.plan.agreement, place.plan.terms, digest, learn)
                    yield name, client.handle(message)

        return run_round(begun, place.plan.agreement, digest, exchange)

    with (
        closing(Homes(place.homes)) as kept,
        closing(Homes(tmp_path / "stored")) as stored,
        closing(Homes(tmp_path / "learned")) as fresh,
    ):
        for name in NAMES:
            if update := kept.of(name).read("update"):
                stored.of(name).draw_secret(Key.RELEASE, os.urandom)
                stored.of(name).write("update", *update)
        stored.commit()
        assert same(outcome, in_process(stored))
        learned = in_process(fresh)  # the same but for the rounding into the ring, which is drawn anew
    seed = rotation_seed(round_context(begun, digest))
    made = place.plan.agreement.sums.codec.upload(5, len(weights), seed)
    assert isinstance(made, PlainUpload)
    assert same(outcome, dataclasses.replace(learned, mean=outcome.mean))
    assert float(np.abs(learned.mean - outcome.mean).max()) < 8 * made.code.step  # rotated back, a step is spread
    assert len(outcome.survivors) == (5 if not silent or Step.SURVIVORS in silent else 4)
    assert outcome.mean.any()


def test_small_clients_travel_together_as_long_as_no_worker_waits_for_another(workers: Simulation) -> None:
    def longest(clients: int, step: Step = Step.SESSION, size: int = 1000) -> int:
        workers.longest = size
        trips = workers._trips([ClientId(f"client {number}") for number in range(clients)], step)
        return max((len(trip) for _, trip in trips), default=0)

    assert [longest(clients) for clients in (0, 3, 10_000)] == [0, 1, TOGETHER]
    assert 2 <= longest(40) <= 10 and 6 <= longest(100) < 25, "half of a store's at the most, and less towards the end"
    assert longest(40, Step.SHARES) > 10 and longest(10_000, Step.SHARES) == LONG
    assert [longest(10_000, size=size) for size in (1 << 10, 1 << 20, 3 << 20, 1 << 26)] == [TOGETHER, 4, 1, 1]


def test_what_goes_to_all_is_one_file_for_the_length_of_a_step(place: Workplace, workers: Simulation) -> None:
    digest, weights, _ = workers.facts()
    found: list[tuple[Step, int]] = []

    def watching(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        step = Step(next(iter(messages.values()))[0])
        for name, answer in workers(messages):
            found.append((step, len(list(place.homes.parent.glob(".message-*")))))
            yield name, answer
        assert not list(place.homes.parent.glob(".message-*"))

    run_round(session(place, weights, 93), place.plan.agreement, digest, watching)
    assert set(found) == {(Step.SESSION, 1), (Step.ADVERTS, 1), (Step.SHARES, 0), (Step.SURVIVORS, 1)}


def one_after_another(events: Sequence[tuple[ClientId, str]]) -> bool:
    """Whether each client has come to its end before the next one begins."""
    return [name for name, what in events if what == "begins"] == list(NAMES) and all(
        (before[0], after) == (after[0], (before[0], "ends"))
        for before, after in zip(events[::2], events[1::2], strict=True)
    )


@pytest.mark.parametrize("breaking", [(), (A, C)], ids=["nobody", "some"])
def test_clients_of_a_trip_learn_one_after_another_each_to_the_end_and_one_that_breaks_off_does_not_stop_the_others(
    place: Workplace, learner: Learner, tmp_path: Path, breaking: Sequence[ClientId], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[ClientId, str]] = []

    @dataclasses.dataclass
    class Parts(Learner):
        def for_client(self, client: ClientId) -> Callable[[FloatVector], Iterator[FloatVector]]:
            def parts(weights: FloatVector) -> Iterator[FloatVector]:
                events.append((client, "begins"))
                yield np.zeros_like(weights)
                events.append((client, "ends"))
                if client in breaking:
                    raise ChatfedError("broke off")

            return parts

    parts = Parts(*(getattr(learner, each.name) for each in dataclasses.fields(Learner)))
    with closing(Homes(tmp_path)) as homes:
        monkeypatch.setattr(training.engines.simulation, "_place", _Worker(place, parts, {}, homes))
        asked = invitation(session(place, learner.initial, 94))
        replies = _answer_all(NAMES, [asked] * len(NAMES))
    assert one_after_another(events)
    assert [client for client, _, _ in replies] == list(NAMES)
    assert [client for client, answer, _ in replies if answer] == [name for name in NAMES if name not in breaking]
    assert [why for _, _, why in replies] == ["broke off" if name in breaking else "" for name in NAMES]


def test_a_disk_that_fails_fails_the_whole_trip_and_nothing_is_at_hand_that_is_not_on_it(
    place: Workplace, learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    asked = [invitation(session(place, learner.initial, 98))] * len(NAMES)
    with closing(Homes(tmp_path)) as homes:
        worker = _Worker(place, learner, {}, homes)
        monkeypatch.setattr(training.engines.simulation, "_place", worker)
        with monkeypatch.context() as patch:
            patch.setattr(training.parties.store, "write_rows", full)
            with pytest.raises(DiskError, match=r"disk is full.*chatfed resume"):
                _answer_all(NAMES, asked)
        assert not worker.clients
        assert not [name for name in NAMES for what in RECORDS if homes.of(name).there(what)]
        assert all(answer for _, answer, _ in _answer_all(NAMES, asked))
        assert all(homes.of(name).there("update") for name in NAMES)


def test_a_worker_keeps_at_hand_whom_it_served_last_and_no_more(
    place: Workplace, learner: Learner, tmp_path: Path
) -> None:
    with closing(Homes(tmp_path)) as homes:
        worker = _Worker(place, learner, {}, homes)
        first = worker.client(A)
        for number in range(AT_HAND - 1):
            worker.client(ClientId(str(number)))
        assert worker.client(A) is first and len(worker.clients) == AT_HAND
        worker.client(B)
        assert list(worker.clients)[-2:] == [A, B] and len(worker.clients) == AT_HAND and "0" not in worker.clients


def test_workers_compute_with_one_thread_and_the_main_process_keeps_its_own(
    workers: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for worker in workers.workers:
        asked = [worker.submit(os.getenv, name).result() for name in THREADS]
        assert asked == ["1"] * len(THREADS)
        assert worker.submit(torch.get_num_threads).result() == 1
    monkeypatch.setenv(THREADS[0], "7")
    monkeypatch.delenv(THREADS[1], raising=False)
    worker_context()
    assert (os.environ[THREADS[0]], os.environ.get(THREADS[1])) == ("7", None)


def test_below_the_threshold_workers_give_the_same_error(place: Workplace, workers: Simulation) -> None:
    digest, weights, _ = workers.facts()
    workers.dropouts = {Step.SHARES: frozenset({A, B})}
    with pytest.raises(BelowThreshold, match="only 3 participants at stage masked input, 4 needed"):
        run_round(session(place, weights, 90), place.plan.agreement, digest, workers)


def test_a_client_with_one_dialogue_sends_as_many_bytes_as_one_with_three(
    place: Workplace, workers: Simulation
) -> None:
    digest, weights, _ = workers.facts()
    sizes: dict[ClientId, list[int]] = {}

    def weighing(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for name, answer in workers(messages):
            sizes.setdefault(name, []).append(len(answer))
            yield name, answer

    run_round(session(place, weights, 91), place.plan.agreement, digest, weighing)
    assert sizes[ONE] == sizes[A] and len(sizes[A]) == 4


def test_why_clients_refused_is_kept_and_forgotten_with_the_next_round(place: Workplace, workers: Simulation) -> None:
    digest, weights, _ = workers.facts()
    other = dataclasses.replace(session(place, weights, 92), recipe=b"x" * 32)
    with pytest.raises(BelowThreshold):
        run_round(other, place.plan.agreement, digest, workers)
    assert set(workers.refusals) == set(NAMES)
    assert all("another recipe" in reason for reason in workers.refusals.values())
    run_round(session(place, weights, 92), place.plan.agreement, digest, workers)
    assert workers.refusals == {}


def test_evaluation_over_workers_is_that_of_one_process(workers: Simulation, learner: Learner) -> None:
    weights, dialogues = learner.initial, np.arange(5)
    apart, whole = workers.evaluate(weights, dialogues), learner.evaluate(weights, dialogues)
    assert apart.sums == pytest.approx(whole.sums, rel=1e-5)  # dialogue by dialogue, in the order asked for
    assert apart.sums[:, 1:].tolist() == whole.sums[:, 1:].tolist()


def test_a_client_s_folder_stays_inside_whatever_its_name(tmp_path: Path) -> None:
    names = [ClientId(name) for name in ("..", "/etc/passwd", "a/b", "", "\0", "d" * 300, "é")]
    homes = {home_of(tmp_path, name) for name in names}
    assert len(homes) == 7
    assert all(home.parent == tmp_path and home.name.isalnum() for home in homes)
    assert all(
        store_of(tmp_path, name).parent == tmp_path and store_of(tmp_path, name).stem.isalnum() for name in names
    )


def test_what_a_round_keeps_of_a_client_holds_neither_its_text_nor_its_token_ids(
    place: Workplace, workers: Simulation, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    digest, weights, _ = workers.facts()
    run_round(session(place, weights, 95), place.plan.agreement, digest, workers)
    text = str(tiny_tokenizer.decode(np.fromfile(place.tokens / "ids.i32", np.int32)[:50]))
    ids = np.fromfile(place.tokens / "ids.i32", np.int32)[5:15].tobytes()
    with closing(Homes(place.homes)) as homes:
        kept = {(name, what): homes.of(name).read(what) for name in NAMES for what in RECORDS}
    assert all(kept[name, "update"] and kept[name, "round"] for name in NAMES), "the round is not over"
    opened = [body for _, body in filter(None, kept.values())]
    for content in (*opened, *(path.read_bytes() for path in place.homes.rglob("*") if path.is_file())):
        assert text[10:40].encode() not in content
        assert ids not in content


def test_once_a_round_is_over_no_client_s_update_is_on_disk_nor_the_key_to_what_a_disk_remembers(
    place: Workplace, workers: Simulation
) -> None:
    digest, weights, _ = workers.facts()
    begun = session(place, weights, 96)
    run_round(begun, place.plan.agreement, digest, workers)
    with closing(Homes(place.homes)) as homes:
        updates = [found[1] for name in NAMES if (found := homes.of(name).read("update"))]
        secrets = [homes.of(name).secret() for name in NAMES]
    assert len(updates) == 5 and all(any(update) for update in updates)
    assert len(set(secrets)) == 5
    assert [
        each for each in secrets if any(each in path.read_bytes() for path in place.homes.glob("*.keys"))
    ] == secrets
    commit(begun, workers)
    with closing(Homes(place.homes)) as homes:
        assert not [name for name in NAMES for what in ("update", "round", "begun") if homes.of(name).there(what)]
    for path in place.homes.rglob("*"):
        content = path.read_bytes()
        assert path.suffix != ".keys" or not any(content)
        assert not [each for each in secrets if each in content], path
        assert not [update for update in updates if update[:32] in content or update[-32:] in content], path
