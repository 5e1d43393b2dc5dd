"""A model folder is written whole or not at all, and a disk that refuses is told as an OSError by whoever writes."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from chatfed.model.checkpoint import base_digest, disk_errors, new_folder


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, files of this process do not grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models

    words = {f"word-{number}": number for number in range(5000)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="word-0")))


def test_weights_that_cannot_be_written_are_an_error_of_the_disk_and_leave_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    refused = pytest.raises(OSError, match="File too large")
    with files_of_at_most(1000), refused as caught, new_folder(folder, tokenizer(), "card") as scratch:
        save_file({"a": torch.zeros(10_000)}, scratch / "model.safetensors")
    assert caught.value.filename == str(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_cannot_be_written_is_an_error_of_the_disk_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    refused = pytest.raises(OSError, match="File too large")
    with files_of_at_most(1000), refused as caught, new_folder(folder, tokenizer(), "card"):
        pass
    assert caught.value.filename == str(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError("No space left on device"), FileNotFoundError(2, "gone", "x")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, disk_errors(Path("model")):
        raise error
    assert caught.value is error


def files_in(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


MODEL = {
    "config.json": b"{}",
    "generation_config.json": b"{ }",
    "model.safetensors": bytes(3_000_000),
    "tokenizer.json": b"[]",
    "tokenizer_config.json": b"[ ]",
    "chat_template.jinja": b"{{ x }}",
}


def test_the_digest_of_a_base_is_that_of_names_and_contents_in_any_order(tmp_path: Path) -> None:
    expected = hashlib.sha256()
    for name, content in sorted(MODEL.items()):
        expected.update(len(name).to_bytes(4, "little") + name.encode() + hashlib.sha256(content).digest())
    assert base_digest(files_in(tmp_path / "a", MODEL)) == expected.digest()
    assert base_digest(files_in(tmp_path / "b", dict(reversed(MODEL.items())))) == expected.digest()


def test_cards_licences_folders_and_hidden_files_decide_no_base(tmp_path: Path) -> None:
    beside = {"README.md": b"card", "LICENSE": b"free", "NOTICE.txt": b"of", ".gitattributes": b"x"}
    folder = files_in(tmp_path / "more", MODEL | beside)
    files_in(folder / "onnx", {"config.json": b"other"})
    assert base_digest(folder) == base_digest(files_in(tmp_path / "plain", MODEL))


@pytest.mark.parametrize("name", [*MODEL, "merges.txt", "pytorch_model.bin", "model-00001-of-00002.safetensors"])
def test_every_file_that_some_reader_may_take_decides_the_base(name: str, tmp_path: Path) -> None:
    before = base_digest(files_in(tmp_path / "plain", MODEL))
    assert base_digest(files_in(tmp_path / "other", MODEL | {name: b"other"})) != before
    if name in MODEL:
        (tmp_path / "plain" / name).rename(tmp_path / "plain" / f"a-{name}")
        assert base_digest(tmp_path / "plain") != before
