"""Runs one program in a session of its own and watches it from outside: processor time and memory of all its processes.

Knows that the program adds a line to a file when a round is done. Between the first and the last of these lines nothing
begins and nothing is prepared: that is what is measured. Memory is the proportional share (PSS, a page that three
processes share counts a third in each) summed over the program's processes, as Linux counts it.
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
WEIGH_EVERY = 0.5  # seconds; weighing walks all page tables


@dataclass(frozen=True)
class Sample:
    """The rounds of one program but its first."""

    clients: int  # participations
    wall: float  # seconds
    cpu: float  # seconds, user and system, all processes
    peak_mib: float  # all processes together, while rounds went on

    @property
    def per_second(self) -> float:
        return self.clients / self.wall

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds a client."""
        return 1000 * self.cpu / self.clients


def watch(command: Sequence[str], lines: Path, rounds: int, cohort: int, cores: int) -> Sample:
    """Runs `command`, which writes a line to `lines` after each of `rounds` rounds, on so many cores, and ends it then.

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
    first, peak, weighed = (0.0, 0.0), 0.0, 0.0
    while process.poll() is None:
        done, now = _lines(lines), time.monotonic()
        if done and not first[0]:
            first = now, _cpu(process.pid)
        if done >= rounds:
            return Sample((rounds - 1) * cohort, now - first[0], _cpu(process.pid) - first[1], peak)
        if first[0] and now - weighed > WEIGH_EVERY:
            weighed, peak = now, max(peak, pss_mib(process.pid))
        time.sleep(LOOK_EVERY)
    return None


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _family(leader: int) -> dict[int, list[str]]:
    """The program's processes, of its session or begun by one of them, each with the fields of its stat from the state
    on."""
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
