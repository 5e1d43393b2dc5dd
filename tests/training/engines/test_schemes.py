"""A whole run by its engine, from dialogues to saved weights, under both schemes of secure sums."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.engines.simulation
from chatfed.types import ClientId
from tests.secagg.rounds import entropy_from
from tests.training.processes import PLAIN, here, rows, settings
from training.engines.simulation import Dropouts
from training.federated import federate
from training.parties.answering import Steps
from training.parties.client import Client
from training.parties.session import Step
from training.run.run_folder import RunFolder


class Here:
    """Does a worker process's work in this one, whose entropy a test chooses."""

    def __init__(self, *_: object, initializer: Callable[..., None], initargs: tuple[Any, ...], **more: object) -> None:
        initializer(*initargs)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, call: Callable[..., Any], /, *given: Any) -> Future[Any]:
        done = Future[Any]()
        done.set_result(call(*given))
        return done


@pytest.fixture
def one_entropy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each client draws the same for each of its messages, whatever the scheme; the engine's own code runs, in here."""
    interrupted, steps, rng = signal.getsignal(signal.SIGINT), Client.steps, np.random.default_rng

    def drawing(self: Client, message: bytes) -> Steps:
        return steps(self, message, entropy_from(f"{self.name} {message[:1].hex()}"))

    monkeypatch.setattr(Client, "steps", drawing)
    monkeypatch.setattr(np.random, "default_rng", lambda seed=7: rng(seed))  # the order in which a client reads
    monkeypatch.setattr(training.engines.simulation, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(training.engines.simulation, "end_with_parent", lambda: None)
    monkeypatch.setattr(training.engines.simulation, "_place", None)
    yield
    signal.signal(signal.SIGINT, interrupted)


@pytest.fixture
def few(tiny_data: Path, tmp_path: Path) -> Path:
    """Three short dialogues of each of six clients."""
    said: dict[str, list[str]] = {}
    for line in (tiny_data / "private.jsonl").read_text(encoding="utf-8").splitlines():
        said.setdefault(json.loads(line)["client_id"], []).append(line)
    chosen = [line for lines in list(said.values())[:6] for line in sorted(lines, key=len)[:3]]
    (tmp_path / "private.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return tmp_path / "private.jsonl"


def whole_run(scheme: str, data: Path, base: Path, out: Path) -> RunFolder:
    """`chatfed train` to its end."""
    given = settings(
        privacy__unit="client", privacy__noise="distributed", privacy__target_epsilon=3.0, secagg__threshold=0.6,
        secagg__scheme=scheme, secagg__rotation="false", runtime__workers=1, runtime__evaluation_dialogues=3,
        model__context=64,
    )  # fmt: skip
    places = ("--data", data, "--validation", data.parent / "held_out.jsonl", "--base", base, "--out", out)
    done = here(*places, "--recipe", PLAIN, "--rounds", "2", "--cohort", "6", *given)
    assert done.returncode == 0, done.stderr
    return RunFolder(out)


def test_a_whole_run_saves_the_weights_of_the_masked_run_bit_for_bit_with_somebody_gone_in_a_round(
    few: Path, tiny_data: Path, tiny_base: Path, tmp_path: Path, one_entropy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds with shared noise, between the command and the folder that it leaves.

    Without rotation: its seed follows from the recipe's digest, in which the scheme stands, so that two runs of two
    recipes would round the same update in two directions. (With rotation and one digest: test_sum_schemes.py.)
    """
    (few.parent / "held_out.jsonl").write_bytes((tiny_data / "held_out.jsonl").read_bytes())
    names = sorted({ClientId(json.loads(line)["client_id"]) for line in few.read_text(encoding="utf-8").splitlines()})
    gone: list[Dropouts] = [{Step.SHARES: frozenset(names[:1])}, {}]
    monkeypatch.setattr("training.beside.federate", partial(federate, dropouts=gone.__getitem__))
    runs = {scheme: whole_run(scheme, few, tiny_base, tmp_path / scheme).path for scheme in ("masks", "threshold-he")}
    weights = [(path / "model" / "model.safetensors").read_bytes() for path in runs.values()]
    assert weights[0] == weights[1] != (tiny_base / "model.safetensors").read_bytes()
    for scheme, path in runs.items():
        assert [(row["survivors"], list(row["dropped"])) for row in rows(path)] == [(5, ["shares"]), (6, [])]
        assert ("Hint-RLWE" in (path / "privacy.json").read_text(encoding="utf-8")) == (scheme == "threshold-he")
