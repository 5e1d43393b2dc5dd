"""Worker processes that cannot begin, are killed, or lose their parent: one error each, and nothing is left running."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatfed.types import ChatfedError, ClientId
from tests.training.engines.places import session
from tests.training.processes import ROOT, of_session, wait_for
from training.engines.simulation import Workplace, simulation
from training.parties.rounds import run_round
from training.parties.session import Step
from training.plan.recipe import ModelSection


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


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """What hangs is an error after so long."""

    def hung(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("when", [Step.SESSION, Step.SHARES], ids=["learning", "later"])
def test_a_worker_that_is_killed_ends_the_round_in_one_error_and_its_clients_go_on_with_another(
    place: Workplace, tmp_path: Path, when: Step
) -> None:
    there = dataclasses.replace(place, homes=tmp_path / "clients")
    killed: list[int] = []

    def killing(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for each in workers(messages):
            if next(iter(messages.values()))[0] == when and not killed:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)
            yield each

    with at_most(120):
        with simulation(there) as workers:
            digest, weights, _ = workers.facts()
            begun = session(there, weights, 97)
            pid = workers.workers[1].submit(os.getpid).result()
            with pytest.raises(BrokenProcessPool):
                run_round(begun, place.plan.agreement, digest, killing)
        assert killed == [pid]
        with simulation(there) as workers:
            again = dataclasses.replace(begun, attempt=os.urandom(16))
            assert len(run_round(again, place.plan.agreement, digest, workers).survivors) == 5
