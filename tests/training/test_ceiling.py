"""`--ceiling`: what the base would learn without privacy, beside a run, and out of sight of whoever sees the run."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import chatfed
from chatfed.audit.gain import gain_sentence
from serving.privacy_budget import rounds_html
from serving.privacy_run import facts_html
from serving.privacy_tab import privacy_html
from serving.run_folder import read_run_folder
from tests.training.processes import here, ledgers, of_session, rows, settings, start, wait_for
from training import beside
from training.base.ceiling import ceiling_job, trained_ceiling
from training.base.evaluation import Evaluation
from training.plan.recipe import load_recipe
from training.run.run_folder import RunFolder


def options(tiny_data: Path, tiny_base: Path, out: Path) -> list[object]:
    given = settings(
        runtime__workers=1, runtime__evaluation_dialogues=20, model__context=64, model__trainable='["all"]',
        privacy__noise_multiplier=1.1, pretrain__learning_rate=0.1, ngrams__longest=0,
    )  # fmt: skip
    data = ("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", tiny_base)
    return [*data, "--rounds", "1", "--cohort", "4", "--out", out, *given]


@pytest.fixture(scope="module")
def run(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole run with a ceiling of a fifth of a pass, and what it said."""
    out = tmp_path_factory.mktemp("beside") / "out"
    done = here("--ceiling-passes", "0.2", *options(tiny_data, tiny_base, out))
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_the_summary_holds_all_that_is_measured_and_the_share_that_was_learned(run: tuple[Path, str]) -> None:
    summary = summary_of(run[0])
    before, after, ceiling = summary["before"], summary["after"], summary["ceiling"]
    assert {each.name for each in fields(Evaluation)} <= ceiling.keys()
    assert (ceiling["passes"], ceiling["words"], ceiling["bytes"]) == (0.2, before["words"], before["bytes"])
    assert ceiling["bits_per_byte"] < after["bits_per_byte"], "the base learned more without privacy"
    gain = ceiling["gain"]["bits_a_word"]
    share = (before["bits_per_byte"] - after["bits_per_byte"]) / (before["bits_per_byte"] - ceiling["bits_per_byte"])
    assert gain["share"] == pytest.approx(share)
    assert gain["low"] <= gain["share"] <= gain["high"]
    assert ceiling["gain"]["groups"] == summary["comparison"]["groups"]
    assert summary["seconds"]["ceiling"] > 0


def test_the_closing_words_and_the_report_say_it_and_that_it_is_covered_by_nothing(run: tuple[Path, str]) -> None:
    folder, said = run
    page = (folder / "report.html").read_text()
    for text in (said, page):
        assert gain_sentence(summary_of(folder)) in text
        assert "no epsilon covers" in text and "Keep them to yourself" in text


def test_no_figure_of_the_ceiling_is_in_what_is_meant_to_be_shown(run: tuple[Path, str]) -> None:
    folder, _ = run
    told = read_run_folder(folder)
    assert told.summary is not None and told.summary["ceiling"]
    shown = [privacy_html(told), facts_html(told), rounds_html(told)]
    shown += [(folder / name).read_text() for name in ("model/README.md", "privacy.json", "metrics.jsonl")]
    summary = summary_of(folder)
    ceiling, gain = summary["ceiling"], summary["ceiling"]["gain"]["bits_a_word"]
    figures = (
        f"{ceiling['bits_per_byte']:.3f}",
        f"{gain['learnable']:.2f} bits",
        "could be learned",
        "Without privacy",
    )
    for text in shown:
        assert [figure for figure in figures if figure in text] == []
    assert f"{summary['after']['bits_per_byte']:.3f}" in shown[0] + shown[1], (
        "what is measured on the run's own model is"
    )


def test_the_ceiling_is_a_model_that_says_loudly_what_it_is(run: tuple[Path, str]) -> None:
    folder, _ = run
    model = folder / "ceiling" / "model"
    assert isinstance(chatfed.load_chat(model).reply("hello", chatfed.Generation(max_new_tokens=2, seed=1)), str)
    (title,) = [line for line in (model / "README.md").read_text().splitlines() if line.startswith("# ")]
    assert title == "# TRAINED WITHOUT PRIVACY: never release it, never share it"
    assert (folder / "ceiling").stat().st_mode & 0o077 == 0, "another user of the machine does not see it"
    assert read_run_folder(model).privacy is None, "served all the same, nothing is claimed of it"


