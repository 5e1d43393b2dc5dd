"""What clients keep between messages: records in one SQLite file, and the keys to the secret ones apart.

A member has a file of its own; in a simulation many clients share one, and what they write in the meantime reaches the
disk together. What holds, and is tested (test_store.py, test_sealed.py, test_sharing.py, test_damage.py of its folder):

1. What was written before a `commit` is on the disk, all of it, when that returns; what was not is not there at all.
   So a client may let an answer leave, or begin work that it pays for, once `commit` has returned.
2. A record of SEALED is there only under a key. The key is on the disk before the record is.
3. A key that is destroyed is overwritten with zeros on the disk before any record goes, and what it closed is closed
   for good, wherever a disk or SQLite (its log, its free pages) still has it.
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
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, TAG_BYTES
from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError, ClientId, Entropy

from ..durable import Busy, DiskError, disk_error, lock_within, sync_folder

VERSION = 1  # of the tables
PAGE = 16384  # bytes: updates of megabytes cost half the time of the usual 4096
PATIENCE = 60.0  # seconds that a commit waits for another process's
_NO_KEY = bytes(KEY_BYTES)
_WHOLE = "select key, body, checksum from records where client = ? and name = ?"
_WITHOUT_BODY = "select key, x'', checksum from records where client = ? and name = ?"
_SCHEMA = """
create table slots (slot integer primary key, client blob not null unique);
create table records (
    client blob not null, name text not null, key text not null, body blob not null, checksum blob not null,
    unique (client, name)
);
"""


class Key(IntEnum):
    """The keys of a client, by their place in its slot of the file of keys."""

    RELEASE = 0  # of one update, and of all attempts at a sum that it is for
    BEGUN = 1  # of an update that is sent again in later rounds


SEALED = {"update": Key.RELEASE, "begun": Key.BEGUN}
"""Records that are secret, and the key each is sealed under."""


@dataclass(frozen=True)
class _Row:
    """A record as it lies in the file."""

    key: str
    body: bytes
    checksum: bytes  # bytes[32]; of what is sealed, of all but the body


class Store:
    """The records of one client or of many. For one thread.

    path: of the file; beside it lie the keys (.keys) and a lock for writers (.lock). shared: with other processes,
    which serve other clients. Raises Busy where another process has it, DiskError, DamagedState.
    """

    def __init__(self, path: Path, shared: bool = False) -> None:
        self.path, self.keys = path, path.with_name(path.name + ".keys")
        self._waiting: dict[tuple[bytes, str], _Row | None] = {}  # None: erased
        self._slots: dict[bytes, int] = {}
        self._new_keys, self._failed = False, ""
        self.remembered: dict[ClientId, Any] = {}  # by whoever reads the same records again and again
        with contextlib.ExitStack() as opened, self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._keys = _file(self.keys, opened)
            self._hold(shared)
            self._writer = _file(path.with_name(path.name + ".lock"), opened)
            self._database = _opened(path, new=os.fstat(self._keys).st_size == 0)
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
        with self._told():
            self._keep_keys()
            if waiting:
                with self._changing() as database:
                    _write(database, waiting)

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

    def row(self, client: bytes, name: str, body: bool = True) -> _Row | None:
        """A record as it lies here, or will; with an empty body where that is not asked for."""
        if (client, name) in self._waiting:
            return self._waiting[client, name]
        with self._told():
            found = self._database.execute(_WHOLE if body else _WITHOUT_BODY, (client, name)).fetchone()
        return _Row(*found) if found else None

    def put(self, client: bytes, name: str, row: _Row | None) -> None:
        """Keeps a record for the next commit, or (None) its erasure."""
        self._waiting[client, name] = row

    def slot(self, client: bytes) -> int | None:
        """The place of a client's keys; None where it has none yet."""
        if client not in self._slots:
            with self._told():
                found = self._database.execute("select slot from slots where client = ?", (client,)).fetchone()
            if found is None:
                return None
            self._slots[client] = found[0]
        return self._slots[client]

    def admit(self, clients: Iterable[ClientId]) -> None:
        """Gives a place for keys to each that has none: on the disk when this returns. Raises DiskError."""
        new = [(number,) for client in clients if self.slot(number := number_of(client)) is None]
        if new:
            with self._told(), self._changing() as database:
                database.executemany("insert or ignore into slots (client) values (?)", new)

    def key(self, slot: int, which: Key) -> bytes | None:
        """The key in a client's slot, or None."""
        found = os.pread(self._keys, KEY_BYTES, self._at(slot, which))
        return found if len(found) == KEY_BYTES and found != _NO_KEY else None

    def put_key(self, slot: int, which: Key, key: bytes | None) -> None:
        """Overwrites the key in a client's slot; on the disk with the next commit, before anything else."""
        with self._told():
            if os.pwrite(self._keys, key or _NO_KEY, self._at(slot, which)) < KEY_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._new_keys = True

    def _at(self, slot: int, which: Key) -> int:
        return KEY_BYTES * (len(Key) * slot + which)

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
            raise _refusal(self.path, error) from error


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

    def there(self, name: str) -> bool:
        """Whether there is such a record, as it was written or not."""
        return self.store.row(self._number, name, body=False) is not None

    def write(self, name: str, key: str, body: bytes, entropy: Entropy = os.urandom) -> None:
        """Puts a record in the place of what was there: on the disk with the next commit."""
        checksum = self._checksum(name, key, body)
        stored = self._closed(name, checksum, body, entropy) if name in SEALED else body
        self.store.put(self._number, name, _Row(key, stored, checksum))

    def erase(self, *names: str) -> None:
        """Removes records: gone with the next commit, but for what a disk remembers."""
        for name in names:
            self.store.put(self._number, name, None)

    def commit(self) -> None:
        """As `Store.commit`, which takes all clients of the store along."""
        self.store.commit()

    def secret(self, which: Key = Key.RELEASE) -> bytes:
        """A key that was drawn and not destroyed. Raises DamagedState where there is none."""
        slot = self.store.slot(self._number)
        found = None if slot is None else self.store.key(slot, which)
        if found is None:
            raise DamagedState(
                f"{self.store.keys}: the key of what {self.client} keeps of the round is gone; leave the round"
            )
        return found

    def draw_secret(self, which: Key, entropy: Entropy) -> None:
        """Another key in the place of the one that is there, which is destroyed."""
        self.store.put_key(self._slot, which, primitives.draw(entropy, KEY_BYTES))

    def destroy_secret(self, which: Key) -> None:
        """Closes what is sealed under a key for good."""
        self.store.put_key(self._slot, which, None)

    def damaged(self, name: str) -> DamagedState:
        """The error for a record that is not as it was written."""
        return DamagedState(f"{self.store.path}: {name} of {self.client} is damaged; leave the round")

    @property
    def _number(self) -> bytes:
        return number_of(self.client)

    @property
    def _slot(self) -> int:
        if (slot := self.store.slot(self._number)) is None:
            self.store.admit([self.client])
            slot = self.store.slot(self._number)
            assert slot is not None, "it was just admitted"
        return slot

    def _check(self, name: str, row: _Row) -> None:
        kinds = [type(each) for each in (row.key, row.body, row.checksum)]  # a bit may flip in what says them
        if kinds != [str, bytes, bytes] or row.checksum != self._checksum(name, row.key, row.body):
            raise self.damaged(name)

    def _checksum(self, name: str, key: str, body: bytes) -> bytes:
        """A bit that flips on the disk must not pass for another client's record, another key or another body."""
        parts = (self.client.encode(), name.encode(), key.encode(errors="surrogateescape"))
        return primitives.digest(b"record", *parts, b"" if name in SEALED else body)  # a seal is a checksum of its own

    def _closed(self, name: str, about: bytes, body: bytes, entropy: Entropy) -> bytes:
        nonce = primitives.draw(entropy, NONCE_BYTES)
        return nonce + primitives.seal(self._key(name), nonce, body, about)

    def _opened(self, name: str, row: _Row) -> bytes:
        nonce, sealed = row.body[:NONCE_BYTES], row.body[NONCE_BYTES:]
        whole = len(nonce) == NONCE_BYTES and len(sealed) >= TAG_BYTES
        body = primitives.unseal(self._key(name), nonce, sealed, row.checksum) if whole else None
        if body is None:
            raise self.damaged(name)
        return body

    def _key(self, name: str) -> bytes:
        return primitives.derive(self.secret(SEALED[name]), b"record", name.encode())


