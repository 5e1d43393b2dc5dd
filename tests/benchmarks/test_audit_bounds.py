"""The benchmark of the audit's bounds runs, prints its tables and writes figures that hold. No time is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.audit_bounds import CLOPPER_PEARSON, GUESSED, simulate

ROOT = Path(__file__).parents[2]


def test_quick_run_prints_its_tables_and_writes_figures_that_hold(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.audit_bounds", "--quick", "--json", str(out)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("null, m 2000, one run", "trap p 0.1", "epsilon 8, m 512, product channel", "smallest leak seen"):
        assert words in done.stdout
    found = json.loads(out.read_text(encoding="utf-8"))
    for m in ("500", "2000"):
        measured, exact = found["null"][m]["measured"], found["null"][m]["exact"]
        assert set(measured) == {*exact, CLOPPER_PEARSON} and set(exact) == set(GUESSED)
        assert max(exact.values()) <= 0.05
        assert max(measured.values()) <= 0.05 + 4 * 0.0154  # of 200 runs
    assert found["trap"]["0.5"]["one run"] == 0
    assert min(found["trap"]["0.5"][name] for name in ("product channel", CLOPPER_PEARSON)) > 0.3
    assert found["gaussian"]["epsilon 8, m 512, product channel"]["mean"] >= 6.5
    assert found["gaussian"]["epsilon 8, m 1000, f-DP, one run"]["mean"] >= 2.5


def test_the_same_seed_gives_the_same_bounds() -> None:
    assert simulate(100, 20, 1e-5, mu=1.0) == simulate(100, 20, 1e-5, mu=1.0)


def test_a_bad_place_for_the_figures_is_refused_at_once(tmp_path: Path) -> None:
    from benchmarks.audit_bounds import main

    with pytest.raises(SystemExit) as refused:
        main(["--json", str(tmp_path / "nowhere" / "figures.json")])
    assert refused.value.code == 2
