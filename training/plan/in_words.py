"""A plan in words, before anything runs: who takes part how often, what it costs, and what is protected from whom."""

from __future__ import annotations

from chatfed.audit.figures import above
from chatfed.privacy.accounting import compose
from chatfed.privacy.distributed import SAMPLED_SUMS, SUMS
from chatfed.privacy.guarantee import Guarantee, Noise, Unit
from chatfed.types import ClientId

from .claims import Spent, accountant_of
from .plan import Learning, Plan


def plan_in_words(plan: Plan) -> str:
    """Two sentences: the rounds, and their cost."""
    return f"The plan: {_rounds(plan)}. {_cost(plan)}."


def _rounds(plan: Plan) -> str:
    schedule = plan.agreement.schedule
    asked = f"all {plan.clients}" if schedule.cohort == plan.clients else f"{schedule.cohort} of {plan.clients}"
    again = f", each update sent in up to {schedule.bands} of them" if schedule.bands > 1 else ""
    largest = schedule.sizes[-1]
    return (
        f"{_count(plan)}{schedule.rounds} {_plural(schedule.rounds, 'round')} of {asked} clients{again}; each takes "
        f"part in at most "
        f"{plan.participations} and {_work(plan.learning)}; no sum of fewer than "
        f"{plan.agreement.sums.threshold(largest)} of {largest} is unmasked"
    )


def _count(plan: Plan) -> str:
    """What comes before the rounds; empty where nothing does."""
    count = plan.counting
    if count is None:
        return ""
    fewest = count.agreement.sums.threshold(count.clients)
    asked = f"all {plan.clients}" if count.clients == plan.clients else f"{count.clients} of {plan.clients}"
    cost = f" of epsilon {above(count.epsilon)} by itself" if plan.claim.private else ""
    longest = plan.learning.ngrams.longest
    return (
        f"first one count{cost} of n-grams up to {longest} {_plural(longest, 'token')} at {asked} clients, unmasked "
        f"for {fewest} or more; then "
    )


def _work(learning: Learning) -> str:
    privacy = learning.privacy
    if privacy.unit is Unit.CLIENT:
        passes = learning.local.epochs
        return f"makes {passes} {_plural(passes, 'pass', 'passes')} over its dialogues each time"
    steps = f"{privacy.local_steps} {_plural(privacy.local_steps, 'step')}"
    rate = privacy.sampling_rate
    taken = "all its dialogues" if rate == 1 else f"its dialogues, each with probability {rate:g}"
    return f"takes {steps} each time, on {taken}"


def _cost(plan: Plan) -> str:
    privacy = plan.claim.privacy
    if not plan.claim.private:
        return "No noise is added, and no privacy is claimed"
    unit = plan.claim.protected + (", with all its dialogues," if privacy.unit is Unit.CLIENT else "")
    curious = plan.agreement.sums.colluders(plan.agreement.schedule.cohort)
    colluding = f"{curious} {_plural(curious, 'client')} of a round{_colluding_in_count(plan)}"
    against = {
        Noise.LOCAL: "everyone",
        Noise.DISTRIBUTED: f"whoever sees the sums only, with at most {colluding}",
    }[privacy.noise]
    return (
        f"Noise multiplier {plan.terms.noise_multiplier:.3f}: each {unit} is protected with epsilon at most "
        f"{above(planned_epsilon(plan))} at delta {privacy.delta:g}, against {against}"
    )


def _colluding_in_count(plan: Plan) -> str:
    count = plan.counting
    return f", and {count.agreement.sums.colluders(count.clients)} of the count" if count else ""


def planned_epsilon(plan: Plan) -> float:
    """Epsilon of all planned participations; with shared noise, accounted once the model is there, the budget."""
    privacy, charges = plan.claim.privacy, plan.own_charges
    return min(privacy.budget, compose(charges, delta=privacy.delta)) if charges else privacy.budget


def planned_claim(plan: Plan) -> Guarantee:
    """What is claimed if all goes as planned. Nobody has looked at the data."""
    return plan.claim.guarantee(_planned_cost(plan), plan.agreement.schedule.rounds, repeats=None, dealt=False)


def _planned_cost(plan: Plan) -> Spent:
    """What the ledger of a client holds after all planned participations.

    With shared noise, which is accounted once the model's size is known, that is its budget.
    """
    privacy, charges, cost = plan.claim.privacy, plan.own_charges, {ClientId(""): planned_epsilon(plan)}
    if not charges:
        return Spent(cost, {}, SAMPLED_SUMS if privacy.sampling_rate < 1 else SUMS, ())
    return Spent(cost, {}, accountant_of(charges, privacy.delta), charges)


def _plural(count: int, word: str, words: str = "") -> str:
    return word if count == 1 else words or word + "s"
