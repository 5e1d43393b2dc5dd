"""Comparing by shares and by ciphertexts under round trips of 0, 10 and 100 ms: which wins where.

The shape of Kerschbaum, Biswas and de Hoogh (DEXA 2009): the same comparisons by Shamir's shares among three processes
(ours, and mpyc's own) and by DGK's protocol under Paillier between two parties. What arrives is held back for half of a
round trip. Processor time is measured; a party waits on the line meanwhile, so with machines of their own the parties
need their processor time and the waits, which is what the table adds up. Measured wall times stand in the JSON: on a
machine with fewer cores than processes they tell of the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import Row, machine, parser, print_table, write_json
from chatfed.command_line import exit_code
from training.durable import to_json
from training.private_vocabulary.rehearsal import PARTIES, make_agreement
from training.workers import stopped_after

SETTING = {
    "clients": 300,
    "least": 40,
    "counts": [1, 64, 4096],  # at once
    "most_others": 256,  # of mpyc's own comparisons, which take longer
    "peer_counts": [1, 4],
    "repeats": 3,
}
QUICK = {"clients": 9, "least": 3, "counts": [1, 8, 16], "most_others": 16, "peer_counts": [1], "repeats": 1}
ROUND_TRIPS = (0.0, 0.01, 0.1)
SECONDS = 1500.0  # that a process may take
TARGET, PROTOTYPE = 0.4, 4.1  # seconds of 4,096 comparisons: what was wanted, and an older mpyc's, not measured here


def by_shares(setting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of all three processes, over TLS on the loopback interface."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "parties"
        out.mkdir()
        keys = {f"client-{each}": os.urandom(32) for each in range(8)}
        make_agreement(out, keys, ("word",), 3)
        (out / "setting.json").write_text(to_json(dict(setting)))
        processes: list[subprocess.Popen[bytes]] = []
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        with stopped_after(processes):
            for own in range(len(PARTIES)):
                words = [sys.executable, "-m", "benchmarks.comparison_party", str(out), str(own)]
                processes.append(subprocess.Popen(words, stdout=subprocess.PIPE, env=alone))
            said = [each.communicate(timeout=SECONDS)[0] for each in processes]
        if any(each.returncode for each in processes):
            raise SystemExit("a party failed; what it said stands above")
    return [row for each in said for row in json.loads(each)]


def by_ciphertexts(python: str, setting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of TNO's library, in the Python that has it."""
    words = [python, str(Path(__file__).with_name("comparison_peer.py")), to_json(dict(setting))]
    done = subprocess.run(words, stdout=subprocess.PIPE, timeout=SECONDS, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def summed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By method, number and round trip: medians over parties and repeats; steps are the same for all."""
    found = []
    for key in dict.fromkeys((row["method"], row["comparisons"], row["round_trip"]) for row in rows):
        mine = [row for row in rows if (row["method"], row["comparisons"], row["round_trip"]) == key]
        told = dict(zip(("method", "comparisons", "round_trip"), key, strict=True))
        told["steps"] = max(row["steps"] for row in mine)
        told |= {name: median(row[name] for row in mine) for name in ("cpu", "wall", "bytes") if name in mine[0]}
        found.append(told)
    return found


def apart(found: Sequence[Mapping[str, Any]], method: str, count: int, trip: float) -> tuple[float, bool]:
    """(seconds, whether so many were measured): processor time of a party, and half a round trip for each step.

    Where fewer were measured, processor time in proportion to the most that were.
    """
    mine = [row for row in found if row["method"] == method and not row["round_trip"]]
    exact = next((row for row in mine if row["comparisons"] == count), None)
    nearest = exact or max(mine, key=lambda row: int(row["comparisons"]))
    seconds = nearest["cpu"] * count / nearest["comparisons"] + nearest["steps"] * trip / 2
    return seconds, exact is not None


def table(found: Sequence[Mapping[str, Any]], count: int) -> list[Row]:
    """A line for each method: seconds under each round trip."""
    lines: list[Row] = []
    for method in dict.fromkeys(row["method"] for row in found):
        told = [apart(found, method, count, trip) for trip in ROUND_TRIPS]
        first, second, third = (f"{seconds:.3f}" for seconds, _ in told)
        lines.append((method + ("" if told[0][1] else " *"), first, second, third))
    return lines


def draw(found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Seconds against the number of comparisons, a panel for each round trip, as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "comparison"
    figure, axes = plt.subplots(1, len(ROUND_TRIPS), figsize=(10, 3.4), sharey=True, layout="constrained")
    counts = [1, 4, 16, 64, 256, 1024, 4096]
    for axis, trip in zip(axes, ROUND_TRIPS, strict=True):
        for method in dict.fromkeys(row["method"] for row in found):
            most = max(row["comparisons"] for row in found if row["method"] == method)
            measured = sorted({row["comparisons"] for row in found if row["method"] == method})
            (line,) = axis.plot(measured, [apart(found, method, n, trip)[0] for n in measured], "o-", label=method)
            more = [most, *(n for n in counts if n > most)]
            axis.plot(more, [apart(found, method, n, trip)[0] for n in more], ":", color=line.get_color())
        axis.set(title=f"round trip {trip * 1000:g} ms", xlabel="comparisons at once", xscale="log", yscale="log")
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("seconds, parties on machines of their own")
    axes[0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def run(options: Any) -> int:
    setting: dict[str, Any] = {**(QUICK if options.quick else SETTING), "round_trips": ROUND_TRIPS}
    rows = by_shares(setting)
    if options.peer:
        rows += by_ciphertexts(options.peer, setting)
    found = summed(rows)
    print(machine("mpyc", "numpy"))
    heads = ("0 ms", "10 ms", "100 ms")
    for count in setting["counts"]:
        print_table(f"{count} at once, s", "", table(found, count), heads)
    print("* processor time in proportion to fewer that were measured")
    print("steps: " + ", ".join(f"{name} {steps}" for name, steps in {r["method"]: r["steps"] for r in found}.items()))
    if options.docs:
        draw(found, options.docs / "comparison.svg")
    if options.json:
        write_json(options.json, {"setting": setting, "rows": found, "target": TARGET, "prototype": PROTOTYPE})
    return 0


def main() -> int:
    made = parser("comparison", "Comparing by shares and by ciphertexts, under round trips of 0, 10 and 100 ms.")
    made.add_argument("--peer", metavar="PYTHON", help="a Python that has tno.mpc.protocols.secure_comparison")
    made.add_argument("--docs", type=Path, metavar="FOLDER", help="also draw comparison.svg there")
    options = made.parse_args()
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    raise SystemExit(main())
