"""A model folder is written whole or not at all, and a disk that refuses is told as an OSError by whoever writes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from chatfed.model.checkpoint import disk_errors, new_folder


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