def test_a_ceiling_is_no_part_of_the_recipe(run: tuple[Path, str]) -> None:
    assert "ceiling" not in (run[0] / "recipe.toml").read_text()
    assert load_recipe(run[0] / "recipe.toml").digest().hex() in (run[0] / "state" / "run.json").read_text()


def test_going_on_finds_the_ceiling_and_another_number_of_passes_makes_another(
    run: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(run[0], folder)
    before, books = summary_of(folder), ledgers(folder)
    (folder / "ceiling" / ".model-x").mkdir()  # left by a killed process
    with monkeypatch.context() as found:
        found.setattr("training.base.ceiling.in_processes", lambda *_: pytest.fail("it was trained again"))
        done = here(folder, "--quiet", command="resume")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert summary_of(folder)["ceiling"] == before["ceiling"] and not (folder / "ceiling" / ".model-x").exists()
    assert here(folder, "--quiet", "--ceiling-passes", "0.4", command="resume").returncode == 0
    after = summary_of(folder)
    assert after["ceiling"]["passes"] == 0.4 and after["ceiling"]["training"]["done"] == 18
    assert after["ceiling"]["bits_per_byte"] < before["ceiling"]["bits_per_byte"]
    assert after["after"] == before["after"] and ledgers(folder) == books != {}


@pytest.mark.slow
def test_killed_in_the_midst_of_the_ceiling_it_goes_on_and_nothing_private_is_spent_again(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    process = start("--ceiling", *options(tiny_data, tiny_base, folder))
    try:
        assert wait_for((folder / "ceiling").exists, 120), "never came to the ceiling"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        assert wait_for(lambda: not of_session(process.pid), 15, 0.05)
    finally:
        if of_session(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / "ceiling" / "model").exists(), "killed too late to tell"
    published, books, line = summary_of(folder), ledgers(folder), rows(folder)
    assert published["ceiling"] is None and published["after"], "the private run was published before"
    done = here(folder, command="resume")
    assert done.returncode == 0, done.stderr
    summary = summary_of(folder)
    assert summary["ceiling"]["passes"] == 1.0 and gain_sentence(summary) in done.stdout
    assert (ledgers(folder), rows(folder), summary["after"]) == (books, line, published["after"])


def test_the_ceiling_is_the_same_whoever_trains_it_and_whatever_was_learned_privately(
    run: tuple[Path, str], tmp_path: Path
) -> None:
    folder = RunFolder(run[0])
    recipe, base = load_recipe(run[0] / "recipe.toml"), folder.prepared()
    assert base is not None
    job = ceiling_job(recipe, base, folder.state / "private", 0.2, tmp_path / "again")
    trained_ceiling(job, 2, lambda done, text: None)
    made = [place / "model.safetensors" for place in (tmp_path / "again", run[0] / "ceiling" / "model")]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_run_of_an_earlier_build_goes_on_without_a_ceiling(run: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(run[0], tmp_path / "out")
    folder = RunFolder(tmp_path / "out")
    stored = json.loads((folder.state / "run.json").read_text())
    del stored["ceiling"]
    (folder.state / "run.json").write_text(json.dumps(stored))
    assert folder.begun().ceiling == 0.0 and not folder.begun().reference
    assert folder.want(folder.begun(), False, 0.5).ceiling == folder.begun().ceiling == 0.5
    assert folder.want(folder.begun(), True, 0.0).ceiling == 0.5, "what was wanted before still is"


def test_both_comparisons_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is told last holds both; each is told when it is there, so that a stop in the second loses not the first."""
    told: list[dict[str, Any]] = []
    ended = type("Ended", (), {"summary": {"reference": None, "ceiling": None}})()
    for name, found in (("federate", ended), ("_without_noise", {"top1": 1}), ("_ceiling", {"top1": 2})):
        monkeypatch.setattr(beside, name, lambda *_, found=found: found)
    monkeypatch.setattr(beside, "_tell", lambda folder, ended: told.append(dict(ended.summary)))
    begun = RunFolder(tmp_path).begin(load_recipe(), True, 1.0)
    beside.run_compared(begun, RunFolder(tmp_path), None)  # type: ignore[arg-type] # nothing is shown here
    assert told == [{"reference": {"top1": 1}, "ceiling": None}, {"reference": {"top1": 1}, "ceiling": {"top1": 2}}]
