"""The base that a run or a federation begins with: one that is there, found fit, or one made of public text alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from chatfed.data.dialogue import Dialogue
from chatfed.model.adapters import ALL_LINEAR

from ..base.corpus import turns_of
from ..base.distilling import check_counted
from ..base.learner import check_trainable
from ..base.pretrain import about_pretraining, pretrained_base
from ..plan.recipe import Recipe
from .display import Display
from .memory import Peak


def refuse_unfit_base(recipe: Recipe, given: str, display: Display) -> None:
    """Raises ChatfedError where a base cannot be trained as the recipe says.

    given: its folder or its name on the hub; "": it is still to be made.
    """
    model = replace(recipe.model, base=given)
    check_trainable(model)
    check_counted(model, recipe.ngrams)
    if given:
        from chatfed.model.examination import refuse_unfit  # imports torch

        for note in refuse_unfit(given, recipe.model.lora_targets == (ALL_LINEAR,)):
            display.say(f"The base, {note}.")


def make_base(recipe: Recipe, public: Iterable[Dialogue], display: Display, peak: Peak) -> Path:
    """The folder of the base that the recipe makes of public text, made now or found in the cache."""
    with display.phase("the public base model") as show:

        def progress(done: float, text: str) -> None:
            peak.look()
            show(done, text)

        cache, workers = Path(recipe.runtime.cache), recipe.runtime.workers
        base = pretrained_base(list(turns_of(public)), recipe.model, recipe.pretrain, cache, workers, progress)
    display.say(f"The public base model is {base}.")
    about = about_pretraining(base)
    if about and about["cut"]:
        display.say(
            f"NOTE: pretrain.max_seconds = {recipe.pretrain.max_seconds:g} cut pre-training after {about['done']:,} of "
            f"{about['steps']:,} steps: this base is not the one that the recipe names, and is not kept for other runs."
        )
    return base
