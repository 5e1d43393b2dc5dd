"""Clients a second and memory of a rehearsal on one machine: against the number of clients, and beside peers.

The peers are a plain loop and pfl-research.

Ours is `chatfed train` as anybody runs it: secure sum on a circle, distributed noise, ledgers on disk. A
client trains by plain SGD (all programs in bfloat16 where that pays), so the peers can do the same work: a loop in one
process that loads, trains and adds up, and pfl-research's own simulation, which has neither keys nor masks nor
ledgers. In the settings all clients are asked in every round, so that keys of ours serve ten of them: twelve rounds
are run, and of those that are timed one begins with an agreement on keys. In the table of populations cohorts are drawn
from all clients, and keys are agreed on in each round. Programs run in turn, `repeats` times, each timed from outside
from the end of its first round to that of its last but one, and weighed in its last. "One core" is a whole program, its
server included, held on one core.

JSON: populations (a list: clients, clients_per_s, cpu_ms, peak_mib), memory_growth (peak at most clients / at
fewest), and for each of `settings` and each program in it clients_per_s, cpu_ms (processor milliseconds a client) and
peak_mib; two_cores_over_one, pfl_two_over_one; <program>_over_plain and _over_pfl: medians over the repeats of the
ratio of clients a second.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine, parser, print_table, write_json
from benchmarks.simulation_docs import write_docs
from benchmarks.simulation_watch import ROOT, Sample, watch
from chatfed.command_line import exit_code
from chatfed.data.helpdesk import generate
from chatfed.types import Turn

RATE, CLIP, NOISE, BATCH = 0.5, 0.8, 1.0, 4  # of local SGD; of the client's update; times the clip; dialogues


@dataclass(frozen=True)
class Setting:
    """A model, and what each client does with it."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    trainable: tuple[str, ...]
    dialogues: int  # a client's, each shorter than a window
    cohort: int
    rounds: int  # the first is not measured, the last one weighed
    context: int = 96  # tokens in a window

    @property
    def words(self) -> str:
        return f"{self.dialogues} dialogues a client, width {self.hidden} x {self.layers}, cohorts of {self.cohort}"


SMALL = Setting(32, 1, 2, 64, 512, ("*",), dialogues=2, cohort=200, rounds=12)
USUAL = Setting(160, 3, 5, 432, 4096, ("lm_head.weight", "model.norm.weight"), dialogues=16, cohort=80, rounds=12)
QUICK = replace(SMALL, cohort=8, rounds=3)
SIZES = 100, 1_000, 10_000, 100_000  # clients, of the first table
PROGRAMS = {  # words, cores
    "ours_one": ("ours, 1 worker, one core", 1),
    "ours_two": ("ours, 2 workers, two cores", 2),
    "plain": ("plain loop, one core", 1),
    "pfl": ("pfl-research, one core", 1),
    "pfl_two": ("pfl-research, 2 processes, two cores", 2),
    "pfl-dp": ("pfl-research with central noise, one core", 1),
}


