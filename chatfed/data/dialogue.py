"""Reads dialogues from files and data sets into one schema, memory-mapped. Knows no tokens, models or clients' places.

Every source becomes an Arrow file in the cache of `datasets`, keyed by the content of the source and the way it is
read; the second reading only maps it. A line that is no dialogue is an error that names it, or is kept in `.skipped`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from chatfed.data.hub import hub_records
from chatfed.data.notes import notes_of
from chatfed.data.reading import (
    DEFAULT_CLIENT_COLUMN,
    DEFAULT_GAP_HOURS,
    PLACE,
    BadLine,
    Options,
    Part,
    Reading,
    Refusal,
)
from chatfed.data.sources import Found, files_of, kind_of, place_of
from chatfed.data.values import DataError
from chatfed.types import ClientId, InvalidValue, Turn

if TYPE_CHECKING:
    import datasets

__all__ = ["BadLine", "DataError", "Dialogue", "DialogueTable", "read_dialogues"]

_ROWS_AT_ONCE = 1000
_CACHE_VERSION = "5"  # raise it when the same source would read differently


@dataclass(frozen=True)
class Dialogue:
    """Messages in order, and the client whose they are where the source says so."""

    messages: tuple[Turn, ...]
    client_id: ClientId | None = None


class DialogueTable(Sequence[Dialogue]):
    """Dialogues over a memory-mapped `datasets.Dataset`; only those that are looked at are in memory."""

    def __init__(self, rows: datasets.Dataset, told: Mapping[str, Any], source: str) -> None:
        self._rows = rows
        self._has_clients = bool(told["has_clients"])
        self._source = source
        self.skipped = tuple(BadLine(**bad) for bad in told["skipped"])
        self.notes: tuple[str, ...] = tuple(told["notes"])  # what was not read, left out, or decided, each a sentence

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

    def where(self, index: int) -> str:
        """File and line, item or row of a dialogue."""
        return str(self._rows[int(index)][PLACE])

    def column(self, name: str) -> list[str]:
        """Values of the label column that was asked for on reading, or of `client_id`. Raises DataError."""
        unnamed = ("messages", PLACE)
        if name in (*unnamed, "") or name not in self._rows.column_names:
            others = [column for column in self._rows.column_names if column not in unnamed]
            raise DataError(f"{self._source}: no column {name!r} was read; there is {', '.join(others)}", param=name)
        return list(self._rows[name])


def _to_dialogue(row: Mapping[str, Any]) -> Dialogue:
    turns = tuple(Turn(message["role"], message["content"], message["learn"]) for message in row["messages"])
    return Dialogue(turns, None if row["client_id"] is None else ClientId(row["client_id"]))


def read_dialogues(
    source: str,
    *,
    client_column: str = DEFAULT_CLIENT_COLUMN,
    skip_bad_lines: bool = False,
    split: str = "train",
    label_column: str | None = None,
    me: Sequence[str] = (),
    ignore_columns: Sequence[str] = (),
    gap_hours: float = DEFAULT_GAP_HOURS,
    refusal: Refusal | None = None,
) -> DialogueTable:
    """Dialogues of a file, of a folder of files, or of a data set on the hub.

    Files are .jsonl, .json, .csv, .parquet and .txt, the text kinds also .gz.

    `client_column` says whose a dialogue is: it may lack in the source under its default name, and must be there under
    any other. `label_column` is kept for `.column`. `split` is of hub data sets, and of a .json file that has splits.
    `me` names the authors whose messages are the assistant's, where a source has authors and no roles; there a silence
    of more than `gap_hours` ends a dialogue (0: none does). `ignore_columns` are left out knowingly. A dialogue for
    which `refusal` has a reason is a bad line. Raises DataError, which names file, line and reason, at the first line
    that is no dialogue, unless `skip_bad_lines` collects them in `.skipped`; a source without any dialogue, a cut .gz
    and a column that is missing are errors in any case. InvalidValue: for `gap_hours` below 0 or not finite.
    """
    if not (gap_hours >= 0 and math.isfinite(gap_hours)):
        raise InvalidValue(f"gap_hours must be a finite number of hours, 0 or more, not {gap_hours}", param="gap_hours")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    names = Options(client_column, label_column, skip_bad_lines, tuple(me), tuple(ignore_columns), gap_hours)
    reading = Reading(str(source), names, refusal=refusal)
    found = Found(reading.how, reading.seen, split)
    parts, content = _parts_and_digest(reading.source, found)
    ways = [_CACHE_VERSION, reading.source, split, asdict(names), refusal.key if refusal else ""]
    key = hashlib.sha256(json.dumps([content, *ways], allow_nan=False).encode()).hexdigest()[:40]
    cached = Path(datasets.config.HF_DATASETS_CACHE) / "chatfed" / f"{key}.arrow"
    table = _cached_table(reading.source, cached)
    return _table(reading, parts, found, cached) if table is None else table


def _parts_and_digest(source: str, found: Found) -> tuple[list[Part], str]:
    """The files of a source, not read yet, and what changes when its content does."""
    kind = kind_of(source)
    if kind == "hub":
        records, digest = hub_records(source, found.split, found.records)
        return [Part(source, "row", source, records)], digest
    if kind != "folder":
        return [_part(Path(source), found, source)], _digest(Path(source))
    files = files_of(source)
    digests = "".join(f"{path.relative_to(source)} {_digest(path)} " for path in files)
    return [_part(path, found, str(path)) for path in files], hashlib.sha256(digests.encode()).hexdigest()


def _part(path: Path, found: Found, source: str) -> Part:
    kind = kind_of(source)
    name = path.name.split(".")[0]
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", name):  # a day of a channel, as Slack names its files
        name = path.resolve().parent.name
    return Part(source, place_of(kind), name, found.records(path, kind))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", param=str(path)) from None


def _cached_table(source: str, cached: Path) -> DialogueTable | None:
    """What an earlier reading kept; None when it kept nothing, or its files are not whole (a crash, a full disk)."""
    import datasets

    try:
        told: dict[str, Any] = json.loads(_notes_path(cached).read_text(encoding="utf-8"))
        rows = datasets.Dataset.from_file(str(cached))
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return None
    if len(rows) != told["rows"]:  # Arrow reads a file that was cut between two batches without a word
        return None
    return DialogueTable(rows, told, source)


def _table(reading: Reading, parts: list[Part], found: Found, cached: Path) -> DialogueTable:
    """Writes the rows to an Arrow file, whole or not at all, and maps it."""
    import datasets

    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with _whole(cached) as partial:
            count = _write_arrow(partial, reading, parts)
            told = {
                "skipped": [vars(bad) for bad in reading.skipped],
                "has_clients": bool(reading.has_clients),
                "rows": count,
                "notes": [*found.notes, *notes_of(reading)],
            }
            with _whole(_notes_path(cached)) as beside:
                beside.write_text(json.dumps(told, allow_nan=False), encoding="utf-8")
        rows = datasets.Dataset.from_file(str(cached))
    except OSError as error:
        raise DataError(
            f"the cache {cached.parent} cannot be written: {error.strerror or error}; "
            "make room there, or set HF_DATASETS_CACHE to another folder",
            param=str(cached.parent),
        ) from None
    return DialogueTable(rows, told, reading.source)


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


def _write_arrow(path: Path, reading: Reading, parts: list[Part]) -> int:
    """Writes the rows; returns how many."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    text = datasets.Value("string")
    message = {"role": text, "content": text, "learn": datasets.Value("bool")}
    columns = {"messages": [message], "client_id": text, PLACE: text}
    if reading.options.label_column is not None:
        columns[reading.options.label_column] = text
    batch: list[dict[str, object]] = []
    count = 0
    with ArrowWriter(features=datasets.Features(columns), path=str(path)) as writer:

        def flush() -> None:
            writer.write_batch({name: [row[name] for row in batch] for name in columns})
            batch.clear()

        for row in reading.rows(parts):
            batch.append(row)
            count += 1
            if len(batch) == _ROWS_AT_ONCE:
                flush()
        if reading.has_clients is None:
            raise DataError(f"{reading.source} holds no dialogue{_counted(reading)}", param=reading.source)
        if batch:
            flush()
        writer.finalize()
    return count


def _counted(reading: Reading) -> str:
    skipped = reading.skipped
    if not skipped:
        return "; it is empty"
    place = skipped[0].place
    return f": all {len(skipped)} {place}s are bad, {place} {skipped[0].line} first: {skipped[0].reason}"


def _notes_path(cached: Path) -> Path:
    return cached.with_suffix(".json")
