"""The owner's side of a searchable log on disk: how many entries each word has, sealed, and what is on its way.

Words are here as tags, HMACs under a key of their own, and what is counted lies sealed under the log's key: whoever
finds this file without the key sees how many words there are, and which rows changed together.

**How it keeps step with the server.** A batch of entries is kept here first, in the transaction that counts it, and
only then sent. A process that was killed in between finds it here and sends it again: the same bytes at the same
addresses. So a counter never stands below what the server has, and never above it once the log is open.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .log import LogKey, seal, unseal
from .log_errors import damaged, told
from .log_files import check_whole, open_database, transaction
from .log_index import ADDRESS_BYTES, VALUE_BYTES, Counter, Prf

_SCHEMA = """
create table counters (tag blob primary key, sealed blob not null) without rowid;
create table dummies (tag blob, segment integer, sealed blob not null, primary key (tag, segment)) without rowid;
create table deleted (id integer primary key, sealed blob not null);
create table about (name text primary key, sealed blob not null) without rowid;
"""
_REMEMBERED = 200_000  # counters in memory


@dataclass(frozen=True)
class State:
    """Where a log stands."""

    batch: int = 0  # the last batch of entries
    indexed: int = 0  # messages up to this one are in a batch
    dummies: int = 0  # that all batches hold together
    words: int = 0  # that have entries


class Counters:
    """The owner's file of one log. Raises NoLog, DamagedLog, LogDiskError; damage is named with the file."""

    def __init__(self, path: Path, key: LogKey, new: bool = False) -> None:
        self.path, self._key, self._tag, self._rows = path, key, Prf(key.tags), Prf(key.counters)
        self._seen: dict[str, Counter] = {}
        self._database = open_database(path, _SCHEMA, new)
        try:
            if new:
                with self._changing() as database:
                    self._put(database, "state", json.dumps(asdict(State()), allow_nan=False).encode())
            self.state = self._read_state()
            self.deleted = set[int]()
            self.waiting = dict[int, list[str]]()  # the words of deleted messages for which no batch holds entries yet
            for message, words in self._deleted():
                self.deleted.add(message)
                self.waiting |= {message: words} if words else {}
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def counter(self, word: str) -> Counter:
        """How many entries a word has, and what searches asked for."""
        if word not in self._seen:
            if len(self._seen) > _REMEMBERED:
                self._seen.clear()
            row = self._row("select sealed from counters where tag = ?", self.tag(word))
            self._seen[word] = Counter.from_bytes(self._opened(row, b"counter", self.tag(word))) if row else Counter()
        return self._seen[word]

    def tag(self, word: str) -> bytes:
        """What a word is called in the file, bytes[16]."""
        return self._tag(word.encode())[:16]

    def keep_batch(self, state: State, counters: Mapping[str, Counter], entries: Mapping[bytes, bytes]) -> None:
        """Counts a batch, and keeps it until the next one: on the disk when this returns."""
        with self._changing() as database:
            self._keep(database, counters)
            self._put_batch(database, state, entries)
            for message in self.waiting:
                self._put_deleted(database, message, ())
        self.state = state
        self.waiting.clear()
        self._seen |= counters

    def keep_dummies(self, state: State, entries: Mapping[bytes, bytes]) -> None:
        """Keeps a batch of dummies, which counts no word, until the next one: on the disk when this returns."""
        with self._changing() as database:
            self._put_batch(database, state, entries)
        self.state = state

    def batch(self) -> dict[bytes, bytes]:
        """The entries of the last batch."""
        whole, both = self._about("batch"), ADDRESS_BYTES + VALUE_BYTES
        rows = (whole[at : at + both] for at in range(0, len(whole), both))
        return {row[:ADDRESS_BYTES]: row[ADDRESS_BYTES:] for row in rows}

    def used(self) -> bytearray:
        """Which dummies searches took along: bit n of it for dummy n."""
        found = bytearray(self._about("used"))
        return found + bytes(max(0, -(-self.state.dummies // 8) - len(found)))

    def keep_search(self, counters: Mapping[str, Counter], taken: Mapping[str, list[int]], used: bytes) -> None:
        """Keeps what a search is going to ask for that none asked for before: on the disk when this returns."""
        with self._changing() as database:
            self._keep(database, counters)
            for word, numbers in taken.items():
                at, tag = len(counters[word].segments) - 1, self.tag(word)
                sealed = self._sealed(json.dumps(numbers, allow_nan=False).encode(), b"dummies", tag, at.to_bytes(4))
                database.execute("insert or replace into dummies values (?, ?, ?)", (tag, at, sealed))
            self._put(database, "used", used)
        self._seen |= counters

    def taken(self, word: str) -> list[int]:
        """The dummies that searches for a word take along."""
        tag, found = self.tag(word), list[int]()
        with told(self.path):
            asked = "select segment, sealed from dummies where tag = ? order by segment"
            rows = self._database.execute(asked, (tag,)).fetchall()
        for at, sealed in rows:
            found += json.loads(self._opened(sealed, b"dummies", tag, at.to_bytes(4)))
        return found

    def keep_deleted(self, messages: Mapping[int, Sequence[str]]) -> None:
        """Notes messages that are to be erased, with the words that wait for the next batch: on the disk afterwards."""
        with self._changing() as database:
            for message, words in messages.items():
                self._put_deleted(database, message, words)
        self.deleted |= messages.keys()
        self.waiting |= {message: [*words] for message, words in messages.items() if words}

    def check(self) -> None:
        """Reads every page and opens every counter. Raises DamagedLog."""
        check_whole(self._database, self.path)
        with told(self.path):
            rows = self._database.execute("select tag, sealed from counters").fetchall()
        if len(rows) != self.state.words:
            raise damaged(self.path, f"it has counters of {len(rows):,} words in the place of {self.state.words:,}")
        for tag, sealed in rows:
            self._opened(sealed, b"counter", tag)

    def _deleted(self) -> Iterator[tuple[int, list[str]]]:
        with told(self.path):
            rows = self._database.execute("select id, sealed from deleted").fetchall()
        for message, sealed in rows:
            yield message, json.loads(self._opened(sealed, b"deleted", str(message).encode()))

    def _put_deleted(self, database: sqlite3.Connection, message: int, words: Sequence[str]) -> None:
        sealed = self._sealed(json.dumps([*words], allow_nan=False).encode(), b"deleted", str(message).encode())
        database.execute("insert or replace into deleted values (?, ?)", (message, sealed))

    def _keep(self, database: sqlite3.Connection, counters: Mapping[str, Counter]) -> None:
        tags = ((self.tag(word), counter) for word, counter in counters.items())
        rows = ((tag, self._sealed(counter.to_bytes(), b"counter", tag)) for tag, counter in tags)
        database.executemany("insert or replace into counters values (?, ?)", rows)

    def _read_state(self) -> State:
        found = self._about("state")
        if not found:
            raise damaged(self.path, "it does not say where the log stands")
        return State(**json.loads(found))

    def _put_batch(self, database: sqlite3.Connection, state: State, entries: Mapping[bytes, bytes]) -> None:
        self._put(database, "batch", b"".join(each + value for each, value in entries.items()))
        self._put(database, "state", json.dumps(asdict(state), allow_nan=False).encode())

    def _about(self, name: str) -> bytes:
        row = self._row("select sealed from about where name = ?", name)
        return self._opened(row, b"about", name.encode()) if row else b""

    def _put(self, database: sqlite3.Connection, name: str, plain: bytes) -> None:
        sealed = self._sealed(plain, b"about", name.encode())
        database.execute("insert or replace into about values (?, ?)", (name, sealed))

    def _row(self, asked: str, key: object) -> bytes | None:
        with told(self.path):
            row = self._database.execute(asked, (key,)).fetchone()
        return row[0] if row else None

    def _sealed(self, plain: bytes, *about: bytes) -> bytes:
        """Under a key of the row's own, HMAC(K, name of the row).

        A batch or a search seals each row once, so the 2^32 seals of a key are as many batches and searches.
        """
        name = b"/".join((self._key.log, *about))
        return seal(self._rows(name), plain, name)

    def _opened(self, sealed: bytes, *about: bytes) -> bytes:
        name = b"/".join((self._key.log, *about))
        plain = unseal(self._rows(name), sealed, name)
        if plain is None:
            raise damaged(self.path, "a row of it cannot be opened")
        return plain

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with told(self.path), transaction(self._database) as database:
            yield database
