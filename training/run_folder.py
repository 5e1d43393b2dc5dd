"""A run on disk: what was run, how far it came, what it cost and what came out. Knows no client and no protocol."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.types import ChatfedError
from training.durable import DiskError, read_if_there, write_atomically
from training.recipe import Recipe, load_recipe
from training.server import ServerState


@dataclass(frozen=True)
class Checkpoint:
    """The server after a finished round."""

    state: ServerState
    seconds: dict[str, float]
    metrics: list[dict[str, Any]]
    base: bytes  # digest of the base model that the weights belong to


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and its durable state."""

    path: Path

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def homes(self) -> Path:
        """Simulated clients' own disks, ledgers included."""
        return self.path / "state" / "clients"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def begin(self, recipe: Recipe) -> bytes:
        """Writes the recipe and draws the run's id, 16 bytes."""
        run = secrets.token_bytes(16)
        write_atomically(self.state / "run.json", json.dumps({"run": run.hex()}).encode(), 0o644)
        write_atomically(self.path / "recipe.toml", recipe.to_toml().encode(), 0o644)  # last: its presence says "begun"
        return run

    def begun(self) -> tuple[Recipe, bytes]:
        """The recipe and id of a run to go on with. Raises ChatfedError when there is none here."""
        if not (self.path / "recipe.toml").is_file():
            raise ChatfedError(f"{self.path} holds no run to resume (no recipe.toml); start one without --resume.")
        try:
            run = bytes.fromhex(json.loads((self.state / "run.json").read_text())["run"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ChatfedError(
                f"{self.state / 'run.json'} cannot be read ({error}); this run cannot be resumed."
            ) from None
        return load_recipe(self.path / "recipe.toml"), run

    def checkpoint(
        self, state: ServerState, seconds: dict[str, float], metrics: list[dict[str, Any]], base: bytes
    ) -> None:
        """All that a resumed run needs of the server, in one file; then the log of rounds, rewritten from it."""
        buffer = io.BytesIO()
        about = json.dumps({"seconds": seconds, "metrics": metrics, "base": base.hex()})
        np.savez(
            buffer,
            round=state.round,
            weights=state.weights,
            momentum=state.momentum,
            variance=state.variance,
            about=np.frombuffer(about.encode(), np.uint8),
        )
        write_atomically(self.state / "server.npz", buffer.getvalue(), 0o644)
        self.write_metrics(metrics)

    def write_metrics(self, metrics: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in metrics)
        write_atomically(self.metrics, lines.encode(), 0o644)

    def latest(self) -> Checkpoint | None:
        """The last checkpoint, or None before the first."""
        path = self.state / "server.npz"
        if not path.exists():
            return None
        try:
            with np.load(path) as stored:
                state = ServerState(int(stored["round"]), stored["weights"], stored["momentum"], stored["variance"])
                about = json.loads(stored["about"].tobytes())
            return Checkpoint(state, about["seconds"], about["metrics"], bytes.fromhex(about["base"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise ChatfedError(
                f"{path} cannot be read ({error}); restore it from a backup or start a new run."
            ) from None

    def keep_prepared(self, base: str) -> None:
        """Says that data and base are ready on disk: a resumed run takes them from here."""
        write_atomically(self.state / "prepared.json", json.dumps({"base": base}).encode(), 0o644)

    def prepared(self) -> str | None:
        """The base model of a run whose data is ready, or None."""
        raw = read_if_there(self.state / "prepared.json")
        return None if raw is None else str(json.loads(raw)["base"])

    def read_json(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        return content

    def read_metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write_atomically(self.path / name, (json.dumps(content, indent=2) + "\n").encode(), 0o644)


@contextmanager
def fresh_run(path: Path, replace: bool) -> Iterator[RunFolder]:
    """An unused run folder. An earlier run there is an error, or with `replace` moved aside; nothing is deleted.

    A run that is given up before its first checkpoint leaves no trace, and what was moved aside is back.
    """
    aside = _moved_aside(path, replace)
    folder = RunFolder(path)
    try:
        yield folder
    except ChatfedError as error:
        begun = (path / "recipe.toml").exists()
        if (isinstance(error, DiskError) and begun) or (folder.state / "server.npz").exists():
            raise
        shutil.rmtree(path, ignore_errors=True)
        if aside:
            os.replace(aside, path)
        if isinstance(error, DiskError):
            reason = getattr(error.__cause__, "strerror", None) or error
            raise ChatfedError(f"{path} cannot be written ({reason}): mend that and start again.") from None
        raise


def _moved_aside(path: Path, replace: bool) -> Path | None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    if not replace:
        raise ChatfedError(
            f"{path} already holds something: go on with --resume {path}, move it aside with --replace, or "
            f"choose another --out."
        )
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    os.replace(path, aside)
    return aside
