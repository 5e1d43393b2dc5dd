"""What a server gets out of updates, sums and noised sums: text and words, for each recipe, on a small model.

    python -m benchmarks.ladder
    python -m benchmarks.ladder --recipes "directions (default)" --base cache/base/NAME

Dialogues are two messages of a few words, so that those of a batch have fewer places than the model has inputs: longer
ones this attack does not read. Adapters are read up to their rank in places, so the recipe's rank stands beside a large
one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from chatfed.data.helpdesk import generate
from chatfed.model.tokenizer import train_tokenizer
from chatfed.model.transformer import Architecture, build_llama, load_model, untie_output
from chatfed.types import Turn
from training.audits.ladder import Attacker, Climb, climbed, manners_of
from training.audits.updates import bare, everybody, filters
from training.audits.victims import COHORT, Setting
from training.base.learner import Learner
from training.base.tokens import TokenTable, write_tokens
from training.plan.plan import learning_of
from training.plan.recipe import DEFAULT_RECIPE, load_recipe
from training.plan.terms import client_terms

RECIPES = DEFAULT_RECIPE.parent
CLIENTS = 400  # of whom noise is calibrated, as in the default run
WORDS = 5  # of each message
SHAPES: dict[str, tuple[str, list[str]]] = {
    "output layer": ("local-noise", []),
    "all layers": ("default", ["model.directions=0"]),
    "directions (default)": ("default", []),
    "adapters, rank 8": ("adapters", []),
    "adapters, rank 128": ("adapters", ["model.lora_rank=128"]),
    "client level": ("client-level", []),
    "bands": ("client-level", ["federation.bands=2", "federation.rounds=2", "federation.max_participations=1"]),
}
"""The recipes: a file, and what is set otherwise."""


@dataclass(frozen=True)
class World:
    """A base, and short dialogues for it."""

    base: Path
    private: TokenTable
    held_out: TokenTable


def world(folder: Path, base: Path | None, words: int = WORDS, seed: int = 1) -> World:
    """Dialogues of two messages of a few words; the base at hand, or a small Llama of random weights."""
    house = generate(seed, clients=40, held_out_clients=10, public_dialogues=400)
    if base is None:
        from chatfed.model.checkpoint import save_model

        tokenizer = train_tokenizer((turn.content for each in house.public for turn in each.messages), 1024)
        model = build_llama(Architecture(160, 3, 5, 432, 256), tokenizer, seed)
        untie_output(model)
        save_model(folder / "base", model, tokenizer, "A random model.\n")
        base = folder / "base"
    _, tokenizer = load_model(base)
    tables = [
        write_tokens(folder / name, tokenizer, [_short(each.messages, words) for each in dialogues])
        for name, dialogues in (("private", house.private), ("held-out", house.held_out))
    ]
    return World(base, *tables)


def _short(messages: Sequence[Turn], words: int) -> list[Turn]:
    return [Turn(each.role, " ".join(each.content.split()[:words])) for each in messages[:2]]


def setting_of(name: str) -> Setting:
    """A recipe for a cohort of COHORT, at its own noise."""
    file, settings = SHAPES[name]
    recipe = load_recipe(RECIPES / f"{file}.toml", settings)
    return Setting.small(name, recipe, client_terms(recipe, CLIENTS))


def climb_of(name: str, where: World, batch: int) -> Climb:
    """The first COHORT clients, of `batch` dialogues each."""
    setting = everybody(setting_of(name))
    how = learning_of(setting.recipe, setting.terms.noise_multiplier)
    learner = Learner.of(how, *load_model(where.base), where.private, where.held_out)
    batches = np.random.default_rng(0).permutation(len(where.private))[: COHORT * batch].reshape(COHORT, batch)
    return Climb(Attacker(learner, learner.initial), (bare(setting), setting), [*batches.astype(np.int64)])


def rows(name: str, where: World, batch: int, raw: int) -> Iterator[list[Any]]:
    """A recipe's rungs: what is seen, and what was recovered of it."""
    for each in climbed(climb_of(name, where, batch), manners_of(where.held_out), raw):
        yield [name, batch, each.rung, each.rouge, each.words, each.deviation]


def filter_rows(name: str) -> Iterator[list[Any]]:
    """A recipe's matched filter, and its ceiling."""
    for each in filters(setting_of(name)):
        yield [name, each.seen.name.lower(), each.found.value, each.ceiling]


def table(found: Iterable[Sequence[Any]]) -> str:
    """Rows as Markdown."""
    return "\n".join("| " + " | ".join(map(_said, row)) + " |" for row in found)


def _said(cell: Any) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=list(SHAPES), default=list(SHAPES), metavar="NAME")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4], help="dialogues of each client")
    parser.add_argument("--raw", type=int, default=3, help="clients whose raw updates are read")
    parser.add_argument("--base", type=Path, help="folder of a trained Llama; without it one of random weights")
    parser.add_argument("--no-filter", action="store_true", help="leave the matched filter out")
    given = parser.parse_args(argv)
    with TemporaryDirectory(prefix="chatfed-ladder-") as folder:
        where = world(Path(folder), given.base)
        show(["recipe", "batch", "seen", "ROUGE-2", "words, F1", "deviation"])
        for name, batch in product(given.recipes, given.batch):
            print(table(rows(name, where, batch, given.raw)), flush=True)
    if not given.no_filter:
        show(["recipe", "seen", "matched filter", "ceiling"])
        for name in given.recipes:
            print(table(filter_rows(name)), flush=True)


def show(heads: Sequence[str]) -> None:
    """The first lines of a table, whose rows come as they are measured."""
    print("\n" + table([heads, ["---"] * len(heads)]), flush=True)


if __name__ == "__main__":
    main()
