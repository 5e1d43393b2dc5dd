"""The server's side of a searchable log: what lies there, and what each step shows it. Never has a key or a word.

All that it gets are the arguments of the methods below; `Seen` counts them as a curious server would. Every method is
one transaction: what it wrote is on the disk when it returns, or nothing of it is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .log_errors import damaged, told
from .log_files import check_whole, open_database, overwrite_erased, transaction

_SCHEMA = """
create table entries (address blob primary key, value blob not null) without rowid;
create table bodies (id integer primary key autoincrement, sealed blob not null);
create table about (name text primary key, value blob not null) without rowid;
"""
_AT_ONCE = 10_000  # rows of one question to SQLite


@dataclass
class Seen:
    """What a server that follows the protocol and is curious has seen since it was opened."""

    appended: int = 0  # messages
    sizes: dict[int, int] = field(default_factory=dict)  # messages by bytes of their sealed bodies
    batches: int = 0
    entries: int = 0  # of all batches
    searches: dict[int, int] = field(default_factory=dict)  # for a word, by the addresses that each asked for
    repeated: int = 0  # of these, with addresses that were asked for before: the same word
    addresses: int = 0  # that were asked for
    bodies: int = 0  # likewise
    erased: int = 0
    _asked: set[bytes] = field(default_factory=set, repr=False)

    def asked(self, addresses: Sequence[bytes]) -> None:
        """Notes a search by the addresses that it asks for."""
        self.repeated += not self._asked.isdisjoint(addresses)
        self._asked.update(addresses)
        self.addresses += len(addresses)
        self.searches[len(addresses)] = self.searches.get(len(addresses), 0) + 1


class Server:
    """The server's file of one log. For one thread at a time.

    Raises NoLog, DamagedLog, LogDiskError.
    """

    def __init__(self, path: Path, log: bytes = b"", check: bytes = b"", new: bool = False) -> None:
        """new: with the id of a new log and what tells another key from its own."""
        self.path, self.seen = path, Seen()
        self._database = open_database(path, _SCHEMA, new)
        if new:
            with self._changing() as database:
                about = [("log", log), ("check", check), ("batch", _number(0))]
                database.executemany("insert into about values (?, ?)", about)

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def about(self) -> tuple[bytes, bytes, int]:
        """(id of the log, what tells another key from its own, number of the last batch of entries)."""
        with told(self.path):
            rows = dict(self._database.execute("select name, value from about").fetchall())
        found = [rows.get(name) for name in ("log", "check", "batch")]
        if not all(isinstance(each, bytes) for each in found):
            raise damaged(self.path, "it does not say which log it is of")
        return bytes(found[0] or b""), bytes(found[1] or b""), int.from_bytes(found[2] or b"", "little")

    def last(self) -> int:
        """The highest number that a message ever had here."""
        with told(self.path):
            row = self._database.execute("select seq from sqlite_sequence where name = 'bodies'").fetchone()
        return int(row[0]) if row else 0

    def put(self, bodies: Mapping[int, bytes]) -> None:
        """Keeps sealed messages by their numbers."""
        with self._changing() as database:
            database.executemany("insert into bodies values (?, ?)", bodies.items())
        self.seen.appended += len(bodies)
        for sealed in bodies.values():
            self.seen.sizes[len(sealed)] = self.seen.sizes.get(len(sealed), 0) + 1

    def put_entries(self, batch: int, entries: Mapping[bytes, bytes]) -> None:
        """Keeps a batch of entries by their addresses; once more changes nothing."""
        with self._changing() as database:
            database.executemany("insert or replace into entries values (?, ?)", sorted(entries.items()))
            database.execute("update about set value = ? where name = 'batch'", (_number(batch),))
        self.seen.batches += 1
        self.seen.entries += len(entries)

    def find(self, addresses: Sequence[bytes]) -> dict[bytes, bytes]:
        """The entries at these addresses, of those that there are."""
        self.seen.asked(addresses)
        return dict(self._rows("select address, value from entries where address in ({})", sorted(addresses)))

    def fetch(self, messages: Sequence[int]) -> dict[int, bytes]:
        """The sealed messages of these numbers, of those that there are."""
        self.seen.bodies += len(messages)
        return dict(self._rows("select id, sealed from bodies where id in ({})", sorted(messages)))

    def body(self, message: int) -> bytes | None:
        """One sealed message, or None."""
        with told(self.path):
            row = self._database.execute("select sealed from bodies where id = ?", (message,)).fetchone()
        return row[0] if row else None

    def left(self, messages: Iterable[int]) -> list[int]:
        """Those of these messages that are here."""
        return [each for each, _ in self._rows("select id, x'' from bodies where id in ({})", sorted(messages))]

    def since(self, message: int) -> dict[int, bytes]:
        """All messages with higher numbers."""
        with told(self.path):
            rows = self._database.execute("select id, sealed from bodies where id > ? order by id", (message,))
            return dict(rows.fetchall())

    def every(self) -> Iterator[tuple[int, bytes]]:
        """All messages, oldest first."""
        with told(self.path):
            yield from self._database.execute("select id, sealed from bodies order by id")

    def count(self) -> int:
        """How many messages there are."""
        with told(self.path):
            return int(self._database.execute("select count(*) from bodies").fetchone()[0])

    def entries(self) -> int:
        """How many entries there are."""
        with told(self.path):
            return int(self._database.execute("select count(*) from entries").fetchone()[0])

    def erase(self, messages: Iterable[int]) -> None:
        """Erases messages, and overwrites where they lay."""
        gone = [(each,) for each in messages]
        with self._changing() as database:
            database.executemany("delete from bodies where id = ?", gone)
        with told(self.path):
            overwrite_erased(self._database)
        self.seen.erased += len(gone)

    def pass_by(self, message: int) -> None:
        """No message gets a number up to this one from now on."""
        if message > self.last():
            with self._changing() as database:
                database.execute("insert into bodies values (?, x'')", (message,))
                database.execute("delete from bodies where id = ?", (message,))

    def check(self) -> None:
        """Reads every page. Raises DamagedLog."""
        check_whole(self._database, self.path)

    def _rows(self, asked: str, keys: Sequence[Any]) -> Iterator[tuple[Any, bytes]]:
        for first in range(0, len(keys), _AT_ONCE):
            part = keys[first : first + _AT_ONCE]
            with told(self.path):
                yield from self._database.execute(asked.format(",".join("?" * len(part))), part).fetchall()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with told(self.path), transaction(self._database) as database:
            yield database


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")
