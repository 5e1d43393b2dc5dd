"""One process has a store for itself, or several share it and lose nothing of each other's."""

from __future__ import annotations

import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from chatfed.secagg.states import DamagedState
from chatfed.types import ClientId
from tests.training.federation import names
from tests.training.parties.tampering import in_a_process, read_again
from training.durable import Busy
from training.parties.store import Key, Store

THREE = names(3)
A, B, C = THREE


def _hold(path: Path, shared: bool, told: Connection) -> None:
    try:
        Store(path, shared)
        told.send("mine")
        time.sleep(60)
    except Busy as busy:
        told.send(str(busy))


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False), (True, True)])
def test_only_processes_that_share_have_a_store_at_once(path: Path, first: bool, second: bool) -> None:
    told, kill = in_a_process(_hold, path, first)
    assert told.recv() == "mine"
    other, end = in_a_process(_hold, path, second)
    busy = f"Another process is at work with {path}: wait for it, or stop it."
    assert other.recv() == ("mine" if first and second else busy)
    end()
    kill()
    Store(path).close()  # a killed process holds nothing


def test_a_process_does_not_open_its_own_store_twice(store: Store, path: Path) -> None:
    with pytest.raises(Busy):
        Store(path)
    store.close()
    Store(path).close()


def test_a_store_that_was_refused_is_held_by_nobody(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 5000)
    with pytest.raises(DamagedState):
        Store(path)
    path.unlink()  # a backup takes its place
    Store(path).close()


def test_a_store_is_for_one_thread_and_another_is_not_told_of_damage(store: Store) -> None:
    with ThreadPoolExecutor(1) as another, pytest.raises(sqlite3.ProgrammingError):
        another.submit(store.of(A).read, "round").result()


def _twice(path: Path, told: Connection) -> None:
    first, second = Store(path, shared=True), Store(path, shared=True)
    told.send("opened")
    told.recv()
    for store, client in ((first, A), (second, C)):
        store.of(client).write("round", "at last", b"")
        store.commit()
    told.send("committed")
    time.sleep(60)


def _come_and_go(path: Path, told: Connection) -> None:
    store = Store(path, shared=True)
    store.of(B).write("round", "of another process", b"")
    store.commit()
    store.close()
    told.send("gone")


def test_a_process_that_has_a_shared_store_twice_loses_nothing_when_another_one_comes_and_goes(path: Path) -> None:
    """Where a process closes any handle of a file, the system forgets all its locks on it, SQLite's among them."""
    told, kill = in_a_process(_twice, path)
    assert told.recv() == "opened"
    assert in_a_process(_come_and_go, path)[0].recv() == "gone"
    told.send("go on")
    assert told.recv() == "committed"
    kill()
    assert read_again(path, *THREE) == [("at last", b""), ("of another process", b""), ("at last", b"")]


def _commit_often(path: Path, client: ClientId, told: Connection) -> None:
    try:
        store = Store(path, shared=True)
        records = store.of(client)
        for at in range(200):
            records.write(f"charge {at}", client, str(at).encode())
            if at % 20 == 0:
                records.draw_secret(Key.RELEASE, os.urandom)
                records.write("update", str(at), client.encode() * 3000)
            store.commit()
        told.send("")
    except BaseException as error:
        told.send(repr(error))


def test_processes_that_share_a_store_lose_nothing_of_each_other_s(path: Path) -> None:
    going = [in_a_process(_commit_often, path, client)[0] for client in (A, B)]
    assert [told.recv() for told in going] == ["", ""]
    store = Store(path, shared=True)
    for client in (A, B):
        records = store.of(client)
        found = [records.read(f"charge {at}") for at in range(200)]
        assert found == [(client, str(at).encode()) for at in range(200)]
        assert records.read("update") == ("180", client.encode() * 3000)
    store.close()


def _write_without_end(path: Path, told: Connection) -> None:
    store = Store(path, shared=True)
    with store._alone():
        told.send("writing")
        time.sleep(60)


def test_who_waits_for_another_s_writing_gives_up_with_nothing_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, kill = in_a_process(_write_without_end, path)
    assert told.recv() == "writing"
    store = Store(path, shared=True)
    store.of(A).write("round", "", b"")
    with monkeypatch.context() as hurried:
        hurried.setattr("training.parties.store.PATIENCE", 0.1)
        with pytest.raises(Busy, match="Another process has been writing") as caught:
            store.commit()
    assert "\n" not in str(caught.value)
    kill()
    store.commit()
    store.close()
    assert read_again(path, A) == [None]
