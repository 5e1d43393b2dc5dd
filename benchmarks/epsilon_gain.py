"""How much of what could be learned a recipe learns at epsilon 1, 2, 4 and 8, and without noise: a table and a plot.

Runs `chatfed train` once for each, as benchmarks.utility does; a run that is finished already is read, not repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, write_json
from benchmarks.utility import PLAIN, RECIPES, Row, run_all, table
from chatfed.audit.plots import gain_plot
from chatfed.command_line import Parser, exit_code
from training.durable import write_atomically

EPSILONS = (1.0, 2.0, 4.0, 8.0)
LOOK = (
    "<style>svg{color:#1f2328;font-family:sans-serif}"
    "@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"  # a file has no page around it to take these from
)


def rows_of(recipe: str) -> dict[str, Row]:
    """One row for each epsilon, and the same without noise."""
    at = {f"epsilon{each:g}": Row(f"epsilon {each:g}", recipe, {"privacy.target_epsilon": each}) for each in EPSILONS}
    return {**at, "plain": Row("without noise", recipe, PLAIN)}


def drawn(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The plot as a file of SVG."""
    shown = [figures[f"epsilon{each:g}"] for each in EPSILONS]
    points = [(each["epsilon"], each["share"], each["low"], each["high"]) for each in shown]
    svg = gain_plot(points, figures["plain"]["share"])
    head = svg.index(">") + 1
    return f"{svg[:head]}{LOOK}{svg[head:]}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is not there yet, prints the table, and writes plot and JSON where asked to."""
    parser = Parser(
        prog="python -m benchmarks.epsilon_gain",
        description="Epsilon against what is learned. Options that are not named here go to chatfed train.",
        epilog="examples:\n  python -m benchmarks.epsilon_gain --docs docs\n"
        "  python -m benchmarks.epsilon_gain --recipe client-level --set data.seed=5 --out runs/epsilon-client",
    )
    names = sorted(path.stem for path in RECIPES.glob("*.toml"))
    parser.add_argument("--recipe", default="default", choices=names, help="of training/recipes (default: default)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/epsilon-gain"), metavar="FOLDER", help="for the runs' folders"
    )
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="write epsilon-gain.svg and .json into it")
    options, given = parser.parse_known_args(arguments)
    rows = rows_of(options.recipe)
    lines, figures = table(rows, run_all(rows, given, options.out.resolve()))
    print(machine("torch", "transformers"), *lines, sep="\n")
    if options.docs:
        write_atomically(options.docs / "epsilon-gain.svg", drawn(figures).encode(), mode=0o644)
        about = {"machine": machine("torch", "transformers"), "recipe": options.recipe, "options": given}
        write_json(options.docs / "epsilon-gain.json", {**about, **figures})


if __name__ == "__main__":
    sys.exit(exit_code(main))
