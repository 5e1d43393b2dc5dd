"""A file is there whole or not at all, and what a kill left half-written goes with the next use of the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.training.federation import Federation, a_recipe, names
from training import durable
from training.durable import alone, erase, sweep, write_atomically
from training.parties.session import Step
from training.plan.recipe import Recipe
from training.run.run_folder import RunFolder

A = names(4)[0]


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


def test_secrets_of_a_client_killed_while_writing_are_erased_at_its_next_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(tmp_path, a_recipe(cohort=4), names(4))
    killed_while_writing(tmp_path / A / "round.bin", b"the seed of a mask", monkeypatch)
    assert [path.read_bytes() for path in hidden(tmp_path)] == [b"the seed of a mask"]
    federation.client(A).handle(bytes([Step.COMMITTED]) + bytes(20))
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_client_killed_while_it_forgets_keeps_no_state_that_opens_and_forgets_the_rest_when_told_again(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, home, taken = Federation(tmp_path, a_recipe(cohort=4), names(4)), tmp_path / A, list[str]()
    federation.run()
    over, unlink = bytes([Step.COMMITTED]) + federation.session().name, Path.unlink
    assert {"round.bin", "state.key", "update.bin"} <= {path.name for path in home.iterdir()}

    def dying(path: Path, missing_ok: bool = False) -> None:
        if len(taken) == after:
            raise Killed
        taken.append(path.name)
        unlink(path, missing_ok)

    with monkeypatch.context() as dead:
        dead.setattr(Path, "unlink", dying)
        with pytest.raises(Killed):
            federation.client(A).handle(over)
    assert not after or not (home / "state.key").exists()
    federation.client(A).handle(over)
    assert {path.name for path in home.iterdir()} <= {"lock", "finished", "ledger.json", "ledger.json.lock"}


def test_a_run_that_is_taken_up_again_erases_what_was_left_of_its_state_and_of_all_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "out")
    run.begin(Recipe())
    for path in (run.state / "server.npz", run.homes / "c1" / "update.bin", run.path / "summary.json"):
        killed_while_writing(path, b"half", monkeypatch)
    for folder in (run.state / ".private-x", run.path / ".model-x"):
        folder.mkdir()
        (folder / "ids.i32").write_bytes(b"tokens")
    (run.path / ".gitignore").write_text("a person's own")
    run.sweep()
    assert [path.name for path in hidden(tmp_path)] == [".gitignore"]


def test_erasing_takes_what_is_there_and_syncs_the_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "_sync_folder", synced.append)
    for name in ("one", "two", "kept"):
        (tmp_path / name).touch()
    erase(tmp_path, "one", "missing", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and synced == [tmp_path]
    erase(tmp_path, "missing")
    assert synced == [tmp_path]


def test_a_sweep_takes_hidden_things_of_the_given_names_only(tmp_path: Path) -> None:
    for name in ("abc", ".abc-1", ".other"):
        (tmp_path / name).touch()
    sweep(tmp_path, "abc")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", "abc"]
    sweep(tmp_path / "nothing")


def test_an_error_of_the_holder_is_not_taken_for_a_busy_lock(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), alone(tmp_path / "lock", "busy"):
        raise BlockingIOError
