"""The files beneath an encrypted log: SQLite as it must be set up, files that are whole or not at all, one process.

Knows no key and no words. What holds once `transaction` has returned: its rows are on the disk, all of them, whether a
process is killed or a machine loses power, if its disk keeps what was synced; before that none of them is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .log_errors import DamagedLog, LogBusy, NoLog, told

VERSION = 1  # of the tables
PATIENCE = 5.0  # seconds that SQLite waits for another program that looks into the file
_CACHE = 64 << 20  # bytes of pages: an index is written in random places


def open_database(path: Path, schema: str, new: bool) -> sqlite3.Connection:
    """The database with its tables; made with them where it is `new`. Raises NoLog, DamagedLog, LogDiskError."""
    if not new and not path.exists():
        raise NoLog(f"There is no {path}: restore it, or give the folder that it is in.", param=str(path))
    with told(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0) | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("journal_mode = wal", "synchronous = full", "secure_delete = on"):
                database.execute(f"pragma {pragma}")
            database.execute(f"pragma cache_size = {-_CACHE // 1024}")
            if new:
                _create(database, schema)
                sync_folder(path.parent)
            elif (found := database.execute("pragma user_version").fetchone()[0]) != VERSION:
                raise DamagedLog(f"{path} is no file of a log of this build (its version is {found}).", param=str(path))
        except BaseException:
            database.close()
            raise
    return database


def _create(database: sqlite3.Connection, schema: str) -> None:
    with transaction(database):
        for statement in filter(str.strip, schema.split(";")):
            database.execute(statement)
        database.execute(f"pragma user_version = {VERSION}")


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that is written inside is on the disk when this is left, or, where something is raised, none of it."""
    database.execute("begin immediate")
    try:
        yield database
        database.execute("commit")
    finally:
        if database.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # what went wrong before says why
                database.execute("rollback")


def overwrite_erased(database: sqlite3.Connection) -> None:
    """Takes what was erased out of SQLite's own log, too; its pages are overwritten by `secure_delete`."""
    database.execute("pragma wal_checkpoint(truncate)")


def check_whole(database: sqlite3.Connection, path: Path) -> None:
    """Reads every page once. Raises DamagedLog."""
    with told(path):
        said = [row[0] for row in database.execute("pragma integrity_check(1)")]
    if said != ["ok"]:
        raise DamagedLog(f"{path} is damaged ({said[0]}): restore it from a backup.", param=str(path))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time. Raises LogBusy, LogDiskError."""
    with told(folder):
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = f"Another process is at work with {folder}: wait for it, or stop it."
            raise LogBusy(said, param=str(folder)) from None
        yield
    finally:
        os.close(handle)  # as the end of a killed process does


def read_file(path: Path) -> bytes:
    """The content of a file. Raises NoLog, LogDiskError."""
    if not path.exists():
        raise NoLog(f"There is no {path}: chatfed log new makes a log, and its key.", param=str(path))
    with told(path):
        return path.read_bytes()


def write_file(path: Path, content: bytes, new: bool = False) -> None:
    """A file of mode 0600, on the disk when this returns, whole or not at all.

    new: never in the place of one that is there. Raises NoLog for that, LogDiskError.
    """
    with told(path):
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
        try:
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if new:
                _link(temporary, path)
            else:
                os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def refuse_taken(path: Path) -> None:
    """Raises NoLog where anything is there already, before long work for a file that could not be written."""
    if os.path.lexists(path):
        raise _taken(path)


def _link(temporary: str, path: Path) -> None:
    try:
        os.link(temporary, path)  # which takes no file's place, as a rename would
    except FileExistsError:
        raise _taken(path) from None


def _taken(path: Path) -> NoLog:
    return NoLog(f"{path} is there already: give another, or move it away.", param=str(path))


def sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