@dataclass(frozen=True)
class World:
    """Files of one model and one population, and what has run on them."""

    folder: Path
    setting: Setting
    clients: int

    @classmethod
    def make(cls, folder: Path, setting: Setting, clients: int) -> World:
        """Short help-desk dialogues, dealt again and again to so many clients, and a model with random weights."""
        from chatfed.model.checkpoint import save_model
        from chatfed.model.tokenizer import encode_dialogues, train_tokenizer
        from chatfed.model.transformer import Architecture, build_llama, untie_output

        folder.mkdir(parents=True)
        corpus = generate(3, clients=20, held_out_clients=2, public_dialogues=400)
        tokenizer = train_tokenizer((t.content for d in corpus.public for t in d.messages), setting.vocabulary)
        s = setting
        model = build_llama(Architecture(s.hidden, s.layers, s.heads, s.intermediate, s.context), tokenizer, seed=5)
        untie_output(model)
        save_model(folder / "base", model, tokenizer, "A random model for benchmarks.\n")
        texts = [dialogue.messages[:2] for dialogue in [*corpus.private, *corpus.public]]
        lengths = [len(encoded.ids) for encoded in encode_dialogues(tokenizer, texts)]
        fitting = [turns for turns, length in zip(texts, lengths, strict=True) if length <= setting.context]
        with open(folder / "private.jsonl", "w", encoding="utf-8") as file:
            for number in range(clients * setting.dialogues):
                owner = {"client_id": f"client-{number // setting.dialogues:06}"}
                file.write(json.dumps(_record(fitting[number % len(fitting)]) | owner, allow_nan=False) + "\n")
        held_out = [json.dumps(_record(dialogue.messages[:2]), allow_nan=False) for dialogue in corpus.held_out[:BATCH]]
        (folder / "held-out.jsonl").write_text("\n".join(held_out), encoding="utf-8")
        return cls(folder, setting, clients)

    def ours(self, workers: int, cores: int) -> Sample:
        """One federation of all rounds."""
        given = {
            "data.overlap": "keep",  # clients share what the generator says: time is measured, nothing is claimed
            "model.context": self.setting.context,
            "model.trainable": json.dumps(self.setting.trainable, allow_nan=False),
            "model.directions": 0,  # every number of them
            "ngrams.longest": 0,  # rounds are timed, and nothing before them
            "privacy.unit": "client",
            "privacy.noise": "distributed",
            "privacy.noise_multiplier": NOISE,
            "privacy.budget_epsilon": 22,
            "privacy.clip_norm": CLIP,
            "privacy.sampling_rate": 1,
            "local.batch": BATCH,
            "local.learning_rate": RATE,
            "secagg.threshold": 0.9,
            "federation.server_optimizer": "fedavg",
            "federation.weight_decay": 0,
            "runtime.workers": workers,
            "runtime.evaluation_dialogues": 1,
        }
        files = {"data": "private.jsonl", "validation": "held-out.jsonl", "base": "base", "out": "ours"}
        options = [part for key, file in files.items() for part in (f"--{key}", str(self.folder / file))]
        size = ["--cohort", str(self.cohort), "--rounds", str(self.setting.rounds)]
        changes = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
        shutil.rmtree(self.folder / "ours", ignore_errors=True)
        return self._watched([sys.executable, "-m", "chatfed", "train", *options, *size, *changes], "ours", cores)

    def peer(self, kind: str, python: Path, cores: int) -> Sample:
        """One run of a peer, with as many processes as cores, on the tokens that a run of ours has left."""
        s, out = self.setting, self.folder / kind
        shutil.rmtree(out, ignore_errors=True)
        given = {"base": self.folder / "base", "tokens": self.folder / "ours" / "state" / "private", "out": out}
        numbers = {"cohort": self.cohort, "rounds": s.rounds, "context": s.context, "batch": BATCH, "epochs": 1}
        noise = {"rate": RATE, "clip": CLIP, "noise": NOISE}
        options = [part for key, value in (given | numbers | noise).items() for part in (f"--{key}", str(value))]
        many = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(cores)]
        program = ["-m", "benchmarks.simulation_peers", kind, *options, "--trainable", *s.trainable]
        return self._watched([str(python), *(many if cores > 1 else ()), *program], kind, cores)

    @property
    def cohort(self) -> int:
        return min(self.setting.cohort, self.clients)

    def _watched(self, command: Sequence[str], name: str, cores: int) -> Sample:
        return watch(command, self.folder / name / "metrics.jsonl", self.setting.rounds, self.cohort, cores)


def _record(messages: Sequence[Turn]) -> dict[str, Any]:
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in messages]}


def populations(folder: Path, sizes: Sequence[int], setting: Setting) -> list[dict[str, float]]:
    """A run of ours for each number of clients, cohorts alike."""
    found = []
    for size in sizes:
        sample = World.make(folder / f"of-{size}", setting, size).ours(workers=2, cores=2)
        found.append({"clients": size, **_figures([sample])})
        shutil.rmtree(folder / f"of-{size}")
    return found


def beside(world: World, names: Sequence[str], repeats: int, pfl: Path) -> dict[str, Any]:
    """The programs in turn, ours first, `repeats` times."""
    samples: dict[str, list[Sample]] = {}
    for _ in range(repeats):
        for name in names:
            cores = PROGRAMS[name][1]
            if name.startswith("ours"):
                sample = world.ours(workers=cores, cores=cores)
            else:
                python = pfl if name.startswith("pfl") else Path(sys.executable)
                sample = world.peer(name.removesuffix("_two"), python, cores)
            samples.setdefault(name, []).append(sample)
    figures: dict[str, Any] = {name: _figures(taken) for name, taken in samples.items()}
    figures["words"] = world.setting.words
    for key, two, one in (("two_cores_over_one", "ours_two", "ours_one"), ("pfl_two_over_one", "pfl_two", "pfl")):
        if {two, one} <= samples.keys():
            figures[key] = _over(samples[two], samples[one])
    for other in {"plain", "pfl"} & samples.keys():
        figures |= {f"{name}_over_{other}": _over(samples[name], samples[other]) for name in samples.keys() - {other}}
    return figures


