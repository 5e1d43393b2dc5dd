"""`make federation` as README has it, to its end, with one of the processors taken by somebody else all the while."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.workers import stopped_after

ROOT = Path(__file__).parents[2]
BOUND = 1800  # seconds: no figure, only no wait without an end
pytestmark = [pytest.mark.flower, pytest.mark.long]


def test_it_comes_to_its_end_on_a_busy_machine_with_the_summary_of_a_run_and_leaves_no_process(tmp_path: Path) -> None:
    out = tmp_path / "federation"
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    with stopped_after([busy]):
        done = subprocess.run(
            ["make", "federation", f"ARGS=--out {out}"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=BOUND,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Seconds by step" in done.stdout and "epsilon" in done.stdout
    rows = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [1, 2, 3, 4, 5] and {row["survivors"] for row in rows} <= {4, 5}
    assert json.loads((out / "run" / "summary.json").read_text())["rounds"] == 5
    assert not [each for each in Path("/proc").glob("[0-9]*") if str(out) in _command(each)]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:  # it has ended
        return ""
