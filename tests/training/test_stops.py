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
from tests.training.processes import PLAIN, here, of_session, one_line, rows, settings, start, wait_for
from training.base.tokens import open_tokens
from training.durable import read_if_there
from training.parties.aggregator import cohort
from training.parties.homes import home_of
from training.run.run_folder import RunFolder

NOISE = 1.1


def charged_in(folder: Path, round_index: int) -> list[Path]:
    """Homes of the clients whose ledger has an entry of this round."""
    key = f"/{round_index}/".encode()
    return [path.parent for path in (folder / "state" / "clients").glob("*/ledger.json") if key in path.read_bytes()]


def learned_in(folder: Path, round_index: int) -> list[Path]:
    """Homes of the clients that have stored what they learned, not only that they paid for it."""
    key, homes = f"/{round_index}/".encode(), (folder / "state" / "clients").glob("*")
    updates = ((home, read_if_there(home / "update.bin") or b"") for home in homes)  # one may go while we look
    return [home for home, content in updates if key in content[2:60] and len(content) > 4096]


def gone(leader: subprocess.Popen[str], seconds: float = 15) -> bool:
    leader.wait(seconds)
    return wait_for(lambda: not of_session(leader.pid), seconds, 0.05)


def test_killed_twice_in_round_2_it_goes_on_and_no_epsilon_is_lost_or_counted_twice(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    # Eight clients of the file, all asked each round; learning takes a while, so that the kill lands inside it.
    options = settings(
        runtime__cache=f'"{tmp_path / "cache"}"',
        runtime__workers=2,
        runtime__evaluation_dialogues=6,
        privacy__noise_multiplier=NOISE,
        privacy__local_steps=3,
        privacy__sampling_rate=0.25,
        model__trainable='["all"]',
        model__context=64,
    )
    data = ("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", tiny_base)
    first = start(*data, "--recipe", PLAIN, "--rounds", "3", "--cohort", "6", "--out", folder, *options)
    try:
        # Killed while clients learn: round 1 is committed, some clients have paid for their update of round 2.
        assert wait_for(lambda: len(rows(folder)) == 1 and bool(learned_in(folder, 1)), 120), "never came to round 2"
        os.kill(first.pid, signal.SIGKILL)  # the program alone: its workers must notice and end
        assert gone(first), f"orphans: {of_session(first.pid)}"
        assert len(rows(folder)) == 1
        assert 0 < len(learned_in(folder, 1)) < 6
        assert set(learned_in(folder, 1)) <= set(charged_in(folder, 1))
        learned = {home: (home / "update.bin").read_bytes() for home in learned_in(folder, 1)}

        # Killed with all updates there: all clients have paid for round 2, and the server has no sum of it.
        second = start(folder, command="resume")
        try:
            assert wait_for(lambda: len(learned_in(folder, 1)) == 6, 120, 0.0005), "never came to the masked inputs"
            os.killpg(second.pid, signal.SIGKILL)
            assert gone(second)
        finally:
            _kill(second)
        assert len(rows(folder)) == 1, "killed too late to tell"
        updates = {home: (home / "update.bin").read_bytes() for home in learned_in(folder, 1)}
        assert set(charged_in(folder, 1)) == set(updates), "a client that paid must still have its update"
        assert all(updates[home] == update for home, update in learned.items()), "an update was learned anew"
    finally:
        _kill(first)

    done = here(folder, command="resume")
    assert done.returncode == 0, done.stderr
    assert "Going on after round 1." in done.stdout
    _check_books(folder, 3)


def _kill(process: subprocess.Popen[str]) -> None:
    if of_session(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def _check_books(folder: Path, rounds: int) -> None:
    """Every client's ledger has one entry for each round it was asked in, and the claim is what they add up to."""
    from chatfed.privacy.guarantee import Protected
    from chatfed.privacy.ledger import Budget, Ledger

    recipe = RunFolder(folder).begun().recipe
    clients = sorted(open_tokens(folder / "state" / "private").clients)
    assert [row["round"] for row in rows(folder)] == list(range(1, rounds + 1))
    asked = Counter(client for index in range(rounds) for client in cohort(clients, index, recipe.federation))
    costs = []
    for client in clients:
        path = home_of(folder / "state" / "clients", client) / "ledger.json"
        ledger = Ledger.open(path, client, Budget(recipe.privacy.budget, recipe.privacy.delta, Protected.DIALOGUE))
        per_round = Counter(int(entry.key.split("/")[1]) for entry in ledger.entries)
        theirs = [i for i in range(rounds) if client in cohort(clients, i, recipe.federation)]
        assert dict(per_round) == dict.fromkeys(theirs, 1), client
        steps = 3 * asked[client]
        assert ledger.epsilon == pytest.approx(epsilon(NOISE, 0.25, steps, delta=1e-5))
        costs.append(ledger.epsilon)
    assert json.loads((folder / "privacy.json").read_text())["epsilon"] == max(costs)
    assert json.loads((folder / "summary.json").read_text())["rounds"] == rounds
    assert not list(folder.glob("state/clients/*/update.bin"))


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
