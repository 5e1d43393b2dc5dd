"""A recipe made over for what is beside a run's rounds: the count before them, what is measured, the run without noise.

Pure.
"""

from __future__ import annotations

import math
from dataclasses import replace

from chatfed.privacy.guarantee import Noise, Unit

from .recipe import MOST_PARTICIPANTS, RING_WIDTHS, Recipe

MOST_MEASURED = 2.0**22  # L2 norm of what a client measures (nats, bytes, words): it measures on no more dialogues


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

    One before the first round and one after each, of all clients; exact, since held-out dialogues are not learned from
    and no claim speaks of them.
    """
    rounds = recipe.federation.rounds + 1
    everyone = replace(recipe.federation, rounds=rounds, cohort=min(clients, MOST_PARTICIPANTS), bands=1)
    exact = replace(without_noise(recipe).privacy, unit=Unit.CLIENT, clip_norm=MOST_MEASURED, sampling_rate=1.0)
    widest = replace(recipe.secagg, ring_bits=max(RING_WIDTHS), rotation=False)
    return replace(recipe, federation=replace(everyone, max_participations=0), privacy=exact, secagg=widest)


def without_noise(recipe: Recipe) -> Recipe:
    """The same run with no noise and no claim: what `--reference` prints beside the private one."""
    none = replace(recipe.privacy, noise=Noise.NONE, noise_multiplier=0.0, target_epsilon=0.0, budget_epsilon=0.0)
    bare = replace(none, clip_quantile=0.0)  # which only a noisy sum tells
    once = replace(recipe.federation, bands=1)  # and nothing has to be taken back
    return replace(recipe, privacy=bare, federation=once)
