"""Guesses at the coins of a run's canaries, from its sums and from its model, and what epsilon they prove at least.

The sums are where the claim lives, so that a bound from them should come near it; the model is far behind, and its
bound says little. Says nothing to anybody: `canaries.py` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.bounds import Bound, Design, guess, one_run, product_channel, product_channel_any_curve, right
from chatfed.audit.canary import Matched, coins, matched
from chatfed.model.transformer import load_model
from chatfed.privacy.guarantee import Unit
from chatfed.types import ClientId, FloatVector

from ..base.canaries import COUNT, ROUNDS, Canaries
from ..plan.plan import Plan
from ..plan.recipe import PrivacySection
from ..run.canaries import kept_dialogues, kept_or_raise
from ..run.run_folder import RunError, RunFolder
from .audited import Audited, Say
from .known import without_the_known
from .likelihoods import Cast, read
from .references import public_folder

GUESSED = 3 / 8  # of the canaries guessed in, and as many out: fixed before any score, near the best for Gaussian noise
ALARM = 0.05  # chance of a bound above the truth
NOTHING: Mapping[str, FloatVector] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Looked:
    """What one sum says of the canaries."""

    name: str
    matched: Matched
    rate: float  # at which a canary that is in joins it
    size: int  # numbers in it
    there: NDArray[np.bool_]  # bool[canaries]: whose client was in the sum


Bounds = tuple[Bound, Bound, Bound]
"""Of channels that are Gaussian and independent, of any that are independent, and whatever the mechanism does."""


@dataclass(frozen=True, eq=False)
class Found:
    """All that was found of a run's canaries."""

    planted: Canaries
    alone: list[Looked]  # sums as anybody has them
    knowing: list[Looked]  # without what everybody's dialogues make of them, where that could be taken off
    sums: Bounds  # from those as anybody has them
    strongest: Bounds  # from those of one who knows all dialogues
    model: Bounds
    expected: float  # right guesses from those, if canaries are as strong as planned
    short: float  # standard deviations by which guesses of one kind, in or out, fall behind that at most
    knows: bool  # whether anything could be taken off


def found_in(run: Audited, planted: Canaries, say: Say) -> Found:
    """What the sums and the model of a run give away of its canaries' coins.

    Raises RunError where sums are missing, or no client of canaries was in any.
    """
    truth = coins(planted.seed, ROUNDS, planted.count)
    delta = float(run.privacy["delta"] or run.plan.recipe.privacy.delta)
    alone = list(look(run.folder, run.plan, planted, say))
    say("what everybody's dialogues make of the sums")
    known = dict(without_the_known(run, [each.name for each in alone]))
    knowing = list(look(run.folder, run.plan, planted, say, known)) if known else alone
    if not any(each.there.any() for each in alone):
        raise RunError(f"no client of canaries was in any sum of {run.folder.path}: nothing can be looked for.")
    say("canary dialogues in the model")
    shifts, drawn = _shifts(run, planted)
    return Found(
        planted,
        alone,
        knowing,
        told(alone, truth, delta),
        told(knowing, truth, delta),
        _bounds(shifts, drawn, delta),
        *promised(_all(knowing), truth, design_of(len(truth), delta)),
        len(known) > 0,
    )


def _names(plan: Plan) -> list[str]:
    """Of the sums in the order in which they were made."""
    rounds = [f"round-{number:03d}" for number in range(plan.agreement.schedule.rounds)]
    return (["count"] if plan.counting else []) + rounds


def look(
    folder: RunFolder, plan: Plan, planted: Canaries, say: Say, known: Mapping[str, FloatVector] = NOTHING
) -> Iterator[Looked]:
    """known: what is taken off a sum first, by its name."""
    for name in _names(plan):
        kept = kept_or_raise(folder, name)
        if not kept.canaries:
            continue
        say(f"canaries in the sum of {name}")
        privacy = learning_of(plan, name)
        total = kept.mean * np.float32(in_canaries(privacy, kept.survivors))
        if name in known:
            total = total - known[name]
        what = COUNT if name == "count" else ROUNDS
        found = matched(total, planted.seed, what, planted.count)
        yield Looked(name, found, privacy.sampling_rate, len(total), there(plan, planted, kept.canaries))


