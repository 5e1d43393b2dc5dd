"""All tests, in parts side by side: `make test`.

What drives a browser, or a federation of processes, waits most of its time and says so when others are slow: those
parts go before all else. What only computes takes what they leave, at a low priority and in a few processes.
A part's progress is told line by line as it comes, and what it says after that in one piece.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
APART = ("browser", "flower")
"""Marks of tests that wait for other processes: a part for each."""

ASKED = ("big", "long", "peers")
"""Marks of tests that only a target of their own runs."""

MEMORY = Path("/dev/shm")  # noqa: S108
ROOM = 4 << 30  # bytes
SOON = 20.0  # seconds
LAST = 10  # nice: a tenth of a processor that others want too, so that nobody waits long for the rest either
RULE = re.compile(r"(\x1b\[[\d;]*m)*===")  # how pytest begins and ends, and begins to tell what failed


@dataclass(frozen=True)
class Part:
    """A command, and how far back it stands in the queue for processors (nice)."""

    command: tuple[str, ...]
    nice: int = 0


def marked(mark: str, tests: Path = TESTS, files: str = "test_*.py") -> list[str]:
    """The files that hold this mark: looked for in their text, so that a part imports no other."""
    held = re.compile(rf"\bmark\.{mark}\b")
    return sorted(str(path) for path in tests.rglob(files) if held.search(path.read_text(encoding="utf-8")))


def parts(jobs: int) -> list[Part]:
    """Pytest once for each of APART, and once for all else."""
    pytest = (sys.executable, "-m", "pytest", *(["--color=yes"] if sys.stdout.isatty() else []))
    own = [Part((*pytest, "-m", f"{mark} and {_without(*ASKED)}", *marked(mark))) for mark in APART]
    rest = (*pytest, "-n", str(jobs), "--dist", "loadfile", "-m", _without(*APART, *ASKED))
    return [*own, Part(rest, LAST)]


def _without(*marks: str) -> str:
    return " and ".join(f"not {mark}" for mark in marks)


def in_memory() -> Path | None:
    """A folder that no disk is behind, if there is one with room in which programs may run.

    What keeps records on disk syncs them some hundred times a test, and would wait for a disk more than it computes.
    """
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free >= ROOM else None


def at_once(parts: Sequence[Part]) -> list[int]:
    """Runs the parts to their ends and returns their exit codes; ends them where this is stopped."""
    with tempfile.TemporaryDirectory(prefix="chatfed-tests-", dir=in_memory()) as own:
        running = [_begun(part, Path(own)) for part in parts]
        telling = [threading.Thread(target=_tell, args=[each], daemon=True) for each in running]
        try:
            for teller in telling:
                teller.start()
            return [each.wait() for each in running]
        finally:
            for each in running:
                each.terminate()  # nothing, where it has ended
            for teller in telling:
                teller.join(SOON)  # whoever a part left behind may hold its end open


def _begun(part: Part, own: Path) -> subprocess.Popen[str]:
    """A part at the back of the queue has its own folder for temporary files: others look at what is new in /tmp."""
    place = {"TMPDIR": str(own)} if part.nice else {}
    return subprocess.Popen(
        ["nice", "-n", str(part.nice), *part.command],
        cwd=ROOT,
        env={**os.environ, **place},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


_told = threading.Lock()


def _tell(process: subprocess.Popen[str]) -> None:
    """Pytest rules a line when it begins; from its second rule on, all is kept until it has ended."""
    assert process.stdout is not None
    rules, kept = 0, []
    for line in process.stdout:
        rules += bool(RULE.match(line))
        if rules > 1:
            kept.append(line)
        else:
            _say(line)
    _say("".join(kept))


def _say(text: str) -> None:
    with _told:
        print(text, end="", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Leaves with 1 where a part has failed."""
    parser = argparse.ArgumentParser("python -m tests.side_by_side", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes of the part that only computes")
    jobs = parser.parse_args(arguments).jobs
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores, and tests send
    return int(any(at_once(parts(jobs))))


if __name__ == "__main__":
    sys.exit(main())
