"""`chatfed publish`: what is handed out, what never is, and that the guarantee goes with its weights alone."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatfed.cli import main
from chatfed.model.from_gguf import convert_gguf
from chatfed.model.transformer import load_model
from serving.publishing import folder as folders
from serving.publishing.refusals import PublishError
from serving.run_folder import read_run_folder
from tests.serving.publishing.conftest import write_audit, write_claim

QUICK = ("--gguf", "none")


def publish(run: Path, to: Path, *options: str) -> int:
    return main(["publish", str(run), "--to", str(to), *options])


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def said(*options: str, to: Path | None = None) -> str:
        before = sorted(each.name for each in tmp_path.iterdir())
        assert publish(run, to or tmp_path / "out", *QUICK, *options) == 2
        assert sorted(each.name for each in tmp_path.iterdir()) == before, "something was left"
        return capsys.readouterr().err

    return said


def test_the_folder_is_a_model_that_serves_its_own_guarantee_and_one_that_llama_cpp_reads(
    run: Path, tmp_path: Path
) -> None:
    write_audit(run)
    assert publish(run, tmp_path / "out", "--license", "apache-2.0", "--name", "My model: 1") == 0
    found = files(tmp_path / "out")
    assert found == {
        *("README.md", "SHA256SUMS", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
        *("tokenizer_config.json", "chat_template.jinja", "privacy.json", "audit.json", "audit.html", "audit.sig"),
        *("nist-sp-800-226.md", "registry/my_model_1.yaml", "my-model-1-F32.gguf"),
        *("space/README.md", "space/app.py", "space/requirements.txt"),
    }
    published = read_run_folder(tmp_path / "out")
    assert published.privacy == json.loads((run / "privacy.json").read_text()) and not published.no_claim
    convert_gguf(tmp_path / "out" / "my-model-1-F32.gguf", tmp_path / "back")
    back, ours = (load_model(each)[0].state_dict() for each in (tmp_path / "back", run / "model"))
    assert set(back) == set(ours) and all(bool((back[name] == ours[name]).all()) for name in ours)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    listed = {line.partition("  ")[2] for line in (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()}
    assert listed == found - {"SHA256SUMS"}


def test_no_secret_no_path_and_no_figure_of_a_model_without_privacy_is_in_any_file(run: Path, tmp_path: Path) -> None:
    config = run / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_name_or_path": str(run)}))
    assert publish(run, tmp_path / "out", *QUICK) == 0
    for name in files(tmp_path / "out"):
        content = (tmp_path / "out" / name).read_bytes()
        for secret in (b"SECRET", str(run).encode(), b"48.12", b"31.98"):
            assert secret not in content, f"{secret!r} is in {name}"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "61.24" in card and "The guarantee does not cover these figures" in card


def test_figures_that_no_guarantee_covers_can_be_left_out(run: Path, tmp_path: Path) -> None:
    assert publish(run, tmp_path / "out", *QUICK, "--without-evaluation") == 0
    text = "".join((tmp_path / "out" / name).read_text() for name in ("README.md", "registry/run.yaml"))
    assert "61.24" not in text and "model-index" not in text and "Held-out figures in the model card" not in text


def test_a_dry_run_lists_every_file_and_what_stays_at_home_and_writes_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(run, tmp_path / "out", "--dry-run") == 0
    listed, home = capsys.readouterr().out.split("Not published:")
    assert not (tmp_path / "out").exists()
    assert publish(run, tmp_path / "out") == 0
    assert all(f"  {name} " in listed for name in files(tmp_path / "out"))
    for name in ("state/", "canaries/", "ceiling/", "without-noise/", "recipe.toml", "summary.json"):
        assert f"  {name} " in home and f"  {name} " not in listed
    assert "nothing says that it is fit to be published" in home.split("notes-of-mine.txt")[1]


def test_changed_weights_are_refused(run: Path, refused: Callable[..., str]) -> None:
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert "privacy.json is of another model" in refused()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_sha256": "0" * 64}, "of another model"),
        ({"model_sha256": None}, "does not say of which model"),
        ({"noise": "none", "epsilon": None, "delta": None}, "trained without noise"),
        ({"epsilon": 900.0}, "bound nothing"),
    ],
)
def test_without_a_guarantee_a_model_is_refused_and_a_card_says_so_first(
    run: Path, tmp_path: Path, refused: Callable[..., str], changed: dict[str, Any], said: str
) -> None:
    write_claim(run, **changed)
    error = refused()
    assert said in error and "--without-guarantee" in error
    assert publish(run, tmp_path / "out", *QUICK, "--without-guarantee") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    first = card.split("---\n")[2].split("\n\n")[1].lstrip()
    assert first.startswith("**This model has no privacy guarantee**") and said in first
    assert "differential-privacy" not in card and "registry/run.yaml" not in files(tmp_path / "out")
    kept = changed.get("noise") == "none" or "epsilon" in changed
    assert ("privacy.json" in files(tmp_path / "out")) == kept


def test_no_privacy_json_at_all_is_refused(run: Path, refused: Callable[..., str]) -> None:
    (run / "privacy.json").unlink()
    assert "there is no privacy.json" in refused()


def changed_page(run: Path) -> None:
    write_audit(run)
    (run / "audit.html").write_text("x")


def no_signature(run: Path) -> None:
    write_audit(run)
    (run / "audit.sig").write_text("x")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda run: write_audit(run, weights_sha256="0" * 64), "of other weights"),
        (lambda run: write_audit(run, claim={"epsilon": 1.0}), "beside another privacy.json"),
        (changed_page, "audit.html was changed"),
        (no_signature, "no signature of chatfed"),
    ],
)
def test_an_audit_of_another_model_is_refused(
    run: Path, refused: Callable[..., str], wrong: Callable[[Path], object], said: str
) -> None:
    wrong(run)
    assert said in refused()


def test_nothing_is_overwritten_but_an_earlier_published_folder_on_demand(
    run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("mine")
    assert "--replace" in refused(to=mine) and "was not made by chatfed publish" in refused("--replace", to=mine)
    assert (mine / "README.md").read_text() == "mine"
    assert publish(run, tmp_path / "out", *QUICK) == 0
    (tmp_path / "out" / "old.txt").write_text("x")
    assert publish(run, tmp_path / "out", *QUICK) == 2
    assert publish(run, tmp_path / "out", *QUICK, "--replace", "--license", "mit") == 0
    assert "old.txt" not in files(tmp_path / "out") and "license: mit" in (tmp_path / "out" / "README.md").read_text()


def test_a_place_inside_the_run_or_around_it_is_refused(run: Path, refused: Callable[..., str]) -> None:
    assert "lie in each other" in refused(to=run / "out") and "lie in each other" in refused(to=run.parent)


def test_a_folder_appears_whole_or_not_at_all(
    run: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> str:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(folders, "sums", full)
    assert "No space left on device" in refused()


def test_a_claim_that_changes_while_the_folder_is_written_is_not_published(run: Path, tmp_path: Path) -> None:
    from serving.publishing.facts import Asked, gather, refuse_others
    from serving.publishing.pieces import pieces

    facts = gather(run, Asked())
    found = pieces(facts, "none", None)
    write_claim(run, epsilon=1.0)
    with pytest.raises(PublishError, match="changed while it was published"):
        folders.write_folder(tmp_path / "out", found, lambda scratch: refuse_others(scratch, facts))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--repo", "no-slash"), "owner/name"),
        (("--language", "English"), "ISO 639"),
        (("--license", "Apache 2"), "apache-2.0"),
        (("--wheel", "/dev/null"), "no wheel of chatfed"),
    ],
)
def test_what_is_said_wrongly_is_named(refused: Callable[..., str], options: tuple[str, ...], said: str) -> None:
    assert said in refused(*options)


def test_a_base_that_is_a_folder_must_be_named_as_others_know_it(
    run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    for folder in (f"{tmp_path}/my-base", "runs/base"):  # the second looks like a hub's name
        (run / "recipe.toml").write_text(f'[model]\nbase = "{folder}"\n')
        assert "--base-model" in refused()
    assert publish(run, tmp_path / "out", *QUICK, "--base-model", "owner/base") == 0
    assert "base_model: owner/base\n" in (tmp_path / "out" / "README.md").read_text()


def test_adapters_for_a_base_that_learned_from_counts_are_refused(run: Path, refused: Callable[..., str]) -> None:
    (run / "recipe.toml").write_text("[ngrams]\nlongest = 4\n")
    (run / "model" / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    (run / "model" / "adapter_model.safetensors").write_bytes(b"")
    (run / "model" / "config.json").unlink(missing_ok=True)
    assert "learned from counts" in refused("--base-model", "owner/base", "--without-guarantee")


def test_a_published_folder_is_as_readable_as_any(run: Path, tmp_path: Path) -> None:
    assert publish(run, tmp_path / "out", *QUICK) == 0
    assert oct(os.stat(tmp_path / "out").st_mode)[-3:] == "755"
    weights = hashlib.sha256((tmp_path / "out" / "model.safetensors").read_bytes()).hexdigest()
    assert weights in (tmp_path / "out" / "nist-sp-800-226.md").read_text()
