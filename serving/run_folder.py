"""Reads what a training run left beside its model. Knows file names and JSON, no model and no page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatfed.model.adapters import base_folder
from chatfed.model.checkpoint import holds_adapters, weights_file
from chatfed.types import ChatfedError

SAYS_NO_MODEL = "privacy.json does not say of which model it is"
OF_ANOTHER = "privacy.json is of another model"


class RunFolderError(ChatfedError):
    """A file of the run folder cannot be used."""

    code = "bad_run_folder"
    mend = "name a run's folder, or restore its files"


@dataclass(frozen=True)
class Bare:
    """A model that was trained on the same dialogues without noise: for whoever holds those dialogues already."""

    model: Path
    how: str  # "without-noise": the same run; "ceiling": centrally, on all dialogues at once


@dataclass(frozen=True)
class RunFolder:
    """What a run folder says about its model. A missing file leaves its field None (or empty)."""

    model: Path
    reference: Path | None
    privacy: Mapping[str, Any] | None
    summary: Mapping[str, Any] | None
    metrics: tuple[Mapping[str, Any], ...]
    no_claim: str = ""  # why the privacy.json that is there says nothing of this model
    bare: Bare | None = None  # what the run left beside for its operator, trained without any guarantee


def read_run_folder(model: Path, reference: Path | None = None) -> RunFolder:
    """The facts beside `model`; `reference` defaults to the sibling folder of that name, or to adapters' own base.

    A run's folder does for both: its `model/` and its `reference/` are taken.

    Raises RunFolderError when a folder is missing or a file is there but cannot be read: a privacy file that
    cannot be read is never taken for "no claim" in silence. One that does not name this model's weights is not its
    claim: `privacy` is then None and `no_claim` says why, and the run's figures, of that other model too, are left out.
    """
    begun = (model / "recipe.toml").is_file()
    first = f"finish its run with: chatfed resume {model}" if begun else "make one with: chatfed train"
    model = _find_model(model, "model", f"{first}, or name another with --model")
    run = facts_folder(model)
    if reference is not None:
        reference = _find_model(reference, "reference", "leave --reference out to serve without one")
    elif (run / "reference" / "config.json").is_file():
        reference = run / "reference"
    elif holds_adapters(model):
        reference = base_folder(model)
    privacy = _read_object(run / "privacy.json")
    no_claim = _why_not_its_own(privacy, model)
    return RunFolder(
        model=model,
        reference=reference,
        privacy=None if no_claim else privacy,
        summary=None if no_claim else _read_object(run / "summary.json"),
        metrics=() if no_claim else _read_lines(run / "metrics.jsonl"),
        no_claim=no_claim,
        bare=_bare(run),
    )


def facts_folder(model: Path) -> Path:
    """Where the files that speak of a model lie: in its own folder, as `chatfed publish` puts them, or beside it."""
    return model.resolve() if (model / "privacy.json").is_file() else model.resolve().parent


def _bare(run: Path) -> Bare | None:
    """What `chatfed train` with --reference leaves beside its model, or else with --ceiling."""
    for how in ("without-noise", "ceiling"):
        model = run / how / "model"
        if (model / "config.json").is_file() or holds_adapters(model):
            return Bare(model, how)
    return None


def _why_not_its_own(privacy: Mapping[str, Any] | None, model: Path) -> str:
    """Empty when privacy.json is missing or holds the SHA-256 of this model's weights."""
    if privacy is None:
        return ""
    named = privacy.get("model_sha256")
    if named is None:
        return SAYS_NO_MODEL
    return "" if named == _digest(weights_file(model)) else OF_ANOTHER


def _digest(weights: Path) -> str | None:
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(f"Cannot read {weights} ({_reason(error)}); restore it.") from None


def _find_model(folder: Path, name: str, mend: str) -> Path:
    """`folder`, or the folder called `name` in it where only that holds a model."""
    if not folder.is_dir():
        raise RunFolderError(f"There is no {name} folder at {folder}; {mend}.")
    for place in (folder, folder / name):
        if (place / "config.json").is_file() or holds_adapters(place):
            return place
    raise RunFolderError(f"{folder} is no {name} folder: neither it nor {name}/ in it holds a config.json; {mend}.")


def _read_object(path: Path) -> Mapping[str, Any] | None:
    text = _read_text(path)
    return None if text is None else _parse(text, path, "")


def _read_lines(path: Path) -> tuple[Mapping[str, Any], ...]:
    lines = (_read_text(path) or "").splitlines()
    return tuple(_parse(line, path, f" line {n}") for n, line in enumerate(lines, 1) if line.strip())


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"Cannot read {path} ({_reason(error)}); restore it or move it away.") from None


def _parse(text: str, path: Path, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of too many digits, and nesting too deep
        raise RunFolderError(f"{path}{where} is not JSON ({error}); restore it or move it away.") from None
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}{where} holds no JSON object; restore it or move it away.")
    return value


def _reason(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not UTF-8 text"
