"""What workers are given and when, with hands in their place: whatever ends first, nothing is out of its place."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, Future
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import training.engines.simulation
from chatfed.types import ChatfedError, ClientId, FloatVector
from training.base.evaluation import Scores
from training.engines.simulation import (
    LABOURS,
    LEAST,
    TEXTS_AT_ONCE,
    TOGETHER,
    TOGETHER_BYTES,
    Job,
    Simulation,
    Workplace,
)
from training.parties.homes import store_of
from training.parties.session import Step


class Work(Future[Any]):
    """A job in a worker's hands: it ends when the test says so."""

    def __init__(self, hands: Hands, call: Callable[..., Any], given: tuple[Any, ...]) -> None:
        super().__init__()
        self.hands, self.call, self.given = hands, call, given

    def end(self) -> None:
        self.hands.under_way.remove(self)
        self.hands.done.append(self.given)
        try:
            self.set_result(self.call(*self.given))
        except ChatfedError as error:
            self.set_exception(error)
        self.hands.go_on()


@dataclasses.dataclass
class Hands:
    """In the place of a worker process: works at one job, and may hold the next, which can be called off."""

    number: int
    under_way: list[Work] = dataclasses.field(default_factory=list)
    done: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)

    def submit(self, call: Callable[..., Any], *given: Any) -> Work:
        work = Work(self, call, given)
        self.under_way.append(work)
        assert len(self.under_way) <= 2, "one that it works at, and the next"
        self.go_on()
        return work

    def go_on(self) -> None:
        while self.under_way and not self.under_way[0].running():
            if self.under_way[0].set_running_or_notify_cancel():
                return
            self.under_way.pop(0)


Choose = Callable[[Sequence[Work]], Work]


def slow(worker: int) -> Choose:
    """Whatever another worker has ends first."""
    return lambda going: next((work for work in going if work.hands.number != worker), going[0])


def at_random(seed: int) -> Choose:
    return random.Random(seed).choice


CHOICES = [
    *(pytest.param(slow(number), id=f"{number} is slow") for number in range(2)),
    *(pytest.param(choose, id=word) for word, choose in (("first", lambda w: w[0]), ("last", lambda w: w[-1]))),
    *(pytest.param(at_random(seed), id=f"random {seed}") for seed in range(3)),
]


@dataclasses.dataclass
class Bench:
    """A simulation of which the test says what ends when."""

    clients: Simulation
    hands: tuple[Hands, Hands]
    choose: Choose

    def wait(self, going: Mapping[Work, int], return_when: str = ALL_COMPLETED) -> Any:
        if return_when == ALL_COMPLETED:
            while running := [work for work in going if work.running()]:
                running[0].end()
            return None
        chosen = self.choose([work for work in going if work.running()])
        chosen.end()
        return SimpleNamespace(done={chosen})


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    hands = Hands(0), Hands(1)
    place = Workplace(cast(Any, "no plan"), 2, "no base", tmp_path, tmp_path, tmp_path / "clients")
    made = Bench(Simulation(place, cast(Any, hands)), hands, lambda going: going[0])
    monkeypatch.setattr(training.engines.simulation, "wait", made.wait)
    return made


def test_jobs_that_anybody_can_do_go_to_whichever_worker_is_free_and_are_made_when_they_are_sent(bench: Bench) -> None:
    bench.choose = slow(0)
    sent: list[int] = []

    def given(number: int) -> tuple[int]:
        sent.append(number)
        return (number,)

    ran = bench.clients.run(Job(str, partial(given, number)) for number in range(10))
    assert sent == []
    assert list(itertools.islice(ran, 8)) == [(1, str(number)) for number in (1, *range(3, 10))]
    assert sent == list(range(10)) and bench.hands[0].done == []
    assert list(ran) == [(0, "0"), (0, "2")], "one for each, and then the next for each"

    sent.clear()
    ran = bench.clients.run(Job(str, partial(given, number)) for number in range(10))
    next(ran)
    assert sent == [0, 1, 2, 3], "two for each worker, and the fifth when there is room"


@pytest.mark.parametrize("choose", CHOICES)
@pytest.mark.parametrize("breaks", [True, False], ids=["an error", "nobody listens"])
def test_when_it_ends_early_what_waits_is_called_off_and_nobody_is_asked_before_all_are_done_with_it(
    bench: Bench, choose: Choose, breaks: bool
) -> None:
    bench.choose = choose

    def work(number: int) -> int:
        if breaks and number == 6:
            raise ChatfedError("broke off")
        return number

    ran, found = bench.clients.run(Job(work, partial(tuple, (number,))) for number in range(40)), list[Any]()
    if breaks:
        with pytest.raises(ChatfedError, match="broke off"):
            found.extend(ran)
    else:
        found.append(next(ran))
        cast(Any, ran).close()
    at_work = list[list[Work]]()

    def asked_again() -> tuple[int]:
        at_work.extend(hands.under_way.copy() for hands in bench.hands)
        return (100,)

    assert [each for _, each in bench.clients.run([Job(int, asked_again)])] == [100]
    assert at_work == [[], []]
    done = [number for hands in bench.hands for (number,) in hands.done]
    assert len(done) <= len(found) + breaks + 2 + 1, "what the two worked at, and what was asked after"


@pytest.mark.parametrize("choose", CHOICES)
def test_a_job_that_one_worker_alone_can_do_goes_to_that_worker(bench: Bench, choose: Choose) -> None:
    bench.choose = choose
    owners = [(None, 0, 0, 0, 1)[number % 5] for number in range(40)]
    jobs = [Job(int, partial(tuple, (number,)), owner) for number, owner in enumerate(owners)]
    ran = list(bench.clients.run(jobs))
    assert sorted(number for _, number in ran) == list(range(40))
    assert all(owners[number] in (None, worker) for worker, number in ran)
    for hands in bench.hands:
        assert [(number,) for worker, number in ran if worker == hands.number] == hands.done


