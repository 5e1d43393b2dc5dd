"""A federation in one process: real members, each with a home, a key and dialogues of its own, and a line to them.

The line does what Flower's does with their bytes (`training/engines/flower_coordinator.py`), without a network: who is
not let in or not connected is not asked, who refuses is missing and says why in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chatfed.model.checkpoint import base_digest
from chatfed.privacy.ledger import Entry
from chatfed.types import ChatfedError, ClientId, Entropy
from tests.secagg.rounds import entropy_from
from tests.training.federations import NAMES, PEM
from training.engines.carrier import OnReply
from training.parties.identity import member_line, new_key, read_key, read_members
from training.parties.ledgers import LEDGER, ledger_of
from training.parties.member import Member
from training.parties.session import Step
from training.parties.store import Store
from training.plan.federation import Federation, read_federation
from training.plan.recipe import load_recipe
from training.run.coordinated import Coordinator
from training.run.display import Display
from training.run.joined import Home, Joined, joined
from training.run.run_folder import RunFolder

PLAIN = Path(__file__).with_name("plain.toml")
SMALL = (
    *("secagg.identities=roster", "secagg.threshold=0.67", "federation.rounds=2", "data.hold_out=0.3"),
    *("data.hold_out_epsilon=8.0", "federation.cohort=0"),
    *("privacy.noise=distributed", "privacy.local_steps=1", "privacy.sampling_rate=0.5", "privacy.target_epsilon=4.0"),
    *("privacy.expected_batch_size=4.0", "model.context=32", "federation.server_learning_rate=0.5"),
)
"""A recipe that a tiny base goes through in seconds."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing that a program would do about an error is done."""


def lines_of(data: Path, count: int, each: int = 10) -> list[list[str]]:
    """The first dialogues of a file, dealt to so many members."""
    lines = data.read_text(encoding="utf-8").splitlines(keepends=True)[: count * each]
    return [lines[member::count] for member in range(count)]


class Listening(Display):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@dataclass
class Machine:
    """A member's own machine."""

    folder: Path
    file: Path  # FEDERATION.toml, as it was handed to this member
    base: Path
    said: list[str] = field(default_factory=list)
    place: Joined | None = None
    member: Member | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def key(self) -> Path:
        return self.folder / "my.key"

    def join(self) -> Member:
        """Begins `chatfed join`, anew where it was begun before. Raises ChatfedError."""
        self.stop()
        federation = read_federation(self.file)
        data = replace(federation.recipe.data, validation="", public="", source=str(self.folder / "mine.jsonl"))
        self.place = joined(federation, Home(self.home), self.base, self.key, data, self.said.append)
        self.member = self.place.member()
        return self.member

    def stop(self) -> None:
        """Its process ends, and what it had not committed is gone."""
        if self.place:
            self.place.close()
        self.place = self.member = None

    def charges(self) -> tuple[Entry, ...]:
        """What its ledger holds."""
        return self._ledger()[0]

    def epsilon(self) -> float:
        """By its ledger."""
        return self._ledger()[1]

    def _ledger(self) -> tuple[tuple[Entry, ...], float]:
        running, name = self.place, self.folder.name
        store = running.stores["rounds"] if running and "rounds" in running.stores else Store(self.home / "rounds.db")
        try:
            records = store.of(ClientId(name))
            if not records.there(LEDGER):
                return (), 0.0
            ledger = ledger_of(records, read_federation(self.file).plan().terms.budget)
            return ledger.entries, ledger.epsilon
        finally:
            if not running or store is not running.stores.get("rounds"):
                store.close()


