"""Yields the records of a file or hub data set, each with its place. Knows file kinds, not what dialogues are."""

from __future__ import annotations

import csv
import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chatfed.data.columns import like_messages
from chatfed.data.documents import items_of
from chatfed.data.hub import innermost, quiet_datasets
from chatfed.data.messages import How, Seen, exchange_of
from chatfed.data.plain import text_records
from chatfed.data.reading import Record
from chatfed.data.values import BadRecord, DataError

_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".parquet", ".txt", ".txt.gz")


def kind_of(source: str) -> str:
    """Suffix of a file, or `hub`. Raises DataError for files that are not there or of another kind."""
    path = Path(source)
    if path.is_dir():
        return "folder"
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if source.lower().endswith(suffix):
            if not path.exists():
                raise DataError(f"{source}: no such file", param=source)
            return suffix
    if path.exists():
        raise DataError(f"{source} is of no known kind; the kinds are {', '.join(_SUFFIXES)}", param=source)
    if not source or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DataError(f"{source or 'the empty name'}: no such file", param=source)
    return "hub"


def place_of(kind: str) -> str:
    """What the records of a kind are counted in."""
    return {".json": "item", ".csv": "row", ".parquet": "row", "hub": "row"}.get(kind.removesuffix(".gz"), "line")


def files_of(folder: str) -> list[Path]:
    """The files of a folder, and of the folders in it, that hold dialogues, in order. Raises DataError for none."""
    paths = (path for path in sorted(Path(folder).rglob("*")) if path.is_file() and not path.name.startswith("."))
    found = [path for path in paths if path.name.lower().endswith(_SUFFIXES) and path.name not in _LISTS_OF_SLACK]
    if not found:
        kinds = ", ".join(_SUFFIXES)
        raise DataError(f"{folder} is a folder without a file of dialogues; the kinds are {kinds}", param=str(folder))
    return found


_LISTS_OF_SLACK = (  # of people and channels, beside the channels' folders
    "users.json", "channels.json", "dms.json", "groups.json", "mpims.json", "integration_logs.json", "org_users.json",
)  # fmt: skip


@dataclass
class Found:
    """The records of a source, and what a person should know of how they were found."""

    how: How
    seen: Seen
    split: str = "train"
    notes: list[str] = field(default_factory=list)

    def records(self, path: Path, kind: str) -> Iterator[Record]:
        """The records of a file. Raises DataError for a file that is no such thing."""
        bare = kind.removesuffix(".gz")
        if bare == ".jsonl":
            return _json_lines(path)
        if bare == ".json":
            return self._json_items(path)
        if bare == ".txt":
            return text_records(str(path), _text_lines(path), self.how, self.seen)
        return _csv_rows(path) if bare == ".csv" else _parquet_rows(path)

    def _json_items(self, path: Path) -> Iterator[Record]:
        """Items of a JSON list, or of what an object holds. The whole value is in memory."""
        value = _json_value(path)
        try:
            items, notes = items_of(value, self.split)
        except DataError as error:
            raise DataError(f"{path} {error}", param=error.param or str(path)) from None
        self.notes += notes
        yield from enumerate(items, start=1)


def _binary_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of a file that may be gzipped. A cut or broken .gz is an error, never a shorter file."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line
    except EOFError:
        raise DataError(
            f"{path} is cut short: the .gz ends in the middle after line {number}; copy it again", param=str(path)
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged after line {number}: {error}; copy it again", param=str(path)) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", param=str(path)) from None


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
        value = json.loads(text, object_pairs_hook=_object)
    except BadRecord as bad:
        return bad
    except json.JSONDecodeError as error:
        return BadRecord(f"not JSON ({error.msg}, column {error.colno})")
    except (RecursionError, ValueError) as error:
        return BadRecord(f"not JSON that can be read ({_why_unread(error)})")
    if isinstance(value, list) and like_messages("messages", value):
        if isinstance(value[0], Mapping) and exchange_of(value[0]) is not None:
            return BadRecord("the line is a list of records: put each on a line of its own, or name the file .json")
        return {"messages": value}
    return value if isinstance(value, dict) else BadRecord("the line is not a JSON object")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. Raises BadRecord for one that has a name twice: one of its values would be lost."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadRecord(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return made


def _why_unread(error: RecursionError | ValueError) -> str:
    """Why Python reads no JSON whose grammar is right."""
    return "nested too deep" if isinstance(error, RecursionError) else "a number of more than 4,300 digits"


def _json_value(path: Path) -> object:
    try:
        whole = b"".join(line for _, line in _binary_lines(path)).decode("utf-8-sig")
        return json.loads(whole, object_pairs_hook=_object)
    except BadRecord as bad:
        raise DataError(f"{path}: {bad}", param=bad.param or str(path)) from None
    except json.JSONDecodeError as error:
        hint = "; is it JSON Lines? then name it .jsonl" if _is_value_and_more(error.doc) else ""
        raise DataError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno}){hint}", param=str(path)
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8", param=str(path)) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path} is not JSON that can be read ({_why_unread(error)})", param=str(path)) from None


def _is_value_and_more(text: str) -> bool:
    """Whether a text that is not JSON begins with a whole value, as JSON Lines do."""
    try:
        json.JSONDecoder().raw_decode(text.lstrip())
    except (RecursionError, ValueError):
        return False
    return True


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in _binary_lines(path):
        text = _decoded(line, number)
        if isinstance(text, BadRecord):  # in text a dialogue has many lines: none can be left out of it
            raise DataError(f"{path}, line {number}: {text}; save the file as UTF-8", param=str(path))
        yield number, text


def _csv_rows(path: Path) -> Iterator[Record]:
    """Rows of CSV, every cell as the text that it is, and an empty one missing.

    A client 007 is not 7, and a reply None is one. A row with more cells than columns is a bad record. Where quotes do
    not match nobody knows where a row ends: an error.
    """
    csv.field_size_limit(2**31 - 1)  # a cell may hold a whole dialogue
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            if told := re.fullmatch(r"sep=(.)\s*", header):  # as Excel writes it
                delimiter = told[1]
            else:
                delimiter = _delimiter(header)
                file.seek(0)
            rows = filter(None, csv.reader(file, strict=True, delimiter=delimiter))  # an empty line is no row
            names = _column_names(path, next(rows, []))
            for number, cells in enumerate(rows, start=1):
                if len(cells) > len(names):
                    yield number, BadRecord(f"it has {len(cells)} cells for {len(names)} columns")
                else:
                    missing = [""] * (len(names) - len(cells))
                    yield number, {name: cell or None for name, cell in zip(names, cells + missing, strict=True)}
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as csv after row {number}: {error}", param=str(path)) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 after row {number}; save it as UTF-8", param=str(path)) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", param=str(path)) from None


def _delimiter(header: str) -> str:
    """What stands between cells, told from the line of names: some programs write semicolons, tabs or bars."""
    return next((each for each in ",;\t|" if each in header), ",")


def _column_names(path: Path, names: list[str]) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two columns {twice!r}; rename one", param=twice)
    return names


def _parquet_rows(path: Path) -> Iterator[Record]:
    """Rows of Parquet, by `datasets`, which keeps its own cache of them in a folder that is then removed."""
    datasets = quiet_datasets()
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = datasets.Dataset.from_parquet(str(path), cache_dir=folder)
        except Exception as error:  # pyarrow and datasets each raise their own kinds
            raise DataError(f"{path} cannot be read as parquet: {innermost(error)}", param=str(path)) from None
        yield from enumerate(rows, start=1)
