"""Canaries in the run that is served: what one who looks for them in its sums and its model finds, in words.

The audit opens the seed: whoever has `canaries/` and the recipe can then do the sums' part again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatfed.audit.bounds import Bound, Power, one_run, power, product_channel, product_channel_any_curve
from chatfed.audit.canary import coins, commitment
from chatfed.audit.part import Part, Table, Verdict
from chatfed.privacy.guarantee import Noise

from ..base.canaries import ROUNDS
from ..run.canaries import open_seed, opened
from .audited import Audited, Say
from .cost import Cost, cost
from .guesses import ALARM, Bounds, Found, design_of, found_in
from .retraced import sums_digest

WEAK = 4.0  # standard deviations fewer right guesses of a kind than the evidence promises: a chance of 3e-5
METHODS = (product_channel, product_channel_any_curve, one_run)

NOTES = (
    "A coin that nobody knew decided for each canary whether it took part; the digest of the coins' seed is in the "
    "recipe, which everybody agreed to before the first sum. A bound holds in 95 of 100 such audits; the verdict looks "
    "at all of them together at that confidence.",
    "In the sums a canary is a random direction of the clip norm, given by a client of the audit's own, which counts "
    "among the corrupt clients that the claim allows. The strongest attacker that the claim holds against knows "
    "everybody's dialogues: what they make of a sum, at the rate of sampling, is taken off first. Who knows none cuts "
    "coordinates where clients' common words stand (Huber).",
    "Distribution-free: Steinke, Nasr and Jagielski 2023, whatever a mechanism does. Product channel: each canary has "
    "a channel of its own, as noise that is independent across directions gives; what reveals all canaries together "
    "breaks it. Gaussian curve: that channel is a Gaussian one, or one made worse; sampling makes it nearly that.",
    "More noise was there than is certain: where all clients survived, the claim counts on the fewest that may. So a "
    "bound below the proven epsilon is to be expected even of a perfect audit.",
    "What canaries cost: the server's steps are gone through again from the kept sums less the directions, each at the "
    "rate of sampling, since which of them a round had sampled nobody knows. Left out are canaries of the count before "
    "the rounds, canary dialogues at clients, the place of a cohort that a client of canaries took, and what clients "
    "would have given to other models.",
)


def canaries(run: Audited, say: Say) -> Part:
    """What the sums and the model of a run give away of its canaries' coins. Opens the seed.

    Raises RunError for a run without canaries, or whose seed, sums or commitment do not belong together.
    """
    open_seed(run.folder, run.plan.recipe)
    found = found_in(run, opened(run.folder, run.plan.recipe), say)
    say("the rounds again without canaries")
    price = cost(run, found.planted)
    reach = power(product_channel, design_of(found.planted.count, found.strongest[0].delta))
    verdict = _verdict(run, found)
    return Part(
        "canaries",
        "Canaries in the run that is served",
        verdict,
        _sentence(run, found, verdict) + _price(price),
        {**_figures(run, found, reach), "noise_added_by_canaries": _added(found), "cost": _cost_figures(price)},
        (_bounds_table(found), _sums_table(found), _cost_table(_added(found), price)),
        not_protected=_not_protected(run),
        notes=NOTES,
    )


def _verdict(run: Audited, found: Found) -> Verdict:
    """FAULT where a bound is above what is proven, all of them together at ALARM (Bonferroni).

    UNJUDGED where the canaries were not what was looked for, or the claim is about something else than sums.
    """
    proven = run.privacy["epsilon"]
    if proven is not None and _over(found, proven):
        return Verdict.FAULT
    if found.short > WEAK:
        return Verdict.UNJUDGED
    if proven is None:
        return Verdict.OPEN
    return Verdict.UNJUDGED if run.plan.claim.privacy.noise is Noise.LOCAL else Verdict.HOLDS


def _over(found: Found, proven: float) -> bool:
    looked = found.sums, found.strongest, found.model
    error = ALARM / (len(looked) * len(METHODS))
    strict = [
        method(design_of(bound.m, bound.delta, error), bound.correct)
        for bounds in looked
        for method, bound in zip(METHODS, bounds, strict=True)
    ]
    return max(each.epsilon for each in strict) > proven


def _sentence(run: Audited, found: Found, verdict: Verdict) -> str:
    bound, proven = found.strongest[0], run.privacy["epsilon"]
    if verdict is Verdict.UNJUDGED and found.short > WEAK:
        return (
            f"Of {bound.guesses} guesses {bound.correct} are right, where the sums promise about {found.expected:.0f}, "
            f"and of one kind, in or out, {found.short:.0f} deviations too few: what was planted is not what was "
            "looked for, and nothing follows."
        )
    who = "One who knows all dialogues, and not the coins," if found.knows else "One who has the sums alone"
    told = (
        f"{who} made {bound.correct} of {bound.guesses} guesses about {bound.m} canaries right: if noise is Gaussian "
        f"and each canary's its own, epsilon is at least {bound.epsilon:.2f}"
    )
    if proven is None:
        return told + ", and nothing is proven that would bound it: this run added no noise."
    if run.plan.claim.privacy.noise is Noise.LOCAL:
        return told + " for the sum. What is proven is about a single upload, which was not looked at."
    return told + f"; proven is at most {proven:.2f}."


def _power(found: Found, reach: Power) -> str:
    if not reach.smallest:
        return f"{found.planted.count} canaries are too few to show any leak."
    return (
        f"With {found.planted.count} canaries a leak of epsilon {reach.smallest:.2f} or more from the sums would have "
        "been seen in 95 of 100 such runs."
    )


def _not_protected(run: Audited) -> tuple[str, ...]:
    if run.privacy["epsilon"] is None:
        return ("No noise was added: whoever sees the sums can tell who took part.",)
    return ()


def _figures(run: Audited, found: Found, reach: Power) -> dict[str, Any]:
    planted, product = found.planted, found.strongest[0]
    return {
        "canaries": planted.count,
        "commitment": commitment(planted.seed),
        "sums_sha256": sums_digest(run.folder),
        "proven_epsilon": run.privacy["epsilon"],
        "delta": product.delta,
        "confidence": product.confidence,
        "knows_dialogues": found.knows,
        **_of(found.strongest),
        "right_guesses_promised": found.expected,
        "without_knowing_dialogues": _of(found.sums),
        "model": _of(found.model),
        "power": {"sentence": _power(found, reach)},
        "smallest_epsilon_seen": reach.smallest,
        "largest_epsilon_shown": reach.largest,
    }


def _added(found: Found) -> dict[str, float]:
    """By the sum's name: the variance that canaries add to its numbers, as a share of all that stands beside them."""
    coin = coins(found.planted.seed, ROUNDS, found.planted.count)
    return {
        each.name: each.rate * int((coin & each.there).sum()) / (each.matched.std**2 * each.size)
        for each in found.knowing
    }