def _figures(samples: Sequence[Sample]) -> dict[str, float]:
    return {
        "clients_per_s": median(each.per_second for each in samples),
        "cpu_ms": median(each.cpu_ms for each in samples),
        "peak_mib": max(each.peak_mib for each in samples),
    }


def _over(samples: Sequence[Sample], others: Sequence[Sample]) -> float:
    """Median over repeats of clients a second / the other's in the same repeat."""
    return median(mine.per_second / its.per_second for mine, its in zip(samples, others, strict=True))


def show(figures: dict[str, Any]) -> None:
    """Prints both tables."""
    rows = [(f"{row['clients']:,} clients", *_cells(row)) for row in figures["populations"]]
    heads = "clients/s", "ms of processor a client", "MiB, all processes"
    print_table("ours, 2 workers", "\n" + figures["populations_words"], rows, heads)
    for name, table in figures["settings"].items():
        rows = [(words, *_cells(table[key])) for key, (words, _) in PROGRAMS.items() if key in table]
        if "pfl" not in table:
            rows.append((f"pfl-research: {figures['pfl']}", "", "", ""))
        print_table(name, f"\n{table['words']}", rows, heads)
        if "two_cores_over_one" in table:
            print(f"two cores over one: {table['two_cores_over_one']:.2f}")


def _cells(row: dict[str, float]) -> tuple[str, str, str]:
    return f"{row['clients_per_s']:.1f}", f"{row['cpu_ms']:.1f}", f"{row['peak_mib']:,.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables; writes JSON, and the page and plot for docs/, where asked to."""
    options = parser("simulation", __doc__ or "")
    options.add_argument("--docs", type=Path, metavar="FOLDER", help="also write simulation.md and its plot there")
    options.add_argument("--folder", type=Path, metavar="FOLDER", help="where runs lie meanwhile")
    options.add_argument("--most", type=int, default=SIZES[-1], metavar="N", help="clients at most in the first table")
    options.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each program (3)")
    options.add_argument(
        "--pfl",
        type=Path,
        metavar="PYTHON",
        default=ROOT / ".venv-pfl" / "bin" / "python",
        help="interpreter that has pfl-research (default: that of `make pfl`)",
    )
    given = options.parse_args(arguments)
    if given.most < SIZES[0] or given.repeats < 1:
        options.error(f"--most takes {SIZES[0]} or more, --repeats 1 or more")
    if given.folder and not given.folder.is_dir():
        options.error(f"--folder {given.folder}: name a folder that exists")
    names = ["ours_two", "plain"] if given.quick else [n for n in PROGRAMS if given.pfl.exists() or "pfl" not in n]
    sizes = [20] if given.quick else [size for size in SIZES if size <= given.most]
    settings = {"tiny": QUICK} if given.quick else {"small clients": SMALL, "usual clients": USUAL}
    one = settings["tiny"] if given.quick else replace(SMALL, cohort=100, rounds=5)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="simulation-") as scratch:
        folder = Path(scratch)
        table = populations(folder, sizes, one)
        figures: dict[str, Any] = {
            "machine": machine("torch", "transformers"),
            "populations_words": one.words,
            "populations": table,
            "memory_growth": table[-1]["peak_mib"] / table[0]["peak_mib"],
            "settings": {},
            **({} if "pfl" in names else {"pfl": "not run when quick" if given.quick else f"no {given.pfl}: make pfl"}),
        }
        for name, setting in settings.items():
            world = World.make(folder / name.replace(" ", "-"), setting, setting.cohort)
            measured = beside(world, names, 1 if given.quick else given.repeats, given.pfl)
            figures["settings"][name] = asdict(setting) | measured
    print(figures["machine"])
    show(figures)
    if given.json:
        write_json(given.json, figures)
    if given.docs:
        write_docs(given.docs, figures, PROGRAMS)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(exit_code(main))
