"""A plan in words, before anything runs: who takes part how often, what it costs, and what is protected from whom."""

from __future__ import annotations

from chatfed.audit.figures import above
from chatfed.privacy.accounting import compose

from .meaning import protected
from .recipe import Recipe, planned_participations
from .terms import ClientTerms
from .upload import colluders, threshold


def plan_in_words(recipe: Recipe, clients: int, terms: ClientTerms) -> str:
    """recipe: complete, its cohort settled (`training.plan.recipe.following`)."""
    return f"The plan: {_rounds(recipe, clients)}. {_cost(recipe, clients, terms)}."


def _rounds(recipe: Recipe, clients: int) -> str:
    plan, most = recipe.federation, planned_participations(recipe, clients)
    asked = f"all {clients}" if plan.cohort == clients else f"{plan.cohort} of {clients}"
    again = f", each update sent in up to {plan.bands} of them" if plan.bands > 1 else ""
    fewest, gone = threshold(recipe, plan.sizes[-1]), plan.sizes[-1]
    return (
        f"{plan.rounds} {_plural(plan.rounds, 'round')} of {asked} clients{again}; each takes part in at most {most} "
        f"and {_work(recipe)}; no sum of fewer than {fewest} of {gone} is unmasked"
    )


def _work(recipe: Recipe) -> str:
    privacy = recipe.privacy
    if privacy.unit == "client":
        passes = recipe.local.epochs
        return f"makes {passes} {_plural(passes, 'pass', 'passes')} over its dialogues each time"
    steps = f"{privacy.local_steps} {_plural(privacy.local_steps, 'step')}"
    rate = privacy.sampling_rate
    taken = "all its dialogues" if rate == 1 else f"its dialogues, each with probability {rate:g}"
    return f"takes {steps} each time, on {taken}"


def _cost(recipe: Recipe, clients: int, terms: ClientTerms) -> str:
    privacy = recipe.privacy
    if terms.mechanism is None:
        return "No noise is added, and no privacy is claimed"
    unit = protected(recipe) + (", with all its dialogues," if privacy.unit == "client" else "")
    curious = colluders(recipe, recipe.federation.cohort)
    against = {
        "local": "everyone",
        "distributed": f"whoever sees the sums only, with at most {curious} {_plural(curious, 'client')} of a round",
    }[privacy.noise]
    return (
        f"Noise multiplier {terms.noise_multiplier:.3f}: each {unit} is protected with epsilon at most "
        f"{above(_planned(recipe, clients, terms))} at delta {privacy.delta:g}, against {against}"
    )


def _planned(recipe: Recipe, clients: int, terms: ClientTerms) -> float:
    """Epsilon of all planned participations; with shared noise, accounted once the model is there, the budget."""
    budget = recipe.privacy.budget
    if recipe.privacy.noise == "distributed" or terms.mechanism is None:
        return budget
    cost = compose([terms.mechanism] * planned_participations(recipe, clients), delta=recipe.privacy.delta)
    return min(budget, cost)


def _plural(count: int, word: str, words: str = "") -> str:
    return word if count == 1 else words or word + "s"
