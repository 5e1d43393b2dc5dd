"""Yields the records of a file or hub data set, each with its place. Knows file kinds, not what dialogues are."""

from __future__ import annotations

import gzip
import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chatfed.data.records import BadRecord, text_blocks, turns_of_block
from chatfed.types import ChatfedError, Turn

_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".parquet", ".txt", ".txt.gz")


class DataError(ChatfedError):
    """A source that cannot be read as dialogues."""


def kind_of(source: str) -> str:
    """Suffix of a file, or `hub`. Raises DataError for files that are not there or of another kind."""
    path = Path(source)
    if path.is_dir():
        raise DataError(f"{source} is a folder; name one of its files")
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if source.lower().endswith(suffix):
            if not path.exists():
                raise DataError(f"{source}: no such file")
            return suffix
    if path.exists():
        raise DataError(f"{source} is of no known kind; the kinds are {', '.join(_SUFFIXES)}")
    if not source or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DataError(f"{source or 'the empty name'}: no such file")
    return "hub"


# A record is what stands at a place of the source, or the reason why nothing does.
Record = tuple[int, Mapping[str, object] | tuple[Turn, ...] | BadRecord]


def file_records(path: Path, kind: str) -> Iterator[Record]:
    bare = kind.removesuffix(".gz")
    if bare == ".jsonl":
        return _json_lines(path)
    if bare == ".json":
        return _json_items(path)
    if bare == ".txt":
        return _text_records(path)
    return _rows(path, bare)


def _binary_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of a file that may be gzipped. A cut or broken .gz is an error, never a shorter file."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line
    except EOFError:
        raise DataError(f"{path} is cut short: the .gz ends in the middle after line {number}; copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged after line {number}: {error}; copy it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _decoded(line: bytes, number: int) -> str | BadRecord:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return BadRecord(f"not UTF-8 (byte {error.start + 1} of the line)")


def _json_lines(path: Path) -> Iterator[Record]:
    """One object a line; lines of blanks only are no records."""
    for number, line in _binary_lines(path):
        text = _decoded(line, number)
        if isinstance(text, BadRecord):
            yield number, text
        elif text.strip():
            yield number, _json_object(text)


def _json_object(text: str) -> Mapping[str, object] | BadRecord:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return BadRecord(f"not JSON ({error.msg}, column {error.colno})")
    except RecursionError:
        return BadRecord("not JSON that can be read (nested too deep)")
    return value if isinstance(value, dict) else BadRecord("the line is not a JSON object")


def _json_items(path: Path) -> Iterator[Record]:
    """Items of a JSON list, or of the one list in a JSON object."""
    try:
        value = json.loads(b"".join(line for _, line in _binary_lines(path)).decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        hint = "; is it JSON Lines? then name it .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno}){hint}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8") from None
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        value = lists[0] if len(lists) == 1 and "messages" not in value else [value]
    if not isinstance(value, list):
        raise DataError(f"{path} is not a JSON list of dialogues")
    for number, item in enumerate(value, start=1):
        yield number, item if isinstance(item, dict) else BadRecord("the item is not a JSON object")


def _text_records(path: Path) -> Iterator[Record]:
    """Dialogues of plain text, which blank lines separate; the place is the line where one begins."""

    def lines() -> Iterator[tuple[int, str]]:
        for number, line in _binary_lines(path):
            text = _decoded(line, number)
            if isinstance(text, BadRecord):  # in text a dialogue has many lines: none can be left out of it
                raise DataError(f"{path}, line {number}: {text}; save the file as UTF-8")
            yield number, text

    for number, block in text_blocks(lines()):
        try:
            yield number, turns_of_block(block)
        except BadRecord as bad:
            yield number, bad


def _rows(path: Path, kind: str) -> Iterator[Record]:
    """Rows of CSV and Parquet, by `datasets`, which keeps its own cache of them in a folder that is then removed."""
    datasets = _quiet_datasets()
    with tempfile.TemporaryDirectory() as folder:
        load = datasets.Dataset.from_csv if kind == ".csv" else datasets.Dataset.from_parquet
        try:
            rows = load(str(path), cache_dir=folder)
        except Exception as error:  # pandas, pyarrow and datasets each raise their own kinds
            raise DataError(f"{path} cannot be read as {kind[1:]}: {_innermost(error)}") from None
        yield from enumerate(rows, start=1)


def hub_rows(name: str, split: str) -> Any:
    """The `datasets.Dataset` of a name on the hub. Raises DataError."""
    datasets = _quiet_datasets()
    try:
        return datasets.load_dataset(name, split=split)
    except Exception as error:  # network, missing name, missing split, script data sets
        raise DataError(
            f"{name}: no such file, and not read from the hub, split {split!r}: {_innermost(error)}"
        ) from None


def _quiet_datasets() -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets


def _innermost(error: BaseException) -> str:
    """First line of what went wrong at the bottom."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
