"""A log whose files are damaged, old or gone: one typed error each, and nothing lost that can be read."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from chatfed.conversation.log_errors import DamagedLog, LogDiskError, LogError, NoLog, StaleLog
from chatfed.conversation.log_messages import Message
from chatfed.conversation.log_owner import Log, open_log
from chatfed.conversation.log_rotation import rotate
from tests.conversation.log_parts import EVERY, filled, numbers, raw, side

TEXTS = [f"printer number {n}" for n in range(24)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return filled(tmp_path / "log", TEXTS)


def change(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for each in statements:
        database.execute(each)
    database.commit()
    database.close()


def everything(folder: Path) -> None:
    """Opens, searches and checks."""
    with open_log(folder, every=EVERY) as log:
        numbers(log, "printer")
        log.check()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noise(path: Path) -> None:
    path.write_bytes(b"no database " * 4096)


SWAP = "update counters set sealed = (select max(sealed) from counters)"
DAMAGE: list[tuple[str, str, Callable[[Path], None]]] = [
    ("owner", "a counter", lambda path: change(path, "update counters set sealed = zeroblob(40)")),
    ("owner", "the counters", lambda path: change(path, "delete from counters")),
    ("owner", "the state", lambda path: change(path, "delete from about where name = 'state'")),
    ("owner", "swapped counters", lambda path: change(path, SWAP)),
    ("owner", "a table", lambda path: change(path, "drop table counters")),
    ("owner", "half", cut),
    ("owner", "noise", noise),
    ("owner", "version", lambda path: change(path, "pragma user_version = 9")),
    ("server", "an entry", lambda path: change(path, "update entries set value = zeroblob(16)")),
    ("server", "the entries", lambda path: change(path, "delete from entries")),
]


@pytest.mark.parametrize(("which", "what", "damage"), DAMAGE, ids=lambda given: given if isinstance(given, str) else "")
def test_a_damaged_index_or_counter_is_one_error_and_is_made_anew(
    folder: Path, which: str, what: str, damage: Callable[[Path], None]
) -> None:
    damage(side(folder, which))
    with pytest.raises(DamagedLog) as caught:
        everything(folder)
    assert "restore" in str(caught.value) or "rotate" in str(caught.value) or "build" in str(caught.value)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
    assert rotate(folder) == (24, 0)
    everything(folder)
    with open_log(folder) as log:
        assert numbers(log, "printer") == [*range(1, 25)]


def forget(path: Path) -> None:
    change(path, "delete from about")


@pytest.mark.parametrize("damage", [cut, noise, forget])
def test_a_damaged_file_of_the_server_is_one_error(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(side(folder, "server"))
    with pytest.raises(DamagedLog):
        everything(folder)
    before = raw(folder)
    with pytest.raises(DamagedLog):
        rotate(folder)
    assert len(raw(folder)) >= len(before), "something was thrown away"


@pytest.mark.parametrize(
    "statement", ["update bodies set sealed = zeroblob(300) where id = 7", "delete from bodies where id = 7"]
)
def test_a_message_that_is_damaged_or_gone_is_named_and_the_others_are_there(folder: Path, statement: str) -> None:
    change(side(folder, "server"), statement)
    with open_log(folder, every=EVERY) as log:
        with pytest.raises(DamagedLog, match="Message 7 is"):
            log.search("printer")
        read: list[int] = []
        with pytest.raises(DamagedLog, match="restore"):
            read.extend(each.number for each in log.every())
        assert read == [n for n in range(1, 25) if n != 7]
    with pytest.raises(DamagedLog, match="--leave-damaged"):
        rotate(folder)
    assert rotate(folder, leave_damaged=True) == (23, 1)
    with open_log(folder) as log:
        assert numbers(log, "printer") == read and [each.number for each in log.every()] == read


@pytest.mark.parametrize("which", ["owner", "server"])
def test_one_side_from_an_old_backup_is_told_from_a_whole_log(folder: Path, tmp_path: Path, which: str) -> None:
    shutil.copytree(folder / which, tmp_path / "backup")
    with open_log(folder, every=EVERY) as log:
        for n in range(3 * EVERY):
            log.append([Message("user", f"later {n}")])
    shutil.rmtree(folder / which)
    shutil.copytree(tmp_path / "backup", folder / which)
    with pytest.raises(StaleLog) as caught:
        everything(folder)
    assert str(side(folder, which)) == caught.value.param


def test_a_rotation_after_an_old_backup_of_the_servers_part_says_what_it_would_lose(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "server", tmp_path / "backup")
    with open_log(folder, every=EVERY) as log:
        for n in range(3 * EVERY + 1):
            log.append([Message("user", f"later {n}")])
        indexed = log._counters.state.indexed
    shutil.rmtree(folder / "server")
    shutil.copytree(tmp_path / "backup", folder / "server")
    with pytest.raises(StaleLog, match=f"would lose {indexed - 24} messages"):
        everything(folder)
    before = sorted(folder.rglob("*.db"))
    with pytest.raises(DamagedLog, match=f"{indexed - 24} messages .* --leave-damaged"):
        rotate(folder)
    assert sorted(folder.rglob("*.db")) == before, "a refused rotation left or removed files"
    assert rotate(folder, leave_damaged=True) == (24, indexed - 24)
    with open_log(folder) as log:
        assert log.append([Message("user", "next")]) == [indexed + 1], "a number was given twice"
        assert numbers(log, "printer") == [*range(1, 25)]
        log.check()


def test_a_log_that_went_on_from_an_old_backup_of_both_parts_uses_no_mask_twice(folder: Path, tmp_path: Path) -> None:
    """It uses addresses twice, as docs/conversation.md says: a rotation ends that."""
    shutil.copytree(folder, tmp_path / "backup")
    worlds: list[dict[bytes, bytes]] = []
    for texts in (["printer"], ["a", "b", "printer"]):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "backup", folder)
        with open_log(folder, every=100) as log:
            before = set(log.server._database.execute("select address, value from entries"))
            log.append([Message("user", text) for text in texts])
            log.flush()
            worlds.append(dict(set(log.server._database.execute("select address, value from entries")) - before))
    both = [(worlds[0][each], worlds[1][each]) for each in worlds[0].keys() & worlds[1].keys()]
    others = [int.from_bytes(a[:8], "little") ^ int.from_bytes(b[:8], "little") for a, b in both if a != b]
    assert others and min(others) > 1 << 24, "the difference of two messages can be read"
    rotate(folder)
    with open_log(folder) as log:
        assert not worlds[0].keys() & {each for (each,) in log.server._database.execute("select address from entries")}


def test_a_rotation_removes_no_file_that_it_did_not_make_or_replace(folder: Path) -> None:
    others = [folder / side / f"{each * 32}.db" for side in ("server", "owner") for each in "ab"]
    for each in others:
        each.write_bytes(b"of another log")
    (folder / f"rotating-{'a' * 32}").write_text("b" * 32)  # of a rotation that this key had no part in
    assert rotate(folder) == (24, 0)
    assert all(each.read_bytes() == b"of another log" for each in others)


def refuse(*_: object) -> None:
    raise LogDiskError("The disk refused it: mend it, then do it again.")


def once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, work: Callable[[], object]) -> None:
    """Does it where one write is refused, and then again, as the error says."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, refuse)
        with pytest.raises(LogDiskError):
            work()
    work()


