"""What a recipe would cost and claim, before anything runs. Trains nothing and reads no dialogue."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from chatfed.audit.bounds import strength
from chatfed.audit.figures import above
from chatfed.privacy.distributed import SAMPLED_SUMS, SUMS
from chatfed.privacy.guarantee import Guarantee
from chatfed.types import ClientId

from .plan.claims import Spent, accountant_of
from .plan.in_words import plan_in_words, planned_epsilon
from .plan.plan import Plan, resolve
from .plan.recipe import Recipe
from .plan.settings import RecipeError
from .sum_cost import measured

MILLION = 1_000_000
SIZES = [1 << power for power in range(12, 31)]  # of models, in trained parameters


def outlook(recipe: Recipe, clients: int) -> Iterator[str]:
    """The plan, the ring and the claim of a recipe for so many clients, line by line.

    Raises RecipeError where a run would be refused.
    """
    plan = resolve(recipe, clients)
    yield f"Recipe {plan.agreement.digest.hex()[:16]}, for {clients:,} clients."
    yield plan_in_words(plan)
    yield f"An update travels in a ring of {_ring(plan)}."
    if count := plan.counting:
        bits = count.agreement.sums.codec.upload(count.clients, count.cells).ring_bits
        yield f"A client's count travels as {count.cells:,} numbers in a ring of {bits} bits."
    yield from _costs(plan)
    rounds = plan.agreement.schedule.rounds
    yield from _said(plan.claim.guarantee(_planned(plan), rounds, repeats=None, dealt=False))  # no data was read


def _costs(plan: Plan) -> Iterator[str]:
    """What a round's secure sum costs a client, by its size and by doing it here."""
    agreement, largest = plan.agreement, plan.agreement.schedule.sizes[-1]
    try:
        found = measured(agreement.sums.parameters(largest, MILLION))
    except RecipeError:  # no ring carries so large a model: the line above has those that one does
        return
    keys = agreement.sums.slots
    serve = f"one agreement on keys serves {keys} rounds" if keys > 1 else "keys are agreed on anew in each"
    yield (
        f"A round costs a client, beside its learning and for a model of {MILLION:,} trained parameters: "
        f"{_bytes(found.vector + found.up)} up ({_bytes(found.up)} of them beside its vector), "
        f"{_bytes(4 * MILLION + found.down)} down ({_bytes(found.down)} beside the model), and {found.seconds:.3f} s "
        f"of a processor, as measured here just now; {serve}."
    )
    if count := plan.counting:
        once = measured(count.agreement.sums.parameters(count.clients, count.cells))
        yield (
            f"The count costs it {_bytes(once.vector + once.up)} up, {_bytes(4 * count.cells + once.down)} down and "
            f"{once.seconds:.3f} s, once."
        )


def _bytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _planned(plan: Plan) -> Spent:
    """What the ledger of a client holds after all planned participations.

    With shared noise, which is accounted once the model's size is known, that is its budget.
    """
    privacy, charges, cost = plan.claim.privacy, plan.own_charges, {ClientId(""): planned_epsilon(plan)}
    if not charges:
        return Spent(cost, {}, SAMPLED_SUMS if privacy.sampling_rate < 1 else SUMS, ())
    return Spent(cost, {}, accountant_of(charges, privacy.delta), charges)


def _ring(plan: Plan) -> str:
    """How wide the ring is, by the number of parameters that are trained."""
    widths = groupby(((_width(plan, size), size) for size in SIZES), key=lambda each: each[0])
    found = [(bits, max(size for _, size in sized)) for bits, sized in widths if bits]
    last = found[-1][0]
    parts = [f"{bits} bits for up to {size:,} trained parameters" for bits, size in found[:-1]]
    return f"{', '.join(parts)}, else {last} bits" if parts else f"{last} bits"


def _width(plan: Plan, size: int) -> int:
    """0: no ring carries the sum of so small a model."""
    try:
        return plan.agreement.sums.codec.upload(plan.recipe.federation.sizes[-1], size).ring_bits
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
