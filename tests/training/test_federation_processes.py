"""Real processes of a federation on this machine, over TLS: killed, stopped, refused, added, removed; it completes.

Coordinator and what Flower calls SuperLink are one process here, so that whoever kills one kills both: that the
SuperLink is restarted between rounds or in the middle of one is the coordinator's own restart.
CHATFED_COORDINATOR_KILLS says how often it is killed: `make test-long` says 10, and without it twice is enough to try.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.training.federations import with_certificate
from tests.training.organisations import INVITED, Organisations, hand, stopped
from training.parties.certificates import AUTHORITY
from training.parties.session import round_of
from training.plan.federation import read_federation

if TYPE_CHECKING:
    from chatfed.data.helpdesk import HelpdeskCorpus

pytestmark = [pytest.mark.flower, pytest.mark.slow]

KILLS = int(os.environ.get("CHATFED_COORDINATOR_KILLS", "2"))
PATIENT = ("--patience", "500")  # nobody waits so long but on a busy machine
Make = Callable[[int, int], Organisations]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: HelpdeskCorpus, tiny_base: Path) -> Iterator[Make]:
    """Makes federations, of so many members and rounds; whoever still runs at the end is killed."""
    made = list[Organisations]()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes of a shell's background ignore it

    def one(members: int, rounds: int) -> Organisations:
        folder, names = tmp_path_factory.mktemp("federation"), [f"house-{i}" for i in range(members)]
        made.append(Organisations.invited(folder, names, rounds, tiny_corpus, tiny_base))
        return made[-1]

    try:
        yield one
    finally:
        for each in made:
            each.close()


def test_a_run_goes_on_over_a_member_that_is_killed_and_comes_back_and_over_members_that_are_added_and_removed(
    make: Make, tiny_corpus: HelpdeskCorpus
) -> None:
    all_ = make(4, 6)
    a, b, c, d = all_.names
    all_.coordinate(*PATIENT)
    all_.join(a, b, c, d)

    all_.wait(lambda: INVITED in all_.said(b), "b is invited")
    all_.end(b)
    all_.wait(lambda: len(all_.rows()) == 1, "the round completes without it")
    first = all_.rows()[0]
    assert first["cohort"] == 4 and sum(first["dropped"].values()) == 1
    all_.join(b)
    all_.wait(lambda: any(row["survivors"] == 4 for row in all_.rows()), "b takes part again")

    stopped(all_.running[""])  # so that not all rounds are over meanwhile
    lines = all_.folder / "more"
    new = [f"house-{i}" for i in (4, 5, 6)]
    lines.write_text("".join(all_.newcomer(name, hand(tiny_corpus, i)) for i, name in enumerate(new, 4)))
    all_.chatfed("members", "add", str(all_.file), str(lines))
    all_.chatfed("members", "remove", str(all_.file), d)
    assert all_.federation().edition == 3
    all_.running[""].send_signal(signal.SIGCONT)
    all_.wait(lambda: "Edition 3 of loopback, of 6 members" in all_.said(), "the coordinator takes it up")
    before = len(all_.rows())
    assert all_.end(a, signal.SIGTERM) == 0
    assert all_.end(b, signal.SIGINT) == 130
    assert all_.end(c, signal.SIGTERM) == 0
    assert all_.ended(d) != 0 and "does not know this member's transport key" in all_.said(d)
    assert not any("run is over" in all_.said(name) for name in all_.names)
    now = (a, b, c, *new)
    all_.join(*now)

    assert all_.ended() == 0, all_.everything()
    assert [all_.ended(name) for name in now] == [0] * 6
    assert all("The federation's run is over." in all_.said(name) for name in now)
    later = all_.rows()[before:]
    assert len(all_.rows()) == 6 and later
    assert all((row["cohort"], row["survivors"]) == (6, 6) for row in later)
    all_.check_ledgers(a, b, c)
    for name in new:
        assert [round_of(entry.key) for entry in all_.ledger(name)] == list(range(before, 6))


def test_whoever_has_not_what_was_agreed_on_is_refused_and_told_and_learns_nothing_and_the_others_go_on(
    make: Make, tmp_path: Path
) -> None:
    all_ = make(4, 2)
    a, b, c, d = all_.names
    agreed = all_.file.read_text()
    base = all_.file.parent / "base"

    other_recipe = tmp_path / "recipe.toml"
    other_recipe.write_text(re.sub(r"server_learning_rate = \S+", "server_learning_rate = 0.25", agreed))
    other_base = tmp_path / "base"
    other_base.mkdir()
    for path in base.iterdir():
        (other_base / path.name).write_bytes(path.read_bytes())
    weights = bytearray((other_base / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other_base / "model.safetensors").write_bytes(weights)
    with_certificate(tmp_path, "127.0.0.1")
    stranger = all_.newcomer("stranger", [])
    (all_.folder / "stranger" / "mine.jsonl").write_bytes((all_.folder / d / "mine.jsonl").read_bytes())
    (tmp_path / "line").write_text(stranger)
    other_roster = tmp_path / "roster.toml"
    other_roster.write_text(agreed)
    all_.chatfed("members", "add", str(other_roster), str(tmp_path / "line"))
    other_authority = tmp_path / "authority.toml"
    authority = read_federation(all_.file).authority
    pem = (tmp_path / AUTHORITY).read_text()
    other_authority.write_text(agreed.replace(authority, pem))
    assert read_federation(other_authority).authority == pem

    all_.coordinate(*PATIENT)
    all_.join(a, b)
    all_.joins(d, other_recipe, base=base)
    all_.joins("stranger", other_roster, home="unregistered", base=base)
    all_.joins("stranger", all_.file, home="unknown")
    all_.joins(c, other_authority, home="authority", base=base)
    all_.joins(c, all_.file, home="base", base=other_base)
    said = {
        "stranger/unregistered": "does not know this member's transport key",
        "stranger/unknown": "is no member's of loopback",
        f"{c}/authority": "does not prove to be the coordinator",
        f"{c}/base": "does not hold the base model that loopback agreed on",
    }
    for name, words in said.items():
        assert all_.ended(name) in (1, 2)
        last = all_.said(name).strip().splitlines()[-1]
        assert last.startswith("error: ") and words in last and "Traceback" not in all_.said(name)

    all_.join(c)  # so far the rounds have waited for it
    assert all_.ended() == 0, all_.everything()
    assert [all_.ended(name) for name in (a, b, c)] == [0] * 3
    assert "Takes no part: the coordinator runs the federation by another file" in all_.said(f"{d}/other")
    assert f"refused: {d}: the coordinator runs the federation by another file" in all_.said()
    assert "Turned away: 127.0.0.1 has a key that is no member's" in all_.said()
    assert "Turned away: somebody does not take this coordinator's certificate" in all_.said()
    assert [row["survivors"] for row in all_.rows()] == [3, 3]
    all_.end(f"{d}/other", signal.SIGTERM)
    strangers = all_.folder / "stranger"
    homes = [all_.folder / d / "other", all_.folder / c / "authority", strangers / "unregistered"]
    assert [all_.records(home) for home in homes] == [set()] * 3, "nothing was learned, charged or drawn"
    assert not (strangers / "unknown").exists() and not list((all_.folder / c / "base").glob("*.db"))
    all_.check_ledgers(a, b, c)


def test_with_fewer_members_than_the_floor_the_coordinator_ends_within_its_patience_in_one_sentence(make: Make) -> None:
    all_ = make(4, 2)
    a = all_.names[0]
    all_.join(a)
    all_.coordinate("--patience", "5")
    all_.wait(lambda: "Waiting for" in all_.said(), "it listens")
    began = time.monotonic()
    assert all_.ended() == 1
    assert time.monotonic() - began < 5 + 20
    (error,) = [line for line in all_.said().splitlines() if line.startswith("error: ")]
    assert "of 4 members are connected, and no sum of fewer than 3 is made" in error
    assert "Begin chatfed coordinate again once they are; nothing is lost." in error
    assert all_.end(a, signal.SIGTERM) == 0 and all_.rows() == []


@pytest.mark.long  # the soak of five rounds kills one too
def test_a_coordinator_that_is_killed_at_random_moments_goes_on_by_the_same_command_and_no_charge_is_lost_or_doubled(
    make: Make,
) -> None:
    all_, rounds, chance = make(4, 2 * KILLS), 2 * KILLS, random.Random(5)
    all_.join(*all_.names)
    for _ in range(KILLS):
        all_.coordinate(*PATIENT)
        if chance.random() < 0.8:  # else it dies as it starts
            all_.hear_more(chance.choice(all_.names), chance.randint(1, 4))
        time.sleep(chance.uniform(0, 0.7))
        assert all_.running[""].poll() is None, all_.everything()
        all_.end()
    all_.coordinate(*PATIENT)
    assert all_.ended() == 0, all_.everything()
    assert [all_.ended(name) for name in all_.names] == [0] * 4, "each of its one life"
    assert [row["round"] for row in all_.rows()] == list(range(1, rounds + 1))
    all_.check_ledgers(*all_.names)
    for name in all_.names:
        assert [round_of(entry.key) for entry in all_.books(name)] == list(range(rounds))
