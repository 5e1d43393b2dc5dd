"""A recipe made over for what is beside a run's rounds: the count before them, what is measured, the run without noise.

Pure.
"""

from __future__ import annotations

import math
from dataclasses import replace

from chatfed.privacy.guarantee import Noise, Unit

from .recipe import MOST_PARTICIPANTS, RING_WIDTHS, Recipe

MEASURED_NORM = (
    2.0  # L2 norm of what one dialogue gives to a measurement, in MEASURED_UNITS: a longer one counts for less
)
MEASURED_UNITS = (512.0, 512.0, 64.0, 32.0, 32.0)  # nats, bytes, words, right at first place, within three
SPARE = 2  # measurements that a budget bears beyond one for each model: editions change, and sums fail


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


def measuring(recipe: Recipe, clients: int, spare: int = 0) -> Recipe:
    """The same recipe for the sums of what clients measure on dialogues that they have held out.

    One before the first round and one after each, of all clients, and as many more as are spare. Noise is shared in
    them: each held-out dialogue is what is protected, whatever the rounds protect.
    """
    times, epsilon = recipe.federation.rounds + 1 + spare, recipe.data.hold_out_epsilon
    everyone = replace(recipe.federation, rounds=times, cohort=min(clients, MOST_PARTICIPANTS), bands=1)
    privacy = replace(
        recipe.privacy,
        unit=Unit.EXAMPLE,
        noise=Noise.DISTRIBUTED,
        noise_multiplier=0.0,
        target_epsilon=epsilon,
        budget_epsilon=epsilon,
        clip_norm=MEASURED_NORM,
        clipping="flat",
        clip_quantile=0.0,
        sampling_rate=1.0,
        expected_batch_size=1.0,
        local_steps=1,
        learning_rate=1.0,
    )
    everyone, uncounted = replace(everyone, max_participations=0), replace(recipe.ngrams, longest=0)
    secagg = replace(recipe.secagg, ring_bits=max(RING_WIDTHS), rotation=False)
    return replace(recipe, federation=everyone, privacy=privacy, secagg=secagg, ngrams=uncounted)


def without_noise(recipe: Recipe) -> Recipe:
    """The same run with no noise and no claim: what `--reference` prints beside the private one."""
    none = replace(recipe.privacy, noise=Noise.NONE, noise_multiplier=0.0, target_epsilon=0.0, budget_epsilon=0.0)
    bare = replace(none, clip_quantile=0.0)  # which only a noisy sum tells
    once = replace(recipe.federation, bands=1)  # and nothing has to be taken back
    own = replace(recipe.audit, commitment="")  # of canaries of its own
    return replace(recipe, privacy=bare, federation=once, audit=own)
