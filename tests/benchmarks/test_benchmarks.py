"""The benchmarks run, print their table and write JSON that holds what they promise. Nothing here looks at a time."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.secagg_round import Setting, server_memory, whole_round
from benchmarks.simulation_watch import watch
from chatfed.secagg import masking
from chatfed.secagg.encoding import OutOfRange

pytestmark = pytest.mark.slow
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
    assert page.count("\n| ") == 11  # the head, two values of each of three, two signed
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


def test_threshold_keys_are_measured_beside_masks_and_cost_less_than_twice_their_bytes(tmp_path: Path) -> None:
    printed, found = figures("threshold_he", tmp_path)
    assert "58 bytes a parameter" in printed and "published" in printed
    for bits in ("16", "32"):
        assert_measured(found[bits], "masks_s", "keys_s", "keys_over_masks", "masks_all_steps_s", "keys_all_steps_s")
        assert found[bits]["keys_bytes"] / found[bits]["masks_bytes"] == pytest.approx(27 / 16, abs=1e-3)


def test_private_step_benchmark_prints_its_table_and_writes_its_figures(tmp_path: Path) -> None:
    printed, found = figures("dp_step", tmp_path)
    assert "private / ordinary step" in printed and "opacus hooks / ordinary step" in printed
    assert "all" in found["settings"]
    for setting in found["settings"].values():
        assert_measured(setting, "time_ratio", "alone_time_ratio", "opacus_hooks_time_ratio", "opacus_ghost_time_ratio")
        assert_measured(setting, "functorch_time_ratio", "parameters", "trained")
        assert 0 < setting["trained"] <= setting["parameters"]
    for setting in found["alone"].values():
        assert_measured(setting, "float32_private_per_s", "float32_ordinary_per_s", "float32_time_ratio")


@pytest.mark.long
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


@pytest.mark.parametrize("name", ["secagg", "dp_step", "simulation", "large_base", "general", "devices"])
def test_help_shows_examples_and_a_bad_place_for_the_figures_is_refused_at_once(name: str, tmp_path: Path) -> None:
    assert f"python -m benchmarks.{name} --quick" in run(name, "--help").stdout
    refused = run(name, "--json", str(tmp_path / "nowhere" / "figures.json"))
    assert refused.returncode == 2 and "nowhere" in refused.stderr and "Traceback" not in refused.stderr


def test_devices_benchmark_says_what_each_device_that_there_is_takes(tiny_base: Path, tmp_path: Path) -> None:
    printed, found = figures("devices", tmp_path, "--base", str(tiny_base))
    assert "processor, two processes" in printed and found["quick"] and found["machine"]
    assert_measured(found["cpu"], "dialogues_per_s", "tokens_per_s")
    assert found["cpu"]["by_hand"] is True and ("cuda" in found) == ("cuda_over_cores" in found)


def scores(perplexity: float) -> dict[str, float]:
    return {"bits_per_byte": math.log2(perplexity) / 4, "bytes": 400, "words": 100, "top1": 0.1, "top3": 0.2}


def finish(folder: Path, after: int, epsilon: float | None, base: int = 1024, ceiling: int = 4) -> None:
    """The summary of a finished run, its ceiling measured."""
    share = math.log2(base / after) / math.log2(base / ceiling)
    gain = {"bits_a_word": {"share": share, "low": share - 0.021, "high": share + 0.021}}
    summary = {"before": scores(base), "after": scores(after), "epsilon": epsilon}
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({**summary, "ceiling": {**scores(ceiling), "gain": gain}}))


def test_utility_reads_finished_runs_and_says_how_much_of_what_could_be_learned_was(tmp_path: Path) -> None:
    from benchmarks.utility import ROWS

    ended: dict[str, tuple[int, float | None]] = dict.fromkeys(ROWS, (1024, 7.9))
    ended |= {"plain": (64, None), "client8": (256, 7.5), "client2": (512, 2)}
    for name, (after, epsilon) in ended.items():
        finish(tmp_path / name, after, epsilon)
    done = run("utility", "--out", str(tmp_path), "--json", str(tmp_path / "figures.json"))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "figures.json").read_text())
    shares = {name: each["share"] for name, each in found.items() if name != "machine"}
    expected = dict.fromkeys(ROWS, 0.0) | {"plain": 0.5, "client8": 0.25, "client2": 0.125, "base": 0, "ceiling": 1}
    assert shares == pytest.approx(expected, abs=1e-3)
    line = (
        "| each client, noise shared in the sum, epsilon 8 | 7.50 | 2.000 | 2.00 | 25% [23% to 27%] | 10.0% | 20.0% |"
    )
    assert line in done.stdout
    table = [each for each in done.stdout.splitlines() if each.startswith("| ")]
    assert table[1].startswith("| base model, no private dialogue | 0 | 2.500 | 0.00 | 0% |")
    assert table[-1].startswith("| central training, all private dialogues | none claimed | 0.500 | 8.00 | 100% |")


def test_rows_of_other_bases_stand_under_their_own_base_and_above_their_own_ceiling() -> None:
    from benchmarks.utility import Row, table

    rows = {name: Row(name, "default") for name in ("one", "two", "three")}

    def summary(base: int, after: int, ceiling: int) -> dict[str, Any]:
        gain = {"bits_a_word": {"low": None, "high": None}}
        return {
            **{"before": scores(base), "after": scores(after), "epsilon": 1.0},
            "ceiling": scores(ceiling) | {"gain": gain},
        }

    lines, found = table(rows, {"one": summary(64, 32, 16), "two": summary(1024, 256, 4), "three": summary(64, 16, 16)})
    assert list(found) == ["base 1", "one", "three", "ceiling 1", "base 2", "two", "ceiling 2"]
    assert [each["share"] for each in found.values()] == pytest.approx([0, 0.5, 1, 1, 0, 0.25, 1])
    assert len(lines) == 2 + len(found)


def test_runs_of_one_base_share_a_ceiling_which_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import utility

    asked: list[tuple[str, str, bool]] = []

    def chatfed(folder: Path, *arguments: str) -> None:
        asked.append((arguments[0], folder.name, (folder / "ceiling" / "model").is_dir()))
        base = 1024 if folder.name != "other" else 512
        if arguments[0] == "train":
            folder.mkdir()
            (folder / "summary.json").write_text(json.dumps({"before": scores(base), "ceiling": None}))
            assert arguments[-4:] == ("--data", "x", "--set", "privacy.target_epsilon=2")
            assert arguments[2].endswith("recipes/quick.toml")
        else:
            (folder / "ceiling" / "model").mkdir(parents=True, exist_ok=True)
            finish(folder, 512, 2.0, base)

    monkeypatch.setattr(utility, "_chatfed", chatfed)
    rows = {name: utility.Row(name, "quick", {"privacy.target_epsilon": 2}) for name in ("first", "second", "other")}
    made = utility.run_all(rows, ["--data", "x"], tmp_path)
    assert [each for each in asked if each[0] == "resume"] == [
        ("resume", "first", False),
        ("resume", "second", True),
        ("resume", "other", False),
    ]
    assert utility.run_all(rows, ["--data", "x"], tmp_path) == made and len(asked) == 6, "what is there is read"


def test_epsilon_against_gain_is_drawn_with_its_figures_beside_it(tmp_path: Path) -> None:
    for epsilon, after in ((1, 1100), (2, 512), (4, 256), (8, 128)):
        finish(tmp_path / f"epsilon{epsilon}", after, epsilon - 0.01)
    finish(tmp_path / "plain", 64, None)
    done = run("epsilon_gain", "--out", str(tmp_path), "--docs", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "| epsilon 8 | 7.99 | 1.750 | 3.00 | 38% [35% to 40%] |" in done.stdout
    figures = json.loads((tmp_path / "epsilon-gain.json").read_text())
    assert figures["recipe"] == "default" and figures["epsilon4"]["share"] == pytest.approx(0.25)
    drawn = (tmp_path / "epsilon-gain.svg").read_text()
    ElementTree.fromstring(drawn)  # noqa: S314 # our own
    assert 'xmlns="http://www.w3.org/2000/svg"' in drawn and "prefers-color-scheme" in drawn
    assert "−1% at epsilon 0.99, 12% at epsilon 1.99" in drawn and "without noise" in drawn


def test_simple_questions_are_a_hundred_and_none_says_its_answer() -> None:
    from benchmarks.general import questions

    asked = questions()
    assert len(set(asked)) == 100
    assert not [question for question, answer in asked if answer.lower() in question.lower().split()]
