"""The benchmark of comparisons: what its tables add up, and that it runs. Nothing here looks at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import comparison_peer
from benchmarks.comparison import apart, draw, summed, table

ROOT = Path(__file__).parents[2]


def row(method: str, count: int, trip: float, cpu: float, steps: int) -> dict[str, object]:
    return {"method": method, "comparisons": count, "round_trip": trip, "cpu": cpu, "wall": cpu, "steps": steps}


ROWS = [
    *(row("shares", 1, trip, cpu, 8) for trip in (0.0, 0.01, 0.1) for cpu in (0.003, 0.001, 0.002)),
    row("shares", 4096, 0.0, 0.05, 8),
    *(row("ciphers", count, 0.0, 0.1 * count, 6) for count in (1, 4)),
]


def test_a_figure_is_the_median_partys_processor_time_and_half_a_round_trip_for_each_step() -> None:
    found = summed(ROWS)
    seconds, measured = apart(found, "shares", 1, 0.1)
    assert seconds == pytest.approx(0.002 + 8 * 0.05) and measured
    assert apart(found, "shares", 4096, 0.0) == (0.05, True)


def test_what_was_not_measured_is_in_proportion_and_marked() -> None:
    found = summed(ROWS)
    seconds, measured = apart(found, "ciphers", 4096, 0.01)
    assert seconds == pytest.approx(0.1 * 4096 + 6 * 0.005) and not measured
    assert [line[0] for line in table(found, 4096)] == ["shares", "ciphers *"]


def test_the_drawing_is_whole_and_the_same_for_the_same_figures(tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg"):
        draw(summed(ROWS), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert ElementTree.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")  # noqa: S314 (our own)


SETTING = {"clients": 300, "least": 40, "peer_counts": [4, 9], "round_trips": [0.0, 0.001]}


def test_the_peer_s_comparisons_are_counted_only_where_all_of_them_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """DGK's steps in the place of which stands what they open: around the threshold, one message for all a step."""

    class Clear:
        def encrypt(self, count: int) -> int:
            return count

    seen = list[list[int]]()

    def compare(counts: list[int], least: int, bits: int, pair: object, line: comparison_peer.Line) -> list[bool]:
        seen.append(counts)
        for _ in range(6):
            line()
        return [count >= least for count in counts]

    monkeypatch.setattr(comparison_peer, "schemes", lambda bits: (Clear(), None))
    monkeypatch.setattr(comparison_peer, "compare", compare)
    found = comparison_peer.rows(SETTING)
    assert [(row["comparisons"], row["round_trip"], row["steps"]) for row in found] == [
        *((4, trip, 6) for trip in SETTING["round_trips"]),  # type: ignore[attr-defined]
        (9, 0.0, 6),
    ]
    assert all({39, 40} <= set(counts) for counts in seen)
    monkeypatch.setattr(comparison_peer, "compare", lambda counts, least, *_: [count > least for count in counts])
    with pytest.raises(SystemExit, match="compared wrongly"):
        comparison_peer.rows(SETTING)


@pytest.mark.slow
def test_a_quick_run_compares_rightly_by_each_protocol_of_shares(tmp_path: Path) -> None:
    """That by ciphertexts needs TNO's library, in a venv of its own; it looks at its own answers, see below."""
    out = tmp_path / "figures.json"
    words = [sys.executable, "-m", "benchmarks.comparison", "--quick", "--json", str(out)]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["rows"]
    assert {each["method"] for each in found} == {"zero test", "mpyc, bits of a count", "mpyc, 32 bits"}
    assert all(each["steps"] > 0 and each["bytes"] > 0 for each in found)
