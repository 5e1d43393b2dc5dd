"""What lies beside a model's weights, as it is published: read by name, no link followed, nothing that runs code.

The guarantee's hash is of the weights alone. Knows the files of a model folder; says nothing of a run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from chatfed.model.checkpoint import config_keys, generation_keys, holds_adapters

from .refusals import PublishError

CONFIG, GENERATION, ADAPTERS = "config.json", "generation_config.json", "adapter_config.json"
MODEL_FILES = (
    *(CONFIG, GENERATION, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("special_tokens_map.json", "vocab.json", "merges.txt"),
)
LEFT_OUT = ("_name_or_path", "name_or_path", "transformers.js_config")  # where a model lay; another library's settings
RUNS_CODE = re.compile(r"auto_map|custom_generate|custom_pipelines|.*(remote|custom)_code", re.IGNORECASE)
OF_OLDER_VERSIONS = ("torch_dtype", "rope_theta", "rope_scaling")  # of transformers, which reads them still
OF_SMOLLM2 = ("is_llama_config", "rope_interleaved")  # the hub's own file of it has these


def read_model_files(model: Path, base: str) -> dict[str, bytes]:
    """Name and content, as published, of every file of `model` but its weights. base: what adapters say they are of.

    Raises PublishError for a link, for what is not JSON, and for a key that would run code or that nothing knows.
    """
    names = [*([ADAPTERS] if holds_adapters(model) else []), *MODEL_FILES]
    return {name: _content(model / name, base) for name in names if refuse_link(model / name).is_file()}


def digests(files: Mapping[str, bytes]) -> str:
    """The SHA-256 of each file, as Markdown."""
    return ", ".join(f"`{name}` `{hashlib.sha256(content).hexdigest()}`" for name, content in files.items())


def refuse_link(path: Path) -> Path:
    """`path`, where it is no link and lies in its own folder, or is not there. Raises PublishError."""
    if path.is_symlink() or path.resolve().parent != path.parent.resolve():
        raise PublishError(
            f"{path} is a link, and what it leads to would be published; put the file itself there, or remove it.",
            param=str(path),
        )
    return path


def _content(path: Path, base: str) -> bytes:
    try:
        content = path.read_bytes()
        content.decode("utf-8")
        said = json.loads(content, parse_constant=_no_number) if path.suffix == ".json" else {}
    except (OSError, ValueError, RecursionError) as error:
        raise PublishError(f"{path} cannot be read ({error}); restore it.", param=str(path)) from None
    if not isinstance(said, dict):
        raise PublishError(f"{path} holds no JSON object; restore it.", param=str(path))
    if not path.name.endswith("config.json"):
        return content
    _refuse_keys(path, said)
    kept = {key: value for key, value in said.items() if key not in LEFT_OUT}
    if path.name == ADAPTERS:
        kept["base_model_name_or_path"] = base
    return content if kept == said else _written(kept)


def _written(said: Mapping[str, Any]) -> bytes:
    return (json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _no_number(name: str) -> float:
    """JSON has no such number, whatever Python reads."""
    raise ValueError(f"{name} is no JSON")


def _refuse_keys(path: Path, said: Mapping[str, Any]) -> None:
    for key in _all_keys(said):
        if RUNS_CODE.fullmatch(key) or (key == "auto_mapping" and said.get(key)):
            raise PublishError(
                f"{path} has the key {key!r}, which makes others run code that comes with no guarantee; remove it.",
                param=str(path),
            )
    known = _known_keys(path, said)
    for key in said if known else ():
        if key not in known:
            raise PublishError(
                f"{path} has the key {key!r}, which is none of a model of this kind; nobody can say what it tells of "
                "you or does to others. Remove it.",
                param=str(path),
            )


def _all_keys(said: object) -> Iterator[str]:
    """Keys at any depth."""
    if isinstance(said, Mapping):
        yield from said
    for each in said.values() if isinstance(said, Mapping) else said if isinstance(said, list) else ():
        yield from _all_keys(each)


def _known_keys(path: Path, said: Mapping[str, Any]) -> Collection[str]:
    """What transformers itself writes into such a file; empty where it has no list of its own."""
    if path.name == GENERATION:
        return {*generation_keys(), *LEFT_OUT}
    if path.name != CONFIG:
        return ()
    kind = said.get("model_type")
    known = config_keys(kind) if isinstance(kind, str) else None
    if known is None:
        raise PublishError(f"{path} is of the kind {kind!r}, which transformers does not know.", param=str(path))
    return {*known, *LEFT_OUT, *OF_OLDER_VERSIONS, *OF_SMOLLM2}
