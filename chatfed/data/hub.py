"""Records of a data set on the hub. Its JSON, CSV and text files are read as a local file of that kind is.

`datasets` reads JSON through one table of types: one content that is a list, blocks later, and texts come back quoted,
"007" as a number; CSV goes through pandas, where 007 is 7. What it keeps in types of its own (Parquet) it also reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chatfed.data.reading import Record
from chatfed.data.values import DataError

_READ_HERE = {"json": (".jsonl", ".json"), "csv": (".csv",), "text": (".txt",)}  # builders of datasets, and suffixes
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4")


def hub_records(name: str, split: str, read: Callable[[Path, str], Iterator[Record]]) -> tuple[Iterator[Record], str]:
    """The records of a split, not read yet, and a digest of it. `read` reads a file of a kind. Raises DataError."""
    datasets = quiet_datasets()
    try:
        builder = datasets.load_dataset_builder(name)
        files = _files(datasets, builder, split)
        if files is None:
            rows = datasets.load_dataset(name, split=split)
            return iter(enumerate(rows, start=1)), rows._fingerprint
    except Exception as error:  # network, missing name, missing split, script data sets
        raise DataError(
            f"{name}: no such file, and not read from the hub, split {split!r}: {innermost(error)}",
            param=name,
        ) from None
    return _chained(files, read), _digest(files)


def _files(datasets: Any, builder: Any, split: str) -> list[tuple[Path, str]] | None:
    """The files of a split on this disk, unpacked, each with its kind; None where `datasets` must read them."""
    suffixes = _READ_HERE.get(builder.name)
    named = (builder.config.data_files or {}).get(split)
    config = builder.config
    if suffixes is None or named is None or getattr(config, "field", None) or getattr(config, "sep", ",") != ",":
        return None
    manager = datasets.DownloadManager(dataset_name=builder.dataset_name)
    found: list[tuple[Path, str]] = []
    for origin, local in zip(named, manager.download_and_extract(list(named)), strict=True):
        for path in manager.iter_files(local):
            kind = _kind(path, suffixes) or _kind(str(origin), suffixes)
            if kind is None:
                return None
            found.append((Path(path), kind))
    return found


def _kind(name: str, suffixes: tuple[str, ...]) -> str | None:
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return next((suffix for suffix in suffixes if name.lower().endswith(suffix)), None)


def _chained(files: list[tuple[Path, str]], read: Callable[[Path, str], Iterator[Record]]) -> Iterator[Record]:
    """The records of all files; in several files they are counted on."""
    count = 0
    for path, kind in files:
        kind = ".jsonl" if kind == ".json" and _is_lines(path) else kind  # on the hub .json is often JSON Lines
        for number, record in read(path, kind):
            count += 1
            yield number if len(files) == 1 else count, record


def _is_lines(path: Path) -> bool:
    """Whether a .json file is JSON Lines: its first line is an object by itself, and more follow."""
    with path.open("rb") as file:
        first, rest = file.readline(), file.readline()
    try:
        return isinstance(json.loads(first), dict) and bool(rest.strip())
    except ValueError:
        return False


def _digest(files: list[tuple[Path, str]]) -> str:
    digest = hashlib.sha256()
    for path, _ in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def quiet_datasets() -> Any:
    """The library `datasets`, without its progress bars."""
    import datasets

    datasets.disable_progress_bars()
    return datasets


def innermost(error: BaseException) -> str:
    """First line of what went wrong at the bottom."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
