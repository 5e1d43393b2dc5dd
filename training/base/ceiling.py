"""The ceiling: what the base would learn of all private dialogues together, centrally and without privacy.

It is there to compare with, and no claim covers it: neither its model nor a figure measured on it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from ..plan.recipe import Recipe
from .pretrain import about_pretraining, precision_here
from .replica import Job
from .together import Progress, in_processes
from .tokens import open_tokens

PASSES = 1.0  # over the private text, where nobody asks for another number
BROUGHT = 0.1  # of the rate of pre-training, for a base that was not made by it and may be far larger

CARD = """---
library_name: transformers
pipeline_tag: text-generation
---
# TRAINED WITHOUT PRIVACY: never release it, never share it

This model learned {tokens:,} tokens of private dialogues directly, all of them together, in {precision}: {done:,} steps
of {replicas} replicas, all {parameters:,} parameters. No differential privacy, no clipping, no noise, no masks: it may
repeat, word for word, what any person said.

It is there for one thing: to measure how much a private run could learn at most. Whoever may read the dialogues may
keep it beside them; nobody else may have it, talk to it, or see figures measured on it. Delete it when you have the
figures.
"""


def ceiling_job(recipe: Recipe, base: str, tokens: Path, passes: float, folder: Path) -> Job:
    """Training of `base` on the token table `tokens`, as pre-training trains, for so many passes, into `folder`."""
    rate = recipe.pretrain.learning_rate * (BROUGHT if recipe.model.base else 1.0)
    precision = precision_here(recipe.pretrain.precision)
    how = replace(recipe.pretrain, epochs=passes, max_tokens=0, learning_rate=rate, precision=precision)
    return Job(recipe.model, how, tokens, folder, math.inf, "central training without privacy", CARD, base)


def trained_ceiling(job: Job, workers: int, progress: Progress) -> Path:
    """The folder of the ceiling, found where it is there from as many steps, or trained now. Raises ChatfedError."""
    about = about_pretraining(job.folder)
    if job.done() and about and about.get("done") == job.steps(open_tokens(job.tokens)):
        progress(1.0, f"found in {job.folder}")
        return job.folder
    return in_processes(job, workers, progress)
