"""A file is there whole or not at all, and what a kill left half-written goes with the next use of the folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed.secagg.states import DamagedState
from tests.secagg.rounds import entropy_from
from tests.training.federation import Federation, Learner, a_recipe, invitation, names, update_of
from training.durable import alone, sweep, write_atomically, write_new
from training.parties import database, store
from training.parties.rounds import commit
from training.parties.session import Step
from training.plan.recipe import Recipe
from training.run.run_folder import RunFolder

A = names(4)[0]
LARGE = 1_000_000  # numbers: more than SQLite keeps in memory until it commits


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def killed_while_writing(path: Path, content: bytes, patch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise Killed

    with patch.context() as dead:
        dead.setattr(os, "replace", kill)
        dead.setattr(os, "unlink", kill)
        with pytest.raises(Killed):
            write_atomically(path, content)


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if not path.name.endswith(".lock")]


def test_a_new_file_takes_no_other_s_place_and_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            write_new(path, b"one")
    assert list(tmp_path.iterdir()) == []
    write_new(path, b"one")
    with pytest.raises(FileExistsError):
        write_new(path, b"two")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"one"]
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_nlink == 1


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "file", b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def files(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir()}


def killed_while_it_writes_its_update(federation: Federation, message: bytes) -> None:
    """A process of its own, which is gone with all rows written and none committed."""
    write = database.write_rows

    def dying(database: Any, waiting: Any) -> None:
        write(database, waiting)
        if any(name == "round" for _, name in waiting):
            os.kill(os.getpid(), signal.SIGKILL)

    def handle() -> None:
        pytest.MonkeyPatch().setattr(store, "write_rows", dying)  # in a process of its own
        federation.client(A).handle(message, federation.entropy(A))

    process = multiprocessing.get_context("fork").Process(target=handle)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_what_a_client_killed_while_writing_leaves_on_its_disk_is_sealed_and_closed_for_good_with_the_round(
    tmp_path: Path,
) -> None:
    killed, twin = (
        Federation(tmp_path / home, a_recipe(cohort=4), names(4), entropy=entropy_from) for home in ("killed", "twin")
    )
    for federation in (killed, twin):
        federation.learners.update((name, Learner(update_of(name, LARGE))) for name in names(4))
    session = killed.session(weights=np.zeros(LARGE, np.float32), attempt=b"a" * 16)
    twin.client(A).handle(invitation(session), twin.entropy(A))
    _, update = twin.records(A).read("update") or ("", b"")
    assert len(update) > 4 * LARGE

    killed_while_it_writes_its_update(killed, invitation(session))
    left = files(killed.home / A)
    assert len(left["records.db-wal"]) > LARGE, "half of it is on the disk, or the test could not tell"
    pieces = [update[at : at + 16] for at in range(0, len(update), 4096)]
    assert not any(piece in content for content in left.values() for piece in pieces)
    records = killed.records(A)
    assert (records.read("update") or ("",))[1:] == (b"",), "what was paid for is marked, and nothing more is there"
    assert records.read("round") is None and killed.charges(A) == 1
    key = records.secret()
    assert key in left["records.db.keys"]

    killed.entropy = lambda name: os.urandom
    assert killed.run(session).survivors == names(4) and killed.charges(A) == 1
    commit(session, killed)
    assert not any(files(killed.home / A)["records.db.keys"])
    assert not any(key in content for content in files(killed.home / A).values())


def dying_when(place: str, patch: pytest.MonkeyPatch) -> None:
    """The next time that something is about to be done."""

    def dying(*_: object) -> None:
        raise Killed

    patch.setattr(store, "write_rows", dying) if place == "write_rows" else patch.setattr(os, place, dying)


@pytest.mark.parametrize("before", ["pwrite", "fsync", "write_rows"])
def test_a_client_killed_while_it_forgets_keeps_no_state_that_opens_and_forgets_the_rest_when_told_again(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the key is overwritten, before that is sure to be on the disk, and before the rows go."""
    federation = Federation(tmp_path, a_recipe(cohort=4), names(4))
    federation.run()
    over, key = bytes([Step.COMMITTED]) + federation.session().name, federation.records(A).secret()
    assert all(federation.records(A).there(name) for name in ("round", "update", "answered"))
    with monkeypatch.context() as dead:
        dying_when(before, dead)
        with pytest.raises(Killed):
            federation.client(A).handle(over)
    federation.restarted(A)
    assert (key in files(tmp_path / A)["records.db.keys"]) == (before == "pwrite")
    if before != "pwrite":
        assert federation.records(A).there("round"), "it goes after the key"
        with pytest.raises(DamagedState, match="is gone"):
            federation.client(A).handle(bytes([Step.SURVIVORS]))
    federation.client(A).handle(over)
    assert not [name for name in ("round", "update", "answered", "begun") if federation.records(A).there(name)]
    assert federation.records(A).there("finished") and federation.charges(A) == 1
    assert not any(files(tmp_path / A)["records.db.keys"])


def test_a_run_that_is_taken_up_again_erases_what_was_left_of_its_state_and_of_all_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "out")
    run.begin(Recipe())
    for path in (run.state / "server.npz", run.homes / "c1" / "identity.key", run.path / "summary.json"):
        killed_while_writing(path, b"half", monkeypatch)
    for folder in (run.state / ".private-x", run.path / ".model-x"):
        folder.mkdir()
        (folder / "ids.i32").write_bytes(b"tokens")
    (run.path / ".gitignore").write_text("a person's own")
    run.sweep()
    assert [path.name for path in hidden(tmp_path)] == [".gitignore"]


def test_a_sweep_takes_hidden_things_of_the_given_names_only(tmp_path: Path) -> None:
    for name in ("abc", ".abc-1", ".other"):
        (tmp_path / name).touch()
    sweep(tmp_path, "abc")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", "abc"]
    sweep(tmp_path / "nothing")


def test_an_error_of_the_holder_is_not_taken_for_a_busy_lock(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), alone(tmp_path / "lock", "busy"):
        raise BlockingIOError
