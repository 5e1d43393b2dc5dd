"""The closing words of a run: what was learned, what it cost, where it lies. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from chatfed.audit.comparison import sentence
from chatfed.audit.figures import above, bits, decimal
from chatfed.audit.gain import NOT_COVERED, gain_sentence
from chatfed.audit.tiers import said_of_several
from chatfed.privacy.guarantee import Noise, Unit

from ..plan.claims import protected
from ..plan.recipe import Recipe
from .display import Display


def print_summary(
    display: Display, recipe: Recipe, folder: Path, summary: dict[str, Any], repeated: Sequence[str] = ()
) -> None:
    """A table of held-out figures, the guarantee in short, what of the data it does not hold for, the next commands."""
    title = recipe.data.held_out
    table = Table(title=title[0].upper() + title[1:])
    for column in ("", "bits per byte", "next word right", "within three", "perplexity per word"):
        table.add_column(column, justify="left" if not column else "right")
    rows = [("public base model", summary["before"]), ("after private training", summary["after"])]
    for key, name in (("reference", "the same run without noise"), ("ceiling", "without privacy (ceiling)")):
        if summary[key]:
            rows.append((name, summary[key]))
    for name, found in rows:
        share = (f"{found['top1']:.1%}", f"{found['top3']:.1%}")
        table.add_row(name, bits(found["bits_per_byte"]), *share, decimal(found["perplexity"]))
    display.console.print(table)
    display.say(sentence(summary))
    if summary["ceiling"]:
        display.say(f"{gain_sentence(summary)} {NOT_COVERED}")
    pretraining = summary["pretraining"]
    if pretraining and pretraining["cut"]:
        display.say("The base was cut by pretrain.max_seconds: it is not the one that the recipe names.")
    display.say(_cost(recipe, summary))
    for warning in repeated:
        display.say(warning)
    for warning in summary.get("warnings", ()):
        display.say(f"Warning: {warning}.")
    for each in summary.get("person", ()):
        display.say(f"One person with {each['dialogues']:,} dialogues ({each['who']}): {said_of_several(each)}.")
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in summary["seconds"].items())
    display.say(f"Time: {seconds}.")
    memory = summary["peak_memory_mib"]
    display.say(f"Memory at most: {memory['main']} MiB here, {memory['largest_worker']} MiB in the largest worker.")
    display.say(f"The report is {folder / 'report.html'}. Talk to the model: chatfed serve --model {folder}")


def _cost(recipe: Recipe, summary: dict[str, Any]) -> str:
    if summary["epsilon"] is None:
        return "No noise was added: no privacy is claimed."
    privacy = recipe.privacy
    whose, apart = {
        Unit.CLIENT: (
            f"{protected(privacy.unit, recipe.data.simulated_clients)}, with all its dialogues,",
            "zeros in place of its update",
        ),
        Unit.EXAMPLE: ("dialogue", "add or remove one dialogue"),
    }[privacy.unit]
    holds = {
        Noise.LOCAL: "noise added by each client: holds against everyone",
        Noise.DISTRIBUTED: "noise shared inside the masked sum: holds against whoever sees the sums only",
    }[privacy.noise]
    strength = f"{summary['strength']} guarantee; " if "strength" in summary else ""
    return (
        f"Each {whose} is protected with epsilon {above(summary['epsilon'])} at delta {summary['delta']:g} "
        f"({strength}{apart}, {holds}; conditions in privacy.json)."
    )
