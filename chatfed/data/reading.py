"""From the records of a source to rows of one schema: messages and client. Knows no file kinds and no cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from chatfed.data.exports import export_of, tables
from chatfed.data.exports.thread import Thread, dialogues_of
from chatfed.data.messages import How, Seen, is_me, name_beside, turns_of, unknown_role
from chatfed.data.records import is_whole, read_record
from chatfed.data.schemas import canonical
from chatfed.data.values import BadRecord, DataError, absent, text_of
from chatfed.types import Turn

DEFAULT_CLIENT_COLUMN = "client_id"
DEFAULT_GAP_HOURS = 8.0
PLACE = " place"  # of a row: file and line, item or row; no label column is called so
_MOST_NAMES = 500  # of columns and authors that are counted one by one

# A record is what stands at a place of the source, or the reason why nothing does.
Content = Mapping[str, object] | tuple[Turn, ...] | Thread | BadRecord
Record = tuple[int, Content]
Row = dict[str, object]


@dataclass(frozen=True)
class BadLine:
    """A line (JSON Lines, text), item (JSON) or row (CSV, Parquet, hub), counted from 1, that is no dialogue."""

    file: str
    line: int
    reason: str
    place: str = "line"  # what `line` counts: "line", "item" or "row"

    def where(self, source: str) -> str:
        """Its place in the source: of a folder also the file."""
        at = f"{self.place} {self.line}"
        return at if self.file == source else f"{self.file}, {at}"


@dataclass(frozen=True)
class Options:
    """How a source is read, as a person asked for it."""

    client_column: str = DEFAULT_CLIENT_COLUMN
    label_column: str | None = None
    skip_bad_lines: bool = False
    me: tuple[str, ...] = ()  # authors whose messages are the assistant's
    ignore_columns: tuple[str, ...] = ()  # columns, and keys of messages, left out knowingly
    gap_hours: float = DEFAULT_GAP_HOURS  # a silence that ends a dialogue of authors; 0: none does

    def how(self) -> How:
        """What readers of single records go by."""
        taken = {self.client_column, *([self.label_column] if self.label_column else [])}
        me = frozenset(name.strip().lower() for name in self.me)
        return How(me, frozenset(map(canonical, self.ignore_columns)), frozenset(taken))


@dataclass(frozen=True)
class Refusal:
    """What else makes a dialogue a bad line: another's rule, such as a chat template's."""

    reason: Callable[[tuple[Turn, ...]], str]  # one sentence; empty where nothing speaks against it
    key: str  # another rule has another


@dataclass(frozen=True)
class Part:
    """A file of a source, or all of it."""

    source: str  # what errors call it
    place: str  # what its records are counted in
    name: str  # of a chat that has none itself
    records: Iterable[Record]


@dataclass
class Reading:
    """A source in hand, and what has been seen of it: whether there are clients, the bad lines, what was not read."""

    source: str
    options: Options
    place: str = "line"  # of the part in hand
    name: str = ""
    refusal: Refusal | None = None
    has_clients: bool | None = None
    skipped: list[BadLine] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    unread: Counter[str] = field(default_factory=Counter)  # records by the columns and keys that nobody read
    ignored: Counter[str] = field(default_factory=Counter)  # records by the columns left out knowingly
    authors: Counter[str] = field(default_factory=Counter)
    unlearned: int = 0  # messages that are context only
    how: How = field(init=False)

    def __post_init__(self) -> None:
        self.how = self.options.how()

    def rows(self, parts: Iterable[Part]) -> Iterator[Row]:
        """Rows of the one schema. Raises DataError at a bad record unless they are to be skipped."""
        whole = self.source
        for part in parts:
            self.source, self.place, self.name = part.source, part.place, part.name
            yield from self._part_rows(part.records)
        self.source = whole
        self._require_me()

    def _part_rows(self, records: Iterable[Record]) -> Iterator[Row]:
        numbered, first = _peeked(records)
        layout = None
        if first is not None and export_of(first) is None and not self._whole(first):
            layout = tables.layout_of(first, self.how)
        if layout is None:
            yield from chain.from_iterable(map(self._rows_at, numbered))
        else:
            self._require_columns(first or {})
            yield from self._table_rows(numbered, layout)

    def _whole(self, record: Mapping[str, object]) -> bool:
        try:
            return is_whole(record, self.how)
        except BadRecord:
            return True

    def _rows_at(self, numbered: Record) -> list[Row]:
        number, record = numbered
        self.seen.unread.clear()
        try:
            rows = list(self._rows_of(number, record))
        except BadRecord as bad:
            self._bad(number, bad)
            return []
        self._count(record)
        return [{**row, PLACE: self._at(number)} for row in rows]

    def _at(self, number: int) -> str:
        return f"{self.source}, {self.place} {number}"

    def _bad(self, number: int, bad: BadRecord) -> None:
        if not self.options.skip_bad_lines:
            mend = "mend it, or leave such lines out with --skip-bad-lines (data.skip_bad_lines)"
            raise DataError(f"{self._at(number)}: {bad}; {mend}", param=bad.param or self.source) from None
        self.skipped.append(BadLine(self.source, number, str(bad), self.place))

    def _count(self, record: object) -> None:
        """Adds what a record that was read holds beside what was read."""
        for name in dict.fromkeys(self.seen.unread):
            self.unread[name if len(self.unread) < _MOST_NAMES or name in self.unread else "others"] += 1
        if self.how.ignored and isinstance(record, Mapping):
            self.ignored.update(
                name for name, value in record.items() if canonical(name) in self.how.ignored and not absent(value)
            )

    def _rows_of(self, number: int, record: Content) -> Iterator[Row]:
        if isinstance(record, BadRecord):
            raise record
        if isinstance(record, Thread):
            self._require_columns({})
            yield from self._thread_rows(record)
            return
        columns: Mapping[str, object] = record if isinstance(record, Mapping) else {}
        self._require_columns(columns)
        if not isinstance(record, Mapping):
            yield self._row(record, columns, None)
        elif (export := export_of(record)) is not None:
            rest = {name: value for name, value in record.items() if name not in (*export.reads, *self.how.taken)}
            name_beside(rest, self.how, self.seen)
            for thread in export.threads(record, self.seen):
                yield from self._thread_rows(thread)
        else:
            yield from self._said_rows(record, number)

    def _said_rows(self, record: Mapping[str, object], number: int) -> Iterator[Row]:
        said = read_record(record, self.how, self.seen)
        if not self.how.me:
            yield self._row(turns_of(said), record, None)
            return
        if any(each.role is None for each in said) and not any(is_me(each.author, self.how) for each in said):
            self._meet(Thread(tuple(said)))
            raise unknown_role(said)
        yield from self._thread_rows(Thread(tuple(said), f"{self.place} {number}", record))

    def _table_rows(self, numbered: Iterable[Record], layout: tables.Layout) -> Iterator[Row]:
        def rows() -> Iterator[tuple[int, Mapping[str, object] | BadRecord]]:
            for number, record in numbered:
                if isinstance(record, (Mapping, BadRecord)):
                    yield number, record

        for number, found in tables.threads_of(rows(), layout, self.how, self._client, self.name, self.seen):
            self.seen.unread.clear()
            try:
                if isinstance(found, BadRecord):
                    raise found
                made = list(self._thread_rows(found()))
            except BadRecord as bad:
                self._bad(number, bad)
                continue
            self._count(None)
            yield from ({**row, PLACE: self._at(number)} for row in made)

    def _thread_rows(self, thread: Thread) -> Iterator[Row]:
        self._meet(thread)
        for turns, author in dialogues_of(thread, self.how, self.options.gap_hours, self.source, self.seen):
            yield self._row(turns, thread.columns, author)

    def _meet(self, thread: Thread) -> None:
        """Counts the authors whose role is a matter of --me."""
        for each in thread.said:
            if each.role is None or is_me(each.author, self.how):
                known = each.author in self.authors or len(self.authors) < _MOST_NAMES
                self.authors[each.author if known else "others"] += 1

    def _row(self, turns: tuple[Turn, ...], columns: Mapping[str, object], author: str | None) -> Row:
        if self.refusal and (reason := self.refusal.reason(turns)):
            raise BadRecord(reason)
        client = self._client(columns)
        client = author if client is None else client
        if client is None and self.has_clients:
            raise BadRecord(f"{self.options.client_column} is missing", param=self.options.client_column)
        if client is not None and self.has_clients is False:
            name = self.options.client_column
            raise BadRecord(f"{name} is given here, and earlier lines have none", param=name)
        messages = [{"role": turn.role, "content": turn.content, "learn": turn.learn} for turn in turns]
        row: Row = {"messages": messages, "client_id": client}
        label = self.options.label_column
        if label is not None:
            row[label] = _name(columns.get(label), label)
        self.unlearned += sum(not turn.learn for turn in turns)
        self.has_clients = client is not None
        return row

    def _require_columns(self, columns: Mapping[str, object]) -> None:
        """The columns asked for by name must be in the first record; a later one without them is a bad line."""
        if self.has_clients is not None:
            return
        asked = self.options.client_column
        wanted = [] if asked == DEFAULT_CLIENT_COLUMN else [asked]
        for name in [*wanted, *([self.options.label_column] if self.options.label_column else [])]:
            if name not in columns:
                there = f"the columns are {', '.join(columns)}" if columns else "it has no columns"
                raise DataError(f"{self.source}: no column {name!r}; {there}", param=name)

    def _client(self, columns: Mapping[str, object]) -> str | None:
        """The client that a record names; None where it may name none. Raises BadRecord."""
        name = self.options.client_column
        value = columns.get(name)
        if value is None and (name == DEFAULT_CLIENT_COLUMN or not columns):
            return None
        return _name(value, name)

    def _require_me(self) -> None:
        """Whoever --me names must be there, where there are authors at all."""
        lower = {author.strip().lower() for author in self.authors}
        missing = [name for name in self.options.me if name.strip().lower() not in lower]
        if self.authors and missing:
            known = ", ".join(repr(author) for author, _ in self.authors.most_common(8))
            raise DataError(
                f"{self.source}: nobody is called {missing[0]!r} (--me, data.me); there is {known}", param="data.me"
            )


def _peeked(records: Iterable[Record]) -> tuple[Iterator[Record], Mapping[str, object] | None]:
    """All records, and the first that is an object."""
    source, head = iter(records), list[Record]()
    for numbered in source:
        head.append(numbered)
        if not isinstance(numbered[1], BadRecord):
            found = numbered[1]
            return chain(head, source), found if isinstance(found, Mapping) else None
    return iter(head), None


def _name(value: object, column: str) -> str:
    if isinstance(value, float) and value.is_integer():  # a Parquet column of whole numbers with a gap
        value = int(value)
    if value is None or isinstance(value, bool) or not isinstance(value, (str, int)):
        wrong = "is missing" if value is None else "is neither text nor a whole number"
        raise BadRecord(f"{column} {wrong}", param=column)
    if not str(value).strip():
        raise BadRecord(f"{column} is empty", param=column)
    return text_of(str(value), column)