@pytest.mark.parametrize("choose", CHOICES)
def test_what_is_imagined_and_measured_comes_in_its_order_whatever_ends_first(
    bench: Bench, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(weights: FloatVector, dialogues: Sequence[int]) -> Scores:
        return Scores(np.array([[each, *weights] for each in dialogues], np.float64))

    monkeypatch.setattr(training.engines.simulation, "_imagine", lambda *given: given)
    monkeypatch.setattr(training.engines.simulation, "_evaluate", measured)
    bench.choose = choose
    texts: list[Any] = list(bench.clients.imagine(cast(Any, "counts"), 6 * TEXTS_AT_ONCE + 5, 30))
    assert texts == [("counts", TEXTS_AT_ONCE, 30 + part) for part in range(6)] + [("counts", 5, 36)]
    order = np.random.default_rng(1).permutation(23)
    scores = bench.clients.evaluate(np.array([0.5, 0.25], np.float32), order)
    assert scores.sums.tolist() == [[float(each), 0.5, 0.25] for each in order]


def test_what_is_imagined_first_is_there_before_the_rest_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.engines.simulation, "_imagine", lambda *given: given)
    texts: Any = bench.clients.imagine(cast(Any, "counts"), 10 * TEXTS_AT_ONCE, 0)
    assert next(texts)[2] == 0 and len(bench.hands[0].done) == 1 and not bench.hands[1].done


def crowd(size: int) -> list[ClientId]:
    return [ClientId(f"client {number}") for number in range(size)]


@pytest.mark.parametrize("together", [1, 3, TOGETHER])
def test_a_trip_is_of_one_store_and_one_worker_and_not_too_large(bench: Bench, together: int) -> None:
    everybody, rng, homes = crowd(200), random.Random(together), bench.clients.workplace.homes
    bench.clients.served = {name: rng.randrange(2) for name in everybody[:150]}
    bench.clients.longest = TOGETHER_BYTES // together
    groups: Counter[tuple[Path, int]] = Counter()
    for worker, trip in (trips := bench.clients._trips(everybody, Step.SHARES)):
        (path,) = {store_of(homes, name) for name in trip}
        assert {bench.clients.served.get(name, worker) for name in trip} == {worker}
        assert 0 < len(trip) <= together
        groups[path, worker] += len(trip)
    assert sorted(name for _, trip in trips for name in trip) == sorted(everybody)
    assert len(groups) == 8, "of four stores and two workers"
    assert len(trips) == sum(-(-size // together) for size in groups.values()), "as few as there can be"


def test_a_run_begins_with_each_store_s_own_worker_in_shorter_and_shorter_trips(bench: Bench) -> None:
    everybody, homes = crowd(200), bench.clients.workplace.homes
    trips = bench.clients._trips(everybody, Step.SESSION)
    sizes = [len(trip) for _, trip in trips]
    assert sizes == sorted(sizes, reverse=True) and LEAST < sizes[0] <= TOGETHER and sizes[-1] <= LEAST
    assert sorted(name for _, trip in trips for name in trip) == sorted(everybody)
    owners = {(store_of(homes, name), worker) for worker, trip in trips for name in trip}
    assert len(owners) == 4 and Counter(worker for _, worker in owners) == {0: 2, 1: 2}
    bench.clients.served = dict.fromkeys(everybody, 1)
    assert {worker for worker, _ in bench.clients._trips(everybody, Step.SESSION)} == {1}, "where its keys are at hand"


def test_where_there_are_more_workers_than_stores_each_begins_with_some(bench: Bench) -> None:
    bench.clients.workplace = dataclasses.replace(bench.clients.workplace, workers=8)
    trips = bench.clients._trips(everybody := crowd(400), Step.SESSION)
    share = Counter[int]()
    for worker, trip in trips:
        share[worker] += len(trip)
    assert sum(share.values()) == len(everybody) and sorted(share) == list(range(8)) and min(share.values()) >= 30


@pytest.mark.parametrize("choose", CHOICES)
def test_a_client_s_messages_within_a_round_go_to_the_worker_that_did_its_last_labour(
    bench: Bench, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        training.engines.simulation, "_answer_all", lambda names, post: [(name, b"answer", "") for name in names]
    )
    everybody = crowd(64)

    def sent(step: Step, names: Sequence[ClientId], how: Choose) -> dict[ClientId, int]:
        bench.choose = how
        answers = list(bench.clients({name: bytes([step]) + name.encode() for name in names}))
        assert sorted(answers) == sorted((name, b"answer") for name in names)
        found = [(name, hands.number) for hands in bench.hands for names, _ in hands.done for name in names]
        assert len(found) == len(dict(found)), "nobody was sent two messages"
        for hands in bench.hands:
            hands.done.clear()
        return dict(found)

    began = sent(Step.SESSION, everybody, choose)
    together = max(len(trip) for _, trip in bench.clients._trips(everybody, Step.SESSION))
    assert set(began.values()) == {0, 1} and together > 1
    for seed, step in enumerate((Step.ADVERTS, Step.SHARES, Step.SURVIVORS, Step.CERTIFICATE, Step.COMMITTED)):
        asked = random.Random(seed).sample(everybody, 40)
        went = sent(step, asked, at_random(seed))
        assert went.keys() == set(asked)
        if step in LABOURS:  # whoever is early helps, and has it at hand from here on
            began |= went
        else:
            assert went == {name: began[name] for name in asked}
    for worker in (0, 1):  # another round, which a slow worker begins with few
        assert Counter(sent(Step.SESSION, everybody, slow(worker)).values())[worker] <= 2 * together