def in_canaries(privacy: PrivacySection, survivors: int) -> float:
    """What a mean over so many clients is multiplied with for a canary that is in it to be its direction, of norm 1.

    It is negative, as means go down gradients. A client's update is divided by its chance to be sampled in the mean.
    """
    lengths = survivors / privacy.longest_part
    return -lengths * (privacy.sampling_rate if privacy.unit is Unit.CLIENT else 1.0)


def learning_of(plan: Plan, name: str) -> PrivacySection:
    """The settings by which clients gave a sum: the count has its own."""
    if name != "count":
        return plan.learning.privacy
    assert plan.counting is not None, "there is a count where its sum was kept"
    return plan.counting.learning.privacy


def there(plan: Plan, planted: Canaries, survivors: tuple[ClientId, ...]) -> NDArray[np.bool_]:
    """Whose client was in a sum: bool[canaries]."""
    names = planted.clients(plan.claim.privacy.unit)
    if len(names) == 1:
        return np.full(planted.count, names[0] in survivors)
    return np.isin(names, survivors)


def _evidence(each: Looked) -> NDArray[np.float64]:
    return np.where(each.there, each.matched.evidence(each.rate), 0.0)


def _all(looked: list[Looked]) -> NDArray[np.float64]:
    evidence: NDArray[np.float64] = np.sum([_evidence(each) for each in looked], axis=0)
    return evidence


def told(looked: list[Looked], truth: NDArray[np.bool_], delta: float) -> Bounds:
    """What guesses from all these sums together prove."""
    return _bounds(_all(looked), truth, delta)


def promised(evidence: NDArray[np.float64], truth: NDArray[np.bool_], design: Design) -> tuple[float, float]:
    """(right guesses that the evidence itself promises; standard deviations by which one kind of guess falls short).

    One is right with 1 / (1 + e^-|l|). Guesses in and guesses out each by themselves: where nothing was planted all
    evidence says out, which promises half of all, and chance gives as many. Far fewer than promised of one kind, and
    what was planted is not what was looked for: then nothing was found since nothing was there.
    """
    order = np.argsort(evidence)
    sides = ((order[len(order) - design.guessed_in :], 1), (order[: design.guessed_out], -1))
    total, short = 0.0, 0.0
    for places, sign in sides:
        chances = np.exp(-np.logaddexp(0.0, -sign * evidence[places]))
        correct = int(np.count_nonzero(truth[places] == (sign > 0)))
        total += float(chances.sum())
        slack = math.sqrt(float((chances * (1 - chances)).sum()) + 1)  # one guess more: no model of noise is exact
        short = max(short, (float(chances.sum()) - correct) / slack)
    return total, short


def _bounds(scores: NDArray[np.float64], truth: NDArray[np.bool_], delta: float) -> Bounds:
    design = design_of(len(scores), delta)
    correct = right(guess(scores, truth, design), truth)
    return product_channel(design, correct), product_channel_any_curve(design, correct), one_run(design, correct)


def design_of(count: int, delta: float, error: float = ALARM) -> Design:
    """What is fixed before a score is seen: how many guesses of each kind."""
    half = max(1, math.floor(GUESSED * count))
    return Design(count, half, half, delta, 1 - error)


def _shifts(run: Audited, planted: Canaries) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(what training added to each canary dialogue's log-likelihood, nats; whether a client had it)."""
    table = kept_dialogues(run.folder)
    served, public = run.model()[0], load_model(public_folder(run))[0].eval()
    cast = Cast({"served": served, "public": public}, ("public",), {"served": ("public", "served")})
    every = np.arange(len(table))
    found = read(cast, table, every, run.plan.learning.model.context, run.plan.learning.train_on)
    moved = found.log_probs["served"] - found.log_probs["public"]
    shifts = np.add.reduceat(moved, found.starts[:-1])
    return shifts, coins(planted.seed, "dialogues", len(table))
