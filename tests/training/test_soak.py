"""Round after round of a federation of real processes, which are killed at random and begun again, and what it leaves.

CHATFED_SOAK_ROUNDS says how many (CI: 5). `make test-soak` runs 200, and then looks at the coordinator's memory too.
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.training.organisations import Organisations

if TYPE_CHECKING:
    from chatfed.data.helpdesk import HelpdeskCorpus

pytestmark = [pytest.mark.flower, pytest.mark.slow]

ROUNDS = int(os.environ.get("CHATFED_SOAK_ROUNDS", "5"))
MEMBERS = [f"house-{i}" for i in range(5)]
QUIET = 70  # last rounds, in which members are killed and the coordinator is not
LEAST = 60  # rounds over which its memory must be flat
WARM = 10  # rounds of a life before that
PATIENT = ("--patience", "500")  # nobody waits so long but on a busy machine


def kills(chance: random.Random) -> dict[int, list[str]]:
    """Who is killed in which round; the coordinator has no name.

    Nobody in the last: who is away when the run ends does not hear of it.
    """
    plan = defaultdict[int, list[str]](list)
    for _ in range(max(1, ROUNDS // 10)):
        plan[chance.randrange(ROUNDS - 1)].append(chance.choice(MEMBERS))
    for _ in range(max(1, ROUNDS // 40)):
        plan[chance.randrange(max(1, ROUNDS - QUIET, min(ROUNDS, 4)))].append("")
    return plan


@pytest.fixture
def five(tmp_path: Path, tiny_corpus: HelpdeskCorpus, tiny_base: Path) -> Iterator[Organisations]:
    made = Organisations.invited(tmp_path, MEMBERS, ROUNDS, tiny_corpus, tiny_base)
    try:
        yield made
    finally:
        made.close()


def killed(all_: Organisations, name: str) -> None:
    """And begun again by the same command."""
    all_.end(name)
    if name:
        all_.join(name)
    else:
        all_.coordinate(*PATIENT)


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def test_no_round_is_stuck_no_charge_is_lost_or_doubled_and_the_coordinators_memory_stays_what_it_is(
    five: Organisations,
) -> None:
    chance = random.Random(11)
    plan, weights, took = kills(chance), list[float](), list[float]()
    five.coordinate(*PATIENT)
    five.join(*MEMBERS)
    done = list[str]()
    for number in range(ROUNDS):
        began = time.monotonic()
        for at, name in enumerate(plan[number]):
            time.sleep(chance.uniform(0, 2))
            if five.done > number:  # it was too quick: the next one, then
                if number < ROUNDS - 2:
                    plan[number + 1] += plan[number][at:]
                break
            killed(five, name)
            done.append(name)
            if not name:
                weights.clear()
        five.await_rounds(number + 1)
        weights.append(resident(five.running[""].pid))
        took.append(time.monotonic() - began)
        print(f"round {number + 1}: {took[-1]:.1f} s, {weights[-1]:.1f} MiB, killed {plan[number]}", flush=True)
    assert five.ended() == 0, five.everything()
    assert [five.ended(name) for name in MEMBERS] == [0] * len(MEMBERS)
    assert [row["round"] for row in five.rows()] == list(range(1, ROUNDS + 1))
    five.check_ledgers(*MEMBERS)
    assert any(done), "members were killed"
    assert "" in done, "and the coordinator"
    flat = weights[WARM:]
    if ROUNDS >= QUIET:
        assert len(flat) >= LEAST
        assert max(flat) < 1.05 * min(flat), flat