@pytest.mark.parametrize(
    ("part", "name"), [("server", "put"), ("server", "put_entries"), ("_counters", "keep_batch")]
)
def test_an_append_of_which_one_write_is_refused_can_be_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: str, name: str
) -> None:
    with open_log(folder, every=EVERY) as log:
        assert len(log._waiting) == EVERY, "the next append sends a batch"
        once(monkeypatch, getattr(log, part), name, lambda: log.append([Message("user", "printer next")]))
        assert numbers(log, "printer") == [*range(1, 26)]
        log.check()
    with open_log(folder, every=EVERY) as log:
        assert numbers(log, "printer") == [*range(1, 26)] and numbers(log, "next") == [25]


@pytest.mark.parametrize(
    ("part", "name"), [("server", "put_entries"), ("_counters", "keep_dummies"), ("_counters", "keep_search")]
)
def test_a_search_of_which_one_write_is_refused_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, name: str
) -> None:
    texts = [" ".join(f"w{word}" for word in range(12))] * 130
    with open_log(filled(tmp_path / "log", []), every=130) as log:
        log.append([Message("user", text) for text in texts])
        log.flush()
        log.append([Message("user", "w11 waits")])
        for word in range(11):  # takes the dummies
            log.search(f"w{word}")
        once(monkeypatch, getattr(log, part), name, lambda: log.search("w11"))
        assert numbers(log, "w11") == [*range(1, 132)] and len(log._waiting) == 1, "what waits was sent among few"
        log.check()
    with open_log(tmp_path / "log") as log:
        assert numbers(log, "w11") == [*range(1, 132)]


@pytest.mark.parametrize("number", [3, 24])
@pytest.mark.parametrize(("part", "name"), [("_counters", "keep_deleted"), ("server", "erase")])
def test_a_deletion_of_which_one_write_is_refused_can_be_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, part: str, name: str
) -> None:
    with open_log(folder, every=EVERY) as log:
        once(monkeypatch, getattr(log, part), name, lambda: log.delete(number))
        left = [n for n in range(1, 25) if n != number]
        assert numbers(log, "printer") == left and log.server.body(number) is None
        log.check()


def test_what_was_deleted_does_not_come_back_where_its_erasure_was_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(folder, every=EVERY) as log:
        monkeypatch.setattr(log.server, "erase", refuse)
        with pytest.raises(LogDiskError):
            log.delete(3)
        left = [n for n in range(1, 25) if n != 3]
        assert [each.number for each in log.every()] == left == numbers(log, "printer")
    assert rotate(folder) == (23, 0)
    with open_log(folder, every=EVERY) as log:
        assert [each.number for each in log.every()] == left == numbers(log, "printer")


def test_a_side_that_is_gone_is_named(folder: Path) -> None:
    side(folder, "owner").unlink()
    with pytest.raises(NoLog, match="owner"):
        everything(folder)
    assert rotate(folder) == (24, 0)
    side(folder, "server").unlink()
    with pytest.raises(NoLog, match="server"):
        everything(folder)


def append_until_refused(log: Log) -> None:
    for _ in range(50):
        log.append([Message("user", "x" * 5000)])


def test_a_disk_that_refuses_is_said_and_nothing_acknowledged_is_lost(folder: Path) -> None:
    with open_log(folder, every=EVERY) as log:
        (pages,) = log.server._database.execute("pragma page_count").fetchone()
        log.server._database.execute(f"pragma max_page_count = {pages}")
        with pytest.raises(LogDiskError, match="refused"):
            append_until_refused(log)
        kept = len(log)
    with open_log(folder, every=EVERY) as log:
        assert len(log) == kept and numbers(log, "printer") == [*range(1, 25)]


def test_every_error_is_of_the_log() -> None:
    assert all(issubclass(each, LogError) and each.code for each in (NoLog, StaleLog, DamagedLog, LogDiskError))
