"""What is secret is on the disk under a key only, and a key that is destroyed closes it wherever the disk has it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from chatfed.secagg.states import DamagedState
from tests.training.federation import names
from tests.training.parties.tampering import bytes_of, copied, keys_of, read_again, rows, seal
from training.parties.store import SEALED, Key, Store, number_of

THREE = names(3)
A, B, C = THREE
SECRETS = sorted(SEALED.items())


@pytest.mark.parametrize(("name", "which"), SECRETS)
def test_a_secret_record_is_in_no_file_neither_before_nor_after_it_is_erased(
    store: Store, path: Path, name: str, which: Key
) -> None:
    records, secret, public = store.of(A), os.urandom(100_000), os.urandom(100_000)
    pieces = [secret[at : at + 16] for at in range(0, len(secret), 4096)]

    def nowhere() -> bool:
        raw = bytes_of(path)
        return not any(piece in raw for piece in pieces)

    records.write("answered", "", public)
    seal(records, name, secret)
    assert public[:64] in bytes_of(path)  # what is not sealed is found in this way
    assert records.read(name) == ("of a release", secret) and nowhere()
    records.write(name, "again", secret)
    store.commit()
    assert nowhere()
    records.destroy_secret(which)
    records.erase(name)
    store.commit()
    assert nowhere()
    store.close()
    assert nowhere()


def test_a_secret_record_needs_a_key_and_another_s_will_not_do(store: Store) -> None:
    for name, which in SECRETS:
        with pytest.raises(DamagedState, match=r"records\.db\.keys: the key of what client-00 keeps .* is gone"):
            store.of(A).write(name, "", b"secret")
        seal(store.of(B), name)
        with pytest.raises(DamagedState, match="is gone"):
            store.of(A).secret(which)
    for which in (Key.EPOCH, Key.SUM):
        store.of(B).draw_secret(which, os.urandom)
    assert len({store.of(B).secret(which) for which in Key}) == len(Key)


def test_the_same_record_is_never_sealed_twice_in_the_same_way(store: Store, path: Path) -> None:
    """The same nonce under the same key would give away the difference of what is sealed."""
    seal(store.of(A))
    bodies = set[bytes]()
    for _ in range(20):
        store.of(A).write("update", "key", b"the same")
        store.commit()
        with rows(path) as database:
            [(body,)] = database.execute("select body from records")
            bodies.add(body[:12])
    assert len(bodies) == 20


@pytest.mark.parametrize("how", ["destroyed", "drawn anew"])
@pytest.mark.parametrize(("name", "which"), SECRETS)
def test_a_destroyed_key_is_in_no_file_and_what_it_closed_opens_from_no_older_copy(
    store: Store, path: Path, tmp_path: Path, name: str, which: Key, how: str
) -> None:
    records = store.of(A)
    other = {each: seal(records, of, b"another") for of, each in SECRETS}
    key = seal(records, name, b"what is secret")
    before = copied(path, tmp_path / "before")
    assert read_again(copied(path, tmp_path / "whole"), A, name=name) == [("of a release", b"what is secret")]
    if how == "destroyed":
        records.destroy_secret(which)
        records.erase(name)
    else:
        records.draw_secret(which, os.urandom)
    store.commit()
    assert key not in bytes_of(path)
    assert all(each == which or kept in bytes_of(path) for each, kept in other.items())
    store.close()
    assert key not in bytes_of(path)
    keys_of(before).write_bytes(keys_of(path).read_bytes())
    with pytest.raises(DamagedState):
        read_again(before, A, name=name)


def test_a_key_that_is_there_after_a_restart_opens_what_it_opened_before(store: Store, path: Path) -> None:
    keys = {client: seal(store.of(client), body=client.encode()) for client in THREE}
    store.close()
    assert read_again(path, *THREE, name="update") == [("of a release", client.encode()) for client in THREE]
    assert len(set(keys.values())) == 3


def test_a_crash_between_key_and_record_leaves_no_record_that_opens(store: Store, path: Path, tmp_path: Path) -> None:
    """Looked at whenever the keys are put on the disk, and with the disk as it was when they were drawn."""
    records, seen = store.of(A), list[Path]()
    old = seal(records, body=b"first")

    def look() -> Path:
        seen.append(copied(path, tmp_path / f"crash {len(seen)}"))
        return seen[-1]

    records.draw_secret(Key.RELEASE, os.urandom)
    records.write("update", "second", b"second")
    assert old not in bytes_of(look())  # and the first record is there, closed
    with pytest.raises(DamagedState):
        read_again(seen[0], A, name="update")
    store.commit()
    assert read_again(look(), A, name="update") == [("second", b"second")]


def test_a_key_is_on_the_disk_before_its_record_and_its_end_before_the_record_s(
    store: Store, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, seen, sync = store.of(A), list[Path](), os.fsync
    store.admit([A])

    def looking(handle: int) -> None:
        sync(handle)
        seen.append(copied(path, tmp_path / f"crash {len(seen)}"))

    with monkeypatch.context() as looked_at:
        looked_at.setattr(os, "fsync", looking)
        key = seal(records)
        records.destroy_secret(Key.RELEASE)
        records.erase("update")
        store.commit()
        records.write("answered", "", b"")
        store.commit()
    drawn, destroyed = seen  # and a commit without another key waits for one file only
    assert key in keys_of(drawn).read_bytes() and read_again(drawn, A, name="update") == [None]
    assert not any(keys_of(destroyed).read_bytes())
    with pytest.raises(DamagedState, match="is gone"):
        read_again(destroyed, A, name="update")


def test_a_record_does_not_open_under_another_client_s_key_or_the_other_one_of_its_own(store: Store) -> None:
    keys = {(client, which): seal(store.of(client), name) for client in (A, B) for name, which in SECRETS}
    place = store.place(number_of(A)) or 0
    for (name, which), (whose, key) in itertools.product(SECRETS, keys.items()):
        store.put_key(place, which, key)
        if whose == (A, which):
            assert store.of(A).read(name) == ("of a release", b"secret")
        else:
            with pytest.raises(DamagedState, match=f"{name} of client-00 is damaged"):
                store.of(A).read(name)
        store.put_key(place, which, keys[A, which])


def test_a_sealed_record_of_an_older_copy_does_not_open_under_the_key_of_now(store: Store, path: Path) -> None:
    seal(store.of(A), body=b"older")
    with rows(path) as database:
        older = database.execute("select * from records").fetchall()
    seal(store.of(A), body=b"newer")
    with rows(path) as database:
        database.executemany("replace into records values (?, ?, ?, ?, ?)", older)
    with pytest.raises(DamagedState, match="update of client-00 is damaged"):
        store.of(A).read("update")
