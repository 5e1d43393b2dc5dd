"""A federation of real processes on this machine, through the commands that organisations run, and what they leave."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chatfed.privacy.ledger import Entry, Ledger
from chatfed.types import ClientId
from tests.training.engines.flower_line import flower_python
from tests.training.forking import origin
from tests.training.processes import here, rows
from training.loopback import Loopback
from training.parties.homes import Homes
from training.parties.ledgers import ledger_of
from training.parties.session import round_of
from training.parties.store import ClientStore, Store
from training.plan.federation import Federation, read_federation

if TYPE_CHECKING:
    from chatfed.data.helpdesk import HelpdeskCorpus

WITHIN = 600.0  # seconds, for whatever a person would not wait for: machines that run tests are busy
EACH = 12  # dialogues of a member
INVITED = "Invited: a round of learning."
RECIPE = """
[data]
hold_out = 0.4  # of each about so many, as their text decides
hold_out_epsilon = 20.0
[model]
context = 64
trainable = ["lm_head.weight", "model.norm.weight"]
directions = 0
[privacy]
target_epsilon = 6.0
budget_epsilon = 20.0  # a round that is begun in two editions costs twice
expected_batch_size = 2
[secagg]
identities = "roster"
threshold = 0.6
[federation]
rounds = {rounds}
server_optimizer = "fedavg"
warmup = 0
weight_decay = 0
[ngrams]
longest = 0
"""


@dataclass
class Organisations(Loopback):
    """The parties below one folder, each a process while it runs; the coordinator has no name."""

    python: str = field(default_factory=lambda: str(flower_python()))
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def invited(
        cls, folder: Path, names: Sequence[str], rounds: int, corpus: HelpdeskCorpus, base: Path
    ) -> Organisations:
        """Keys, data and file are there; nobody runs."""
        recipe = folder / "recipe.toml"
        recipe.write_text(RECIPE.format(rounds=rounds))
        made = cls(folder / "all", names)
        made.make(recipe, [hand(corpus, number) for number in range(len(names))], str(base))
        return made

    def chatfed(self, *words: str) -> str:
        """Here, where imports are done already."""
        done = here(*words[1:], command=words[0])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _start(self, words: Sequence[str], said: Path) -> subprocess.Popen[bytes]:
        return origin(self.python).start(words, said)

    def newcomer(self, name: str, dialogues: Sequence[str]) -> str:
        """A key and data for one more -> its line."""
        home = self.folder / name
        home.mkdir()
        (home / "mine.jsonl").write_text("".join(dialogues), encoding="utf-8")
        return self.chatfed("identity", "new", name, "--key", str(home / "my.key"))

    def join(self, *names: str) -> None:
        for name in names:
            self.running[name] = self.member(name)

    def coordinate(self, *more: str) -> None:
        self.running[""] = self.coordinator(*more)

    def joins(self, name: str, file: Path, home: str = "other", **options: Path) -> None:
        """A member's process that is given something else than it should."""
        own = self.folder / name
        given = {"data": own / "mine.jsonl", "key": own / "my.key", "home": own / home, **options}
        words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        self.running[f"{name}/{home}"] = self._start(["join", str(file), "--yes", *words], own / f"{home}.said")

    def said(self, name: str = "") -> str:
        """All that a party said so far, of all its lives."""
        whose, _, home = name.partition("/")
        return (self.folder / whose / (f"{home}.said" if home else "said")).read_text(encoding="utf-8")

    def rows(self) -> list[dict[str, Any]]:
        return rows(self.folder / "run")

    @property
    def done(self) -> int:
        """Rounds."""
        path = self.folder / "run" / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def federation(self) -> Federation:
        return read_federation(self.file)

    def wait(self, condition: Callable[[], Any], what: str, within: float = WITHIN) -> None:
        """Fails where it takes longer, or the coordinator has ended in the meantime, with what all have said."""
        until = time.monotonic() + within
        while not condition():
            ended = "" in self.running and self.running[""].poll() is not None and not condition()
            if time.monotonic() > until or ended:
                pytest.fail(f"{what}: not so{'; the coordinator has ended' if ended else ''}\n{self.everything()}")
            time.sleep(0.02)

    def await_rounds(self, number: int) -> None:
        """Returns once so many rounds are made."""
        self.wait(lambda: self.done >= number, f"round {number} is made")

    def hear_more(self, name: str, times: int) -> None:
        """Returns once a member was asked, or told that something is over, so many times more."""

        def heard() -> int:
            said = self.said(name)
            return said.count("\nInvited: ") + said.count("\nOver: ")

        before = heard()
        self.wait(lambda: heard() >= before + times, f"{name} is asked")

    def everything(self) -> str:
        return "\n".join(f"--- {path}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("**/*said")))

    def end(self, name: str = "", how: int = signal.SIGKILL, within: float = WITHIN) -> int:
        """Sends a signal -> exit code."""
        self.running[name].send_signal(how)
        return self.ended(name, within)

    def ended(self, name: str = "", within: float = WITHIN) -> int:
        """The exit code of a process that ends by itself."""
        try:
            return self.running.pop(name).wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{name or 'the coordinator'} does not end\n{self.everything()}")

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def records(self, home: Path) -> set[str]:
        """Names of all that a member has written in its stores; its process has ended."""
        found = set[str]()
        for path in home.glob("*.db"):
            with closing(sqlite3.connect(path)) as database:
                found |= {name for (name,) in database.execute("select name from records")}
        return found

    def ledger(self, name: str) -> list[Entry]:
        """What a member has charged; its process has ended."""
        with closing(Store(self.folder / name / "home" / "rounds.db")) as store:
            return self._entries(store.of(ClientId(name)))

    def books(self, name: str) -> list[Entry]:
        """What the coordinator, which has ended, had it charge."""
        with closing(Homes(self.folder / "run" / "state" / "clients")) as homes:
            return self._entries(homes.of(ClientId(name)))

    def _entries(self, records: ClientStore) -> list[Entry]:
        if not records.there("ledger"):
            return []
        ledger: Ledger = ledger_of(records, self.federation().plan().terms.budget)
        assert ledger.epsilon <= min(ledger.budget.epsilon, 1e-9 + self.rows()[-1]["epsilon_max"])
        return list(ledger.entries)

    def check_ledgers(self, *names: str) -> None:
        """Each charge once, and none that the coordinator does not know; who answered in a round has paid for it."""
        missed = sum(sum(row["dropped"].values()) for row in self.rows())
        for name in names:
            mine, its = self.ledger(name), self.books(name)
            assert max(Counter(entry.key for entry in mine).values(), default=1) == 1
            assert {(e.key, e.mechanism) for e in mine} <= {(e.key, e.mechanism) for e in its}
            per_round = Counter(round_of(entry.key) for entry in mine)
            assert set(per_round) <= set(range(len(self.rows())))
            assert len(per_round) >= len(self.rows()) - missed


def hand(corpus: HelpdeskCorpus, number: int) -> list[str]:
    """Dialogues of one member, as lines of JSON: nobody else's."""
    mine = corpus.private[EACH * number : EACH * (number + 1)]
    assert len(mine) == EACH
    turns = [[{"role": turn.role, "content": turn.content} for turn in each.messages] for each in mine]
    return [json.dumps({"messages": messages}) + "\n" for messages in turns]


def stopped(process: subprocess.Popen[bytes]) -> None:
    """Held where it is until SIGCONT."""
    process.send_signal(signal.SIGSTOP)
    state = Path(f"/proc/{process.pid}/stat")
    until = time.monotonic() + WITHIN
    while state.read_text().rpartition(")")[2].split()[0] != "T":  # it may be amid a system call
        assert time.monotonic() < until, "it stops where it is"
        time.sleep(0.01)
