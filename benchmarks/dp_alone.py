"""What a learner pays for private dialogues, each alone, over ordinary training of all the model: dialogues a second.

Private: the gradient as learners work it out, by hand, in coordinates where there are directions, clipped and added as
whole numbers. Ordinary: transformers' model, autograd and a step of plain SGD on batches of four, everything trained.
Both in the machine's precision (bfloat16 where it has that) and in float32; ratios are of one precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks import Row, interleaved
from benchmarks.dp_models import QUICK_MODEL, FixedRows, Setting, fresh
from training.base.pretrain import precision_here
from training.base.tokens import LENGTHS, next_token_loss
from training.plan.recipe import load_recipe

BATCH, POSITIONS = 4, 150  # of an ordinary step; of a usual dialogue
SCALE = 1e6  # ring steps in a clip norm


def alone_settings(quick: bool) -> list[Setting]:
    """All of the default model with a vocabulary of 4,096, its numbers themselves; the default recipe as it is."""
    model = QUICK_MODEL if quick else load_recipe().model
    all_of_it = replace(model, directions=0.0, vocabulary=model.vocabulary if quick else 4096)
    tokens = 16 if quick else POSITIONS
    everything = Setting("all", all_of_it, ("all",), BATCH, tokens, 1)
    return [everything, Setting("recipe", model, model.trainable, BATCH, tokens, 1)]


def private_dialogues(setting: Setting, lower: bool) -> Callable[[], None]:
    """Each row's gradient by hand, clipped and added."""
    import torch

    from chatfed.model.by_hand import llama_gradient
    from chatfed.model.subspace import Subspace
    from chatfed.privacy.rounding import add_clipped

    model, data = fresh(setting).eval(), FixedRows.random(setting)
    space = Subspace(model, setting.model.directions)
    gradient = llama_gradient(model, lower, space.directions)
    if gradient is None:
        raise SystemExit("benchmarks.dp_step: the gradient by hand does not know this model")
    out, total = np.empty(gradient.size, np.float32), np.zeros(gradient.size, np.int64)
    into = torch.from_numpy(out)

    def run() -> None:
        for i in range(len(data)):
            gradient(data.rows(np.array([i]))[0], into)
            add_clipped(total, out, 1.0, SCALE)

    return run


def ordinary_batch(setting: Setting, lower: bool) -> Callable[[], None]:
    """A step of plain SGD on all rows, all parameters trained."""
    import torch

    model, data = fresh(replace(setting, trainable=("all",))).train(), FixedRows.random(setting)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            loss = next_token_loss(model, data.batch, LENGTHS if lower else 1).mean()
        loss.backward()
        optimizer.step()

    return run


PRECISIONS = (True, False) if precision_here("auto") == "bfloat16" else (False,)  # whether bfloat16
WORDS = {True: "bfloat16", False: "float32"}
MAKERS: dict[str, Callable[[Setting], Callable[[], None]]] = {
    f"{name}, {WORDS[lower]}": partial(make, lower=lower)
    for lower in PRECISIONS
    for name, make in (("private dialogue", private_dialogues), ("ordinary batch", ordinary_batch))
}


def compare_alone(setting: Setting, rounds: int, peaks: Mapping[str, int]) -> tuple[list[Row], dict[str, Any]]:
    """Dialogues a second and `peaks`, bytes, private beside ordinary: rows of the table, and their part of the JSON."""
    times = interleaved({name: make(setting) for name, make in MAKERS.items()}, rounds)
    rows, figures = list[Row](), dict[str, Any]()
    for words in (WORDS[lower] for lower in PRECISIONS):
        pair = f"private dialogue, {words}", f"ordinary batch, {words}"
        private, ordinary = (times[name] for name in pair)
        rates, ratio = [setting.rows / each.seconds for each in (private, ordinary)], private.over(ordinary)
        head = f"{setting.name}, {setting.tokens} tokens, {words}: each dialogue private / ordinary batches of {BATCH}"
        rows.append(
            (f"{head}, dialogues a second (ratio of times)", f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"{ratio:.2f}")
        )
        figures |= {
            f"{words}_private_per_s": rates[0],
            f"{words}_ordinary_per_s": rates[1],
            f"{words}_time_ratio": ratio,
        }
        if peaks:
            mine, theirs = (peaks[name] for name in pair)
            cells = (f"{mine / 2**20:.1f} MiB", f"{theirs / 2**20:.1f} MiB", f"{mine / theirs:.2f}")
            rows.append((f"{head}, peak memory above the model", *cells))
            figures |= {f"{words}_memory_ratio": mine / theirs}
    return rows, figures
