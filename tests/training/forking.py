"""Processes that run `chatfed` in a Python of Flower's, forked from one that has imported torch already.

Each is a process of its own, with its own sockets and files, to be killed and stopped like any other; only the eight
seconds of processor time that imports take are not paid by every one. `make federation`, the tutorial and the wheel's
tests start theirs as people do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from chatfed.model.transformer import stay_offline
from training.workers import HEAVY

ROOT = Path(__file__).parents[2]
LOOK = 0.02  # seconds between two looks whether one has ended
OURS = (
    "training.run.coordinated",
    "training.run.joined",
    "training.engines.flower_link",
    "training.engines.flower_node",
)


class Forked(subprocess.Popen[bytes]):
    """A process that `Origin` is the parent of, with what is asked of a Popen."""

    def __init__(self, origin: Origin, pid: int, words: Sequence[str]) -> None:
        self._origin, self.pid, self.args, self.returncode = origin, pid, words, None

    def poll(self) -> int | None:
        """Exit code, or minus the signal that ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._origin.ask(end=self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(LOOK)
        return code

    def send_signal(self, sig: int) -> None:
        """Nothing to one that is gone: its number may be another's."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def __del__(self) -> None:
        """Whoever made it ends it."""


class Origin:
    """The process that others are forked from; ends with this one."""

    def __init__(self, python: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = [python, "-m", "tests.training.forking"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe)
        self._lock = threading.Lock()

    def start(self, words: Sequence[str], said: Path) -> Forked:
        """`chatfed` with these words; what it says goes to the end of the file `said`."""
        said.touch()
        given = {"words": list(words), "said": str(said), "folder": os.getcwd()}
        pid = self.ask(start=given)
        assert pid is not None
        return Forked(self, pid, words)

    def ask(self, **what: object) -> int | None:
        """One question, one answer."""
        with self._lock:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
            answer: int | None = json.loads(self._process.stdout.readline())
            return answer


@cache
def origin(python: str) -> Origin:
    """The one of this process."""
    return Origin(python)


def main() -> int:
    """Forks as it is told on its input; in a child, runs what was asked for."""
    stay_offline()
    for name in (*HEAVY, *OURS):
        import_module(name)
    with os.fdopen(os.dup(1), "w") as told:
        os.dup2(2, 1)
        for line in sys.stdin:
            asked = json.loads(line)
            if "end" in asked:
                told.write(f"{json.dumps(_ended(asked['end']))}\n")
            elif (pid := os.fork()) == 0:
                break
            else:
                told.write(f"{pid}\n")
            told.flush()
        else:
            return 0
    _become(**asked["start"])
    from chatfed.cli import main as chatfed

    return chatfed()


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _become(words: Sequence[str], said: str, folder: str) -> None:
    """Files, folder, signals and words are the child's own from here on."""
    nothing, told = os.open(os.devnull, os.O_RDONLY), os.open(said, os.O_WRONLY | os.O_APPEND)
    for source, descriptor in ((nothing, 0), (told, 1), (told, 2)):
        os.dup2(source, descriptor)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["chatfed", *words]


if __name__ == "__main__":
    sys.exit(main())
