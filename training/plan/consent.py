"""What a member of a federation agrees to, in words, before its first round. Claims nothing but what the plan earns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatfed.audit.figures import above
from chatfed.audit.tiers import strength
from chatfed.privacy.guarantee import Guarantee, Noise, Unit
from chatfed.secagg.messages import THRESHOLD_HE

from .claims import HELD_OUT, OTHER_RUNS
from .in_words import plan_in_words, planned_claim
from .plan import Plan

if TYPE_CHECKING:
    from .federation import Federation

MEASURED_APART = "the dialogues that you hold out, which have a protection of their own, as said above"
OWN_OTHER_RUNS = "other runs on the same dialogues, but those whose charges are in the same ledger of yours"


def in_words(federation: Federation, plan: Plan) -> list[str]:
    """The lines that `chatfed join` shows, each a sentence or a few.

    plan: the federation's own.
    """
    claim = planned_claim(plan)
    return [*_who(federation), plan_in_words(plan), *_protected(plan, claim), *_leaves(plan), *_stands_on(claim)]


def _who(federation: Federation) -> Iterator[str]:
    names = ", ".join(each.name for each in federation.members)
    yield (
        f"The federation {federation.name}, edition {federation.edition}, has {len(federation.members)} members, "
        f"called clients below: {names}."
    )
    yield (
        f"Its coordinator is {federation.address}. Address and certificate authority may change without asking you; "
        "any other change is a new edition, and needs your consent anew."
    )
    yield f"What you agree to has this fingerprint, the same at every member: {federation.fingerprint}"


def _protected(plan: Plan, claim: Guarantee) -> Iterator[str]:
    """What the whole run may tell of this member's dialogues, and to whom."""
    yield from _learned_from(plan, claim)
    share, delta = plan.recipe.data.hold_out, plan.claim.privacy.delta
    yield (
        f"Each dialogue that you hold out to measure with, about {share:.0%} of yours, costs epsilon "
        f"{plan.claim.held_out:g} at the most, at delta {delta:g} over all measurements, in a ledger of its own; that "
        "is against whoever sees the sums only."
    )


def _learned_from(plan: Plan, claim: Guarantee) -> Iterator[str]:
    if claim.epsilon is None or claim.delta is None:
        yield "Nothing that you learn from is protected by noise: the model may repeat what your dialogues say."
        return
    privacy, whole = plan.claim.privacy, plan.claim.privacy.unit is Unit.CLIENT
    unit = "All dialogues that you learn from, together, are" if whole else "Each dialogue that you learn from is"
    yield (
        f"{unit} protected with epsilon at most {above(claim.epsilon)} at delta {claim.delta:g} over the whole "
        f"run ({strength(claim.epsilon, claim.delta)} guarantee). Your ledger, on your own disk, lets epsilon "
        f"{privacy.budget:g} pass and no more, whatever the coordinator asks for."
    )
    yield f"This holds against {claim.holds_against}."


def _leaves(plan: Plan) -> Iterator[str]:
    """All that this machine sends, and what it does not."""
    noisy = "without noise" if plan.claim.privacy.noise is Noise.NONE else "with noise"
    sent = [f"in each round your update, {noisy}"]
    if plan.counting:
        sent.insert(0, f"once your counts of n-grams, {noisy}")
    if plan.measuring:
        sent.append("what your held-out dialogues measure, with noise")
    what = " and ".join([", ".join(sent[:-1]), sent[-1]] if sent[1:] else sent)
    how = "encrypted" if plan.recipe.secagg.scheme == THRESHOLD_HE else "masked"
    yield (
        f"What leaves this machine: {what}, {how} so that only sums over {_fewest(plan)} members or more can be "
        "read (whoever of them work together know their own part of it); the public keys, sealed shares and signatures "
        "that such a sum takes; and that you take part, when, how long it takes, and from which address. No dialogue, "
        "and no figure of yours alone, leaves it in the clear."
    )


def _fewest(plan: Plan) -> int:
    """Members in the smallest sum that is unmasked, of all kinds."""
    beside = [plan.counting.agreement if plan.counting else None, plan.measuring]
    agreed = [plan.agreement, *(each for each in beside if each)]
    return min(each.sums.fewest(size) for each in agreed for size in each.schedule.sizes)


def _stands_on(claim: Guarantee) -> Iterator[str]:
    if claim.epsilon is None:
        return
    yield "The protection rests on this:"
    yield from (f"- {line}" for line in claim.assumptions)
    yield "It does not cover:"
    said = {OTHER_RUNS: OWN_OTHER_RUNS, HELD_OUT: MEASURED_APART}
    yield from (f"- {said.get(line, line)}" for line in claim.excludes)
