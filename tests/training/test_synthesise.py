"""`chatfed synthesise` on a run's folder: what is drawn, written and refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from chatfed.conversation.synthetic import read_copy
from chatfed.model.checkpoint import base_digest, save_model, weights_file
from chatfed.model.refusals import ModelError
from chatfed.model.tokenizer import end_ids
from chatfed.model.transformer import untie_output
from tests.conftest import build_tiny
from tests.conversation.test_synthetic import CLAIM
from tests.training.processes import PLAIN, here, one_line
from training.base.synthetic import NothingSaid, Said, Wanted, _keep_likely, dialogues
from training.plan.recipe import load_recipe
from training.run.run_folder import RunFolder

CONTEXT = 160
ONE = np.array([1], np.int64)


@pytest.fixture(scope="module")
def model(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> str:
    """It says anything, and ends a message at one token in ten or twenty."""
    folder, random = tmp_path_factory.mktemp("talkative") / "model", build_tiny(tiny_tokenizer, CONTEXT)
    untie_output(random)
    with torch.no_grad():
        both = random.get_input_embeddings(), random.get_output_embeddings()
        words, output = (next(each.parameters()) for each in both)
        words[:, 0] = 5.0
        output[end_ids(tiny_tokenizer), 0] = 1.5
        for name, parameter in random.named_parameters():
            if "layers" in name and parameter.dim() > 1:
                parameter.mul_(0.1)
    save_model(folder, random, tiny_tokenizer, "Random.\n")
    return str(folder)


@pytest.fixture
def run(model: str, tiny_data: Path, tmp_path: Path) -> Path:
    """A finished run, as far as a copy looks at it."""
    recipe = load_recipe(PLAIN)
    data = replace(recipe.data, source=str(tiny_data / "private.jsonl"), public=str(tiny_data / "public.jsonl"))
    own = replace(recipe.model, context=CONTEXT)
    path = tmp_path / "run"
    RunFolder(path).begin(replace(recipe, data=data, model=own))
    (path / "model").symlink_to(model)
    claimed(path, CLAIM)
    return path


def claimed(path: Path, claim: dict[str, Any]) -> None:
    digest = hashlib.sha256(weights_file(path / "model").read_bytes()).hexdigest()
    (path / "privacy.json").write_text(json.dumps({**claim, "model_sha256": digest}))


def drawn(model: str, workers: int = 1, **settings: Any) -> list[Said]:
    wanted = Wanted(**{"count": 40, "exchanges": ONE, **settings})
    return dialogues(model, CONTEXT, wanted, workers, lambda done, of: None)


def test_so_many_whole_exchanges_are_drawn_and_the_seed_alone_decides_which(model: str) -> None:
    said = drawn(model)
    assert len(said) == 40
    assert all([turn.role for turn in each.turns] == ["user", "assistant"] and not each.cut for each in said)
    assert all(turn.content.strip() == turn.content != "" for each in said for turn in each.turns)
    assert drawn(model) == said != drawn(model, seed=2)


@pytest.mark.slow
def test_the_number_of_processes_changes_no_word(model: str) -> None:
    assert drawn(model, workers=2, count=140) == drawn(model, count=140)


def test_no_marker_of_the_template_is_among_the_words(
    model: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    text = " ".join(turn.content for each in drawn(model) for turn in each.turns)
    assert [token for token in tiny_tokenizer.all_special_tokens if token in text] == []


def test_what_has_no_more_room_ends_with_its_last_exchange_and_is_counted(model: str) -> None:
    said = drawn(model, exchanges=np.array([5], np.int64))
    assert {len(each.turns) % 2 for each in said} == {0} and any(each.cut for each in said)


def test_a_model_that_never_comes_to_an_end_is_refused(model: str) -> None:
    wanted = Wanted(20, ONE, temperature=1.0)
    with pytest.raises(NothingSaid, match=r"Of 20 dialogues that the model began 4 times, \d+ came"):
        dialogues(model, 9, wanted, 1, lambda done, of: None)


def test_a_model_that_cannot_be_read_is_named_in_another_process_too(tmp_path: Path) -> None:
    for workers in (1, 2):
        with pytest.raises(ModelError, match=str(tmp_path)):
            drawn(str(tmp_path), workers=workers)


def test_with_top_p_the_fewest_likeliest_tokens_of_so_much_stay() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(30), 20).astype(np.float32)
    kept = shares.copy()
    _keep_likely(kept, 0.6)
    for row, left in zip(shares, kept, strict=True):
        order, sum_ = sorted(range(30), key=lambda at: -row[at]), 0.0
        few = set()
        for at in order:
            few.add(at)
            sum_ += row[at]
            if sum_ >= 0.6:
                break
        assert set(np.flatnonzero(left).tolist()) == few


def test_a_copy_has_the_models_claim_and_other_files_than_a_clients(run: Path) -> None:
    done = here(run, "--n", 20, command="synthesise")
    assert done.returncode == 0, done.stderr
    texts, told = read_copy(run / "synthetic")
    assert len(texts) == told.dialogues == 20 and told.claim["epsilon"] == 7.99
    assert told.exchanges == 0 and told.folder_sha256 == base_digest(run / "model").hex()
    assert done.stdout.rstrip().endswith(f"chatfed audit synthetic {run}")
    assert told.model_sha256 in (run / "synthetic" / "README.md").read_text()


def test_a_copy_that_is_there_stays_until_it_is_replaced(run: Path) -> None:
    asked = (run, "--n", 5, "--exchanges", 1)
    assert here(*asked, command="synthesise").returncode == 0
    before = (run / "synthetic" / "dialogues.jsonl").read_bytes()
    one_line(here(*asked, "--seed", 2, command="synthesise"), "is there already", "--replace", code=2)
    assert (run / "synthetic" / "dialogues.jsonl").read_bytes() == before
    assert here(*asked, "--seed", 2, "--replace", command="synthesise").returncode == 0
    assert (run / "synthetic" / "dialogues.jsonl").read_bytes() != before
    assert [each.name for each in run.iterdir() if "synthetic" in each.name] == ["synthetic"]


def test_what_is_no_copy_is_never_replaced_and_that_is_said_before_anything_is_drawn(run: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.odt").write_text("years of work")
    inside = tmp_path / "link"
    inside.symlink_to(run)
    for to, word in ((home, "thesis.odt"), (home / "thesis.odt", "no folder"), (run, "the run's own"),
                     (inside, "the run's own"), (tmp_path, "the run's own"), (run / ".." / "run", "the run's own"),
                     (run / "model", "chat_template.jinja")):  # fmt: skip
        one_line(here(run, "--to", to, "--replace", "--n", 100_000, command="synthesise"), "--to", word, code=2)
    assert (home / "thesis.odt").read_text() == "years of work" and (run / "privacy.json").exists()


def test_nothing_beside_a_copy_is_removed(run: Path) -> None:
    asked, beside = (run, "--n", 5, "--exchanges", 1, "--to", run.parent / "copy"), run.parent / ".copy-old"
    beside.mkdir()
    (beside / "mine").write_text("kept")
    told = here(*asked, command="synthesise")
    assert f"chatfed audit synthetic {run} --copy {run.parent / 'copy'}" in told.stdout
    assert here(*asked, "--replace", command="synthesise").returncode == 0
    assert (beside / "mine").read_text() == "kept"
    assert sorted(each.name for each in run.parent.iterdir() if "copy" in each.name) == [".copy-old", "copy"]
    assert read_copy(run.parent / "copy")[1].exchanges == 1


def test_a_place_that_cannot_be_written_is_said_before_anything_is_drawn(run: Path) -> None:
    to = run / "privacy.json" / "copy"
    one_line(here(run, "--to", to, "--n", 100_000, command="synthesise"), str(to), code=2)


def test_of_a_model_without_noise_no_copy_is_made_unasked(run: Path) -> None:
    claimed(run, {**CLAIM, "epsilon": None, "delta": None})
    one_line(here(run, "--n", 5, command="synthesise"), "without noise", "--even-without-privacy", code=2)
    done = here(run, "--n", 5, "--even-without-privacy", command="synthesise")
    assert done.returncode == 0, done.stderr
    assert (run / "synthetic" / "README.md").read_text().startswith("# SYNTHETIC WITHOUT PRIVACY")
    assert (run / "synthetic").stat().st_mode & 0o077 == 0


def test_other_weights_than_the_claim_speaks_of_are_refused(run: Path) -> None:
    told = json.loads((run / "privacy.json").read_text())
    (run / "privacy.json").write_text(json.dumps({**told, "model_sha256": "00" * 32}))
    one_line(here(run, command="synthesise"), "other weights", code=2)
    assert not (run / "synthetic").exists()


def test_a_folder_without_a_finished_run_is_named(tmp_path: Path) -> None:
    one_line(here(tmp_path, command="synthesise"), str(tmp_path), "finished run", code=2)
