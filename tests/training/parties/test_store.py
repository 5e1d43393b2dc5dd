"""What was committed is on the disk, whole, and only that; it is read as it was written, by whoever has the store."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
import sqlite3
import tempfile
import time
from contextlib import closing, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError, ClientId
from tests.training.federation import names
from tests.training.parties.tampering import COLUMNS, bytes_of, files_of, flip, in_a_process, read_again, rows, seal
from training.durable import DiskError
from training.parties.database import PAGE
from training.parties.store import SEALED, Key, Store, number_of

THREE = names(3)
A, B, C = THREE


# 1. What a commit says.


def _write_on(path: Path, begin: int, told: Connection) -> None:
    store = Store(path)
    for turn in itertools.count(begin):
        for client in THREE:
            records = store.of(client)
            if turn == 0:
                records.draw_secret(Key.RELEASE, os.urandom)
            records.write("round", str(turn), bytes([turn % 256]) * 3000)
            records.write("update", str(turn), bytes([turn % 256]) * 40_000)  # some pages of the file
            if turn % 2:
                records.erase("answered")
            else:
                records.write("answered", str(turn), b"")
        store.commit()
        told.send(turn)


def test_whenever_a_process_is_killed_all_clients_have_what_the_last_commit_said(path: Path) -> None:
    chance, begin = random.Random(7), 0
    for _ in range(8):
        told, kill = in_a_process(_write_on, path, begin)
        last = told.recv()
        time.sleep(chance.random() * 0.03)
        kill()
        while told.poll():
            try:
                last = told.recv()
            except EOFError:
                break
        store = Store(path)
        turns = {store.of(client).tag(name) for client in THREE for name in ("round", "update")}
        assert turns in ({str(last)}, {str(last + 1)})  # killed after a commit, before it could tell of it
        turn = int(turns.pop())
        for client in THREE:
            assert store.of(client).read("round") == (str(turn), bytes([turn % 256]) * 3000)
            assert store.of(client).read("update") == (str(turn), bytes([turn % 256]) * 40_000)
            assert store.of(client).read("answered") == (None if turn % 2 else (str(turn), b""))
        store.close()
        begin = turn + 1
    assert begin > 16


def _write_and_wait(path: Path, told: Connection) -> None:
    store = Store(path)
    for client in THREE:
        store.of(client).write("round", "committed", b"1")
    store.commit()
    for client in THREE:
        store.of(client).write("round", "written", b"2" * 100_000)
        store.of(client).write("answered", "written", b"")
    assert store.of(A).tag("round") == "written"
    told.send("written")
    time.sleep(60)


def test_what_was_not_committed_when_a_process_is_killed_is_not_there_at_all(path: Path) -> None:
    told, kill = in_a_process(_write_and_wait, path)
    assert told.recv() == "written"
    kill()
    assert b"2" * 1000 not in bytes_of(path)
    assert read_again(path, *THREE) == [("committed", b"1")] * 3
    assert read_again(path, *THREE, name="answered") == [None] * 3


def test_a_record_is_read_as_it_was_written_before_and_after_the_commit_and_is_gone_when_erased(store: Store) -> None:
    records = store.of(A)
    assert (records.read("round"), records.tag("round"), records.there("round")) == (None, "", False)
    for key, body in (("", b""), ("key", b"\0" * 70_000), ("Schlüssel", b"other")):
        records.write("round", key, body)
        for _ in range(2):
            assert (records.read("round"), records.tag("round")) == ((key, body), key)
            assert records.there("round") and not store.of(B).there("round")
            store.commit()
    records.erase("round", "never written")
    for _ in range(2):
        assert (records.read("round"), records.tag("round"), records.there("round")) == (None, "", False)
        store.commit()


def test_what_is_discarded_is_as_if_never_written(store: Store, path: Path) -> None:
    for client in (A, B):
        store.of(client).write("round", "kept", b"1")
    store.commit()
    store.of(A).write("round", "thought better of", b"2")
    store.of(B).erase("round")
    store.of(C).write("round", "thought better of", b"2")
    store.remembered[A] = "read since"
    store.discard()
    assert not store.remembered
    store.commit()
    store.close()
    assert read_again(path, *THREE) == [("kept", b"1")] * 2 + [None]


def test_what_another_process_wrote_is_seen_once_nothing_is_remembered_any_more(path: Path) -> None:
    with closing(Store(path, shared=True)) as mine, closing(Store(path, shared=True)) as another:
        for text in ("first", "second"):
            another.of(A).write("round", text, b"1")
            another.of(A).write(text, "", b"1")
            another.commit()
            with mine.remembering([A], ["round"]):
                assert (mine.of(A).tag("round"), mine.of(A).there(text)) == (text, True)
        assert mine.of(A).names() == {"round", "first", "second"}


def test_what_is_remembered_of_a_commit_that_fails_is_what_lies_on_the_disk(store: Store) -> None:
    store.of(A).write("ledger", "before", b"1")
    store.commit()
    with store.remembering([A], ["ledger", "round"]):
        assert store.of(A).there("ledger")
        store.of(A).erase("ledger")
        store.of(A).write("round", "refused", b"2" * 20_000)
        limit = store._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2000)
        with pytest.raises(DiskError):
            store.commit()
        store._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)
        assert store.of(A).names() == {"ledger"}
        assert (store.of(A).tag("ledger"), store.of(A).tag("round")) == ("before", "")


# 4. What is not as it was written.


def test_a_damaged_page_is_damage_to_the_records_in_it_and_to_no_others_that_are_read_with_them(path: Path) -> None:
    many = names(400)
    with closing(Store(path)) as made:
        for client in many:
            made.of(client).write("ledger", "kept", bytes(600))
        made.commit()
    raw = bytearray(path.read_bytes())
    table_leaves = [at for at in range(PAGE, len(raw), PAGE) if raw[at] == 13]
    raw[table_leaves[len(table_leaves) // 2]] = 0x77  # no kind of page
    path.write_bytes(raw)
    damaged = set[ClientId]()
    with closing(Store(path)) as store, store.remembering(many, ["ledger"]):
        for client in many:
            try:
                assert store.of(client).read("ledger") == ("kept", bytes(600))
            except DamagedState:
                damaged.add(client)
    assert 5 < len(damaged) < 200


@pytest.mark.parametrize("ahead", [False, True], ids=["read one by one", "read ahead"])
@pytest.mark.parametrize("name", ["round", *SEALED])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_flipped_bit_anywhere_in_a_record_is_damage_and_no_other_record_or_none(
    store: Store, path: Path, name: str, column: str, ahead: bool
) -> None:
    body = os.urandom(24)
    store.of(B).write("round", "another's", body)
    for sealed in SEALED:
        seal(store.of(A), sealed, body, "client-00/1")
    store.of(A).write("round", "client-00/1", body)
    store.commit()
    with rows(path) as database:
        database.execute("pragma synchronous = off")
        question = "select length(key), length(body), length(checksum) from records where client = ? and name = ?"
        size = database.execute(question, (number_of(A), name)).fetchone()[COLUMNS.index(column)]
        for bit in range(8 * size):
            flip(database, name, column, bit, A)
            database.commit()
            with store.remembering((A, B), (name, "ledger")) if ahead else nullcontext():
                for _ in range(2):  # what was found damaged is not taken for sound the next time
                    with pytest.raises(DamagedState, match=f"{name} of client-00 is damaged; leave the round"):
                        store.of(A).read(name)
                if column != "body":
                    with pytest.raises(DamagedState, match=f"{name} of client-00 is damaged; leave the round"):
                        store.of(A).tag(name)
            flip(database, name, column, bit, A)
            database.commit()
    assert store.of(A).read(name) == ("client-00/1", body)


def test_a_record_in_another_s_place_or_under_another_name_is_damage(store: Store, path: Path) -> None:
    whose = {}
    for client in (A, B):
        for name in ("round", "answered"):
            store.of(client).write(name, "key", b"body")
        for name in SEALED:
            seal(store.of(client), name, b"body", "key")
        whose[number_of(client)] = store.of(client)
    with rows(path) as database:
        database.execute("pragma synchronous = off")
        there = {(number, name): rest for number, name, *rest in database.execute("select * from records")}
        assert len(there) == 8
        for (number, name), another in itertools.permutations(there, 2):
            database.execute("replace into records values (?, ?, ?, ?, ?)", (number, name, *there[another]))
            database.commit()
            with pytest.raises(DamagedState, match=f"{name} of {whose[number].client} is damaged"):
                whose[number].read(name)
            database.execute("replace into records values (?, ?, ?, ?, ?)", (number, name, *there[number, name]))
            database.commit()
    for name in ("round", "answered", *SEALED):
        assert [records.read(name) for records in whose.values()] == [("key", b"body")] * 2


@pytest.mark.parametrize("content", [b"no database" * 5000, b"SQLite format 3\0" + b"\xff" * 50_000])
def test_a_file_that_is_none_of_ours_is_named_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DamagedState, match=r"records\.db is damaged .*restore it from a backup") as caught:
        Store(path)
    assert "\n" not in str(caught.value) and path.read_bytes() == content


def test_the_version_of_another_build_is_refused_and_left_as_it_is(path: Path) -> None:
    Store(path).close()
    with rows(path) as database:
        database.execute("pragma user_version = 1")
    before = path.read_bytes()
    with pytest.raises(DamagedState, match=r"another build \(its version is 1, not 2\)") as caught:
        Store(path)
    assert "\n" not in str(caught.value) and path.read_bytes() == before


# Files, and a disk that refuses.


def test_all_files_are_their_owner_s_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(path)
        seal(store.of(A))
        assert [file.name[10:] for file in files_of(path)] == ["", "-shm", "-wal", ".keys", ".lock"]
        assert {file.stat().st_mode & 0o777 for file in files_of(path)} == {0o600}
        store.close()
    finally:
        os.umask(before)


def _fill_up(path: Path, size: int, told: Connection) -> None:
    store = Store(path)
    for client in THREE:
        store.of(client).draw_secret(Key.RELEASE, os.urandom)
        store.of(client).write("round", "before", b"1")
    store.commit()
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    for client in THREE:
        store.of(client).write("answered", "refused", b"2")
        store.of(client).write("round", "refused", b"2" * size)
        store.of(client).erase("never there")
    try:
        store.commit()
        told.send("")
    except DiskError as error:
        told.send(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    told.send([store.of(client).read("round") for client in THREE])
    store.commit()
    told.send([store.of(client).there("answered") for client in THREE])
    store.of(A).write("answered", "after", b"3")
    store.commit()
    told.send(store.of(A).read("answered"))
    time.sleep(60)


@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_a_full_disk_is_an_error_with_nothing_of_the_commit_on_it_and_room_mends_it(path: Path, size: int) -> None:
    told, kill = in_a_process(_fill_up, path, size)
    said = told.recv()
    assert "records.db failed: disk I/O error. Free or mend the disk" in said and "\n" not in said
    assert told.recv() == [("before", b"1")] * 3
    assert told.recv() == [False] * 3
    assert told.recv() == ("after", b"3")
    kill()
    assert read_again(path, *THREE) == [("before", b"1")] * 3
    assert read_again(path, *THREE, name="answered") == [("after", b"3"), None, None]


def test_a_record_that_is_refused_takes_along_all_that_was_written_with_it(store: Store, path: Path) -> None:
    store.of(B).write("round", "before", b"1")
    store.commit()
    store._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2000)  # a gigabyte, as SQLite comes
    for client, size in zip(THREE, (10, 20_000, 10), strict=True):
        store.of(client).write("round", "refused", b"2" * size)
    with pytest.raises(ChatfedError) as caught:
        store.commit()
    assert "\n" not in str(caught.value)
    store.of(C).write("answered", "after", b"3")
    store.commit()
    store.close()
    assert read_again(path, *THREE) == [None, ("before", b"1"), None]
    assert read_again(path, C, name="answered") == [("after", b"3")]


def test_a_record_whose_key_did_not_reach_the_disk_does_not_either(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.of(A).write("round", "before", b"1")
    store.commit()

    def refuse(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store.of(A).draw_secret(Key.RELEASE, os.urandom)
    for name in ("round", "update"):
        store.of(A).write(name, "refused", b"2")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuse)
        with pytest.raises(DiskError, match="failed: Input/output error") as caught:
            store.commit()
    assert "\n" not in str(caught.value)
    store.of(A).write("answered", "later", b"3")
    for _ in range(2):
        with pytest.raises(DiskError, match=r"records\.db\.keys failed: Input/output error.*begin again"):
            store.commit()  # what a disk says of the keys after that cannot be believed
    store.close()
    for name, found in (("round", ("before", b"1")), ("update", None), ("answered", None)):
        assert read_again(path, A, name=name) == [found]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match=r"file/records\.db failed") as caught:
        Store(tmp_path / "file" / "records.db")
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_what_is_remembered_is_what_would_be_read(tmp_path: Path, rng: random.Random) -> None:
    """Against a dictionary: writes, erasures, commits and discards, while records are remembered and while not."""
    names = ("update", "round", "answered", "ledger")
    with closing(Store(Path(tempfile.mkdtemp(dir=tmp_path)) / "records.db")) as store:
        both = [store.of(client) for client in (A, B)]
        for records in both:
            records.draw_secret(Key.RELEASE, os.urandom)
        store.commit()
        disk: dict[tuple[ClientId, str], tuple[str, bytes] | None] = {}
        waiting = dict(disk)
        for _ in range(3):
            ahead = rng.sample((A, B, C), rng.randrange(4))  # C has nothing
            some = rng.sample(names, rng.randrange(5))
            with store.remembering(ahead, some) if rng.random() < 0.8 else nullcontext():
                for _ in range(20):
                    records, name = rng.choice(both), rng.choice(names)
                    at, there = (records.client, name), disk | waiting
                    match rng.randrange(7):
                        case 0:
                            written = str(rng.random()), rng.randbytes(5)
                            records.write(name, *written)
                            waiting[at] = written
                        case 1:
                            waiting[at] = None
                            records.erase(name)
                        case 2:
                            store.commit()
                            disk, waiting = there, {}
                        case 3:
                            assert records.read(name) == there.get(at)
                        case 4:
                            assert records.tag(name) == (there.get(at) or ("",))[0]
                        case 5:
                            assert records.names() == {each for each in names if there.get((records.client, each))}
                        case _:
                            if rng.random() < 0.2:
                                store.discard()
                                waiting = {}
