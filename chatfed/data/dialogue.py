"""Reads dialogues from files and data sets into one schema, memory-mapped. Knows no tokens, models or clients' places.

Every source becomes an Arrow file in the cache of `datasets`, keyed by the content of the source and the way it is
read; the second reading only maps it. A line that is no dialogue is an error that names it, or is kept in `.skipped`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from chatfed.data.records import BadRecord, text_of, turns_of
from chatfed.data.sources import DataError, Record, file_records, hub_rows, kind_of, place_of
from chatfed.types import ClientId, Turn

if TYPE_CHECKING:
    import datasets

__all__ = ["BadLine", "DataError", "Dialogue", "DialogueTable", "read_dialogues"]

DEFAULT_CLIENT_COLUMN = "client_id"
_ROWS_AT_ONCE = 1000
_CACHE_VERSION = "2"  # raise it when the same source would read differently


@dataclass(frozen=True)
class Dialogue:
    """Messages in order, and the client whose they are where the source says so."""

    messages: tuple[Turn, ...]
    client_id: ClientId | None = None


@dataclass(frozen=True)
class BadLine:
    """A line (JSON Lines, text), item (JSON) or row (CSV, Parquet, hub), counted from 1, that is no dialogue."""

    file: str
    line: int
    reason: str
    place: str = "line"  # what `line` counts: "line", "item" or "row"


class DialogueTable(Sequence[Dialogue]):
    """Dialogues over a memory-mapped `datasets.Dataset`; only those that are looked at are in memory."""

    def __init__(self, rows: datasets.Dataset, skipped: tuple[BadLine, ...], has_clients: bool, source: str) -> None:
        self._rows = rows
        self._has_clients = has_clients
        self._source = source
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Dialogue: ...
    @overload
    def __getitem__(self, index: slice) -> list[Dialogue]: ...
    def __getitem__(self, index: int | slice) -> Dialogue | list[Dialogue]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return _to_dialogue(self._rows[int(index)])

    def __iter__(self) -> Iterator[Dialogue]:
        for batch in self._rows.iter(batch_size=_ROWS_AT_ONCE):
            for messages, client in zip(batch["messages"], batch["client_id"], strict=True):
                yield _to_dialogue({"messages": messages, "client_id": client})

    @property
    def client_ids(self) -> list[ClientId] | None:
        """The client of each dialogue, or None when the source names no clients."""
        return [ClientId(name) for name in self._rows["client_id"]] if self._has_clients else None

    def column(self, name: str) -> list[str]:
        """Values of the label column that was asked for on reading, or of `client_id`. Raises DataError."""
        if name in ("messages", "") or name not in self._rows.column_names:
            others = [column for column in self._rows.column_names if column != "messages"]
            raise DataError(f"{self._source}: no column {name!r} was read; there is {', '.join(others)}")
        return list(self._rows[name])


def _to_dialogue(row: Mapping[str, Any]) -> Dialogue:
    turns = tuple(Turn(message["role"], message["content"]) for message in row["messages"])
    return Dialogue(turns, None if row["client_id"] is None else ClientId(row["client_id"]))


def read_dialogues(
    source: str,
    *,
    client_column: str = DEFAULT_CLIENT_COLUMN,
    skip_bad_lines: bool = False,
    split: str = "train",
    label_column: str | None = None,
) -> DialogueTable:
    """Dialogues of a file (.jsonl, .json, .csv, .parquet, .txt; the text kinds also .gz) or of a data set on the hub.

    `client_column` says whose a dialogue is: it may lack in the source under its default name, and must be there under
    any other. `label_column` is kept for `.column`. `split` is of hub data sets. Raises DataError, which names file,
    line and reason, at the first line that is no dialogue, unless `skip_bad_lines` collects them in `.skipped`; a
    source without any dialogue, a cut .gz and a column that is missing are errors in any case.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    reading = _Reading(str(source), client_column, label_column, skip_bad_lines, place_of(kind_of(str(source))))
    records, content = _records_and_digest(reading.source, split)
    ways = [_CACHE_VERSION, reading.source, client_column, label_column, skip_bad_lines]
    key = hashlib.sha256(json.dumps([content, *ways], allow_nan=False).encode()).hexdigest()[:40]
    cached = Path(datasets.config.HF_DATASETS_CACHE) / "chatfed" / f"{key}.arrow"
    table = _cached_table(reading.source, cached)
    return _table(reading, records, cached) if table is None else table


def _records_and_digest(source: str, split: str) -> tuple[Iterator[Record], str]:
    """Records, not read yet, and what changes when the source's content does."""
    kind = kind_of(source)
    if kind == "hub":
        rows = hub_rows(source, split)
        return iter(enumerate(rows, start=1)), rows._fingerprint
    try:
        with Path(source).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror or error}") from None
    return file_records(Path(source), kind), content


