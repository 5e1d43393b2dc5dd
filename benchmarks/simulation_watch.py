"""Runs one program in a session of its own and watches it from outside: processor time and memory of all its processes.

Knows that the program adds a line to a file when a round is done. Its first round warms up, its last one is weighed,
and those between are timed: a walk through page tables takes a core for 30 ms and holds up whoever asks for pages.
Memory is the proportional share (PSS, a page that three processes share counts a third in each) summed over the
program's processes, as Linux counts it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
LOOK_EVERY = 0.01  # seconds, for a new line
WEIGH_EVERY = 0.1  # seconds, in the last round


@dataclass(frozen=True)
class Sample:
    """The rounds of one program between its first and its last."""

    clients: int  # participations
    wall: float  # seconds
    cpu: float  # seconds, user and system, all processes
    peak_mib: float  # all processes together, in the last round

    @property
    def per_second(self) -> float:
        return self.clients / self.wall

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds a client."""
        return 1000 * self.cpu / self.clients


def watch(command: Sequence[str], lines: Path, rounds: int, cohort: int, cores: int) -> Sample:
    """Runs `command`, which writes a line to `lines` after each of `rounds` (3 or more), on so many cores, and ends it.

    Raises SystemExit with what it said when it fails.
    """
    usable = sorted(os.sched_getaffinity(0))[:cores]
    log = lines.parent.with_suffix(".log")  # beside the folder, which is the program's own
    with open(log, "wb") as said:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, usable),
        )
        try:
            sample = _between(process, lines, rounds, cohort)
        finally:
            for member in _family(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
            process.wait()
    if sample is None:
        raise SystemExit(f"{' '.join(command[:3])} ended before its last round:\n{log.read_text()[-2000:]}")
    return sample


def _between(process: subprocess.Popen[bytes], lines: Path, rounds: int, cohort: int) -> Sample | None:
    peak, marks = 0.0, list[tuple[float, float]]()  # seconds by the clock and of processors: first round, last but one
    done = 0
    while process.poll() is None and not (peak and done >= rounds):
        done = _lines(lines)
        while len(marks) < 2 and done >= (1, rounds - 1)[len(marks)]:
            marks.append((time.monotonic(), _cpu(process.pid)))
        if len(marks) == 2:
            peak = max(peak, pss_mib(process.pid))
        time.sleep(WEIGH_EVERY if len(marks) == 2 else LOOK_EVERY)
    if not peak or _lines(lines) < rounds:
        return None
    (begun, used), (ended, used_then) = marks
    return Sample((rounds - 2) * cohort, ended - begun, used_then - used, peak)


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _family(leader: int) -> dict[int, list[str]]:
    """The program's processes, of its session or begun by one of them, each with the fields of its stat.

    The fields are those from the state on.
    """
    alive: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                alive[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    members = {process for process, fields in alive.items() if int(fields[3]) == leader and fields[0] != "Z"}
    while begun := {process for process, fields in alive.items() if int(fields[1]) in members} - members:
        members |= begun
    return {process: alive[process] for process in members}


def _cpu(leader: int) -> float:
    """Seconds of all its processes so far, user and system."""
    return sum(int(fields[11]) + int(fields[12]) for fields in _family(leader).values()) / TICKS


def pss_mib(leader: int) -> float:
    """Memory of all its processes together, each page counted once."""
    return sum(_pss_kib(process) for process in _family(leader)) / 1024


def _pss_kib(process: int) -> int:
    try:
        lines = Path("/proc", str(process), "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
