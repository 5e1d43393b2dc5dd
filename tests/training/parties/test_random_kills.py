"""Killed at random moments, again and again, a federation loses no charge, makes none twice and answers once.

CHATFED_KILLS says how often (CI: 12). `make test-kills` runs 200.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.training.federation import FOUR
from tests.training.parties.lives import Life, check_answers, check_charges, check_that_nothing_is_left

KILLS = int(os.environ.get("CHATFED_KILLS", "12"))
LONGEST = 0.12  # seconds that a process lives, some rounds


def lives(folder: Path, identities: str, seed: int) -> None:
    random.seed(seed)
    Life(folder, identities).go_on()


def killed_again_and_again(folder: Path, identities: str, kills: int) -> None:
    forked, chance = multiprocessing.get_context("fork"), random.Random(7)
    for seed in range(kills):
        process = forked.Process(target=lives, args=(folder, identities, seed))
        process.start()
        time.sleep(chance.uniform(0.0, LONGEST))
        assert process.is_alive(), "it ended by itself"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        dead = Life(folder, identities)
        check_charges(dead, dead.diary.read())
        for name in FOUR:
            dead.federation.restarted(name)


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_killed_at_random_moments_no_charge_is_lost_or_doubled_and_no_second_answer_leaves(
    tmp_path: Path, identities: str
) -> None:
    Life(tmp_path, identities)  # draws the keys
    killed_again_and_again(tmp_path, identities, KILLS)
    last = Life(tmp_path, identities)
    killed_in = last.done
    random.seed(99)
    last.go_on(killed_in + 3)
    said = last.diary.read()
    assert len({each["round"] for each in said if "round" in each}) > 2
    assert {each["what"] for each in said} >= {"SESSION", "ADVERTS", "SHARES", "SURVIVORS", "learns"}
    check_charges(last, said)
    check_answers(said)
    check_that_nothing_is_left(last)
