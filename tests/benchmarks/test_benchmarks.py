"""The benchmarks run, print their table and write JSON that holds what they promise. Nothing here looks at a time."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.secagg_round import Setting, server_memory, whole_round
from benchmarks.simulation_watch import watch
from chatfed.secagg import masking
from chatfed.secagg.encoding import OutOfRange

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def figures(name: str, folder: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    """What a quick run prints, and its JSON."""
    out = folder / "figures.json"
    done = run(name, "--quick", "--json", str(out), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, json.loads(out.read_text(encoding="utf-8"))


def assert_measured(table: dict[str, Any], *keys: str) -> None:
    for key in keys:
        assert math.isfinite(table[key]) and table[key] > 0, key


@pytest.fixture(scope="module")
def secagg(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("secagg")
    return *figures("secagg", folder, "--docs", str(folder)), folder


def test_secagg_benchmark_prints_its_table_and_writes_its_figures(secagg: tuple[str, dict[str, Any], Path]) -> None:
    printed, found, _ = secagg
    assert "cryptography" in printed and "OpenSSL" in printed
    for words in ("mask, 16 bits", "mask, 21 bits", "mask, 32 bits", "Shamir (100, 51)", "round of n 10, k 9, t 7"):
        assert words in printed
    assert_measured(found, "mask_vs_aes_ctr", "mask_ns_u16", "mask_ns_u21", "mask_ns_u32")
    assert_measured(found, "shamir_share_ms", "shamir_combine_ms", "encode_ns", "encode_rotated_ns", "decode_ns")
    assert not [key for key in found if "flower" in key]  # a quick run measures no peer


def test_a_whole_round_costs_two_bytes_a_rotated_parameter_and_little_more(
    secagg: tuple[str, dict[str, Any], Path],
) -> None:
    (once,) = secagg[1]["whole_rounds"]
    assert_measured(once, "client_s", "encode_s", "server_s")
    assert (once["participants"], once["dropped"], once["dimension"], once["ring_bits"]) == (10, 1, 10_000, 16)
    sent = 2 * 12_289  # three blocks of 4,096 and the weight
    assert sent < once["client_bytes_up"] < sent + 5_000


def test_secagg_benchmark_writes_how_cost_grows_as_a_page_and_a_plot(secagg: tuple[str, dict[str, Any], Path]) -> None:
    folder = secagg[2]
    page = (folder / "secagg-cost.md").read_text(encoding="utf-8")
    assert page.count("\n| ") == 9  # the head, two values of each of three, two signed
    for words in ("participants n", "neighbours k", "coordinates d", "(secagg-cost.png)", "OpenSSL"):
        assert words in page
    assert (folder / "secagg-cost.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("clients", "dropout"), [(10, 0.1), (6, 0.0)])
@pytest.mark.parametrize("signed", [False, True])
def test_a_benchmarked_round_is_refused_when_its_sum_is_wrong(
    clients: int, dropout: float, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(clients, -1, clients // 2 + 1, 500, 16, signed=signed, dropout=dropout)
    assert whole_round(setting).dropped == round(dropout * clients)
    assert server_memory(setting) > 2 * 500
    monkeypatch.setattr(masking, "self_mask_key", lambda seed, view, me: os.urandom(32))  # never taken off again
    with pytest.raises((SystemExit, OutOfRange)):
        whole_round(setting)


def test_private_step_benchmark_prints_its_table_and_writes_its_figures(tmp_path: Path) -> None:
    printed, found = figures("dp_step", tmp_path)
    assert "private / ordinary step" in printed and "opacus hooks / ordinary step" in printed
    assert "all" in found["settings"]
    for setting in found["settings"].values():
        assert_measured(setting, "time_ratio", "alone_time_ratio", "opacus_hooks_time_ratio", "opacus_ghost_time_ratio")
        assert_measured(setting, "functorch_time_ratio", "parameters", "trained")
        assert 0 < setting["trained"] <= setting["parameters"]


def test_simulation_benchmark_watches_whole_runs_and_writes_its_figures(tmp_path: Path) -> None:
    printed, found = figures("simulation", tmp_path, "--docs", str(tmp_path))
    assert "plain loop, one core" in printed and "pfl-research: not run when quick" in printed
    (population,) = found["populations"]
    for measured in (population, found["settings"]["tiny"]["ours_two"], found["settings"]["tiny"]["plain"]):
        assert_measured(measured, "clients_per_s", "cpu_ms", "peak_mib")
    assert_measured(found["settings"]["tiny"], "ours_two_over_plain")
    assert population["clients"] == 20 and not [key for key in found["settings"]["tiny"] if "pfl" in key]
    page = (tmp_path / "simulation.md").read_text(encoding="utf-8")
    assert "| 20 |" in page and "| plain loop, one core |" in page and "(simulation.png)" in page
    assert "| pfl-research: not run when quick |" in page
    assert (tmp_path / "simulation.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("lives_on", [True, False])
def test_a_watched_program_is_timed_between_its_first_and_last_rounds_and_weighed_in_the_last(
    tmp_path: Path, lives_on: bool
) -> None:
    program = """
