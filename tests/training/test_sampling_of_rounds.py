"""Which dialogues a step takes, in whole rounds of clients with a real model: drawn in secret, anew, and by Poisson.

Replayed: the system's generator is a recorded stream, and what a client's training asks of its table is written down.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from chatfed.privacy.guarantee import Noise, Protected
from chatfed.privacy.ledger import Budget
from chatfed.privacy.noise import poisson_sample
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.types import ClientId, Entropy, FloatVector, IntVector
from tests.privacy.entropy import replay
from tests.training import federation as parties
from tests.training.federation import Federation, names
from training.base.learner import Learner
from training.base.tokens import DialogueExamples, write_tokens
from training.parties.rounds import Outcome, commit
from training.parties.session import Session
from training.parties.store import SEALED
from training.plan.plan import learning_of
from training.plan.recipe import FederationSection, ModelSection, PrivacySection, Recipe, SecAggSection
from training.plan.terms import ClientTerms, client_terms

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

RATE = 0.3
CLIENTS = names(4)
OWNED = 40  # dialogues of each client
RECIPE = Recipe(
    model=ModelSection(context=64, trainable=("model.norm.weight",)),
    privacy=PrivacySection(noise=Noise.DISTRIBUTED, sampling_rate=RATE, expected_batch_size=12.0),
    secagg=SecAggSection(threshold=0.75),
    federation=FederationSection(cohort=4, rounds=10),
)
Sample = frozenset[int]


@pytest.fixture(scope="module")
def learner(
    tiny_corpus: HelpdeskCorpus,
    tiny_base: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> Learner:
    folder = tmp_path_factory.mktemp("sampling")
    dialogues = [dialogue.messages[:2] for dialogue in tiny_corpus.private[: 4 * OWNED]]
    owned = {name: np.arange(OWNED * i, OWNED * (i + 1)) for i, name in enumerate(CLIENTS)}
    write_tokens(folder / "private", tiny_tokenizer, dialogues, owned)
    write_tokens(folder / "held-out", tiny_tokenizer, dialogues[:1])
    return Learner.open(learning_of(RECIPE, 1.0), str(tiny_base), folder / "private", folder / "held-out")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Dialogues that any client's training has looked at, in their order."""
    seen, rows = list[int](), DialogueExamples.rows

    def watching(self: DialogueExamples, indices: IntVector) -> Any:
        seen.extend(int(each) for each in self.dialogues[indices])
        return rows(self, indices)

    monkeypatch.setattr(DialogueExamples, "rows", watching)
    return seen


@dataclasses.dataclass
class Sampling(parties.Learner):
    """A client's real training, and which of its dialogues each call of it took."""

    update: FloatVector
    calls: int = 0
    real: Callable[[FloatVector], Any] = dataclasses.field(kw_only=True)
    seen: list[int] = dataclasses.field(kw_only=True)
    samples: list[Sample] = dataclasses.field(default_factory=list)

    def __call__(self, weights: FloatVector) -> list[FloatVector]:
        self.calls += 1
        before = len(self.seen)
        parts = list(self.real(weights))
        self.samples.append(frozenset(self.seen[before:]))
        assert len(self.samples[-1]) == len(self.seen) - before == len(parts), "each sampled dialogue once, and alone"
        return parts


@dataclasses.dataclass
class Rounds:
    """Rounds of the four clients, of which each has its own model, one after the other."""

    federation: Federation
    weights: FloatVector

    @classmethod
    def begin(cls, home: Path, learner: Learner, seen: list[int], recipe: Recipe = RECIPE, own: str = "") -> Rounds:
        terms = ClientTerms(1.0, client_terms(recipe, 4).mechanism, Budget(1e6, 1e-5, Protected.DIALOGUE))
        streams = {name: replay(f"{own}{name}".encode()) for name in CLIENTS}
        made = Federation(home, recipe, CLIENTS, terms, entropy=lambda name: streams[name])
        for name in CLIENTS:
            real = learner.for_client(name)
            made.learners[name] = Sampling(learner.initial, real=real, seen=seen)
        return cls(made, learner.initial)

    def run(self, index: int = 0, **said: Any) -> Outcome:
        return self.federation.run(self.session(index, **said))

    def session(self, index: int = 0, **said: Any) -> Session:
        made = self.federation.session(index, self.weights, b"a" * 16)
        return dataclasses.replace(made, **said)

    def samples(self, index: int = 0) -> dict[ClientId, Sample]:
        learners = self.federation.learners.items()
        return {name: each.samples[index] for name, each in learners if isinstance(each, Sampling)}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[Entropy], list[int]]:
    """Puts a stream in the place of the system's generator and returns the sizes that are asked of it."""

    def put(stream: Entropy) -> list[int]:
        sizes = list[int]()

        def drawn(size: int) -> bytes:
            sizes.append(size)
            return stream(size)

        monkeypatch.setattr(ssl, "RAND_bytes", drawn)
        return sizes

    return put


