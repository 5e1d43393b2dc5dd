"""Processes that are killed at any point: what they acknowledged is found, and nothing is half-written.

CHATFED_KILLS says how many random kills; a few by default.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from chatfed.conversation import log_rotation
from chatfed.conversation.log_counters import Counters
from chatfed.conversation.log_messages import Message
from chatfed.conversation.log_owner import Log, new_log, open_log
from chatfed.conversation.log_server import Server
from tests.conversation.log_parts import EVERY, filled, numbers

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("CHATFED_KILLS", "2"))
WRITER = """
import sys
from pathlib import Path
from chatfed.conversation.log_messages import Message
from chatfed.conversation.log_owner import open_log
with open_log(Path(sys.argv[1]), every=4) as log:
    n = log._last
    while True:
        n += 1
        (number,) = log.append([Message("user", f"common w{n}")])
        print(number, flush=True)
        if n % 5 == 0:
            log.search("common")
        if n % 7 == 0:
            log.delete(n)
            print(-number, flush=True)
"""


def test_what_was_acknowledged_is_found_after_kills_at_random(tmp_path: Path) -> None:
    folder, kept, gone = tmp_path / "log", set[int](), set[int]()
    new_log(folder)
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout
        said = [writer.stdout.readline()]  # it is at work
        time.sleep(random.uniform(0, 0.5))
        writer.kill()
        said += writer.stdout.read().splitlines()
        writer.wait(20)
        told = [int(each) for each in said if each.strip()]
        assert told, "the writer did not begin"
        kept |= {each for each in told if each > 0}
        gone |= {-each for each in told if each < 0}
        with open_log(folder, every=4) as log:
            there = set(numbers(log, "common"))
            unsaid = there - kept  # one that was kept and not said any more, or deleted and not said
            assert kept - gone - there <= {max(kept)} and len(kept - gone - there) + len(unsaid) <= 1
            assert max(kept) % 7 == 0 or max(kept) in there, "an acknowledged message is gone"
            kept |= unsaid
            gone |= kept - there  # a deletion that was done and not said stays done
            for number in sorted(there)[-9:]:
                assert numbers(log, f"w{number}") == [number]
            log.check()


def append_until(folder: Path, where: type, name: str, times: int) -> None:
    """Appends, and ends without a word where `name` would be called for so many times."""
    done, real = [0], getattr(where, name)

    def counted(self: object, *given: Any, **more: Any) -> Any:
        done[0] += 1
        return os._exit(9) if done[0] > times else real(self, *given, **more)

    setattr(where, name, counted)
    with open_log(folder, every=EVERY) as log:
        for n in range(6 * EVERY):
            log.append([Message("user", f"later {n}")])
            if n % EVERY == 3:
                log.search("later")
                log.delete(n)


POINTS: list[tuple[type, str]] = [
    (Counters, "keep_batch"), (Server, "put_entries"), (Counters, "keep_search"), (Server, "erase"), (Log, "_wait")
]  # fmt: skip


@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize(("where", "name"), POINTS, ids=[name for _, name in POINTS])
def test_a_process_may_end_between_any_two_steps(tmp_path: Path, where: type, name: str, times: int) -> None:
    folder = filled(tmp_path / "log", [f"first {n}" for n in range(EVERY + 2)])
    child = get_context("fork").Process(target=append_until, args=(folder, where, name, times))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    with open_log(folder, every=EVERY) as log:
        assert numbers(log, "first") + numbers(log, "later") == [each.number for each in log.every()] or name == "erase"
        assert set(numbers(log, "first")) | set(numbers(log, "later")) == {each.number for each in log.every()}
        log.append([Message("user", "later on")])
        log.flush()
        assert len(numbers(log, "later")) == len(log) - len(numbers(log, "first"))
        log.check()


@pytest.mark.parametrize(
    ("name", "at"), [("write_file", 1), ("make_sides", 1), ("_fill", 1), ("write_file", 2), ("_sweep", 2)]
)
def test_a_rotation_that_is_killed_leaves_one_whole_log(tmp_path: Path, name: str, at: int) -> None:
    folder = filled(tmp_path / "log", [f"first {n}" for n in range(20)])

    def killed() -> None:
        real, calls = getattr(log_rotation, name), [0]

        def then(*given: Any, **more: Any) -> Any:
            calls[0] += 1
            if calls[0] < at:
                return real(*given, **more)
            real(*given, **more)
            os._exit(9)

        setattr(log_rotation, name, then)
        log_rotation.rotate(folder)

    child = get_context("fork").Process(target=killed)
    child.start()
    child.join(60)
    assert child.exitcode == 9
    for _ in range(2):
        with open_log(folder, every=EVERY) as log:
            assert numbers(log, "first") == [*range(1, 21)]
            log.check()
        log_rotation.rotate(folder)
    assert len([*folder.rglob("*.db")]) == 2 and not [*folder.glob("rotating-*")]
