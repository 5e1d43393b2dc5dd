"""What a round of a federation over TLS costs on one machine, against the number of its members.

`chatfed coordinate` runs as anybody runs it. Its members are whole (a node, a key, a ledger and a state on disk,
dialogues of their own, a tiny model), but as many as fit live in each of a few processes: one of torch for each would
take some 400 MB. Such a process learns for one member at a time, so that with n members on c cores the step `session`,
in which members learn, takes about n / c times what it takes where each has a machine. What is timed begins when the
first round is over: from the end of one round to that of the next, its measurement included. In the first one keys are
agreed on. Bytes are those of messages, without TLS and HTTP.

JSON: machine, rounds, and `sizes`, a list: members, processes, first_round_s, round_s (seconds, median) and
step_s (of its sum, by step; session_s and adverts_s of the first round apart), member (bytes_down, bytes_up, cpu_ms, of
which learning_ms, a round each), coordinator (cpu_ms a round, mib: resident after the last round).
Needs Flower: run it with the interpreter of .venv-flower.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine, parser, print_table, write_json
from benchmarks.servers import processor_seconds
from benchmarks.simulation_watch import ROOT
from chatfed.command_line import exit_code
from chatfed.data.helpdesk import generate
from training.durable import to_json
from training.loopback import Failed, Loopback
from training.workers import processors, start, stopped_after

SIZES = (5, 20, 50)
DIALOGUES = 12  # a member's; about half of them are held out
LONGEST = 900.0  # seconds of one federation
RECIPE = """
[data]
hold_out = 0.5
hold_out_epsilon = 8.0
overlap = "keep"
[model]
context = 96
trainable = ["*"]
directions = 0
[privacy]
expected_batch_size = 2
[secagg]
identities = "roster"
threshold = 0.67
[federation]
rounds = {rounds}
server_optimizer = "fedavg"
weight_decay = 0
warmup = 0
[ngrams]
longest = 0
"""


class Here(Loopback):
    """Its keys and file are made in this process."""

    def chatfed(self, *words: str) -> str:
        from chatfed.cli import main

        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = main(list(words))
        if code:
            raise Failed(f"chatfed {' '.join(words[:2])} ended with {code}")
        return out.getvalue()

    def holders(self, processes: int) -> list[subprocess.Popen[bytes]]:
        """The members, dealt to so many processes."""
        started = []
        for number in range(processes):
            words = ["-m", "benchmarks.federation_members", str(self.folder), *self.names[number::processes]]
            said = self.folder / f"members-{number}.said"
            started.append(start([sys.executable, *words], said, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"))
        return started


@dataclass(frozen=True)
class Mark:
    """Clocks at the end of a round."""

    wall: float  # seconds
    coordinator: float  # seconds of processor
    members: float  # likewise, all of them


def base(folder: Path) -> list[str]:
    """Makes a tiny model there; dialogues that fit its window, as lines of JSON."""
    from chatfed.model.checkpoint import save_model
    from chatfed.model.tokenizer import encode_dialogues, train_tokenizer
    from chatfed.model.transformer import Architecture, build_llama, untie_output

    corpus = generate(3, clients=20, held_out_clients=2, public_dialogues=400)
    tokenizer = train_tokenizer((t.content for d in corpus.public for t in d.messages), 512)
    model = build_llama(Architecture(32, 1, 2, 64, 96), tokenizer, seed=5)
    untie_output(model)
    save_model(folder, model, tokenizer, "A random model for benchmarks.\n")
    texts = [dialogue.messages[:2] for dialogue in [*corpus.private, *corpus.public]]
    encoded = encode_dialogues(tokenizer, texts)
    fitting = [turns for turns, each in zip(texts, encoded, strict=True) if len(each.ids) <= 96]
    written = [[{"role": turn.role, "content": turn.content} for turn in turns] for turns in fitting]
    return [to_json({"messages": messages}) + "\n" for messages in written]


def measured(folder: Path, members: int, rounds: int, texts: Sequence[str]) -> dict[str, Any]:
    """A federation of so many, from its keys to its end."""
    names = [f"member-{number:03}" for number in range(members)]
    here = Here(folder / f"of-{members}", names)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(rounds=rounds))
    hands = [[texts[(DIALOGUES * n + i) % len(texts)] for i in range(DIALOGUES)] for n in range(members)]
    here.make(recipe, hands, str(folder / "base"))
    processes = [here.coordinator("--patience", "300"), *here.holders(min(processors(), members))]
    with stopped_after(processes):
        marks, weight = _watched(here, processes, rounds)
        for process in processes:
            if process.wait(LONGEST):
                raise Failed(f"a process ended with {process.returncode}: {here.folder} says why")
    return {"members": members, "processes": len(processes) - 1} | _figures(here, marks, weight)


def _watched(here: Here, processes: Sequence[subprocess.Popen[bytes]], rounds: int) -> tuple[list[Mark], float]:
    """The clocks at the end of each round, and MiB of the coordinator at the last."""
    lines, marks, until = here.folder / "run" / "metrics.jsonl", list[Mark](), time.monotonic() + LONGEST
    while len(marks) < rounds:
        done = lines.read_bytes().count(b"\n") if lines.exists() else 0
        if done > len(marks):
            spent = [processor_seconds(process.pid) for process in processes]
            marks.append(Mark(time.monotonic(), spent[0], sum(spent[1:])))
        if time.monotonic() > until or any(process.poll() for process in processes):
            said = (here.folder / "said").read_text() + (here.folder / "members-0.said").read_text()
            raise Failed(f"{len(marks)} of {rounds} rounds were made: {said[-2000:]}")
        time.sleep(0.01)
    pages = int(Path(f"/proc/{processes[0].pid}/statm").read_text().split()[1])
    return marks, pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _figures(here: Here, marks: Sequence[Mark], weight: float) -> dict[str, Any]:
    rows = [json.loads(line) for line in (here.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    later, members, between = rows[1:], len(here.names), len(marks) - 1
    if any(row["survivors"] < members for row in rows):
        raise Failed(f"not all members took part in every round: {[row['dropped'] for row in rows]}")
    steps = {step: median(row["step_seconds"][step] for row in later) for step in later[0]["step_seconds"]}
    first = {f"{step}_s": rows[0]["step_seconds"][step] for step in ("session", "adverts")}
    asked = [each for path in here.folder.glob("*/asked.json") for each in json.loads(path.read_text())]
    window = [each for each in asked if each["after"] and each["after"] < len(rows)]  # rounds that were over by then
    total = {key: sum(each[key] for each in window) / (members * between) for key in ("down", "up", "learning_ms")}
    return {
        "first_round_s": rows[0]["seconds"],
        "first": first,
        "round_s": median(b.wall - a.wall for a, b in pairwise(marks)),
        "step_s": steps,
        "member": {
            "bytes_down": total["down"],
            "bytes_up": total["up"],
            "cpu_ms": 1000 * (marks[-1].members - marks[0].members) / (members * between),
            "learning_ms": total["learning_ms"],
        },
        "coordinator": {"cpu_ms": 1000 * (marks[-1].coordinator - marks[0].coordinator) / between, "mib": weight},
    }


def show(figures: dict[str, Any]) -> None:
    """Prints the tables: three figures of each size a table."""
    print(figures["machine"])
    sizes = figures["sizes"]
    rows = [
        (
            f"{s['members']} members, {s['processes']} processes",
            f"{s['first_round_s']:.2f}",
            f"{s['round_s']:.2f}",
            f"{1000 * s['round_s'] / s['members']:.0f}",
        )
        for s in sizes
    ]
    print_table("seconds", "\nA round", rows, ("the first sum", "from end to end", "ms a member"))
    for s in sizes:
        steps = [(step, f"{seconds:.2f}", "", "") for step, seconds in s["step_s"].items()]
        first = [(f"first {step[:-2]}", f"{seconds:.2f}", "", "") for step, seconds in s["first"].items()]
        print_table("step", f"\n{s['members']} members", [*first, *steps], ("seconds", "", ""))
    rows = [
        (
            f"{s['members']} members",
            f"{s['member']['bytes_down'] / 1000:.0f}",
            f"{s['member']['bytes_up'] / 1000:.0f}",
            f"{s['member']['cpu_ms']:.0f} ({s['member']['learning_ms']:.0f})",
        )
        for s in sizes
    ]
    print_table("a member, a round", "", rows, ("kB down", "kB up", "ms of processor (learning)"))
    rows = [
        (
            f"{s['members']} members",
            f"{s['coordinator']['cpu_ms']:.0f}",
            f"{s['coordinator']['cpu_ms'] / s['members']:.1f}",
            f"{s['coordinator']['mib']:.0f}",
        )
        for s in sizes
    ]
    print_table("the coordinator", "", rows, ("ms of processor a round", "a member", "MiB resident"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables, and writes JSON where asked to."""
    from training.engines.flower import prepare_flower

    options = parser("federation", __doc__ or "")
    options.add_argument("--members", type=_sizes, metavar="N,N", default=SIZES, help="sizes (5,20,50)")
    options.add_argument("--rounds", type=int, metavar="N", default=5, help="rounds of each (5); the first is apart")
    given = options.parse_args(arguments)
    prepare_flower()
    sizes, rounds = ((4,), 2) if given.quick else (given.members, max(2, given.rounds))
    with tempfile.TemporaryDirectory(prefix="federation-") as scratch:
        texts = base(Path(scratch) / "base")
        found = [measured(Path(scratch), size, rounds, texts) for size in sizes]
    figures: dict[str, Any] = {"machine": machine("torch", "flwr"), "rounds": rounds, "sizes": found}
    show(figures)
    if given.json:
        write_json(given.json, figures)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(exit_code(main))
