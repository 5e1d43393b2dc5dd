"""What clients keep between messages: records in one SQLite file, and the keys to the secret ones apart.

A member has a file of its own; in a simulation many clients share one, and what they write in the meantime reaches the
disk together. What holds, and is tested (test_store.py, test_sealed.py, test_sharing.py, test_damage.py of its folder):

1. What was written before a `commit` is on the disk, all of it, when that returns; what was not is not there at all.
   So a client may let an answer leave, or begin work that it pays for, once `commit` has returned. That holds where a
   process is killed (test_random_kills.py) and where a machine loses power, if its disk keeps what was synced: the
   names of new folders, too (test_power_cuts.py, and tests/training/disk.py for what else is assumed of it).
2. A record of SEALED is there only under a key. The key is on the disk before the record is.
3. A key that is destroyed is overwritten, with zeros or its successor, on the disk before any record goes, and what it
   closed is closed for good, wherever a disk or SQLite (its log, its free pages) still has it.
4. A record that SQLite finds and that is not as it was written is an error, never another record or none.
5. One process has a store for itself, or several share it that leave each other's clients alone.
6. A store whose tables are gone while its keys are there is no new one. What else is damaged in the file (a page of an
   index, the log) SQLite may not notice: the ledger's own chain, and a run's record of charges, are what is left then.

SQLite keeps what is deleted in its log and its free pages until they are used again. `secure_delete` would overwrite
those pages, but neither the log's copies of them nor what the file system moved: so nothing rests on it here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.secagg.states import DamagedState
from chatfed.types import ClientId, Entropy

from ..durable import Busy, DiskError, lock_within, sync_above
from .database import PATIENCE, Row, names_of_many, open_database, open_file, refusal, rows_of_many, write_rows

_NO_KEY = bytes(KEY_BYTES)
_WHOLE = "select key, body, checksum from records where client = ? and name = ?"
_WITHOUT_BODY = "select key, x'', checksum from records where client = ? and name = ?"
_NAMES = "select name from records where client = ?"


class Key(IntEnum):
    """The keys of a client, by their order in its place of the file of keys."""

    RELEASE = 0  # of one update, and of all attempts at a sum that it is for
    BEGUN = 1  # of an update that is sent again in later rounds
    EPOCH = 2  # of the next slot of what was agreed on with a cohort
    SUM = 3  # of where one sum stands; another one after each step


SEALED = {"update": Key.RELEASE, "begun": Key.BEGUN}
"""Records that are sealed here, and under which key; `round` and `epoch` are by who writes them."""


@dataclass
class _Read:
    """What was read, and is remembered."""

    rows: dict[tuple[bytes, str, bool], Row | None] = field(default_factory=dict)  # with its body or without
    names: dict[bytes, set[str]] = field(default_factory=dict)  # of a client's records, those that wait among them
    sound: dict[tuple[bytes, str], Row] = field(default_factory=dict)  # rows whose checksums were looked at


class Store:
    """The records of one client or of many. For one thread.

    path: of the file; beside it lie the keys (.keys) and a lock for writers (.lock). shared: with other processes,
    which serve other clients. Raises Busy where another process has it, DiskError, DamagedState.
    """

    def __init__(self, path: Path, shared: bool = False) -> None:
        self.path, self.keys = path, path.with_name(path.name + ".keys")
        self._waiting: dict[tuple[bytes, str], Row | None] = {}  # None: erased
        self._read: _Read | None = None  # None: nothing is remembered
        self._places: dict[bytes, int] = {}
        self._new_keys, self._failed = False, ""
        self.remembered: dict[ClientId, Any] = {}  # by whoever reads the same records again and again
        with contextlib.ExitStack() as opened, self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._keys = open_file(self.keys, opened)
            self._hold(shared)
            self._writer = open_file(path.with_name(path.name + ".lock"), opened)
            if new := os.fstat(self._keys).st_size == 0:  # also where who made the folder was killed before it synced
                sync_above(path.parent)
            self._database = open_database(path, new)
            self._files = opened.pop_all()

    def _hold(self, shared: bool) -> None:
        try:
            fcntl.flock(self._keys, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"Another process is at work with {self.path}: wait for it, or stop it.") from None

    def close(self) -> None:
        """Lets go of the files; what was not committed is gone."""
        with self._alone():  # the last one writes SQLite's log back
            self._database.close()
        self._files.close()

    def of(self, client: ClientId) -> ClientStore:
        """The records of one client."""
        return ClientStore(self, client)

    def commit(self) -> None:
        """All that was written since the last one is on the disk when this returns.

        Raises DiskError; then nothing may leave that rests on it.
        """
        waiting, self._waiting = self._waiting, {}
        read, self._read = self._read, None  # what is remembered of a commit that fails is not so
        with self._told():
            self._keep_keys()
            if waiting:
                with self._changing() as database:
                    write_rows(database, waiting)
        if read is not None:
            read.rows |= {(*at, True): row for at, row in waiting.items()}
            self._read = read

    def _keep_keys(self) -> None:
        """Those drawn are on the disk before what they seal, those destroyed before what they sealed goes."""
        if self._failed:  # a disk that once failed to keep them says later that it has, and has not
            raise DiskError(self._failed)
        if self._new_keys:
            try:
                os.fsync(self._keys)
            except OSError as error:
                self._failed = (
                    f"Writing {self.keys} failed: {error.strerror or error}. Mend the disk, then begin again."
                )
                raise
            self._new_keys = False

    def discard(self) -> None:
        """Forgets what was written since the last commit; keys that were drawn or destroyed stay so."""
        self._waiting.clear()
        self._read = None
        self.remembered.clear()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._alone():
            try:
                self._database.execute("begin immediate")
                yield self._database
                self._database.execute("commit")
            finally:
                if self._database.in_transaction:
                    with contextlib.suppress(sqlite3.Error):  # what went wrong before says why
                        self._database.execute("rollback")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time writes, or writes the log back.

        Up to 3.51.2 SQLite itself may lose a commit where two do so at once (its release notes of 3.51.3).
        """
        busy = f"Another process has been writing {self.path} for {PATIENCE:.0f} s."
        lock_within(self._writer, PATIENCE, busy, every=0.0005)
        try:
            yield
        finally:
            fcntl.flock(self._writer, fcntl.LOCK_UN)

    def row(self, client: bytes, name: str, body: bool = True) -> Row | None:
        """A record as it lies here, or will; with an empty body where that is not asked for."""
        if (client, name) in self._waiting:
            return self._waiting[client, name]
        seen = {} if self._read is None else self._read.rows
        for whole in (True,) if body else (True, False):
            if (client, name, whole) in seen:
                return seen[client, name, whole]
        with self._told():
            found = self._database.execute(_WHOLE if body else _WITHOUT_BODY, (client, name)).fetchone()
        seen[client, name, body] = row = Row(*found) if found else None
        return row

    def names(self, client: bytes) -> frozenset[str]:
        """Of the client's records that are here, or will be."""
        if self._read is not None and client in self._read.names:
            return frozenset(self._read.names[client])
        with self._told():
            found = {name for (name,) in self._database.execute(_NAMES, (client,))}
        for (whose, name), row in self._waiting.items():
            if whose == client:
                (found.discard if row is None else found.add)(name)
        if self._read is not None:
            self._read.names[client] = found
        return frozenset(found)

    @contextlib.contextmanager
    def remembering(self, clients: Iterable[ClientId] = (), names: Sequence[str] = ()) -> Iterator[None]:
        """Reads each record once in the meantime: for as long as no other process serves the clients that are read.

        clients, names: whose records are read at once, and which; nothing is while something waits to be written.
        """
        self._read = _Read()
        try:
            if not self._waiting:
                self._read_ahead([number_of(client) for client in clients], names)
            yield
        finally:
            self._read = None

    def _read_ahead(self, clients: Sequence[bytes], names: Sequence[str]) -> None:
        """Where damage is in the way nothing is: whoever reads its own records then finds it in them, or does not."""
        with contextlib.suppress(DamagedState), self._told():
            there = names_of_many(self._database, clients)
            rows = rows_of_many(self._database, clients, names)
            self._read = _Read({(*at, True): rows.get(at) for at in itertools.product(clients, names)}, there)

    def put(self, client: bytes, name: str, row: Row | None) -> None:
        """Keeps a record for the next commit, or (None) its erasure."""
        self._waiting[client, name] = row
        if self._read is not None and (names := self._read.names.get(client)) is not None:
            (names.discard if row is None else names.add)(name)

    def sound(self, client: bytes, name: str, row: Row) -> bool:
        """Whether this very row was `looked_at`, and is remembered."""
        return self._read is not None and self._read.sound.get((client, name)) is row

    def looked_at(self, client: bytes, name: str, row: Row) -> None:
        """Its checksum is right: it need not be worked out again for as long as the row is remembered."""
        if self._read is not None:
            self._read.sound[client, name] = row

    def place(self, client: bytes) -> int | None:
        """The place of a client's keys; None where it has none yet."""
        if client not in self._places:
            with self._told():
                found = self._database.execute("select place from places where client = ?", (client,)).fetchone()
            if found is None:
                return None
            self._places[client] = found[0]
        return self._places[client]

    def admit(self, clients: Iterable[ClientId]) -> None:
        """Gives a place for keys to each that has none: on the disk when this returns. Raises DiskError."""
        new = [(number,) for client in clients if self.place(number := number_of(client)) is None]
        if new:
            with self._told(), self._changing() as database:
                database.executemany("insert or ignore into places (client) values (?)", new)

    def key(self, place: int, which: Key) -> bytes | None:
        """The key in a client's place, or None."""
        found = os.pread(self._keys, KEY_BYTES, self._at(place, which))
        return found if len(found) == KEY_BYTES and found != _NO_KEY else None

    def put_key(self, place: int, which: Key, key: bytes | None) -> None:
        """Overwrites the key in a client's place; on the disk with the next commit, before anything else."""
        with self._told():
            if os.pwrite(self._keys, key or _NO_KEY, self._at(place, which)) < KEY_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._new_keys = True

    def _at(self, place: int, which: Key) -> int:
        return KEY_BYTES * (len(Key) * place + which)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of disk and database, as a person can use them."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except UnicodeDecodeError as error:  # of what SQLite says about damage
            raise DamagedState(f"{self.path} is damaged: restore it from a backup") from error
        except (OSError, sqlite3.Error) as error:
            raise refusal(self.path, error) from error


