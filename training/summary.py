"""The closing words of a run: what was learned, what it cost, where it lies. Computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from chatfed.audit.bounds import said_of_several
from chatfed.audit.figures import above
from training.display import Display
from training.meaning import protected
from training.recipe import Recipe


def print_summary(display: Display, recipe: Recipe, folder: Path, summary: dict[str, Any]) -> None:
    """A table of held-out figures, the guarantee in short, and the next commands."""
    title = recipe.data.held_out
    table = Table(title=title[0].upper() + title[1:])
    for column in ("", "perplexity per word", "next word right", "within three"):
        table.add_column(column, justify="left" if not column else "right")
    rows = [("public base model", summary["before"]), ("after private training", summary["after"])]
    if summary["reference"]:
        rows.append(("the same run without noise", summary["reference"]))
    for name, found in rows:
        table.add_row(name, f"{found['perplexity']:.2f}", f"{found['top1']:.1%}", f"{found['top3']:.1%}")
    display.console.print(table)
    fall = 1 - summary["after"]["perplexity"] / summary["before"]["perplexity"]
    display.say(
        f"Perplexity fell by {fall:.1%}." if fall >= 0 else f"Perplexity ROSE by {-fall:.1%}: this run did not learn."
    )
    display.say(_cost(recipe, summary))
    for warning in summary.get("warnings", ()):
        display.say(f"Warning: {warning}.")
    for each in summary.get("person", ()):
        display.say(f"One person with {each['dialogues']:,} dialogues ({each['who']}): {said_of_several(each)}.")
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in summary["seconds"].items())
    display.say(f"Time: {seconds}.")
    memory = summary["peak_memory_mib"]
    display.say(f"Memory at most: {memory['main']} MiB here, {memory['largest_worker']} MiB in the largest worker.")
    display.say(
        f"The report is {folder / 'report.html'}. Talk to the model: python -m serving.app --model {folder / 'model'}"
    )


def _cost(recipe: Recipe, summary: dict[str, Any]) -> str:
    if summary["epsilon"] is None:
        return "No noise was added: no privacy is claimed."
    privacy = recipe.privacy
    whose, apart = {
        "client": (f"{protected(recipe)}, with all its dialogues,", "zeros in place of its update"),
        "example": ("dialogue", "add or remove one dialogue"),
    }[privacy.unit]
    holds = {
        "local": "noise added by each client: holds against everyone",
        "distributed": "noise shared inside the masked sum: holds against whoever sees the sums only",
    }[privacy.noise]
    strength = f"{summary['strength']} guarantee; " if "strength" in summary else ""
    return (
        f"Each {whose} is protected with epsilon {above(summary['epsilon'])} at delta {summary['delta']:g} "
        f"({strength}{apart}, {holds}; conditions in privacy.json)."
    )
