"""Tries one mutant in a process of its own: edited modules in a folder, all others as they are, one scene on them.

The process is forked from one that has the heavy libraries; ours are forgotten there and read anew.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

from tests.mutants.mutants import Edit, Mutant

ROOT = Path(__file__).resolve().parents[2]
OURS = ("chatfed", "training", "tests")
IN_MEMORY = Path("/dev/shm")  # noqa: S108
DEADLINE = 120.0  # seconds of a mutant: the slowest takes some ten
_forking = threading.Lock()  # nobody forks while another's end to write to is open: the fork would keep it open
_reading = set[int]()  # ends to read from, which a fork closes


def in_memory() -> Path | None:
    """A folder that no disk is behind: half of a mutant's time would be syncing."""
    return IN_MEMORY if IN_MEMORY.is_dir() else None


class NotThere(Exception):
    """An edit's text is not in its file, or more than once: the list is to follow the code."""


@dataclass(frozen=True)
class Verdict:
    """What a scene came to. error: it did not end, which is no finding."""

    name: str
    scene: str
    found: str  # the worst test; empty where nothing was found
    p: float  # of the whole list of tests
    tests: int
    seconds: float
    error: str = ""

    @property
    def killed(self) -> bool:
        """Whether the scene found the fault."""
        return bool(self.found) and not self.error


def edited(edits: Sequence[Edit]) -> dict[str, str]:
    """Sources with the edits in them, by path. Raises NotThere."""
    sources = {each.path: (ROOT / each.path).read_text(encoding="utf-8") for each in edits}
    for each in edits:
        if sources[each.path].count(each.old) != 1:
            raise NotThere(f"{each.path} holds {sources[each.path].count(each.old)} times: {each.old!r}")
        sources[each.path] = sources[each.path].replace(each.old, each.new)
    return sources


class Override:
    """Finds the edited modules before the real ones."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """For Python's import."""
        return spec_from_file_location(name, self.files[name]) if name in self.files else None


def attempt(mutant: Mutant, prepared: Path, deadline: float = DEADLINE) -> Verdict:
    """In a fork, which is killed when it takes longer than that. The mutant without edits is the clean code."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chatfed-mutant-", dir=in_memory()) as home:
        pid, inward = _forked(mutant, prepared, Path(home))
        try:
            said = _heard(inward, start + deadline)
        finally:
            os.kill(pid, signal.SIGKILL)  # who has said all has ended, or is about to
            os.waitpid(pid, 0)
            with _forking:
                _reading.remove(inward)
                os.close(inward)
    if said:
        return Verdict(**json.loads(said))
    error = "it ended and said nothing" if said is not None else f"it took longer than {deadline:g} s and was killed"
    return Verdict(mutant.name, mutant.scene, "", 1.0, 0, time.monotonic() - start, error)


def _forked(mutant: Mutant, prepared: Path, home: Path) -> tuple[int, int]:
    """The fork's number, and the end of the pipe that its verdict is read from."""
    with _forking:
        inward, outward = os.pipe()
        _reading.add(inward)
        pid = os.fork()
        if pid == 0:
            try:
                for end in _reading:
                    os.close(end)
                verdict = _looked_at(mutant, prepared, home)
                with os.fdopen(outward, "w") as pipe:
                    json.dump(asdict(verdict), pipe)
            finally:
                os._exit(0)
        os.close(outward)
    return pid, inward


def _heard(inward: int, until: float) -> bytes | None:
    """All that is said until the other end is closed; None where it is not by then (monotonic seconds)."""
    said = b""
    while select.select([inward], [], [], max(0.0, until - time.monotonic()))[0]:
        more = os.read(inward, 1 << 16)
        if not more:
            return said
        said += more
    return None


def _looked_at(mutant: Mutant, prepared: Path, home: Path) -> Verdict:
    start = time.perf_counter()
    try:
        _overlay(home / "edited", edited(mutant.edits))
        from chatfed.audit.conformance import decide
        from tests.mutants.scenes import SCENES

        decided = decide(SCENES[mutant.scene](home / "homes", prepared))
    except Exception:
        error = traceback.format_exc(limit=-3)
        return Verdict(mutant.name, mutant.scene, "", 1.0, 0, time.perf_counter() - start, error)
    found = f"{decided.faults[0].name} {decided.faults[0].found}".strip() if decided.faults else ""
    return Verdict(mutant.name, mutant.scene, found, decided.p, decided.tests, time.perf_counter() - start)


def _overlay(folder: Path, sources: dict[str, str]) -> None:
    """Writes edited modules below the folder, and has Python read all of ours anew, these from there."""
    files = {}
    for path, source in sources.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
        files[path.removesuffix(".py").replace("/", ".")] = file
    sys.meta_path.insert(0, Override(files))
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