import os, sys, time
for turn in range(4):
    held = b"x" * (60 << 20) if turn == 3 else b""
    end = time.process_time() + (0.4 if turn in (1, 2) else 1.5)
    while time.process_time() < end: pass
    open(sys.argv[1], "a").write("line\\n")
if sys.argv[2] == "False": os._exit(0)
time.sleep(0.3)
late = b"x" * (400 << 20)
time.sleep(60)
"""
    (tmp_path / "run").mkdir()
    sample = watch(
        [sys.executable, "-c", program, str(tmp_path / "run" / "lines"), str(lives_on)],
        tmp_path / "run" / "lines",
        4,
        5,
        1,
    )
    assert sample.clients == 10 and 0.6 < sample.cpu < 1.2 and sample.cpu <= sample.wall + 0.1
    assert 60 < sample.peak_mib < 300
    fails = [sys.executable, "-c", "raise ValueError('no such thing')"]
    with pytest.raises(SystemExit, match="no such thing"):
        watch(fails, tmp_path / "fails" / "lines", 3, 5, 1)


@pytest.mark.parametrize("options", [("--most", "50"), ("--repeats", "0"), ("--folder", "nowhere/at-all")])
def test_simulation_benchmark_refuses_what_leaves_nothing_to_measure(options: tuple[str, str]) -> None:
    refused = run("simulation", *options)
    assert refused.returncode == 2 and options[0] in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["secagg", "dp_step", "simulation"])
def test_help_shows_examples_and_a_bad_place_for_the_figures_is_refused_at_once(name: str, tmp_path: Path) -> None:
    assert f"python -m benchmarks.{name} --quick" in run(name, "--help").stdout
    refused = run(name, "--json", str(tmp_path / "nowhere" / "figures.json"))
    assert refused.returncode == 2 and "nowhere" in refused.stderr and "Traceback" not in refused.stderr


def test_utility_reads_finished_runs_and_says_how_much_of_the_gain_is_left(tmp_path: Path) -> None:
    def scores(perplexity: float) -> dict[str, float]:
        return {"bits_per_byte": math.log2(perplexity) / 4, "bytes": 400, "words": 100, "top1": 0.1, "top3": 0.2}

    from benchmarks.utility import ROWS

    ended: dict[str, tuple[int, float | None]] = dict.fromkeys(ROWS, (1024, 7.9))
    ended |= {"plain": (256, None), "client8": (512, 7.5), "client2": (724, 2)}
    for name, (after, epsilon) in ended.items():
        (tmp_path / name).mkdir()
        summary = {"before": scores(1024), "after": scores(after), "epsilon": epsilon}
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    done = run("utility", "--out", str(tmp_path), "--json", str(tmp_path / "figures.json"))
    assert (done.returncode, done.stderr) == (0, "")
    kept = {k: v["kept"] for k, v in json.loads((tmp_path / "figures.json").read_text()).items() if "kept" in str(v)}
    expected = dict.fromkeys(ROWS, 0.0) | {"plain": 1.0, "client8": 0.5, "client2": 0.25}
    assert kept == pytest.approx(expected, abs=1e-3)
    assert "| each client, distributed noise, epsilon 8 | 7.50 | 2.250 | 1.00 | 50% | 10.0% | 20.0% |" in done.stdout
