"""How the benchmarks measure, print and store. Knows nothing of what is measured.

All candidates of a comparison run in one process, in turn, one sample each a round, so that a slow minute of a shared
machine slows all of them. A ratio is the median over rounds of the ratio within a round. Times are processor time
(user and system, all threads) of this process, which others on the machine disturb least; wall time stands beside it
where a person waits. A key of the JSON is there only when it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from chatfed.command_line import Parser
from training.durable import write_atomically
from training.workers import processors

Row = tuple[str, str, str, str]  # what, ours, beside it, ratio


@dataclass(frozen=True)
class Times:
    """Seconds of one call, a number for each round."""

    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Median processor time of one call."""
        return median(self.cpu)

    def over(self, other: Times) -> float:
        """Median over rounds of own processor time / the other's."""
        return median(mine / its for mine, its in zip(self.cpu, other.cpu, strict=True))

    def wall_over(self, other: Times) -> float:
        """The same in wall time."""
        return median(mine / its for mine, its in zip(self.wall, other.wall, strict=True))


def interleaved(
    candidates: Mapping[str, Callable[[], object]], rounds: int, sample_seconds: float = 0.01
) -> dict[str, Times]:
    """Times each candidate once a round, in an order that turns from round to round, after one call to warm up.

    A call shorter than `sample_seconds` is repeated to fill them, and the mean of these repeats is the sample.
    """
    names, repeats = list(candidates), dict[str, int]()
    for name, call in candidates.items():
        call()
        repeats[name] = max(1, round(sample_seconds / max(_sample(call, 1)[1], 1e-7)))
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for each in range(rounds):
        turn = each % len(names)
        for name in names[turn:] + names[:turn]:
            samples[name].append(_sample(candidates[name], repeats[name]))
    return {name: Times(*zip(*taken, strict=True)) for name, taken in samples.items()}


def _sample(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """(processor, wall) seconds of one call, the mean of `repeats`."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - cpu) / repeats, (time.perf_counter() - wall) / repeats


def machine(*packages: str) -> str:
    """One line: processor, cores, load, Python and the versions of `packages`."""
    usable = processors()
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{_processor()}, {usable} cores, load {load}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def parser(name: str, about: str) -> Parser:
    """The options that every benchmark has."""
    made = Parser(
        prog=f"python -m benchmarks.{name}",
        description=about,
        epilog=f"examples:\n  python -m benchmarks.{name}\n"
        f"  python -m benchmarks.{name} --quick\n"
        f"  python -m benchmarks.{name} --json {name}.json",
    )
    made.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, its figures mean little")
    made.add_argument("--json", type=_new_file, metavar="FILE", help="also write the figures to FILE")
    return made


def _new_file(text: str) -> Path:
    """Refuses at once a place that could not be written to after minutes of measuring."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: name a file in a folder that exists and can be written to")
    return path


def print_table(
    title: str, about: str, rows: Sequence[Row], heads: tuple[str, str, str] = ("ours", "beside it", "ratio")
) -> None:
    """Prints the table: what was measured, ours, what stands beside it, and the ratio or the like."""
    table = [(title, *heads), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    print(about)
    for place, (what, *figures) in enumerate(table):
        cells = [f"{figure:>{width}}" for figure, width in zip(figures, widths[1:], strict=True)]
        print("  ".join([f"{what:<{widths[0]}}", *cells]).rstrip())
        if place == 0:
            print("  ".join("-" * width for width in widths))


def write_json(path: Path, figures: Mapping[str, object]) -> None:
    """Writes the figures, whole or not at all; refuses NaN and infinities, which JSON has no word for."""
    write_atomically(path, (json.dumps(figures, indent=2, allow_nan=False) + "\n").encode(), mode=0o644)