@dataclass(frozen=True)
class ClientStore:
    """One client's records: a key (of a release, or another word) and a body under each name."""

    store: Store
    client: ClientId

    def read(self, name: str) -> tuple[str, bytes] | None:
        """Key and body of a record, or None where there is none. Raises DamagedState."""
        row = self.store.row(self._number, name)
        if row is None:
            return None
        self._check(name, row)
        return row.key, self._opened(name, row) if name in SEALED else row.body

    def tag(self, name: str) -> str:
        """The key of a record; empty where there is none. Of a sealed one the body is not read. Raises DamagedState."""
        row = self.store.row(self._number, name, body=name not in SEALED)
        if row is None:
            return ""
        self._check(name, row)
        return row.key

    def names(self) -> frozenset[str]:
        """Of all records that are there, as they were written or not."""
        return self.store.names(self._number)

    def there(self, name: str) -> bool:
        """Whether there is such a record, as it was written or not."""
        return name in self.names()

    def write(self, name: str, key: str, body: bytes, entropy: Entropy = os.urandom) -> None:
        """Puts a record in the place of what was there: on the disk with the next commit."""
        checksum = self._checksum(name, key, body)
        stored = self._closed(name, checksum, body, entropy) if name in SEALED else body
        self.store.put(self._number, name, Row(key, stored, checksum))

    def erase(self, *names: str) -> None:
        """Removes records: gone with the next commit, but for what a disk remembers."""
        for name in names:
            self.store.put(self._number, name, None)

    def commit(self) -> None:
        """As `Store.commit`, which takes all clients of the store along."""
        self.store.commit()

    def secret(self, which: Key = Key.RELEASE) -> bytes:
        """A key that was drawn and not destroyed. Raises DamagedState where there is none."""
        place = self.store.place(self._number)
        found = None if place is None else self.store.key(place, which)
        if found is None:
            raise DamagedState(
                f"{self.store.keys}: the key of what {self.client} keeps of the round is gone; leave the round"
            )
        return found

    def draw_secret(self, which: Key, entropy: Entropy) -> None:
        """Another key in the place of the one that is there, which is destroyed."""
        self.store.put_key(self._place, which, primitives.draw(entropy, KEY_BYTES))

    def put_secret(self, which: Key, key: bytes) -> None:
        """One that follows from the key that is there in its place, which is destroyed."""
        self.store.put_key(self._place, which, key)

    def destroy_secret(self, which: Key) -> None:
        """Closes what is sealed under a key for good."""
        self.store.put_key(self._place, which, None)

    def damaged(self, name: str) -> DamagedState:
        """The error for a record that is not as it was written."""
        return DamagedState(f"{self.store.path}: {name} of {self.client} is damaged; leave the round")

    @property
    def _number(self) -> bytes:
        return number_of(self.client)

    @property
    def _place(self) -> int:
        if (place := self.store.place(self._number)) is None:
            self.store.admit([self.client])
            place = self.store.place(self._number)
            assert place is not None, "it was just admitted"
        return place

    def _check(self, name: str, row: Row) -> None:
        if self.store.sound(self._number, name, row):
            return
        kinds = [type(each) for each in (row.key, row.body, row.checksum)]  # a bit may flip in what says them
        if kinds != [str, bytes, bytes] or row.checksum != self._checksum(name, row.key, row.body):
            raise self.damaged(name)
        self.store.looked_at(self._number, name, row)

    def _checksum(self, name: str, key: str, body: bytes) -> bytes:
        """A bit that flips on the disk must not pass for another client's record, another key or another body."""
        parts = (self.client.encode(), name.encode(), key.encode(errors="surrogateescape"))
        return primitives.digest(
            b"stored record", *parts, b"" if name in SEALED else body
        )  # a seal is a checksum of its own

    def _closed(self, name: str, about: bytes, body: bytes, entropy: Entropy) -> bytes:
        return primitives.seal_freshly(self._key(name), body, about, entropy)

    def _opened(self, name: str, row: Row) -> bytes:
        body = primitives.unseal_fresh(self._key(name), row.body, row.checksum)
        if body is None:
            raise self.damaged(name)
        return body

    def _key(self, name: str) -> bytes:
        return primitives.derive(self.secret(SEALED[name]), b"record", name.encode())


@lru_cache(maxsize=4096)
def number_of(client: ClientId) -> bytes:
    """What a client is called in a store, 16 bytes: an id may be any text, of any length."""
    return hashlib.sha256(client.encode()).digest()[:16]
