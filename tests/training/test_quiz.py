"""`chatfed quiz` on a tiny run: which models are asked, what is written, and which runs it is not about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.processes import TINY, here, one_line, settings


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on a house of five clients, and the same without noise."""
    place = tmp_path_factory.mktemp("quiz")
    given = settings(
        data__clients=5, privacy__noise_multiplier=1.1, privacy__local_steps=1, pretrain__epochs=0.1,
        runtime__workers=1, runtime__evaluation_dialogues=4, runtime__cache=f'"{place / "cache"}"',
    )  # fmt: skip
    tiny = [part for each in TINY for part in ("--set", f"model.{each}")]
    done = here("--reference", "--rounds", "1", "--cohort", "4", "--out", place / "out", *tiny, *given)
    assert done.returncode == 0, done.stderr
    return place / "out"


def test_all_models_of_a_run_are_asked_the_same_and_the_report_shows_it(finished: Path) -> None:
    (finished / "ceiling").mkdir()
    shutil.copytree(finished / "model", finished / "ceiling" / "model")
    done = here(finished, command="quiz")
    shutil.rmtree(finished / "ceiling")
    assert done.returncode == 0, done.stderr
    models = json.loads((finished / "quiz.json").read_text())["models"]
    assert len(models) == 4 and all(name in done.stdout for name in models)
    assert models["after private training"] == models["trained together, without privacy"]
    counts = {tuple(scores[part]["questions"] for part in scores) for scores in models.values()}
    ((house, trained, others),) = counts
    assert house >= 40 and 0 < trained == others
    assert all(0 <= s["right"] <= 1 and s["bits"] > 0 for scores in models.values() for s in scores.values())
    assert "What it knows of the house" in (finished / "report.html").read_text()


def test_json_is_what_the_file_holds(finished: Path) -> None:
    done = here(finished, "--json", command="quiz")
    written = json.loads((finished / "quiz.json").read_text())
    assert json.loads(done.stdout) == written and len(written["models"]) == 3


def test_no_private_word_is_written(finished: Path) -> None:
    here(finished, command="quiz")
    held = json.loads((finished / "quiz.json").read_text())
    strings = {value for value in _leaves(held) if isinstance(value, str)}
    assert strings == set()


def _leaves(value: object) -> list[object]:
    return [each for part in value.values() for each in _leaves(part)] if isinstance(value, dict) else [value]


def test_a_run_that_learned_from_another_version_s_house_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    ids = np.memmap(copy / "state" / "private" / "ids.i32", np.int32, "r+")
    ids[-3] += 1
    ids.flush()
    one_line(here(copy, command="quiz"), "another version of chatfed", code=2)


def test_a_run_on_other_data_and_a_folder_without_a_run_are_refused(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    recipe = (finished / "recipe.toml").read_text()
    (other / "recipe.toml").write_text(recipe.replace('source = "helpdesk"', 'source = "mine.jsonl"'))
    one_line(here(other, command="quiz"), "no finished run", code=2)
    (other / "summary.json").write_text("{}")
    one_line(here(other, command="quiz"), "mine.jsonl", "without --data", code=2)
    one_line(here(tmp_path / "nothing", command="quiz"), "no finished run", code=2)
