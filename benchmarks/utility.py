"""What privacy costs in quality: of what could be learned from the private dialogues, how much each way learns.

Runs `chatfed train` once for each row and prints one table from what the runs wrote. A run that is finished already is
read, not repeated. What could be learned is what the run's own base learns centrally, without privacy, on all private
dialogues (the ceiling); runs of the same base share one. Shares are of the gain in bits a word over the base.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine, write_json
from chatfed.audit.figures import percent
from chatfed.audit.gain import bits_a_word
from chatfed.command_line import Parser, exit_code

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "training" / "recipes"


@dataclass(frozen=True)
class Row:
    """One run: what the table says of it, the recipe by its name, and what is set otherwise."""

    says: str
    recipe: str
    changes: Mapping[str, Any] = field(default_factory=dict)


PLAIN = {"privacy.noise": "none", "privacy.target_epsilon": 0}
MANY = {"federation.largest_cohort": 199}  # of 999 clients with few dialogues each: nobody is asked twice
ROWS: dict[str, Row] = {
    "plain": Row("the same without noise", "default", PLAIN | MANY),
    "dialogue8": Row("each dialogue, noise shared in the sum, epsilon 8", "default", MANY),
    "dialogue2": Row("the same, epsilon 2", "default", MANY | {"privacy.target_epsilon": 2}),
    "local8": Row("each dialogue, local noise, epsilon 8", "local-noise"),
    "client8": Row("each client, noise shared in the sum, epsilon 8", "client-level"),
    "client2": Row("the same, epsilon 2", "client-level", {"privacy.target_epsilon": 2}),
}


def run_all(rows: Mapping[str, Row], given: Sequence[str], out: Path) -> dict[str, dict[str, Any]]:
    """Each row's summary with its ceiling, from runs made now or found. given: further options of chatfed train."""
    summaries, ceilings = dict[str, dict[str, Any]](), dict[str, Path]()
    for name, row in rows.items():
        folder = out / name
        summary = _trained(row, given, folder)
        base = _base(summary)
        if summary["ceiling"] is None:
            if base in ceilings:  # found there, it is only measured
                shutil.copytree(ceilings[base] / "ceiling", folder / "ceiling", dirs_exist_ok=True)
            _chatfed(folder, "resume", str(folder), "--ceiling")
            summary = _read(folder)
        ceilings.setdefault(base, folder)
        summaries[name] = summary
    return summaries


def _base(summary: Mapping[str, Any]) -> str:
    """Equal for runs of one base: the same figures before training, to the last bit."""
    return json.dumps(summary["before"], sort_keys=True, allow_nan=False)


def _trained(row: Row, given: Sequence[str], folder: Path) -> dict[str, Any]:
    if not (folder / "summary.json").exists():
        changes = [part for key, value in row.changes.items() for part in ("--set", f"{key}={value}")]
        recipe = ("--recipe", str(RECIPES / f"{row.recipe}.toml"))
        _chatfed(folder, "train", *recipe, "--out", str(folder), "--replace", *given, *changes)
    return _read(folder)


def _chatfed(folder: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "chatfed", *arguments], cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"benchmarks: the run in {folder} ended with exit code {done.returncode}")


def _read(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {"ceiling": None, **summary}  # a run of an earlier build names none


def table(
    rows: Mapping[str, Row], summaries: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """A Markdown table, and its numbers. Rows of one base stand together, under it and above its ceiling."""
    lines = [
        "| what is protected | epsilon | bits a byte | gain, bits a word | of the learnable gain | next word | top 3 |",
        "|---|---|---|---|---|---|---|",
    ]
    figures: dict[str, dict[str, Any]] = {}
    bases = list(dict.fromkeys(_base(summary) for summary in summaries.values()))
    for number, base in enumerate(bases, 1):
        of = {name: s for name, s in summaries.items() if _base(s) == base}
        for name, says, found in _rows_of(rows, of, f" {number}" if len(bases) > 1 else ""):
            figures[name] = found
            lines.append(_line(says, found))
    return lines, figures


def _rows_of(
    rows: Mapping[str, Row], summaries: Mapping[str, Mapping[str, Any]], number: str
) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, words, figures) of a base, of what was made of it, and of its ceiling."""
    first = next(iter(summaries.values()))
    base, ceiling = first["before"], first["ceiling"]
    most = bits_a_word(base) - bits_a_word(ceiling)

    def row(evaluation: Mapping[str, Any], epsilon: float | None, **more: Any) -> dict[str, Any]:
        scores = {key: evaluation[key] for key in ("bits_per_byte", "top1", "top3")}
        gain = bits_a_word(base) - bits_a_word(evaluation)
        share = gain / most if most > 0 else None
        return {"epsilon": epsilon, **scores, "gain_bits": gain, "share": share, "low": None, "high": None, **more}

    return [
        (f"base{number}", f"base model{number}, no private dialogue", row(base, 0.0)),
        *((name, rows[name].says, row(s["after"], s["epsilon"], **_interval(s))) for name, s in summaries.items()),
        (f"ceiling{number}", f"central training{number}, all private dialogues", row(ceiling, None)),
    ]


def _interval(summary: Mapping[str, Any]) -> dict[str, Any]:
    share = summary["ceiling"]["gain"]["bits_a_word"]
    return {end: share[end] for end in ("low", "high")}


def _line(says: str, found: Mapping[str, Any]) -> str:
    epsilon = "none claimed" if found["epsilon"] is None else f"{found['epsilon']:.2f}" if found["epsilon"] else "0"
    share = "–" if found["share"] is None else percent(found["share"])
    within = "" if found["low"] is None else f" [{percent(found['low'])} to {percent(found['high'])}]"
    return (
        f"| {says} | {epsilon} | {found['bits_per_byte']:.3f} | {found['gain_bits']:.2f} | {share}{within} "
        f"| {found['top1']:.1%} | {found['top3']:.1%} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is not there yet, prints the table, and writes the JSON where asked to."""
    parser = Parser(
        prog="python -m benchmarks.utility",
        description="What privacy costs in quality. Options that are not named here go to chatfed train.",
        epilog="examples:\n  python -m benchmarks.utility\n"
        "  python -m benchmarks.utility --data ../shared/data/sgd-clients.jsonl.gz \\\n"
        "      --validation ../shared/data/sgd-validation.jsonl.gz --public public.jsonl.gz --out runs/utility-sgd",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/utility"), metavar="FOLDER", help="for the runs' folders"
    )
    parser.add_argument("--only", action="append", choices=list(ROWS), help="one row; may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    options, given = parser.parse_known_args(arguments)
    rows = {name: row for name, row in ROWS.items() if not options.only or name in options.only}
    lines, figures = table(rows, run_all(rows, given, options.out.resolve()))
    print(machine("torch", "transformers"), *lines, sep="\n")
    if options.json:
        write_json(options.json, {"machine": machine("torch", "transformers"), **figures})


if __name__ == "__main__":
    sys.exit(exit_code(main))
