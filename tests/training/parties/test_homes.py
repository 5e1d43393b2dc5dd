"""Where simulated clients' records lie: each client's always in the same store, which outlives whoever serves it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from chatfed.types import ClientId
from tests.training.federation import names
from tests.training.parties.tampering import rows
from training.durable import Busy
from training.parties.homes import STORES, Homes, await_sole_use, home_of, store_of
from training.parties.store import Key, number_of

ANY = ("a", "a/../b", "../a", "Ünï cödé", "", "x" * 3000, "'; drop table records; --")


def test_a_client_is_always_put_into_the_same_store_whoever_serves_it(tmp_path: Path) -> None:
    who = (*names(40), *map(ClientId, ANY))
    for turn in range(3):  # three processes, which meet the clients in other orders
        homes = Homes(tmp_path)
        for client in who[::-1] if turn == 1 else who:
            records = homes.of(client)
            assert records.client == client and records.store.path == store_of(tmp_path, client)
            assert records.read("round") == (None if turn == 0 else (str(turn - 1), client.encode()))
            records.write("round", str(turn), client.encode())
        homes.commit()
        homes.close()
    assert sorted(tmp_path.glob("*.db")) == [tmp_path / f"{at}.db" for at in range(STORES)]


def test_stores_and_homes_are_where_earlier_builds_put_them() -> None:
    """Another place would read as clients that never took part."""
    places = {client: (store_of(Path(), client).name, home_of(Path(), client).name) for client in names(3)}
    assert places == {
        "client-00": ("2.db", "72a2cbb53279aa7fc485177384295787"),
        "client-01": ("3.db", "9f0bd8eb06adc13996954d6b143ce071"),
        "client-02": ("2.db", "5e2ad6ba6ecf20b335dde5522bef6a5c"),
    }


def test_no_client_s_name_leads_out_of_the_folder_or_into_another_s_home(tmp_path: Path) -> None:
    homes = [home_of(tmp_path, ClientId(name)) for name in ANY]
    assert {home.parent for home in homes} == {tmp_path} and len(set(homes)) == len(ANY)


def test_whether_a_store_is_there_is_asked_without_making_one(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    assert not homes.there(ClientId("a")) and not list(tmp_path.glob("*.db*"))
    homes.of(ClientId("a"))
    assert homes.there(ClientId("a"))
    homes.close()


def test_what_clients_of_all_stores_wrote_is_committed_or_forgotten_together(tmp_path: Path) -> None:
    homes, who = Homes(tmp_path), names(20)
    for keep in (homes.commit, homes.discard):
        for client in who:
            homes.of(client).write("round", keep.__name__, b"")
        keep()
    homes.commit()
    homes.close()
    found = Homes(tmp_path)
    assert {(found.of(client).read("round") or ("",))[0] for client in who} == {"commit"}
    found.close()


def test_clients_that_are_admitted_have_a_place_each_and_keep_it(tmp_path: Path) -> None:
    who = names(20)
    homes = Homes(tmp_path)
    homes.admit(who)
    for client in who:
        homes.of(client).draw_secret(Key.RELEASE, client.encode().rjust)
    homes.commit()
    homes.close()
    again = Homes(tmp_path)
    again.admit([ClientId("new"), *who[::-1], *who])
    assert [again.of(client).secret() for client in who] == [client.encode().rjust(32) for client in who]
    again.close()
    admitted = list[bytes]()
    for at in range(STORES):
        with rows(tmp_path / f"{at}.db") as database:
            admitted += [number for (number,) in database.execute("select client from places")]
    assert sorted(admitted) == sorted(map(number_of, [ClientId("new"), *who]))


FORK = multiprocessing.get_context("fork")


def _serve(folder: Path, told: Connection) -> None:
    homes = Homes(folder)
    for client in names(8):
        homes.of(client).write("round", "served", b"")
    homes.commit()
    told.send("served")
    told.recv()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[ForkProcess, Connection]]:
    """A worker that has all stores of tmp_path, until it is told to end."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=_serve, args=(tmp_path, there))
    process.start()
    assert here.recv() == "served"
    yield process, here
    process.kill()
    process.join()


def test_a_run_waits_for_the_workers_of_the_one_before(tmp_path: Path, holder: tuple[ForkProcess, Connection]) -> None:
    worker, tell = holder
    with pytest.raises(Busy, match="Another process is at work in") as caught:
        await_sole_use(tmp_path, 0.2)
    assert "\n" not in str(caught.value)
    other = FORK.Process(target=_tell_soon, args=(tell,))
    other.start()
    begun = time.monotonic()
    await_sole_use(tmp_path, 20.0)
    assert 0.3 < time.monotonic() - begun < 10
    for process in (worker, other):
        process.join(10)
    await_sole_use(tmp_path, 0.0)  # and it has let go of what it looked at
    homes = Homes(tmp_path)
    assert all(homes.of(client).read("round") == ("served", b"") for client in names(8))
    homes.close()


def _tell_soon(tell: Connection) -> None:
    time.sleep(0.4)
    tell.send("end")


def test_a_worker_that_was_killed_holds_nothing(tmp_path: Path, holder: tuple[ForkProcess, Connection]) -> None:
    os.kill(holder[0].pid or 0, signal.SIGKILL)
    await_sole_use(tmp_path, 5.0)


def test_several_processes_serve_clients_of_the_same_stores_at_once(
    tmp_path: Path, holder: tuple[ForkProcess, Connection]
) -> None:
    homes = Homes(tmp_path)
    homes.of(ClientId("another")).write("round", "served too", b"")
    homes.commit()
    assert homes.of(ClientId("another")).read("round") == ("served too", b"")
    homes.close()
    assert holder[0].is_alive()


def test_whoever_has_opened_no_store_yet_is_at_work_until_it_ends(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    with pytest.raises(Busy):
        await_sole_use(tmp_path, 0.0)
    homes.close()
    homes.close()
    await_sole_use(tmp_path, 0.0)


def test_a_folder_where_nobody_was_is_nobody_s_and_stays_as_it_is(tmp_path: Path) -> None:
    await_sole_use(tmp_path / "missing", 0.0)
    await_sole_use(tmp_path, 0.0)
    assert not list(tmp_path.iterdir())