Put = Callable[[Entropy], list[int]]


def test_a_sample_is_drawn_from_the_system_s_generator_and_from_nothing_that_anybody_else_knows(
    learner: Learner, asked: list[int], system: Put, tmp_path: Path
) -> None:
    """The same messages and other random bytes: another sample. The same bytes and any other messages: the same one."""
    sizes = system(replay(b"one"))
    first = Rounds.begin(tmp_path / "first", learner, asked)
    first.run()
    assert sizes == [8 * OWNED] * 4, "a word for each dialogue, whatever the sample"

    again, lengths = replay(b"one"), np.diff(learner.private.starts)
    for name in CLIENTS:
        mine = learner.private.clients[name]
        order = mine[np.argsort(lengths[mine], kind="stable")]
        assert first.samples()[name] == frozenset(order[poisson_sample(OWNED, RATE, again)].tolist())

    system(replay(b"other"))
    other = Rounds.begin(tmp_path / "other", learner, asked)
    other.run()
    assert all(other.samples()[name] != first.samples()[name] for name in CLIENTS)

    federation = dataclasses.replace(RECIPE.federation, seed=7)
    seeds = dataclasses.replace(RECIPE, federation=federation, data=dataclasses.replace(RECIPE.data, seed=7))
    for place, recipe, own, said in (
        ("said", RECIPE, "", {"run": b"s" * 16, "attempt": b"b" * 16, "weights": learner.initial * np.float32(2)}),
        ("seeds", seeds, "", {}),
        ("own", RECIPE, "other bytes for keys and noise", {}),
    ):
        system(replay(b"one"))
        same = Rounds.begin(tmp_path / place, learner, asked, recipe, own)
        same.run(3, **said)
        assert same.samples() == first.samples(), place


def test_over_rounds_a_dialogue_is_in_as_often_as_the_rate_says_and_by_itself(
    learner: Learner, asked: list[int], system: Put, tmp_path: Path
) -> None:
    """Each bound is passed by chance once in 10,000 streams; this one is fixed."""
    system(replay(b"many"))
    rounds = Rounds.begin(tmp_path, learner, asked)
    for index in range(10):
        rounds.run(index)
    taken = np.zeros((10, 4 * OWNED))
    for index in range(10):
        for sample in rounds.samples(index).values():
            taken[index, list(sample)] = 1

    def between(law: Any, value: float) -> bool:
        return bool(law.cdf(value) > 5e-5 and law.sf(value) > 5e-5)

    assert between(stats.binom(taken.size, RATE), taken.sum())
    varies = RATE * (1 - RATE)
    of_dialogues = ((taken.sum(0) - 10 * RATE) ** 2 / (10 * varies)).sum()
    assert between(stats.chi2(4 * OWNED), of_dialogues), "no dialogue is in more often than the next"
    sizes = taken.reshape(10, 4, OWNED).sum(2)
    of_sizes = ((sizes - OWNED * RATE) ** 2 / (OWNED * varies)).sum()
    assert between(stats.chi2(40), of_sizes), "sizes vary as sums of independent coins do: neither fixed nor in blocks"
    twice = (taken[1:] * taken[:-1]).sum()
    assert between(stats.binom(9 * 4 * OWNED, RATE**2), twice), "a round's sample says nothing of the next"
    assert len({frozenset(np.flatnonzero(row)) for row in taken.reshape(40, OWNED)}) == 40, "never the same again"


