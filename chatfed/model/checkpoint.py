"""Model folders on disk: plain transformers form, written whole or not at all. Knows no training."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.model.silence import quiet

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, card: str) -> None:
    """Writes config, safetensors, tokenizer with chat template and the model card `card` (markdown) into `folder`."""
    with new_folder(folder, tokenizer, card) as scratch:
        model.save_pretrained(scratch)


@contextmanager
def new_folder(folder: Path, tokenizer: PreTrainedTokenizerFast, card: str) -> Iterator[Path]:
    """A scratch folder for weights, which takes the place of `folder` with tokenizer and card once they are written."""
    quiet()
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.chmod(scratch, 0o755)  # noqa: S103  # as any folder that a person makes; mkdtemp's is for its owner alone
        with disk_errors(folder):
            yield scratch
            tokenizer.save_pretrained(scratch)
        (scratch / "README.md").write_text(card, encoding="utf-8")
        replace_folder(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """What safetensors and tokenizers raise when they cannot write `place`, as an OSError like everyone else's."""
    from safetensors import SafetensorError

    try:
        yield
    except Exception as error:
        if type(error) is Exception or isinstance(error, SafetensorError):  # tokenizers has no type of its own
            raise OSError(errno.EIO, str(error), str(place)) from error  # neither says which errno it was
        raise


def replace_folder(new: Path, target: Path) -> None:
    """Puts folder `new` in the place of `target`.

    A crash leaves the old one or the new one, under that name or beside it.
    """
    old = target.with_name(f".{target.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def holds_adapters(folder: Path) -> bool:
    """Whether a model folder holds adapters for a base that is elsewhere, in peft's form."""
    return (folder / "adapter_config.json").is_file()


def weights_file(folder: Path) -> Path:
    """Where a model folder keeps its weights, of a whole model or of adapters."""
    return folder / ("adapter_model.safetensors" if holds_adapters(folder) else "model.safetensors")


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that may decide what model it is, by name.

    All that lie in it but hidden ones, Markdown and licences: what some reader may take is not left out by a list of
    ours. Folders in it are not looked into. Raises OSError for a folder that cannot be read.
    """
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(path for path in files if path.suffix != ".md" and not path.name.startswith(("LICENSE", "NOTICE")))


def base_digest(folder: Path) -> bytes:
    """SHA-256 over names and contents of a model folder's files (`model_files`), as they are on disk: 32 bytes.

    What `weights_digest` is not: of tokenizer and chat template too, and taken before any of it is loaded.
    """
    digest = hashlib.sha256()
    for path in model_files(folder):
        name = path.name.encode()
        with path.open("rb") as file:
            digest.update(len(name).to_bytes(4, "little") + name + hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def config_keys(kind: str) -> set[str] | None:
    """Keys that transformers itself may write into the config.json of a model type; None: it knows no such type."""
    from transformers import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        return None
    made: Any = CONFIG_MAPPING[kind]()
    return {*made.to_dict(), *made.attribute_map}


def generation_keys() -> set[str]:
    """Keys that transformers itself may write into generation_config.json."""
    from transformers import GenerationConfig

    untyped: Any = GenerationConfig  # its constructor is not typed
    return set(untyped().to_dict())


def weights_digest(module: nn.Module) -> bytes:
    """SHA-256 over names, shapes and bytes of all weights, in the order of their names: 32 bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.numpy())
    return digest.digest()
