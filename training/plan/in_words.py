"""A plan in words, before anything runs: who takes part how often, what it costs, and what is protected from whom."""

from __future__ import annotations

from chatfed.audit.figures import above
from chatfed.privacy.accounting import compose
from chatfed.privacy.guarantee import Noise, Unit

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
        f"{schedule.rounds} {_plural(schedule.rounds, 'round')} of {asked} clients{again}; each takes part in at most "
        f"{plan.participations} and {_work(plan.learning)}; no sum of fewer than "
        f"{plan.agreement.sums.threshold(largest)} of {largest} is unmasked"
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
    colluding = f"{curious} {_plural(curious, 'client')} of a round"
    against = {
        Noise.LOCAL: "everyone",
        Noise.DISTRIBUTED: f"whoever sees the sums only, with at most {colluding}",
    }[privacy.noise]
    return (
        f"Noise multiplier {plan.terms.noise_multiplier:.3f}: each {unit} is protected with epsilon at most "
        f"{above(planned_epsilon(plan))} at delta {privacy.delta:g}, against {against}"
    )


def planned_epsilon(plan: Plan) -> float:
    """Epsilon of all planned participations; with shared noise, accounted once the model is there, the budget."""
    terms, privacy = plan.terms, plan.claim.privacy
    if privacy.noise is Noise.DISTRIBUTED or terms.mechanism is None:
        return privacy.budget
    return min(privacy.budget, compose([terms.mechanism] * plan.participations, delta=privacy.delta))


def _plural(count: int, word: str, words: str = "") -> str:
    return word if count == 1 else words or word + "s"