def _price(price: Cost | None) -> str:
    if price is None:
        return ""
    return f" The directions cost {price.perplexity:.2%} of the perplexity of {price.dialogues} held-out dialogues."


def _cost_figures(price: Cost | None) -> dict[str, Any] | None:
    if price is None:
        return None
    low, high = price.interval
    return {
        "perplexity_with_canaries": price.with_them.perplexity,
        "perplexity_without_their_directions": price.without.perplexity,
        "bits_per_byte_with_canaries": price.with_them.bits_per_byte,
        "bits_per_byte_without_their_directions": price.without.bits_per_byte,
        "share_of_perplexity": price.perplexity,
        "share_of_perplexity_low": low,
        "share_of_perplexity_high": high,
        "held_out_dialogues": price.dialogues,
    }


def _cost_table(added: Mapping[str, float], price: Cost | None) -> Table:
    rows: list[tuple[str, str | float | None]] = [
        (f"variance added to the sum of {name}", f"{share:.2%}") for name, share in added.items()
    ]
    if price is not None:
        low, high = price.interval
        between = "" if low is None or high is None else f" ({low:.2%} to {high:.2%})"
        rows += [
            ("perplexity of held-out dialogues", price.with_them.perplexity),
            ("the same without the directions", price.without.perplexity),
            (
                "more for the directions, and where 95 % of choices of held-out clients have it",
                f"{price.perplexity:.2%}{between}",
            ),
        ]
    return Table("What the canaries cost the run", ("What", "How much"), rows)


def _of(bounds: Bounds) -> dict[str, Any]:
    gaussian, any_curve, free = bounds
    return {
        "guesses": gaussian.guesses,
        "correct": gaussian.correct,
        "epsilon_lower_bound_product_channel": gaussian.epsilon,
        "epsilon_lower_bound_product_channel_any_curve": any_curve.epsilon,
        "epsilon_lower_bound_distribution_free": free.epsilon,
    }


def _bounds_table(found: Found) -> Table:
    model = f"the model ({found.model[0].m} canary dialogues)"
    said: list[tuple[str, tuple[Bound, ...]]] = [("the sums alone", found.sums), (model, found.model[1:])]
    if found.knows:
        said.insert(0, ("the sums, and all dialogues", found.strongest))
    rows = [
        (where, bound.label, f"{bound.correct} of {bound.guesses}", bound.epsilon)
        for where, bounds in said
        for bound in bounds
    ]
    return Table("Least epsilon that guesses prove, at 95 % confidence", ("From", "Kind", "Right", "Epsilon"), rows)


def _sums_table(found: Found) -> Table:
    rows = [
        (each.name, each.matched.std, other.matched.std, each.rate, int(each.there.sum()))
        for each, other in zip(found.knowing, found.alone, strict=True)
    ]
    heads = ("Sum", "Deviation of a canary", "To who knows no dialogue", "Sampled at", "Canaries asked")
    return Table("What each sum says of a canary, in clip norms", heads, rows)