@dataclass
class Neighbours:
    """All machines of a federation, and the line between coordinator and members: its carrier, and who is connected."""

    folder: Path
    base: Path
    machines: dict[ClientId, Machine] = field(default_factory=dict)
    silent: Mapping[Step, Iterable[str]] = field(default_factory=dict)  # from this step on, to the end of the sum
    lost: Mapping[Step, Iterable[str]] = field(default_factory=dict)  # whose answer is lost
    away: set[str] = field(default_factory=set)  # not connected
    asked: Callable[[Step, int], None] = lambda step, sums: None  # before a step of the so manieth sum; may raise
    heard: Callable[[Step, int], None] = lambda step, sums: None  # after its last answer
    instead: Callable[[str, Step, bytes], bytes] = lambda name, step, answer: answer  # what arrives of an answer
    entropy: Mapping[ClientId, Entropy] | None = None
    refusals: dict[ClientId, str] = field(default_factory=dict)
    wire: list[tuple[Step, ClientId, bytes, bytes | str]] = field(default_factory=list)  # messages and answers
    admitted: dict[ClientId, bytes] = field(default_factory=dict)
    sums: int = 0
    gone: set[str] = field(default_factory=set)
    stage: int = 0  # for whoever scripts what happens

    @property
    def file(self) -> Path:
        """The coordinator's own."""
        return self.folder / "fed" / "FEDERATION.toml"

    @property
    def federation(self) -> Federation:
        return read_federation(self.file)

    def make(self, data: Path, settings: Sequence[str] = (), names: Sequence[str] = NAMES) -> Federation:
        """Keys, dialogues and the file. settings: of the recipe, after SMALL."""
        hands = lines_of(data, len(names))
        for name, mine in zip(names, hands, strict=True):
            self.enrol(name, mine)
        lines = "".join(self.line(name) for name in names)
        members = read_members(lines)
        recipe = load_recipe(PLAIN, [*SMALL, *settings])
        digest = base_digest(self.base)
        made = Federation("houses", b"r" * 16, 1, "localhost:9443", PEM, digest, recipe, members)
        self.hand_out(made)
        return made

    def enrol(self, name: str, mine: Sequence[str], seed: str = "") -> None:
        """A machine with a key and dialogues."""
        machine = Machine(self.folder / name, self.folder / name / "FEDERATION.toml", self.base)
        machine.folder.mkdir(parents=True, exist_ok=True)
        (machine.folder / "mine.jsonl").write_text("".join(mine), encoding="utf-8")
        machine.key.unlink(missing_ok=True)
        new_key(machine.key, entropy_from(f"{name}{seed}"))
        self.machines[ClientId(name)] = machine

    def line(self, name: str) -> str:
        """A member's line, as it sends it to whoever keeps the list."""
        return member_line(name, read_key(self.machines[ClientId(name)].key)) + "\n"

    def hand_out(self, federation: Federation, *names: str) -> None:
        """Writes the coordinator's file, and that of the members that are named; without names, all of its members."""
        self.publish(federation)
        for name in names or [each.name for each in federation.members]:
            self.machines[ClientId(name)].file.write_text(federation.to_toml(), encoding="utf-8")

    def publish(self, federation: Federation) -> None:
        """Writes the coordinator's file alone."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(federation.to_toml(), encoding="utf-8")

    def join(self, *names: str) -> None:
        for name in names or tuple(self.machines):
            self.machines[ClientId(name)].join()

    def coordinator(self, patience: float = 0.0) -> Coordinator:
        """A new process of `chatfed coordinate`."""
        self.gone = set()
        display = Listening()
        folder = RunFolder(self.folder / "run")
        return Coordinator(self.file, folder, str(self.base), self, self, patience, display)

    def run(self, patience: float = 0.0) -> dict[str, Any]:
        """One, to its end."""
        return self.coordinator(patience).run()

    def close(self) -> None:
        for machine in self.machines.values():
            machine.stop()

    def charges(self) -> dict[str, tuple[Entry, ...]]:
        """What members' ledgers hold."""
        return {name: machine.charges() for name, machine in self.machines.items()}

    # As a link.

    def online(self) -> frozenset[ClientId]:
        """Members that are let in and running."""
        there = {name for name, machine in self.machines.items() if machine.member and name not in self.away}
        return frozenset(there & self.admitted.keys())

    def admit(self, members: Mapping[ClientId, bytes]) -> None:
        self.admitted = dict(members)

    # As a carrier.

    def watch(self, on_reply: OnReply) -> None:
        self.on_reply = on_reply

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        step = Step(next(iter(messages.values()))[0]) if messages else Step.SESSION
        if step == Step.SESSION:
            self.refusals.clear()
            self.gone = set()
            self.sums += 1
        self.asked(step, self.sums)
        self.gone |= set(self.silent.get(step, ()))
        for name, message in messages.items():
            if name not in self.online() or name in self.gone:
                continue
            answer = self._answered(name, step, message)
            if answer is not None and name not in self.lost.get(step, ()):
                yield name, answer
        self.heard(step, self.sums)

    def _answered(self, name: ClientId, step: Step, message: bytes) -> bytes | None:
        member = self.machines[name].member
        assert member is not None, "only who is online is asked"
        given = {} if self.entropy is None else {"entropy": self.entropy[name]}
        try:
            answer = self.instead(name, step, member.answer(message, **given))
        except ChatfedError as refusal:
            self.refusals[name] = " ".join(str(refusal).split())
            self.wire.append((step, name, message, self.refusals[name]))
            return None
        self.wire.append((step, name, message, answer))
        return answer
