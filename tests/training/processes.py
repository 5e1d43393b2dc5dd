"""Real processes of `chatfed train` and its kin: started, watched, killed, and what they leave behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PLAIN = Path(__file__).with_name("plain.toml")
"""A recipe with the code's own defaults, for what is not about the default run."""

MAIN = "import sys; from chatfed.cli import main; sys.exit(main())"
TINY = ("hidden=16", "layers=1", "heads=2", "intermediate=32", "vocabulary=320", "context=64", 'trainable=["all"]')


def line(command: str, *options: object) -> list[str]:
    return [sys.executable, "-m", "chatfed", command, *map(str, options)]


def settings(**given: object) -> list[str]:
    """`--set` options; `privacy__noise_multiplier=2.0` becomes `--set privacy.noise_multiplier=2.0`."""
    return [part for key, value in given.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


def start(*options: object, command: str = "train", first: str = "") -> subprocess.Popen[str]:
    """The command in a session of its own, so that all its processes can be found; after the code `first`."""
    called = line(command, *options)
    return subprocess.Popen(
        [sys.executable, "-c", f"{first}\n{MAIN}", *called[3:]] if first else called,
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


class Row(NamedTuple):
    """A client's record as it lies in a store: what is secret is sealed."""

    client: str  # its number there
    name: str
    key: str
    body: bytes


def stored(run: Path) -> list[Row]:
    """All records of a run's clients, each store's at one moment; whoever is at work there is not held up."""
    return [Row(*each) for path in _stores(run) for each in _rows(path)]


def _stores(run: Path) -> Iterable[Path]:
    return sorted((run / "state" / "clients").glob("*.db"))


def _rows(path: Path) -> list[tuple[str, str, str, bytes]]:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=60, uri=True)) as database:
        if not database.execute("select 1 from sqlite_master where name = 'records'").fetchall():
            return []  # its tables are still to come
        return database.execute("select lower(hex(client)), name, key, body from records").fetchall()


def ledgers(run: Path) -> dict[str, dict[str, Any]]:
    """Every ledger of a run, by client's number: what its head says, and as `entries` the charges that this counts."""
    found = {(row.client, row.name): row for row in stored(run)}
    heads = {client: json.loads(row.body) for (client, name), row in found.items() if name == "ledger"}
    return {client: {**head, "entries": _entries(found, client, head["charges"])} for client, head in heads.items()}


def _entries(found: dict[tuple[str, str], Row], client: str, charges: int) -> list[dict[str, Any]]:
    rows = [found[client, f"charge {at}"] for at in range(charges)]
    return [{"key": row.key, "mechanism": json.loads(row.body)} for row in rows]


def lose(run: Path, client: str) -> None:
    """Takes everything of a client out of the store, as if it had never been asked."""
    for path in _stores(run):
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("delete from records where lower(hex(client)) = ?", (client,))


def ledgers_below(folder: Path) -> dict[Path, dict[str, dict[str, Any]]]:
    """The ledgers of a run and of those beside it, by where they lie."""
    return {path.relative_to(folder): ledgers(path.parents[1]) for path in sorted(folder.glob("**/state/clients"))}


def charged_in(run: Path, round_index: int) -> set[str]:
    """Clients whose ledger has an entry of this round."""
    books, key = ledgers(run).items(), f"/{round_index}/"
    return {client for client, book in books if any(key in entry["key"] for entry in book["entries"])}


def learned_in(run: Path, round_index: int) -> dict[str, bytes]:
    """The updates, sealed, of the clients that have stored what they learned, not only that they paid for it."""
    updates = [row for row in stored(run) if row.name == "update" and f"/{round_index}/" in row.key]
    return {row.client: row.body for row in updates if len(row.body) > 4096}
