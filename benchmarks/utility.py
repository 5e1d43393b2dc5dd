"""What privacy costs in quality: the same federation without noise, for single dialogues and for whole clients.

Runs `chatfed train` once for each row, on dialogues that are named to it, and prints one table from what the runs
wrote. A run that is finished already is read, not repeated. The gain is in bits a word over the public base model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, write_json
from chatfed.command_line import Parser, exit_code

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "training" / "recipes" / "client-level.toml"
PLAIN = {"privacy.noise": "none", "privacy.target_epsilon": 0}
EXAMPLE = {
    "privacy.unit": "example",
    "privacy.noise": "local",
    "privacy.clip_norm": 1.0,
    "privacy.expected_batch_size": 12,
    "federation.server_learning_rate": 1.0,
}
TWELVE = {"federation.rounds": 12, "federation.cohort": 83, "federation.server_learning_rate": 1.0}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("federated, no noise", PLAIN),
    "example8": ("each dialogue, local noise, epsilon 8", EXAMPLE),
    "dialogue8": ("each dialogue, distributed noise, epsilon 8", EXAMPLE | {"privacy.noise": "distributed"}),
    "client8": ("each client, distributed noise, epsilon 8", {}),
    "rounds12": ("each client, twelve rounds of 83, epsilon 8", TWELVE),
    "bands4": ("the same, each update sent in 4 rounds (DP-FTRL), epsilon 8", TWELVE | {"federation.bands": 4}),
    "client2": ("each client, distributed noise, epsilon 2", {"privacy.target_epsilon": 2}),
}


def run(name: str, given: Sequence[str], out: Path) -> dict[str, Any]:
    """The summary of one run, made now or found."""
    folder = out / name
    if not (folder / "summary.json").exists():
        changes = [part for key, value in ROWS[name][1].items() for part in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "chatfed", "train", "--recipe", str(RECIPE), "--out", str(folder)]
        done = subprocess.run([*command, "--replace", *given, *changes], cwd=ROOT)
        if done.returncode:
            raise SystemExit(f"benchmarks.utility: the run {name} ended with exit code {done.returncode}")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def table(summaries: dict[str, dict[str, Any]]) -> tuple[list[str], dict[str, Any]]:
    """A Markdown table, and its numbers."""
    base = next(iter(summaries.values()))["before"]
    figures: dict[str, Any] = {"base": base}
    lines = [
        "| what is protected | epsilon | bits a byte | gain, bits a word | of the gain | next word | top 3 |",
        "|---|---|---|---|---|---|---|",
        f"| base model, no private dialogue | 0 | {base['bits_per_byte']:.3f} | 0 | | {_scores(base)} |",
    ]
    most = _bits_a_word(base) - _bits_a_word(summaries["plain"]["after"])
    for name, summary in summaries.items():
        after, epsilon = summary["after"], summary["epsilon"]
        gain = _bits_a_word(base) - _bits_a_word(after)
        claimed = "none claimed" if epsilon is None else f"{epsilon:.2f}"
        figures[name] = {"epsilon": epsilon, **after, "gain_bits": gain, "kept": gain / most}
        lines.append(
            f"| {ROWS[name][0]} | {claimed} | {after['bits_per_byte']:.3f} | {gain:.2f} | {gain / most:.0%} "
            f"| {_scores(after)} |"
        )
    return lines, figures


def _bits_a_word(evaluation: dict[str, Any]) -> float:
    return float(evaluation["bits_per_byte"] * evaluation["bytes"] / evaluation["words"])


def _scores(evaluation: dict[str, Any]) -> str:
    return f"{evaluation['top1']:.1%} | {evaluation['top3']:.1%}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is not there yet, prints the table, and writes the JSON where asked to."""
    parser = Parser(
        prog="python -m benchmarks.utility",
        description="What privacy costs in quality. Options that are not named here go to chatfed train.",
        epilog="example:\n  python -m benchmarks.utility --data ../shared/data/sgd-clients.jsonl.gz \\\n"
        "      --validation ../shared/data/sgd-validation.jsonl.gz --public public.jsonl.gz --out runs/utility",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/utility"), metavar="FOLDER", help="for the runs' folders"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    options, given = parser.parse_known_args(arguments)
    summaries = {name: run(name, given, options.out.resolve()) for name in ROWS}
    lines, figures = table(summaries)
    print(machine("torch", "transformers"), *lines, sep="\n")
    if options.json:
        write_json(options.json, {"machine": machine("torch", "transformers"), **figures})


if __name__ == "__main__":
    sys.exit(exit_code(main))