Raw = tuple[bytes, ...]


def everything(rounds: Rounds) -> dict[tuple[str, str], Raw]:
    """All that lies on clients' disks: each record's columns, and under its file's name the bytes of each key."""
    found = dict[tuple[str, str], Raw]()
    for client in CLIENTS:
        path = rounds.federation.home / client / "records.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            for name, key, *row in database.execute("select name, key, body, checksum from records"):
                found[client, name] = (key.encode(), *row)
        keys = path.with_name("records.db.keys").read_bytes()
        found[client, "keys"] = tuple(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES))
    return found


def in_clear(name: str, raw: Raw) -> object:
    """What of it is neither noised ring elements, sealed, nor a key; and the lengths of all."""
    lengths = [len(each) for each in raw]
    if name == "keys":
        return lengths, [any(key) for key in raw]
    key, body, checksum = raw
    if name in SEALED:
        return lengths, key
    if name == "round":  # names stand before what is sealed
        return lengths, key, body[: 4 + int.from_bytes(body[:4], "little")]
    return lengths, key, body, checksum


def sizes(rounds: Rounds) -> dict[str, int]:
    """Of all files: what a database does not overwrite of what it held grows with it."""
    home = rounds.federation.home
    return {str(path.relative_to(home)): path.stat().st_size for path in home.rglob("*") if path.is_file()}


def test_nothing_that_leaves_a_client_or_stays_with_it_tells_how_many_or_which_were_taken(
    learner: Learner, asked: list[int], system: Put, tmp_path: Path
) -> None:
    """Streams that take every dialogue and none: what differs is under noise, masks or a seal. Time is left out."""
    kept, left, wires, outcomes = [], [], [], []
    sized = list[dict[str, int]]()
    for place, byte in (("all", b"\x00"), ("none", b"\xff")):
        system(lambda size, byte=byte: byte * size)  # type: ignore[misc]  # bound now
        rounds = Rounds.begin(tmp_path / place, learner, asked)
        outcomes.append(rounds.run())
        assert {len(sample) for sample in rounds.samples().values()} == {OWNED if place == "all" else 0}
        kept.append({(name, what): in_clear(what, raw) for (name, what), raw in everything(rounds).items()})
        sized.append(sizes(rounds))
        wires.append([(step, name, len(answer)) for step, name, answer in rounds.federation.wire])
        commit(rounds.session(), rounds.federation)
        left.append(everything(rounds))
        sized.append(sizes(rounds))
    assert wires[0] == wires[1], "messages of the same lengths"
    ledger = {"ledger", "charge 0", "keys"}
    assert kept[0] == kept[1] and {what for _, what in kept[0]} == {*ledger, "round", "update", "answered", "epoch"}
    assert left[0] == left[1] and {what for _, what in left[0]} == {*ledger, "finished"}, "alike, byte for byte"
    assert sized[:2] == sized[2:] and len(sized[0]) == 4 * 5, "records, their log with its index, keys, and a lock"
    said = [dataclasses.replace(outcome, mean=learner.initial) for outcome in outcomes]
    assert said[0] == said[1]


def test_a_round_that_is_asked_again_sends_what_is_stored_and_draws_no_second_sample(
    learner: Learner, asked: list[int], system: Put, tmp_path: Path
) -> None:
    sizes = system(replay(b"retry"))
    rounds = Rounds.begin(tmp_path, learner, asked)
    first = rounds.run()
    stored = {at: raw for at, raw in everything(rounds).items() if at[1] == "update"}
    drawn, looked_at = list(sizes), list(asked)
    assert len(stored) == 4 and drawn and looked_at
    for attempt in (b"b" * 16, b"c" * 16):
        second = rounds.run(attempt=attempt)
        assert np.array_equal(second.mean, first.mean) and second.survivors == first.survivors == CLIENTS
        assert {at: everything(rounds)[at] for at in stored} == stored
    assert (sizes, asked) == (drawn, looked_at)
    rounds.run(1)
    assert all(rounds.samples(1)[name] != rounds.samples(0)[name] for name in CLIENTS), "another round draws anew"