@dataclass
class _Reading:
    """How a source is read, and what has been seen of it: whether there are clients, and the bad lines."""

    source: str
    client_column: str
    label_column: str | None
    skip_bad_lines: bool
    place: str  # what its records are counted in
    has_clients: bool | None = None
    skipped: list[BadLine] = field(default_factory=list)

    def rows(self, records: Iterable[Record]) -> Iterator[dict[str, object]]:
        """Rows of the one schema. Raises DataError at a bad record unless they are to be skipped."""
        for number, record in records:
            try:
                yield self._row(record)
            except BadRecord as bad:
                if not self.skip_bad_lines:
                    mend = "mend it, or set skip_bad_lines to leave such lines out"
                    raise DataError(f"{self.source}, {self.place} {number}: {bad}; {mend}") from None
                self.skipped.append(BadLine(self.source, number, str(bad), self.place))

    def _row(self, record: Mapping[str, object] | tuple[Turn, ...] | BadRecord) -> dict[str, object]:
        if isinstance(record, BadRecord):
            raise record
        columns: Mapping[str, object] = record if isinstance(record, Mapping) else {}
        self._require_columns(columns)
        turns = turns_of(record) if isinstance(record, Mapping) else record
        client = self._client(columns)
        row: dict[str, object] = {
            "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
            "client_id": client,
        }
        if self.label_column is not None:
            row[self.label_column] = _name(columns.get(self.label_column), self.label_column)
        self.has_clients = client is not None
        return row

    def _require_columns(self, columns: Mapping[str, object]) -> None:
        """The columns asked for by name must be in the first record; a later one without them is a bad line."""
        wanted = [] if self.client_column == DEFAULT_CLIENT_COLUMN else [self.client_column]
        for name in [*wanted, *([self.label_column] if self.label_column else [])]:
            if self.has_clients is None and name not in columns:
                there = f"the columns are {', '.join(columns)}" if columns else "it has no columns"
                raise DataError(f"{self.source}: no column {name!r}; {there}")

    def _client(self, columns: Mapping[str, object]) -> str | None:
        value = columns.get(self.client_column)
        required = self.has_clients or self.client_column != DEFAULT_CLIENT_COLUMN
        if value is None and not required:
            return None
        name = _name(value, self.client_column)
        if self.has_clients is False:
            raise BadRecord(f"{self.client_column} is given here, and earlier lines have none")
        return name


def _name(value: object, column: str) -> str:
    if isinstance(value, float) and value.is_integer():  # a Parquet column of whole numbers with a gap
        value = int(value)
    if value is None or isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadRecord(f"{column} is missing" if value is None else f"{column} is neither text nor a whole number")
    if not str(value).strip():
        raise BadRecord(f"{column} is empty")
    return text_of(str(value), column)


def _cached_table(source: str, cached: Path) -> DialogueTable | None:
    """What an earlier reading kept; None when it kept nothing, or its files are not whole (a crash, a full disk)."""
    import datasets

    try:
        notes: dict[str, Any] = json.loads(_notes_path(cached).read_text(encoding="utf-8"))
        rows = datasets.Dataset.from_file(str(cached))
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return None
    if len(rows) != notes["rows"]:  # Arrow reads a file that was cut between two batches without a word
        return None
    return DialogueTable(rows, tuple(BadLine(**bad) for bad in notes["skipped"]), notes["has_clients"], source)


def _table(reading: _Reading, records: Iterator[Record], cached: Path) -> DialogueTable:
    """Writes the rows to an Arrow file, whole or not at all, and maps it."""
    import datasets

    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with _whole(cached) as partial:
            count = _write_arrow(partial, reading, records)
            skipped = [vars(bad) for bad in reading.skipped]
            notes = {"skipped": skipped, "has_clients": bool(reading.has_clients), "rows": count}
            with _whole(_notes_path(cached)) as beside:
                beside.write_text(json.dumps(notes, allow_nan=False), encoding="utf-8")
        rows = datasets.Dataset.from_file(str(cached))
    except OSError as error:
        raise DataError(
            f"the cache {cached.parent} cannot be written: {error.strerror or error}; "
            "make room there, or set HF_DATASETS_CACHE to another folder"
        ) from None
    return DialogueTable(rows, tuple(reading.skipped), bool(reading.has_clients), reading.source)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A file to write, which then takes the place of `target`; nothing is left of it when the writing fails."""
    handle, name = tempfile.mkstemp(suffix=".partial", dir=target.parent)
    try:
        yield Path(name)
        os.fsync(handle)  # what is renamed before its bytes are on the disk is cut after a crash
        os.replace(name, target)
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)


def _write_arrow(path: Path, reading: _Reading, records: Iterator[Record]) -> int:
    """Writes the rows; returns how many."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    text = datasets.Value("string")
    columns = {"messages": [{"role": text, "content": text}], "client_id": text}
    if reading.label_column is not None:
        columns[reading.label_column] = text
    batch: list[dict[str, object]] = []
    count = 0
    with ArrowWriter(features=datasets.Features(columns), path=str(path)) as writer:

        def flush() -> None:
            writer.write_batch({name: [row[name] for row in batch] for name in columns})
            batch.clear()

        for row in reading.rows(records):
            batch.append(row)
            count += 1
            if len(batch) == _ROWS_AT_ONCE:
                flush()
        if reading.has_clients is None:
            raise DataError(f"{reading.source} holds no dialogue{_counted(reading)}")
        if batch:
            flush()
        writer.finalize()
    return count


def _counted(reading: _Reading) -> str:
    skipped, place = reading.skipped, reading.place
    if not skipped:
        return "; it is empty"
    return f": all {len(skipped)} {place}s are bad, {place} {skipped[0].line} first: {skipped[0].reason}"


def _notes_path(cached: Path) -> Path:
    return cached.with_suffix(".json")
