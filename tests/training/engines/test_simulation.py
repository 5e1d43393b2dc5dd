"""Worker processes carry the same bytes to the same end as clients called one by one, and end with their parent."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import training.engines.simulation
from chatfed.privacy.guarantee import Noise, Protected
from chatfed.privacy.ledger import Budget
from chatfed.secagg.messages import BelowThreshold
from chatfed.types import ChatfedError, ClientId, FloatVector
from tests.training.federation import invitation
from tests.training.processes import ROOT, of_session, wait_for
from training.base.learner import Learner
from training.base.tokens import write_tokens
from training.durable import write_atomically
from training.engines.simulation import TOGETHER, Simulation, Workplace, _answer_all, _Worker, simulation
from training.parties.client import Client
from training.parties.homes import home_of
from training.parties.rounds import Outcome, run_round
from training.parties.session import Session, Step, rotation_seed, round_context
from training.plan.plan import plan_of
from training.plan.recipe import FederationSection, ModelSection, PrivacySection, Recipe, RuntimeSection
from training.plan.terms import ClientTerms
from training.plan.upload import PlainUpload
from training.workers import THREADS, worker_context

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

NAMES = tuple(ClientId(name) for name in ("ann", "bob/../x", "cé", "d" * 300, "one"))
A, B, C, D, ONE = NAMES


@pytest.fixture(scope="module")
def place(
    tiny_corpus: HelpdeskCorpus,
    tiny_base: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workplace:
    """Five clients with 3 dialogues each, the last with one; no noise and no sampling, so that learning repeats."""
    folder = tmp_path_factory.mktemp("simulation")
    dialogues = [dialogue.messages[:4] for dialogue in tiny_corpus.private[:13]]
    owned = {name: np.arange(3 * i, min(3 * i + 3, 13)) for i, name in enumerate(NAMES)}
    write_tokens(folder / "private", tiny_tokenizer, dialogues, owned)
    write_tokens(folder / "held-out", tiny_tokenizer, [d.messages for d in tiny_corpus.held_out[:5]])
    recipe = Recipe(
        model=ModelSection(context=64, trainable=("*norm*", "*bias*")),
        privacy=PrivacySection(noise=Noise.NONE, target_epsilon=0, sampling_rate=1.0),
        federation=FederationSection(cohort=5),
        runtime=RuntimeSection(workers=2),
    )
    terms = ClientTerms(0.0, None, Budget(0.0, 1e-5, Protected.DIALOGUE))
    return Workplace(
        plan_of(recipe, 5, terms), 2, str(tiny_base), folder / "private", folder / "held-out", folder / "homes"
    )


@pytest.fixture(scope="module")
def running(place: Workplace) -> Iterator[Simulation]:
    with simulation(place) as processes:
        yield processes


@pytest.fixture
def workers(running: Simulation) -> Simulation:
    """All clients answer, whatever a test before had them do."""
    running.dropouts = {}
    return running


@pytest.fixture(scope="module")
def learner(place: Workplace) -> Learner:
    return Learner.open(place.plan.learning, place.base, place.tokens, place.held_out)


def session(place: Workplace, weights: FloatVector, round_index: int) -> Session:
    return Session(b"r" * 16, os.urandom(16), round_index, place.plan.agreement.digest, tuple(sorted(NAMES)), weights)


def same(one: Outcome, other: Outcome) -> bool:
    return one.mean.tobytes() == other.mean.tobytes() and (one.survivors, one.dropped, one.bytes_up) == (
        other.survivors,
        other.dropped,
        other.bytes_up,
    )


def test_facts_are_those_of_the_base_model(workers: Simulation, learner: Learner) -> None:
    digest, weights, parameters = workers.facts()
    assert digest == learner.base_digest
    assert weights.tobytes() == learner.initial.tobytes()
    assert parameters == learner.parameters > len(weights)


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize(
    "silent",
    [{}, {Step.SESSION: [A]}, {Step.ADVERTS: [B]}, {Step.SHARES: [ONE]}, {Step.SURVIVORS: [D]}],
    ids=["nobody", "session", "adverts", "shares", "survivors"],
)
def test_workers_and_one_process_give_the_same_sum_under_the_same_dropouts(
    place: Workplace,
    workers: Simulation,
    learner: Learner,
    tmp_path: Path,
    silent: Mapping[Step, Sequence[ClientId]],
    together: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Simulation, "_together", lambda self, messages: together)
    digest, weights, _ = workers.facts()
    begun = session(place, weights, 10 * len(str(silent)) + together)
    workers.dropouts = {step: frozenset(who) for step, who in silent.items()}
    outcome = run_round(begun, place.plan.agreement, digest, workers)

    def in_process(homes: Path) -> Outcome:
        gone: set[ClientId] = set()

        def exchange(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
            for name, message in messages.items():
                if name in silent.get(Step(message[0]), ()):
                    gone.add(name)
                if name not in gone:
                    learn = learner.for_client(name)
                    client = Client(name, home_of(homes, name), place.plan.agreement, place.plan.terms, digest, learn)
                    yield name, client.handle(message)

        return run_round(begun, place.plan.agreement, digest, exchange)

    for name in NAMES:
        if (stored := home_of(place.homes, name) / "update.bin").exists():
            write_atomically(home_of(tmp_path / "stored", name) / "update.bin", stored.read_bytes())
    assert same(outcome, in_process(tmp_path / "stored"))
    learned = in_process(tmp_path / "learned")  # the same but for the rounding into the ring, which is drawn anew
    seed = rotation_seed(round_context(begun, digest))
    made = place.plan.agreement.sums.codec.upload(5, len(weights), seed)
    assert isinstance(made, PlainUpload)
    assert same(outcome, dataclasses.replace(learned, mean=outcome.mean))
    assert float(np.abs(learned.mean - outcome.mean).max()) < 8 * made.code.step  # rotated back, a step is spread
    assert len(outcome.survivors) == (5 if not silent or Step.SURVIVORS in silent else 4)
    assert outcome.mean.any()


def test_small_clients_travel_together_as_long_as_no_worker_waits_for_another(workers: Simulation) -> None:
    def together(clients: int, size: int) -> int:
        return workers._together(dict.fromkeys((ClientId(str(each)) for each in range(clients)), bytes(size)))

    assert [together(clients, 1000) for clients in (0, 5, 40, 100, 10_000)] == [1, 1, 2, 6, TOGETHER]
    assert [together(10_000, size) for size in (1 << 10, 1 << 20, 3 << 20, 1 << 26)] == [TOGETHER, 4, 1, 1]


def test_what_goes_to_all_is_one_file_for_the_length_of_a_step(place: Workplace, workers: Simulation) -> None:
    digest, weights, _ = workers.facts()
    found: list[tuple[Step, int]] = []

    def watching(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        step = Step(next(iter(messages.values()))[0])
        for name, answer in workers(messages):
            found.append((step, len(list(place.homes.parent.glob(".message-*")))))
            yield name, answer
        assert not list(place.homes.parent.glob(".message-*"))

    run_round(session(place, weights, 93), place.plan.agreement, digest, watching)
    assert set(found) == {(Step.SESSION, 1), (Step.ADVERTS, 1), (Step.SHARES, 0), (Step.SURVIVORS, 1)}


@pytest.mark.parametrize("breaks", [False, True])
def test_clients_side_by_side_take_turns_at_the_model_until_the_last_part_or_an_error(
    place: Workplace, learner: Learner, tmp_path: Path, breaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_it: list[ClientId] = []

    @dataclasses.dataclass
    class Parts(Learner):
        def for_client(self, client: ClientId) -> Callable[[FloatVector], Iterator[FloatVector]]:
            def parts(weights: FloatVector) -> Iterator[FloatVector]:
                at_it.append(client)
                time.sleep(0.01)
                yield np.zeros_like(weights)
                time.sleep(0.01)
                assert at_it.pop() == client and not at_it
                if breaks and client != A:
                    raise ChatfedError("broke off")

            return parts

    parts = Parts(*(getattr(learner, each.name) for each in dataclasses.fields(Learner)))
    monkeypatch.setattr(
        training.engines.simulation, "_place", _Worker(dataclasses.replace(place, homes=tmp_path), parts, {})
    )
    asked = invitation(session(place, learner.initial, 94))
    replies = _answer_all(NAMES, [asked] * len(NAMES))
    assert [client for client, answer, _ in replies if answer] == list(NAMES[:1] if breaks else NAMES)
    assert [why for _, _, why in replies] == ["", *["broke off" if breaks else ""] * 4]


def test_workers_compute_with_one_thread_and_the_main_process_keeps_its_own(
    workers: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [workers.pool.submit(os.getenv, name).result() for name in THREADS]
    assert asked == ["1"] * len(THREADS)
    assert workers.pool.submit(torch.get_num_threads).result() == 1
    monkeypatch.setenv(THREADS[0], "7")
    monkeypatch.delenv(THREADS[1], raising=False)
    worker_context()
    assert (os.environ[THREADS[0]], os.environ.get(THREADS[1])) == ("7", None)


def test_below_the_threshold_workers_give_the_same_error(place: Workplace, workers: Simulation) -> None:
    digest, weights, _ = workers.facts()
    workers.dropouts = {Step.SHARES: frozenset({A, B})}
    with pytest.raises(BelowThreshold, match="only 3 participants at stage masked input, 4 needed"):
        run_round(session(place, weights, 90), place.plan.agreement, digest, workers)


def test_a_client_with_one_dialogue_sends_as_many_bytes_as_one_with_three(
    place: Workplace, workers: Simulation
) -> None:
    digest, weights, _ = workers.facts()
    sizes: dict[ClientId, list[int]] = {}

    def weighing(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for name, answer in workers(messages):
            sizes.setdefault(name, []).append(len(answer))
            yield name, answer

    run_round(session(place, weights, 91), place.plan.agreement, digest, weighing)
    assert sizes[ONE] == sizes[A] and len(sizes[A]) == 4


def test_why_clients_refused_is_kept_and_forgotten_with_the_next_round(place: Workplace, workers: Simulation) -> None:
    digest, weights, _ = workers.facts()
    other = dataclasses.replace(session(place, weights, 92), recipe=b"x" * 32)
    with pytest.raises(BelowThreshold):
        run_round(other, place.plan.agreement, digest, workers)
    assert set(workers.refusals) == set(NAMES)
    assert all("another recipe" in reason for reason in workers.refusals.values())
    run_round(session(place, weights, 92), place.plan.agreement, digest, workers)
    assert workers.refusals == {}


def test_evaluation_over_workers_is_that_of_one_process(workers: Simulation, learner: Learner) -> None:
    weights, dialogues = learner.initial, np.arange(5)
    apart, whole = workers.evaluate(weights, dialogues), learner.evaluate(weights, dialogues)
    assert apart.sums == pytest.approx(whole.sums, rel=1e-5)  # dialogue by dialogue, in the order asked for
    assert apart.sums[:, 1:].tolist() == whole.sums[:, 1:].tolist()


def test_a_client_s_folder_stays_inside_whatever_its_name(tmp_path: Path) -> None:
    homes = {home_of(tmp_path, ClientId(name)) for name in ("..", "/etc/passwd", "a/b", "", "\0", "d" * 300, "é")}
    assert len(homes) == 7
    assert all(home.parent == tmp_path and home.name.isalnum() for home in homes)


def test_what_a_worker_cannot_begin_with_is_said_by_its_own_words(place: Workplace) -> None:
    learning = dataclasses.replace(place.plan.learning, model=ModelSection(context=64, trainable=("nothing.*",)))
    plan = dataclasses.replace(place.plan, learning=learning)
    broken = dataclasses.replace(place, plan=plan)
    with simulation(broken) as unable, pytest.raises(ChatfedError, match="matches no parameter"):
        unable.facts()


def test_a_worker_whose_parent_is_killed_ends_by_itself(tmp_path: Path) -> None:
    program = (
        "import multiprocessing, time\n"
        "from training.workers import end_with_parent\n"
        "def work():\n    end_with_parent()\n    print('up', flush=True)\n    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    worker.start()\n    worker.join()\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(program)
    parent = subprocess.Popen(
        [sys.executable, script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == "up\n"
        assert len(of_session(parent.pid)) >= 2
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10)
        assert wait_for(lambda: not of_session(parent.pid), 10, 0.05), of_session(parent.pid)
    finally:
        if of_session(parent.pid):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.stdout.close()


def test_what_a_round_keeps_of_a_client_holds_neither_its_text_nor_its_token_ids(
    place: Workplace, workers: Simulation, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    digest, weights, _ = workers.facts()
    run_round(session(place, weights, 95), place.plan.agreement, digest, workers)
    text = str(tiny_tokenizer.decode(np.fromfile(place.tokens / "ids.i32", np.int32)[:50]))
    assert any(place.homes.rglob("update.bin")), "the round is not over"
    for path in place.homes.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert text[10:40].encode() not in content
            assert np.fromfile(place.tokens / "ids.i32", np.int32)[5:15].tobytes() not in content


def without_tokens(place: Workplace) -> Workplace:
    return dataclasses.replace(place, tokens=None)  # type: ignore[arg-type]


def on_a_device_that_is_not_there(place: Workplace) -> Workplace:
    learning = dataclasses.replace(place.plan.learning, device="cuda:99")
    return dataclasses.replace(place, plan=dataclasses.replace(place.plan, learning=learning))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (without_tokens, "cannot begin: TypeError"),
        (on_a_device_that_is_not_there, r"runtime\.device = 'cuda:99'"),
    ],
)
def test_a_worker_that_cannot_begin_ends_in_one_error_whatever_its_kind(
    place: Workplace, broken: Callable[[Workplace], Workplace], words: str
) -> None:
    there = broken(dataclasses.replace(place, workers=1))
    with simulation(there) as unable, pytest.raises(ChatfedError, match=words):
        unable.facts()
