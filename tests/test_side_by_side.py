"""Parts of the tests side by side: none is lost, a failure of one is the whole's, and what they say is not mixed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import side_by_side
from tests.side_by_side import APART, LAST, ROOT, TESTS, Part, at_once, marked, parts


def said(code: str, nice: int = 0) -> Part:
    return Part((sys.executable, "-c", code), nice)


def test_every_test_is_in_one_part_and_those_that_wait_go_before_the_rest() -> None:
    *waiting, rest = parts(3)
    assert len(waiting) == len(APART) and rest.nice == LAST and {part.nice for part in waiting} == {0}
    for mark, part in zip(APART, waiting, strict=True):
        assert part.command[part.command.index("-m", 2) + 1].startswith(f"{mark} and ")
        assert f"not {mark} and" in rest.command[-1] and part.command[-1].endswith(".py")
    assert rest.command[3:5] == ("-n", "3") and rest.command[-1].endswith("not big and not long and not peers")


def test_a_file_belongs_to_a_part_by_the_mark_in_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, text in (("a", "@pytest.mark.flower"), ("below/test_b", "pytestmark = [pytest.mark.flower]")):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / "test_c.py").write_text("pytest.mark.flowering", encoding="utf-8")
    assert marked("flower", tmp_path) == [str(tmp_path / "below" / "test_b.py")]


@pytest.mark.parametrize("mark", APART)
def test_no_test_has_a_mark_that_does_not_stand_in_its_file_or_it_would_be_in_no_part(mark: str) -> None:
    assert set(marked(mark, files="*.py")) - {__file__} == set(marked(mark)) - {__file__} != set()
    assert not [path for path in TESTS.rglob("*.py") if "add_" + "marker(" in path.read_text(encoding="utf-8")]


def test_one_that_fails_is_a_failure_whatever_the_others_do() -> None:
    assert at_once([said("exit(0)"), said("exit(3)"), said("exit(0)", LAST)]) == [0, 3, 0]


def test_progress_is_told_as_it_comes_and_the_rest_of_each_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    code = "print('=== {0} begins ==='); print('{0} .'); print('=== {0} ends ===', flush=True); {1}; print('{0} over')"
    other = "import time; time.sleep(0.5)"
    at_once([said(code.format("a", other)), said(code.format("b", "pass"))])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    for name in "ab":
        at = lines.index(f"=== {name} ends ===")
        assert lines.index(f"{name} .") < at and lines[at + 1] == f"{name} over"


def test_the_rest_has_a_low_priority_and_a_place_of_its_own_for_temporary_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = "import os, tempfile; print({0!r}, os.nice(0), tempfile.gettempdir())"
    assert at_once([said(code.format("first")), said(code.format("last"), LAST)]) == [0, 0]
    lines = map(str.split, capsys.readouterr().out.splitlines())
    told = {name: (int(nice), Path(place)) for name, nice, place in lines}
    assert told["first"] == (os.nice(0), Path(tempfile.gettempdir()))
    assert told["last"][0] == min(19, os.nice(0) + LAST) and told["last"][1].name.startswith("chatfed-tests-")
    assert not told["last"][1].exists()


def test_what_a_part_leaves_behind_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(side_by_side, "SOON", 0.5)
    ended = tmp_path / "ended"
    behind = f"import pathlib, time; time.sleep(20); pathlib.Path({str(ended)!r}).touch()"
    left = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {behind!r}]); print('over')"
    assert at_once([said(left)]) == [0]
    assert not ended.exists() and capsys.readouterr().out == "over\n"


def test_who_stops_it_stops_every_part() -> None:
    ready = "import signal, sys; print('here', flush=True); signal.pause()"
    whole = f"""
import signal
from tests import side_by_side
from tests.side_by_side import Part, at_once
signal.signal(signal.SIGINT, signal.default_int_handler)  # which processes of a shell's background ignore
at_once([Part(({sys.executable!r}, "-c", {ready!r}))] * 2)
"""
    with subprocess.Popen(
        [sys.executable, "-c", whole], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["here\n"] * 2
            process.send_signal(signal.SIGINT)  # as a Ctrl-C that reached this one alone
            assert process.wait(30) != 0
            assert process.stdout.read() == "", "both ends of the pipe are closed"
        finally:
            process.kill()