def number_of(client: ClientId) -> bytes:
    """What a client is called in a store, 16 bytes: an id may be any text, of any length."""
    return hashlib.sha256(client.encode()).digest()[:16]


def _file(path: Path, opened: contextlib.ExitStack) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    opened.callback(os.close, handle)
    return handle


def _opened(path: Path, new: bool) -> sqlite3.Connection:
    """new: no key was ever kept beside it, as one is before anything else of a client."""
    if not path.exists():  # its log takes the rights of the file
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        database.text_factory = lambda raw: raw.decode(errors="surrogateescape")  # a flipped bit is found by checksums
        database.execute(f"pragma page_size = {PAGE}")
        if database.execute("pragma journal_mode = wal").fetchone() != ("wal",):
            raise OSError(errno.ENOTSUP, "SQLite can have no log there: take a disk of this machine")
        database.execute("pragma synchronous = full")  # a commit is on the disk, not only in the log's memory
        database.execute("pragma secure_delete = off")
        _create(database, path, new)
    except BaseException:
        database.close()
        raise
    sync_folder(path.parent)
    return database


def _create(database: sqlite3.Connection, path: Path, new: bool) -> None:
    """The tables of a new store. Raises DamagedState for those of another build, or that were there and are gone."""
    database.execute("begin immediate")
    (version,) = database.execute("pragma user_version").fetchone()
    if version == 0 and new:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            database.execute(statement)
        database.execute(f"pragma user_version = {VERSION}")
    database.execute("commit")
    if version == 0 and not new:
        raise DamagedState(
            f"{path} has lost what was in it: restore it from a backup, or begin anew in an empty folder"
        )
    if version not in (0, VERSION):
        raise DamagedState(f"{path} is of another build (its version is {version}, not {VERSION}): use that one")


def _write(database: sqlite3.Connection, waiting: dict[tuple[bytes, str], _Row | None]) -> None:
    gone = [at for at, row in waiting.items() if row is None]
    there = [(*at, row.key, row.body, row.checksum) for at, row in waiting.items() if row is not None]
    database.executemany("delete from records where client = ? and name = ?", gone)
    database.executemany("insert or replace into records values (?, ?, ?, ?, ?)", there)


def _refusal(path: Path, error: OSError | sqlite3.Error) -> ChatfedError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedState(f"{path} is damaged ({error}): restore it from a backup")
    return disk_error(path, error if isinstance(error, OSError) else OSError(str(error)))
