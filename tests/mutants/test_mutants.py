"""Mutants are found by the scene that is named beside them, and the clean code by none.

Every second of the list; all of them: `make test-mutants`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chatfed.audit.conformance import FAMILY, Test, exact
from tests.mutants import trial
from tests.mutants.mutants import MUTANTS, Edit, Mutant
from tests.mutants.scenes import SCENES
from tests.mutants.trial import ROOT, NotThere, edited

pytestmark = pytest.mark.slow
EVERY = 2
TRIED = MUTANTS[::EVERY]
BUDGET = 180  # seconds on two cores


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("mutants") / "verdicts.json"
    asked = [sys.executable, "-m", "tests.mutants", "--json", str(file), "--workers", "2", "--every", str(EVERY)]
    subprocess.run(asked, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, timeout=900)
    return dict(json.loads(file.read_text(encoding="utf-8")))


def test_each_mutant_is_killed_at_the_level_that_is_claimed(verdicts: dict[str, Any]) -> None:
    assert [each["name"] for each in verdicts["mutants"]] == [each.name for each in TRIED]
    assert [(each["name"], each["error"]) for each in verdicts["mutants"] if each["error"] or not each["found"]] == []
    assert max(each["p"] for each in verdicts["mutants"]) < FAMILY == 1e-6


def test_no_scene_accuses_the_clean_code(verdicts: dict[str, Any]) -> None:
    assert [each["scene"] for each in verdicts["clean"]] == list(SCENES)
    assert [
        (each["scene"], each["found"], each["error"]) for each in verdicts["clean"] if each["found"] or each["error"]
    ] == []


def test_all_together_keep_to_their_time(verdicts: dict[str, Any]) -> None:
    """By the processors' time: wall time is a busy machine's."""
    assert verdicts["processor_seconds"] < BUDGET


def endless(home: Path, prepared: Path) -> list[Test]:
    while True:
        time.sleep(1)


def quick(home: Path, prepared: Path) -> list[Test]:
    home.mkdir()
    return [exact("nothing", True)]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes of these tests, in forks that read nothing anew."""
    monkeypatch.setattr(trial, "_overlay", lambda folder, sources: None)
    monkeypatch.setitem(SCENES, "endless", endless)
    monkeypatch.setitem(SCENES, "quick", quick)


@pytest.mark.usefixtures("told")
def test_a_mutant_that_never_ends_is_killed_and_does_not_count_as_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "in_memory", lambda: tmp_path)
    verdict = trial.attempt(Mutant("loops", "endless", ()), tmp_path, deadline=0.5)
    assert not verdict.killed and verdict.error == "it took longer than 0.5 s and was killed"
    assert not list(tmp_path.iterdir())  # nor does it leave a folder


@pytest.mark.usefixtures("told")
def test_of_two_at_a_time_one_that_is_done_does_not_wait_for_one_that_is_not(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(trial.attempt, Mutant("loops", "endless", ()), tmp_path, 8.0)
        start = time.monotonic()
        done = [trial.attempt(Mutant("quick", "quick", ()), tmp_path, 8.0) for _ in range(5)]
        taken, still = time.monotonic() - start, not slow.done()
        assert slow.result().error
    assert [each.error for each in done] == [""] * 5 and still and taken < 8.0


def test_there_are_many_and_each_is_another_fault() -> None:
    assert len(TRIED) >= 20
    assert len({each.name for each in MUTANTS}) == len({each.edits for each in MUTANTS}) == len(MUTANTS)
    assert {each.scene for each in MUTANTS} <= SCENES.keys()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_what_an_edit_takes_the_place_of_is_still_in_the_code(mutant: Any) -> None:
    for path, source in edited(mutant.edits).items():
        assert source != (ROOT / path).read_text(encoding="utf-8")
        compile(source, path, "exec")


@pytest.mark.parametrize("old", ["no such text", "import"])
def test_an_edit_whose_text_is_gone_or_not_alone_is_an_error(old: str) -> None:
    with pytest.raises(NotThere, match=r"client\.py holds"):
        edited((Edit("training/parties/client.py", old, "x"),))
