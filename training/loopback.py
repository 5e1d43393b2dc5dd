"""`make federation`: a whole federation on this machine, through the commands that organisations run on theirs.

A coordinator and its members, each a process with a folder, a key and dialogues of its own, over TLS on the loopback
interface. Everything is stopped at the end.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from chatfed.command_line import application, examples, exit_code, run_typer
from chatfed.types import ChatfedError

from .workers import free_ports, start, stopped_after

RECIPE = Path(__file__).parent / "recipes" / "federation.toml"
EPILOG = examples(
    ("make federation", "five members, into runs/federation"),
    ('make federation ARGS="--members 8 --out runs/eight"', ""),
)
app = application()


class Failed(ChatfedError):
    """A command of the federation did not do what it should."""

    code = "loopback_failed"
    mend = "read the file that the message names"


@dataclass
class Loopback:
    """The processes of a federation below one folder, and what they say in files there."""

    folder: Path
    names: Sequence[str]
    address: str = ""
    python: str = sys.executable  # that has Flower

    def make(self, recipe: Path, dialogues: Sequence[Sequence[str]], base: str = "", *more: str) -> None:
        """Keys, data and the federation's file. dialogues: lines of JSON, by member. Raises Failed."""
        lines = ""
        for name, mine in zip(self.names, dialogues, strict=True):
            home = self.folder / name
            home.mkdir(parents=True)
            (home / "mine.jsonl").write_text("".join(mine), encoding="utf-8")
            lines += self.chatfed("identity", "new", name, "--key", str(home / "my.key"))
        (self.folder / "lines").write_text(lines, encoding="utf-8")
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        given = ["--name", "loopback", "--address", self.address, "--members", str(self.folder / "lines")]
        given += ["--recipe", str(recipe), *(["--base", base] if base else []), *more]
        self.chatfed("invite", str(self.folder / "fed"), *given)

    def chatfed(self, *words: str) -> str:
        """What a command prints. Raises Failed."""
        done = subprocess.run([self.python, "-m", "chatfed", *words], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise Failed(f"chatfed {' '.join(words[:2])} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    @property
    def file(self) -> Path:
        """FEDERATION.toml."""
        return self.folder / "fed" / "FEDERATION.toml"

    def member(self, name: str) -> subprocess.Popen[bytes]:
        """A member's process; what it says goes to its folder."""
        home = self.folder / name
        words = ["join", str(self.file), "--data", str(home / "mine.jsonl"), "--key", str(home / "my.key")]
        return self._start([*words, "--home", str(home / "home"), "--yes"], home / "said")

    def coordinator(self, *more: str) -> subprocess.Popen[bytes]:
        """The coordinator's process; what it says goes to `said` in the folder."""
        words = ["coordinate", str(self.file), "--out", str(self.folder / "run"), "--listen", self.address, *more]
        return self._start(words, self.folder / "said")

    def _start(self, words: Sequence[str], said: Path) -> subprocess.Popen[bytes]:
        return start([self.python, "-m", "chatfed", *words], said, OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")


def dealt(clients: int, members: int, seed: int = 1) -> list[list[str]]:
    """Dialogues of the generated help desk, as lines of JSON: its clients dealt to so many members."""
    from .base.corpus import generated_help_desk

    folder = generated_help_desk(Path("cache"), seed, clients)
    numbers: dict[str, int] = {}
    hands: list[list[str]] = [[] for _ in range(members)]
    for line in (folder / "private.jsonl").read_text(encoding="utf-8").splitlines(keepends=True):
        whose = json.loads(line)["client_id"]
        hands[numbers.setdefault(whose, len(numbers)) % members].append(line)
    return hands


@app.command(epilog=EPILOG)
def main(
    out: Annotated[Path, typer.Option(help="The folder of all of it; moved aside where it is there.")] = Path(
        "runs/federation"
    ),
    members: Annotated[int, typer.Option(min=3, metavar="<int>", help="How many organisations.")] = 5,
    recipe: Annotated[Path, typer.Option(help="A recipe in TOML.")] = RECIPE,
    patience: Annotated[float, typer.Option(min=1.0, metavar="SECONDS", help="As of chatfed coordinate.")] = 120.0,
) -> None:
    """Runs a federation on this machine, from keys to report."""
    raise typer.Exit(exit_code(lambda: _run(out, members, recipe, patience)))


def _run(out: Path, members: int, recipe: Path, patience: float) -> int:
    from .plan.recipe import load_recipe

    if out.exists():
        aside = next(
            path for number in range(1, 1 << 30) if not (path := out.with_name(f"{out.name}.{number}")).exists()
        )
        shutil.move(out, aside)
    loopback = Loopback(out, [f"organisation-{number}" for number in range(1, members + 1)])
    data = load_recipe(recipe).data
    loopback.make(recipe, dealt(data.clients, members, data.seed))
    print(f"{members} members, keys, certificates and {loopback.file} are made; each has a folder of its own in {out}.")
    processes = [loopback.coordinator("--patience", str(patience)), *map(loopback.member, loopback.names)]
    with stopped_after(processes):
        code = _watched(processes[0], out / "said")
    if code:
        raise Failed(f"The coordinator ended with {code}: {out / 'said'} says why.")
    print(_steps(out / "run" / "metrics.jsonl"))
    return 0


def _watched(process: subprocess.Popen[bytes], said: Path) -> int:
    """Passes on what the coordinator says, to its end."""
    with said.open(encoding="utf-8") as file:
        while True:
            ended = process.poll()
            print(file.read(), end="", flush=True)
            if ended is not None:
                return ended
            time.sleep(0.2)


def _steps(metrics: Path) -> str:
    """Seconds of each step of the rounds, as a table."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    steps = list(rows[-1]["step_seconds"])
    head = f"{'round':>6}" + "".join(f"{step:>14}" for step in steps) + f"{'all':>10}"
    lines = [
        f"{row['round']:>6}"
        + "".join(f"{row['step_seconds'].get(step, 0.0):>14.2f}" for step in steps)
        + f"{row['seconds']:>10.2f}"
        for row in rows
    ]
    return "\n".join(["Seconds by step (in `session` members learn):", head, *lines])


if __name__ == "__main__":
    raise SystemExit(run_typer(app, "make federation"))
