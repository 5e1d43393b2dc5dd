"""Yields the records of a file or hub data set, each with its place. Knows file kinds, not what dialogues are."""

from __future__ import annotations

import csv
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


def place_of(kind: str) -> str:
    """What the records of a kind are counted in."""
    return {".json": "item", ".csv": "row", ".parquet": "row", "hub": "row"}.get(kind.removesuffix(".gz"), "line")


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
    return _csv_rows(path) if bare == ".csv" else _parquet_rows(path)


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
    except (RecursionError, ValueError) as error:
        return BadRecord(f"not JSON that can be read ({_why_unread(error)})")
    return value if isinstance(value, dict) else BadRecord("the line is not a JSON object")


def _why_unread(error: RecursionError | ValueError) -> str:
    """Why Python reads no JSON whose grammar is right."""
    return "nested too deep" if isinstance(error, RecursionError) else "a number of more than 4,300 digits"


def _json_items(path: Path) -> Iterator[Record]:
    """Items of a JSON list, or of the one list in a JSON object."""
    try:
        value = json.loads(b"".join(line for _, line in _binary_lines(path)).decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        hint = "; is it JSON Lines? then name it .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno}){hint}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8") from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path} is not JSON that can be read ({_why_unread(error)})") from None
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


def _csv_rows(path: Path) -> Iterator[Record]:
    """Rows of CSV, every cell as the text that it is (a client 007 is not 7, a reply None is one) and an empty one
    missing.

    A row with more cells than columns is a bad record. Where quotes do not match nobody knows where a row ends: an
    error.
    """
    csv.field_size_limit(2**31 - 1)  # a cell may hold a whole dialogue
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = filter(None, csv.reader(file, strict=True))  # an empty line is no row
            names = _column_names(path, next(rows, []))
            for number, cells in enumerate(rows, start=1):
                if len(cells) > len(names):
                    yield number, BadRecord(f"it has {len(cells)} cells for {len(names)} columns")
                else:
                    missing = [""] * (len(names) - len(cells))
                    yield number, {name: cell or None for name, cell in zip(names, cells + missing, strict=True)}
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as csv after row {number}: {error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 after row {number}; save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _column_names(path: Path, names: list[str]) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two columns {twice!r}; rename one")
    return names


def _parquet_rows(path: Path) -> Iterator[Record]:
    """Rows of Parquet, by `datasets`, which keeps its own cache of them in a folder that is then removed."""
    datasets = _quiet_datasets()
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = datasets.Dataset.from_parquet(str(path), cache_dir=folder)
        except Exception as error:  # pyarrow and datasets each raise their own kinds
            raise DataError(f"{path} cannot be read as parquet: {_innermost(error)}") from None
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
