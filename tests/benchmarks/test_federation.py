"""The benchmark of a federation runs, prints its tables and writes what it promises. Nothing here looks at a time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.training.engines.flower_line import ROOT, flower_python

pytestmark = [pytest.mark.flower, pytest.mark.long]


def test_federation_benchmark_prints_its_tables_and_writes_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [str(flower_python()), "-m", "benchmarks.federation", "--quick", "--json", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    (size,) = json.loads(out.read_text(encoding="utf-8"))["sizes"]
    assert size["members"] == 4
    assert min(size["first_round_s"], size["round_s"], *size["step_s"].values(), *size["first"].values()) > 0
    assert min(size["member"].values()) > 0 and min(size["coordinator"].values()) > 0
    for words in ("4 members, 2 processes", "first adverts", "certificate", "kB down", "MiB resident"):
        assert words in done.stdout
