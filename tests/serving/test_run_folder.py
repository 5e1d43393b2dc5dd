"""Run folders as the page reads them: what lies beside a model, and when it is not the model's own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from serving.privacy_run import facts_html
from serving.privacy_tab import privacy_html
from serving.run_folder import RunFolder, RunFolderError, read_run_folder
from serving.theme import badge, header

GUARANTEE = {"epsilon": 7.5, "delta": 1e-05, "unit": "example", "noise": "local", "holds_against": "<everyone>"}


def folder(tmp_path: Path, **files: str) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    return model


def test_a_run_folder_without_facts_is_no_claim(tmp_path: Path) -> None:
    run = read_run_folder(folder(tmp_path))
    assert (run.privacy, run.summary, run.metrics, run.reference) == (None, None, (), None)
    assert "No claim" in privacy_html(run)
    assert badge(run.privacy)[0] == "no privacy claim"


def test_a_runs_folder_does_for_its_model_and_its_reference(tmp_path: Path) -> None:
    model = folder(tmp_path, privacy_json=json.dumps(GUARANTEE))
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "config.json").write_text("{}")
    run = read_run_folder(tmp_path, tmp_path)
    assert (run.model, run.reference) == (model, tmp_path / "reference") and run.no_claim
    assert read_run_folder(model).model == model


def test_a_folder_that_holds_no_model_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"neither it nor model/ in it holds a config\.json; make one"):
        read_run_folder(tmp_path)
    with pytest.raises(RunFolderError, match=r"neither it nor reference/ in it .* leave --reference out"):
        read_run_folder(folder(tmp_path), tmp_path)


def test_the_reference_beside_the_model_is_found(tmp_path: Path) -> None:
    model = folder(tmp_path)
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "config.json").write_text("{}")
    assert read_run_folder(model).reference == tmp_path / "reference"


def claimed(tmp_path: Path, digest: object) -> RunFolder:
    """Read back: a model of the weights b"ours" and a guarantee that names `digest`."""
    model = folder(tmp_path, privacy_json=json.dumps(GUARANTEE | ({} if digest is None else {"model_sha256": digest})))
    (model / "model.safetensors").write_bytes(b"ours")
    return read_run_folder(model)


def test_a_guarantee_that_names_the_served_weights_is_shown(tmp_path: Path) -> None:
    run = claimed(tmp_path, hashlib.sha256(b"ours").hexdigest())
    assert run.no_claim == "" and badge(run.privacy, run.no_claim)[0] == "ε = 7.50 per dialogue"
    assert "The guarantee" in privacy_html(run)


@pytest.mark.parametrize(
    ("digest", "why"),
    [
        (hashlib.sha256(b"theirs").hexdigest(), "privacy.json is of another model"),
        ("", "privacy.json is of another model"),
        (7, "privacy.json is of another model"),
        (None, "privacy.json does not say of which model it is"),
    ],
)
def test_a_guarantee_of_another_model_is_no_claim(tmp_path: Path, digest: object, why: str) -> None:
    run = claimed(tmp_path, digest)
    assert run.privacy is None and f"<h2>No claim: {why}</h2>" in privacy_html(run)
    shown = header(run.privacy, run.no_claim)
    assert "no privacy claim" in shown and f"No claim: {why}." in shown and "7.50" not in shown + privacy_html(run)


def test_the_figures_of_another_model_s_run_are_not_shown(tmp_path: Path) -> None:
    files = {"summary_json": '{"clients": 421}', "metrics_jsonl": '{"round": 1, "epsilon_max": 3.0}\n'}
    run = read_run_folder(folder(tmp_path, privacy_json=json.dumps(GUARANTEE | {"model_sha256": "ab"}), **files))
    assert (run.summary, run.metrics) == (None, ())
    assert "421" not in facts_html(run) and "its privacy.json is not of it" in facts_html(run)


def test_a_model_without_its_weights_file_takes_no_guarantee(tmp_path: Path) -> None:
    run = read_run_folder(folder(tmp_path, privacy_json=json.dumps(GUARANTEE | {"model_sha256": "ab"})))
    assert run.privacy is None and run.no_claim == "privacy.json is of another model"


def test_all_that_lies_beside_a_linked_model_is_taken_from_one_folder(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "reference").mkdir(parents=True)
        (tmp_path / name / "reference" / "config.json").write_text("{}")
    model = folder(tmp_path / "one", summary_json='{"rounds": 3}')
    (tmp_path / "other" / "model").symlink_to(model)
    run = read_run_folder(tmp_path / "other" / "model")
    assert run.summary == {"rounds": 3} and run.reference == tmp_path / "one" / "reference"


@pytest.mark.parametrize("text", ["{", "[1]", "nonsense", "[" * 100_000, '{"epsilon": ' + "9" * 5000 + "}"])
def test_an_unreadable_guarantee_is_an_error_and_never_no_claim(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunFolderError, match=r"privacy\.json"):
        read_run_folder(folder(tmp_path, privacy_json=text))


def test_a_bad_line_of_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl line 2"):
        read_run_folder(folder(tmp_path, metrics_jsonl='{"round": 1}\n{"rou\n'))


def test_a_run_without_a_model_yet_is_to_be_finished(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="make one with: chatfed train, or name another with --model"):
        read_run_folder(tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(RunFolderError, match=f"finish its run with: chatfed resume {tmp_path}, or name"):
        read_run_folder(tmp_path)
