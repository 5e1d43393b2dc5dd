"""Worker processes go on with keys that clients agreed on in an earlier round."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed.types import ClientId
from tests.training.engines.places import NAMES, A, C, session
from training.engines.simulation import Job, Simulation, Workplace, simulation
from training.parties.aggregator import ServerState, apply_update, initial_state
from training.parties.rounds import Standing, commit, run_round
from training.parties.session import Step
from training.plan.plan import plan_of
from training.plan.upload import PlainUpload

ROUNDS = 4


@dataclass
class Run:
    """A run over worker processes: its model, and in which rounds keys were agreed on."""

    place: Workplace
    clients: Simulation
    state: ServerState
    standing: Standing = field(default_factory=Standing)
    anew: list[int] = field(default_factory=list)
    survivors: list[int] = field(default_factory=list)
    served: dict[int, list[dict[ClientId, int]]] = field(default_factory=dict)  # by whom, after each step of a round

    def rounds(self, until: int, gone: Mapping[int, ClientId]) -> None:
        digest, _, _ = self.clients.facts()
        agreement = self.place.plan.agreement
        while self.state.round < until:
            self.clients.dropouts = {Step.SHARES: frozenset({gone.get(self.state.round, ClientId("nobody"))})}
            begun = session(self.place, self.state.weights, self.state.round)
            outcome = run_round(begun, agreement, digest, self.exchange, standing=self.standing)
            self.state = apply_update(self.state, outcome.mean, agreement.schedule)
            self.survivors.append(len(outcome.survivors))
            commit(begun, self.clients)

    def exchange(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if next(iter(messages.values()))[0] == Step.ADVERTS:
            self.anew.append(self.state.round)
        yield from self.clients(messages)
        self.served.setdefault(self.state.round, []).append(dict(sorted(self.clients.served.items())))


def with_keys_for(place: Workplace, rounds: int, homes: Path) -> Workplace:
    recipe = dataclasses.replace(
        place.plan.recipe, secagg=dataclasses.replace(place.plan.recipe.secagg, key_rounds=rounds)
    )
    return dataclasses.replace(place, plan=plan_of(recipe, 5, place.plan.terms), homes=homes)


@contextmanager
def a_run(place: Workplace, state: ServerState | None = None) -> Iterator[Run]:
    with simulation(place) as clients:
        yield Run(place, clients, state or initial_state(clients.facts()[1]))


def test_keys_for_three_rounds_give_the_model_that_keys_for_one_give(place: Workplace, tmp_path: Path) -> None:
    """But for the rounding into the ring, which is drawn anew in every run."""
    gone, ended = {1: A, 3: C}, list[Run]()
    for key_rounds, anew in ((1, [0, 1, 2, 3]), (3, [0, 3])):
        with a_run(with_keys_for(place, key_rounds, tmp_path / str(key_rounds))) as run:
            start = run.state.weights
            run.rounds(ROUNDS, gone)
        assert run.anew == anew and run.survivors == [5, 4, 5, 4]
        ended.append(run)
    one, three = (run.state.weights for run in ended)
    code = place.plan.agreement.sums.codec.upload(5, len(start))
    assert isinstance(code, PlainUpload)
    moved, apart = float(np.abs(one - start).max()), float(np.abs(one - three).max())
    assert 0 < apart < 8 * ROUNDS * code.code.step and moved > 10 * apart


def test_clients_go_back_to_the_worker_that_has_their_keys_at_hand(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that dropped out of the round before."""
    asked, running = list[tuple[int | None, int | None]](), Simulation.run
    with a_run(with_keys_for(place, 3, tmp_path)) as run:

        def watching(self: Simulation, jobs: list[Job]) -> Iterator[tuple[int, Any]]:
            asked.extend((self.served.get(client), job.worker) for job in jobs for client in job.given()[0])
            return running(self, jobs)

        run.rounds(1, {})
        monkeypatch.setattr(Simulation, "run", watching)
        run.rounds(3, {1: A})
    assert run.anew == [0] and set(run.clients.served) == set(NAMES)
    assert len(asked) == 2 * 4 * len(NAMES) - 3 and None not in {had for had, _ in asked}  # A misses three messages
    assert all(had == worker for had, worker in asked)
    assert all(len({tuple(where.items()) for where in served}) == 1 for served in run.served.values())


def test_a_run_that_is_gone_on_with_begins_with_new_keys_in_the_middle_of_an_epoch(
    place: Workplace, tmp_path: Path
) -> None:
    place = with_keys_for(place, 3, tmp_path)
    with a_run(place) as before:
        before.rounds(2, {})
    with a_run(place, before.state) as resumed:
        resumed.rounds(ROUNDS, {})
    assert (before.anew, resumed.anew) == ([0], [2])
    assert before.survivors + resumed.survivors == [5] * ROUNDS


def test_workers_that_begin_anew_find_the_keys_that_stand(place: Workplace, tmp_path: Path) -> None:
    place = with_keys_for(place, 3, tmp_path)
    with a_run(place) as before:
        before.rounds(1, {})
    with a_run(place, before.state) as after:
        after.standing = before.standing
        after.rounds(3, {})
    assert (before.anew, after.anew, after.survivors) == ([0], [], [5, 5])
