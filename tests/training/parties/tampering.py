"""A store's files as whoever has the disk sees and changes them, and what a later process finds there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from chatfed.types import ClientId
from tests.training.federation import FOUR, Federation
from training.parties.store import SEALED, ClientStore, Store, number_of

_FORK = multiprocessing.get_context("fork")
COLUMNS = ("key", "body", "checksum")


class Once(Store):
    """Closed by a test, or else after it."""

    closed = False

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            super().close()


def files_of(store: Path) -> list[Path]:
    """The file of records, its log and that one's index, the keys, and the lock of writers: what is there of them."""
    return sorted(store.parent.glob(f"{store.name}*"))


def keys_of(store: Path) -> Path:
    """The file of keys."""
    return store.with_name(f"{store.name}.keys")


def bytes_of(store: Path) -> bytes:
    """All that any file of a store holds."""
    return b"".join(path.read_bytes() for path in files_of(store))


def copied(store: Path, to: Path) -> Path:
    """All files of a store, as they are now, in another folder."""
    to.mkdir(parents=True)
    for path in files_of(store):
        shutil.copy(path, to)
    return to / store.name


@contextlib.contextmanager
def rows(store: Path) -> Iterator[sqlite3.Connection]:
    """The tables, to read and change."""
    database = sqlite3.connect(store)
    try:
        yield database
        database.commit()
    finally:
        database.close()


@contextlib.contextmanager
def rows_of(federation: Federation, name: ClientId) -> Iterator[sqlite3.Connection]:
    """The tables of a client whose process has ended."""
    federation.restarted(name)
    with rows(federation.home / name / "records.db") as database:
        yield database


def flip(database: sqlite3.Connection, name: str, column: str, bit: int = -1, client: ClientId = FOUR[0]) -> None:
    """Turns a bit of a record around, counted from its first byte, or from its end."""
    question = "select cast(key as blob), body, checksum from records where client = ? and name = ?"
    [found] = database.execute(question, (number_of(client), name))
    values = [bytearray(value) for value in found]
    spoiled = values[COLUMNS.index(column)]
    at = bit % (8 * len(spoiled))
    spoiled[at // 8] ^= 1 << at % 8
    database.execute("replace into records values (?, ?, cast(? as text), ?, ?)", (number_of(client), name, *values))


def read_again(path: Path, *clients: ClientId, name: str = "round") -> list[tuple[str, bytes] | None]:
    """What a process that comes later finds of each."""
    store = Store(path)
    try:
        return [store.of(client).read(name) for client in clients]
    finally:
        store.close()


def seal(records: ClientStore, name: str = "update", body: bytes = b"secret", key: str = "of a release") -> bytes:
    """A sealed record under another key than before: that key."""
    records.draw_secret(SEALED[name], os.urandom)
    records.write(name, key, body)
    records.commit()
    return records.secret(SEALED[name])


def in_a_process(work: Callable[..., None], *given: object) -> tuple[Connection, Callable[[], None]]:
    """`work` in a process of its own, what it tells, and how to kill it."""
    here, there = _FORK.Pipe()
    process = _FORK.Process(target=work, args=(*given, there), daemon=True)
    process.start()
    there.close()

    def kill() -> None:
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()

    return here, kill
