"""What a recipe would cost and claim, before anything runs. Trains nothing and reads no dialogue."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from chatfed.audit.bounds import strength
from chatfed.audit.figures import above
from chatfed.privacy.accounting import Guarantee, compose
from chatfed.privacy.distributed import SAMPLED_SUMS, SUMS
from chatfed.types import ClientId

from .plan.checks import check
from .plan.claims import Spent, accountant_of, guarantee
from .plan.planning import plan_in_words
from .plan.recipe import Recipe, following, planned_participations
from .plan.settings import RecipeError
from .plan.sums import sizes
from .plan.terms import ClientTerms, client_terms
from .plan.upload import refuse_hopeless, upload

SIZES = [1 << power for power in range(12, 31)]  # of models, in trained parameters


def outlook(recipe: Recipe, clients: int) -> Iterator[str]:
    """The plan, the ring and the claim of a recipe for so many clients, line by line.

    Raises RecipeError where a run would be refused.
    """
    recipe = following(recipe, clients)
    check(recipe, clients)
    terms = client_terms(recipe, clients)
    for participants in recipe.federation.sizes:
        sizes(recipe, participants)
        refuse_hopeless(recipe, participants, terms.noise_multiplier)
    yield f"Recipe {recipe.digest().hex()[:16]}, for {clients:,} clients."
    yield plan_in_words(recipe, clients, terms)
    yield f"An update travels in a ring of {_ring(recipe, terms)}."
    planned = _planned(recipe, clients, terms)
    yield from _said(guarantee(recipe, terms, planned, recipe.federation.rounds))


def _planned(recipe: Recipe, clients: int, terms: ClientTerms) -> Spent:
    """What the ledger of a client holds after all planned participations.

    With shared noise, which is accounted once the model's size is known, that is its budget.
    """
    privacy, times = recipe.privacy, planned_participations(recipe, clients)
    if terms.mechanism is None or privacy.noise == "distributed":
        return Spent({ClientId(""): privacy.budget}, {}, SAMPLED_SUMS if privacy.sampling_rate < 1 else SUMS)
    charges = (terms.mechanism,) * times
    cost = min(privacy.budget, compose(charges, delta=privacy.delta))
    return Spent({ClientId(""): cost}, {}, accountant_of(charges, privacy.delta), charges)


def _ring(recipe: Recipe, terms: ClientTerms) -> str:
    """How wide the ring is, by the number of parameters that are trained."""
    widths = groupby(((_width(recipe, terms, size), size) for size in SIZES), key=lambda each: each[0])
    found = [(bits, max(size for _, size in sized)) for bits, sized in widths if bits]
    last = found[-1][0]
    parts = [f"{bits} bits for up to {size:,} trained parameters" for bits, size in found[:-1]]
    return f"{', '.join(parts)}, else {last} bits" if parts else f"{last} bits"


def _width(recipe: Recipe, terms: ClientTerms, size: int) -> int:
    """0: no ring carries so small a model's sum."""
    try:
        return upload(recipe, recipe.federation.sizes[-1], size, terms.noise_multiplier, bytes(32)).ring_bits
    except RecipeError:
        return 0


def _said(claim: Guarantee) -> Iterator[str]:
    if claim.epsilon is None or claim.delta is None:
        yield "Nothing would be claimed: no noise is added."
        return
    word = strength(claim.epsilon, claim.delta)
    yield (
        f"The claim, if all goes as planned: epsilon {above(claim.epsilon)} at delta {claim.delta:g} for each "
        f"{claim.unit} ({word} guarantee)."
    )
    for name, value in (
        ("Neighbours", claim.adjacency),
        ("Accountant", claim.accountant),
        ("Sampling", claim.sampling),
        ("Holds against", claim.holds_against),
    ):
        yield f"  {name}: {value}"
    for title, lines in (("It assumes that", claim.assumptions), ("It does not cover", claim.excludes)):
        yield f"  {title}"
        yield from (f"  - {line}" for line in lines)
