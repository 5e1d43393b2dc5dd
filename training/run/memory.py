"""How much memory this process and its helpers had at most, as Linux counts it. Knows no training."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """The most resident memory of the main process and of the largest worker, MiB.

    A worker that ends is forgotten by the system: `look` while it lives.
    """

    largest_worker: int = 0

    def look(self) -> None:
        """Remembers the largest of the workers that live now."""
        for process in multiprocessing.active_children():
            self.largest_worker = max(self.largest_worker, peak_mib(str(process.pid)))

    def to_json(self) -> dict[str, int]:
        """Both peaks, MiB."""
        return {"main": peak_mib("self"), "largest_worker": self.largest_worker}


def peak_mib(process: str) -> int:
    """The high-water mark of a process's resident memory, MiB, its share of other processes' pages included.

    0 when nothing is known.
    """
    try:
        lines = Path("/proc", process, "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:")), 0)
