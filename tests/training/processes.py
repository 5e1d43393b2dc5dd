"""Real processes of `chatfed train` and its kin: started, watched, killed, and what they leave behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PLAIN = Path(__file__).with_name("plain.toml")
"""A recipe with the code's own defaults, for what is not about the default run."""

TINY = ("hidden=16", "layers=1", "heads=2", "intermediate=32", "vocabulary=320", "context=64", 'trainable=["all"]')


def line(command: str, *options: object) -> list[str]:
    return [sys.executable, "-m", "chatfed", command, *map(str, options)]


def settings(**given: object) -> list[str]:
    """`--set` options; `privacy__noise_multiplier=2.0` becomes `--set privacy.noise_multiplier=2.0`."""
    return [part for key, value in given.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


def start(*options: object, command: str = "train") -> subprocess.Popen[str]:
    """The command in a session of its own, so that all its processes can be found."""
    return subprocess.Popen(
        line(command, *options),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(
    *options: object, command: str = "train", before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command to its end; `before` is called in its process first."""
    return subprocess.run(
        line(command, *options),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=before,
    )


def here(*options: object, command: str = "train") -> subprocess.CompletedProcess[str]:
    """As `run`, but inside this process, where imports are done already. An error that escapes is the test's."""
    from chatfed.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([command, *map(str, options)])
    return subprocess.CompletedProcess([*map(str, options)], code, out.getvalue(), err.getvalue())


def of_session(leader: int) -> list[int]:
    """Living processes of the session that `leader` began; zombies count as dead."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(session) == leader and state != "Z":
                alive.append(int(entry.name))
    return alive


def wait_for(condition: Callable[[], bool], seconds: float, every: float = 0.002) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(every)
    return False


def one_line(done: subprocess.CompletedProcess[str], *parts: str, code: int | None = None) -> None:
    """The program stopped with one line on stderr that names every part."""
    assert done.returncode != 0
    if code is not None:
        assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines: Sequence[str] = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0], lines[0]


def rows(folder: Path) -> list[dict[str, Any]]:
    """A run's metrics so far, one row a round."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
