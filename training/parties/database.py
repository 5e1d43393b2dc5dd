"""The files beneath a store: SQLite as it must be set up for what the store promises, and what is wrong, in words."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError

from ..durable import disk_error, sync_folder

VERSION = 2  # of the tables and of the keys' places
PAGE = 16384  # bytes: updates of megabytes cost half the time of the usual 4096
PATIENCE = 60.0  # seconds that a commit waits for another process's
_SCHEMA = """
create table places (place integer primary key, client blob not null unique);
create table records (
    client blob not null, name text not null, key text not null, body blob not null, checksum blob not null,
    unique (client, name)
);
"""
_NAMES_OF_MANY = "with asked(client) as (values {}) select client, name from asked join records using (client)"
_OF_MANY = """
with asked(client) as (values {})
select client, name, key, body, checksum from asked join records using (client) where name in ({})
"""


@dataclass(frozen=True)
class Row:
    """A record as it lies in the file."""

    key: str
    body: bytes
    checksum: bytes  # bytes[32]; of what is sealed, of all but the body


def open_file(path: Path, opened: contextlib.ExitStack) -> int:
    """A file for reading and writing, made where there is none, until `opened` ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    opened.callback(os.close, handle)
    return handle


def open_database(path: Path, new: bool) -> sqlite3.Connection:
    """The database, with its tables. Raises DamagedState, OSError, sqlite3.Error.

    new: no key was ever kept beside it, as one is before anything else of a client.
    """
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


def write_rows(database: sqlite3.Connection, waiting: dict[tuple[bytes, str], Row | None]) -> None:
    """Puts rows in the place of what was there; None: erases it."""
    gone = [at for at, row in waiting.items() if row is None]
    there = [(*at, row.key, row.body, row.checksum) for at, row in waiting.items() if row is not None]
    database.executemany("delete from records where client = ? and name = ?", gone)
    database.executemany("insert or replace into records values (?, ?, ?, ?, ?)", there)


def names_of_many(database: sqlite3.Connection, clients: Sequence[bytes]) -> dict[bytes, set[str]]:
    """By client the names of its records."""
    names: dict[bytes, set[str]] = {client: set() for client in clients}
    for client, name in database.execute(_NAMES_OF_MANY.format(_rows(clients)), clients) if clients else ():
        names[client].add(name)
    return names


def rows_of_many(
    database: sqlite3.Connection, clients: Sequence[bytes], wanted: Sequence[str]
) -> dict[tuple[bytes, str], Row]:
    """By client and name, of all clients those records that are `wanted` and there."""
    if not clients:
        return {}
    found = database.execute(_OF_MANY.format(_rows(clients), ",".join("?" * len(wanted))), [*clients, *wanted])
    return {(client, name): Row(*row) for client, name, *row in found}


def _rows(clients: Sequence[bytes]) -> str:
    return ",".join(["(?)"] * len(clients))


def refusal(path: Path, error: OSError | sqlite3.Error) -> ChatfedError:
    """What to tell a person."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedState(f"{path} is damaged ({error}): restore it from a backup")
    return disk_error(path, error if isinstance(error, OSError) else OSError(str(error)))
