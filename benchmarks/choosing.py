"""What a recipe learns from few and many clients with few and many dialogues each: the table of docs/choosing.md.

One whole run a cell, smallest first, all from the default corpus's public part and measured on its held-out dialogues.
A finished cell is kept in cells.json at once; one that is there is read, not run again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import machine, write_json
from benchmarks.utility import RECIPES
from chatfed.audit.comparison import LEARNED
from chatfed.audit.figures import bits
from chatfed.command_line import Parser, exit_code
from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk import HelpdeskCorpus, generate, read, write
from chatfed.types import ChatfedError, ClientId, InvalidValue
from training.durable import read_if_there, to_json, write_atomically
from training.plan.recipe import Recipe, load_recipe
from training.plan.settings import RecipeError

CLIENTS, DIALOGUES = (50, 400, 1000), (5, 35, 200)
SPARE = 28  # a generated person has 20 to 60 dialogues, 35 on average: counted as so many, persons suffice
START, END = "<!-- table -->", "<!-- table:end -->"
NOTHING = "–"

Found = Mapping[str, Any]
"""What is kept of a cell: figures of its run, or `refused`, the reason why the recipe does not run at that size."""


@dataclass(frozen=True)
class Cell:
    """One size of a federation."""

    clients: int
    dialogues: int  # of each client

    @property
    def name(self) -> str:
        """Of its files, and in cells.json."""
        return f"{self.clients}x{self.dialogues}"

    @property
    def size(self) -> int:
        """Dialogues in all."""
        return self.clients * self.dialogues


CELLS = sorted((Cell(n, each) for n in CLIENTS for each in DIALOGUES), key=lambda cell: cell.size)


def dealt(private: Iterable[Dialogue], cell: Cell, elsewhere: set[str]) -> Iterator[Dialogue]:
    """Exactly `cell.dialogues` for each client: of one generated person, or of several, as a branch is of several.

    A person is at one client only: what is left of the last one is left out, and so is what stands `elsewhere`. Raises
    InvalidValue where the persons do not suffice.
    """
    client, has, last = 1, 0, None
    for dialogue in private:
        if has == cell.dialogues and dialogue.client_id != last:
            client, has = client + 1, 0
        if client > cell.clients:
            return
        if has < cell.dialogues and plainly(dialogue) not in elsewhere:
            yield replace(dialogue, client_id=ClientId(f"client-{client:04d}"))
            has += 1
        last = dialogue.client_id
    if client < cell.clients or has < cell.dialogues:
        raise InvalidValue(f"too few for {cell.clients} clients: generate more persons", param="private")


def plainly(dialogue: Dialogue) -> str:
    """What a dialogue says, but for case, blanks and who says it."""
    return "\n".join(" ".join(turn.content.casefold().split()) for turn in dialogue.messages)


def written(cell: Cell, house: Path, seed: int, out: Path) -> Path:
    """The file of a cell's dialogues. house: folder of the default corpus, whose other parts share none of them."""
    shown = read(house)
    elsewhere = {plainly(dialogue) for dialogue in (*shown.public, *shown.held_out)}
    persons = generate(seed, cell.clients * -(-cell.dialogues // SPARE), 0, 0).private
    folder = out / f"data-{cell.name}"
    write(HelpdeskCorpus([], list(dealt(persons, cell, elsewhere)), [], [], []), folder)
    return folder / "private.jsonl"


def settings(cell: Cell, data: Path, house: Path, rate: float) -> list[str]:
    """What a cell sets otherwise than the recipe: its data, and the room that so many dialogues of a client need."""
    return [
        f"data.source={data}",
        f"data.public={house / 'public.jsonl'}",
        f"data.validation={house / 'held_out.jsonl'}",
        "data.overlap=drop",
        f"privacy.expected_batch_size={max(1.0, rate * cell.dialogues)}",
    ]


def measured(cell: Cell, recipe: Path, given: Sequence[str], out: Path) -> Found:
    """Runs a cell: generates its dialogues, trains, and returns what the run's summary says."""
    from training.base.corpus import generated_help_desk

    plain = load_recipe(recipe, given)
    house = generated_help_desk(Path(plain.runtime.cache), plain.data.seed, 0)
    data = written(cell, house, plain.data.seed, out)
    path = out / cell.name
    own = [*settings(cell, data, house, plain.privacy.sampling_rate), f"runtime.out={path}"]
    try:
        summary = _trained(load_recipe(recipe, [*given, *own]), path)
    except RecipeError as error:
        return {"refused": str(error)}
    return kept(summary, json.loads(read_if_there(path / "counted.json") or b"{}"))


def _trained(recipe: Recipe, path: Path) -> dict[str, Any]:
    from chatfed.model.transformer import stay_offline
    from training.beside import run_compared
    from training.run.display import Display
    from training.run.run_folder import fresh_run, sole_use

    stay_offline()
    with sole_use(path), fresh_run(path, replace=True) as folder:
        return run_compared(folder.begin(recipe), folder, Display())


def kept(summary: Mapping[str, Any], counted: Mapping[str, Any]) -> Found:
    """What a cell needs of summary.json and counted.json."""
    return {
        "before": summary["before"],
        "after": summary["after"],
        "verdict": summary["comparison"]["verdict"],
        "epsilon": summary["epsilon"],
        "seconds": sum(seconds for phase, seconds in summary["seconds"].items() if phase != "total"),
        "found": counted.get("found"),
    }


def run_all(cells: Iterable[Cell], recipe: Path, given: Sequence[str], out: Path) -> dict[str, Found]:
    """Every cell's figures, made now or found in cells.json. Raises ChatfedError where that is of another recipe."""
    kind, file = load_recipe(recipe, given).digest().hex(), out / "cells.json"
    stored = json.loads(read_if_there(file) or to_json({"recipe": kind, "cells": {}}))
    if stored["recipe"] != kind:
        raise ChatfedError(f"{file} is of another recipe: choose another --out, or move it aside", param=str(file))
    done: dict[str, Found] = stored["cells"]
    for cell in cells:
        if cell.name not in done:
            done[cell.name] = measured(cell, recipe, given, out)
            write_atomically(file, json.dumps({"recipe": kind, "cells": done}, allow_nan=False).encode(), mode=0o644)
    return done


def table(done: Mapping[str, Found]) -> list[str]:
    """The Markdown table, with the base above it. Raises InvalidValue for cells that began with different bases."""
    bases = [found["before"] for found in done.values() if "before" in found]
    if any(base != bases[0] for base in bases):
        raise InvalidValue("cells began with different bases: run all of them on one machine", param="cells")
    base = f" The public base: {_figures(bases[0])}." if bases else ""
    heads = " | ".join(f"{each} dialogues each" for each in DIALOGUES)
    rows = (
        f"| {n:,} clients | {' | '.join(_cell(done.get(Cell(n, each).name)) for each in DIALOGUES)} |" for n in CLIENTS
    )
    return [f"Bits a byte, and next word right.{base}", "", f"| | {heads} |", "|---|" + "--:|" * len(DIALOGUES), *rows]


def _cell(found: Found | None) -> str:
    if found is None or "refused" in found:
        return NOTHING if found is None else "refused"
    return _figures(found["after"]) + ("" if found["verdict"] == LEARNED else f" ({found['verdict']})")


def _figures(scores: Mapping[str, float]) -> str:
    return f"{bits(scores['bits_per_byte'])}, {scores['top1']:.1%}"


def between_marks(page: str, lines: Sequence[str]) -> str:
    """The page with `lines` where its table stands. Raises InvalidValue where the marks are not there, each once."""
    head, start, rest = page.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end or START in rest or END in tail:
        raise InvalidValue(f"the page needs {START} and, after it, {END}, each once", param="page")
    return "\n".join([f"{head}{START}", *lines, f"{END}{tail}"])


def _write_docs(folder: Path, lines: Sequence[str], figures: Mapping[str, Any]) -> None:
    page = folder / "choosing.md"
    write_atomically(page, between_marks(page.read_text(encoding="utf-8"), lines).encode(), mode=0o644)
    write_json(folder / "choosing.json", figures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is not there yet, prints the table, and writes page and JSON where asked to."""
    parser = Parser(
        prog="python -m benchmarks.choosing",
        description="What a recipe learns, by clients and dialogues. The whole table takes hours; it may be stopped.",
        epilog="examples:\n  python -m benchmarks.choosing --docs docs\n"
        "  python -m benchmarks.choosing --most 20000 --set ngrams.longest=5 --out runs/choosing-counted",
    )
    names = sorted(path.stem for path in RECIPES.glob("*.toml"))
    parser.add_argument("--recipe", default="default", choices=names, help="of training/recipes (default: default)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key of it; may repeat")
    parser.add_argument(
        "--most", type=int, default=CELLS[-1].size, metavar="N", help="leave out cells of more than N dialogues in all"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/choosing"), metavar="FOLDER", help="for runs and cells")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="write the table into its choosing.md, and a .json")
    options = parser.parse_args(arguments)
    cells = [cell for cell in CELLS if cell.size <= options.most]
    done = run_all(cells, RECIPES / f"{options.recipe}.toml", options.set, options.out.resolve())
    lines, where = table(done), machine("torch", "transformers")
    print(where, *lines, sep="\n")
    if options.docs:
        about = {"machine": where, "recipe": options.recipe, "options": options.set}
        _write_docs(options.docs, [*lines, "", f"Machine: {where}."], {**about, "cells": done})


if __name__ == "__main__":
    sys.exit(exit_code(main))
