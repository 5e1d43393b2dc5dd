"""A recipe made over for what is beside a run's rounds: the count before them, what is measured, the run without noise.

Pure.
"""

from __future__ import annotations

import math
from dataclasses import replace

from chatfed.privacy.guarantee import Noise, Unit

from .recipe import MOST_PARTICIPANTS, RING_WIDTHS, Recipe

MOST_MEASURED = 2.0**22  # L2 norm of what a client measures (nats, bytes, words): it measures on no more dialogues
MEASURED_NORM = 2.0  # the same of one dialogue in MEASURED_UNITS where noise protects it: a longer one counts for less
MEASURED_UNITS = (512.0, 512.0, 64.0, 32.0, 32.0)  # nats, bytes, words, right at first place, within three
BLOCKS = 10  # of held-out dialogues, each summed apart where sums are exact: so one sees how much dialogues differ


def counting(recipe: Recipe, clients: int) -> Recipe:
    """The same recipe for the count of n-grams: one round of all clients, in which each gives all its dialogues.

    What is summed are vectors of `ngrams.cells` numbers, of norm 1 for what is protected.
    """
    everyone = replace(
        recipe.federation, rounds=1, cohort=min(clients, MOST_PARTICIPANTS), bands=1, max_participations=0
    )
    all_of_it = replace(
        recipe.privacy,
        noise_multiplier=0.0,
        target_epsilon=recipe.ngrams.share * min(recipe.privacy.target_epsilon or math.inf, recipe.privacy.budget),
        budget_epsilon=recipe.privacy.budget,
        clip_norm=1.0,
        clip_quantile=0.0,
        sampling_rate=1.0,
        local_steps=1,
        learning_rate=1.0,
    )
    once = replace(recipe.secagg, key_rounds=1)
    return replace(recipe, federation=everyone, privacy=all_of_it, secagg=once)


def measuring(recipe: Recipe, clients: int) -> Recipe:
    """The same recipe for the sums of what clients measure on dialogues that they have held out.

    One before the first round and one after each, of all clients. Where `data.hold_out_epsilon` allows none, they are
    exact; else noise is shared in them, and each held-out dialogue is what is protected.
    """
    rounds, epsilon = recipe.federation.rounds + 1, recipe.data.hold_out_epsilon
    everyone = replace(recipe.federation, rounds=rounds, cohort=min(clients, MOST_PARTICIPANTS), bands=1)
    everyone = replace(everyone, max_participations=0)
    if not epsilon:
        privacy = replace(without_noise(recipe).privacy, unit=Unit.CLIENT, clip_norm=MOST_MEASURED, sampling_rate=1.0)
    else:
        once = {"sampling_rate": 1.0, "expected_batch_size": 1.0, "local_steps": 1, "learning_rate": 1.0}
        shared = {"unit": Unit.EXAMPLE, "noise": Noise.DISTRIBUTED, "noise_multiplier": 0.0, "clip_quantile": 0.0}
        spent = {"target_epsilon": epsilon, "budget_epsilon": epsilon, "clip_norm": MEASURED_NORM}
        privacy = replace(recipe.privacy, **once, **shared, **spent)  # type: ignore[arg-type]
    secagg = replace(recipe.secagg, ring_bits=max(RING_WIDTHS), rotation=False)
    return replace(
        recipe, federation=everyone, privacy=privacy, secagg=secagg, ngrams=replace(recipe.ngrams, longest=0)
    )


def without_noise(recipe: Recipe) -> Recipe:
    """The same run with no noise and no claim: what `--reference` prints beside the private one."""
    none = replace(recipe.privacy, noise=Noise.NONE, noise_multiplier=0.0, target_epsilon=0.0, budget_epsilon=0.0)
    bare = replace(none, clip_quantile=0.0)  # which only a noisy sum tells
    once = replace(recipe.federation, bands=1)  # and nothing has to be taken back
    return replace(recipe, privacy=bare, federation=once)
