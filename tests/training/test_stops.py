"""A run that is killed or interrupted goes on, and no epsilon is lost or counted twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from chatfed.privacy.accounting import epsilon
from tests.training.processes import (
    PLAIN,
    charged_in,
    here,
    learned_in,
    of_session,
    one_line,
    rows,
    settings,
    start,
    stored,
    wait_for,
)
from training.base.tokens import open_tokens
from training.parties.aggregator import cohort
from training.parties.homes import Homes
from training.parties.ledgers import ledger_of
from training.run.run_folder import RunFolder

pytestmark = pytest.mark.slow
NOISE = 1.1
KILLING = """
import os, signal
from pathlib import Path
from training.engines.simulation import Simulation
from training.parties.session import Step

called = Simulation.__call__

def dying(self, messages):
    step = next(iter(messages.values()))[0]
    for answered, each in enumerate(called(self, messages), 1):
        if step == Step.SESSION and answered == {answered} and Path({metrics!r}).read_text():
            {kill}
        yield each

Simulation.__call__ = dying
"""


def killing(folder: Path, answered: int, kill: str) -> str:
    """For `start`: a program that is killed in the first round after one that is over, when so many have learned."""
    return KILLING.format(answered=answered, metrics=str(folder / "metrics.jsonl"), kill=kill)


def gone(leader: subprocess.Popen[str], seconds: float = 15) -> bool:
    leader.wait(seconds)
    return wait_for(lambda: not of_session(leader.pid), seconds, 0.05)


def a_run(tiny_data: Path, tiny_base: Path, folder: Path, rounds: int) -> list[object]:
    """Eight clients of the file, six asked each round."""
    options = settings(
        runtime__cache=f'"{folder.parent / "cache"}"',
        runtime__workers=2,
        runtime__evaluation_dialogues=6,
        privacy__noise_multiplier=NOISE,
        privacy__local_steps=3,
        privacy__sampling_rate=0.25,
        model__trainable='["all"]',
        model__context=64,
    )
    data = ("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", tiny_base)
    return [*data, "--recipe", PLAIN, "--rounds", rounds, "--cohort", "6", "--out", folder, *options]


def test_killed_twice_in_round_2_it_goes_on_and_no_epsilon_is_lost_or_counted_twice(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    # Killed while clients learn: round 1 is committed, some clients have paid for their update of round 2. The program
    # alone: its workers must notice and end.
    program = killing(folder, 1, "os.kill(os.getpid(), signal.SIGKILL)")
    first = start(*a_run(tiny_data, tiny_base, folder, 3), first=program)
    try:
        assert first.wait(240) == -signal.SIGKILL, "never came to round 2"
        assert gone(first), f"orphans: {of_session(first.pid)}"
        assert len(rows(folder)) == 1
        learned = learned_in(folder, 1)
        assert 0 < len(learned) < 6
        assert set(learned) <= charged_in(folder, 1)

        # Killed with all updates there: all clients have paid for round 2, and the server has no sum of it.
        second = start(folder, command="resume", first=killing(folder, 6, "os.killpg(0, signal.SIGKILL)"))
        try:
            assert second.wait(240) == -signal.SIGKILL, "never came to the masked inputs"
            assert gone(second)
        finally:
            _kill(second)
        assert len(rows(folder)) == 1, "killed too late to tell"
        updates = learned_in(folder, 1)
        assert len(updates) == 6
        assert charged_in(folder, 1) == set(updates), "a client that paid must still have its update"
        assert all(updates[client] == update for client, update in learned.items()), "an update was learned anew"
    finally:
        _kill(first)

    done = here(folder, command="resume")
    assert done.returncode == 0, done.stderr
    assert "Going on after round 1." in done.stdout
    _check_books(folder, 3)


def test_a_worker_that_is_killed_ends_the_run_in_one_line_and_it_goes_on(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    program = killing(folder, 1, "os.kill(*self.workers[1]._processes, signal.SIGKILL)")
    process = start(*a_run(tiny_data, tiny_base, folder, 2), first=program)
    try:
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 1 and "Traceback" not in said
        last = said.strip().splitlines()[-1]
        assert "A worker process was killed" in last and "chatfed resume" in last
        assert gone(process) and len(rows(folder)) == 1
    finally:
        _kill(process)
    done = here(folder, command="resume")
    assert done.returncode == 0, done.stderr
    _check_books(folder, 2)


def _kill(process: subprocess.Popen[str]) -> None:
    if of_session(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def _check_books(folder: Path, rounds: int) -> None:
    """Every client's ledger has one entry for each round it was asked in, and the claim is what they add up to."""
    from chatfed.privacy.guarantee import Protected
    from chatfed.privacy.ledger import Budget

    recipe = RunFolder(folder).begun().recipe
    clients = sorted(open_tokens(folder / "state" / "private").clients)
    assert [row["round"] for row in rows(folder)] == list(range(1, rounds + 1))
    asked = Counter(client for index in range(rounds) for client in cohort(clients, index, recipe.federation))
    costs, homes = [], Homes(folder / "state" / "clients")
    for client in clients:
        budget = Budget(recipe.privacy.budget, recipe.privacy.delta, Protected.DIALOGUE)
        ledger = ledger_of(homes.of(client), budget)
        per_round = Counter(int(entry.key.split("/")[1]) for entry in ledger.entries)
        theirs = [i for i in range(rounds) if client in cohort(clients, i, recipe.federation)]
        assert dict(per_round) == dict.fromkeys(theirs, 1), client
        steps = 3 * asked[client]
        assert ledger.epsilon == pytest.approx(epsilon(NOISE, 0.25, steps, delta=1e-5))
        costs.append(ledger.epsilon)
    homes.close()
    assert json.loads((folder / "privacy.json").read_text())["epsilon"] == max(costs)
    assert json.loads((folder / "summary.json").read_text())["rounds"] == rounds
    assert not [row for row in stored(folder) if row.name == "update"]


def test_interrupted_by_ctrl_c_it_says_how_to_go_on_and_leaves_no_process_and_a_second_start_harms_it_not(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    data = ("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", tiny_base)
    process = start(
        *(*data, "--recipe", PLAIN, "--rounds", "50", "--cohort", "6", "--out", folder),
        *settings(runtime__cache=f'"{tmp_path / "cache"}"', privacy__noise_multiplier=20, model__context=64),
    )
    try:
        assert wait_for(lambda: len(rows(folder)) >= 1, 120, 0.02)
        one_line(here(*data, "--out", folder, "--replace"), "Another process is at work", code=2)
        assert len(rows(folder)) >= 1 and not folder.with_name("out.1").exists()
        os.kill(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "chatfed resume" in said and "Traceback" not in said
        time.sleep(0.1)
        assert gone(process)
    finally:
        _kill(process)
