"""What a recipe would cost and claim, before anything runs. Reads no dialogue, and keeps nothing that it makes up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import groupby

from chatfed.audit.figures import above, duration
from chatfed.audit.tiers import strength
from chatfed.privacy.guarantee import Guarantee
from chatfed.secagg.messages import Parameters
from chatfed.types import ChatfedError

from .learning_cost import TOKENS, Cost, Learned, learned
from .plan.in_words import plan_in_words, planned_claim
from .plan.plan import Plan, resolve
from .plan.recipe import Recipe
from .plan.settings import RecipeError
from .rehearsal import Sum, rounds_of
from .sum_cost import SumCost, of_server
from .sum_cost import measured as of_client
from .workers import processors

MILLION = 1_000_000
SIZES = [1 << power for power in range(12, 31)]  # of models, in trained parameters


def outlook(recipe: Recipe, clients: int, learn: Callable[[Plan], Learned] = learned) -> Iterator[str]:
    """The plan, the ring, the costs and the claim of a recipe for so many clients, line by line.

    learn: what says what learning costs. Raises RecipeError where a run would be refused.
    """
    plan = resolve(recipe, clients)
    yield f"Recipe {plan.agreement.digest.hex()[:16]}, for {clients:,} clients."
    yield plan_in_words(plan)
    yield f"An update travels in a ring of {_ring(plan)}."
    if count := plan.counting:
        bits = count.agreement.sums.codec.upload(count.clients, count.cells).ring_bits
        yield f"A client's count travels as {count.cells:,} numbers in a ring of {bits} bits."
    yield from _costs(plan, learn)
    yield from _said(planned_claim(plan))


def _costs(plan: Plan, learn: Callable[[Plan], Learned]) -> Iterator[str]:
    """What a round costs a client by learning and by its secure sum, and how long a rehearsal takes, by trying it."""
    try:
        found = learn(plan)
    except RecipeError:
        raise
    except ChatfedError as error:  # a base that is not at hand, or too large to be tried
        yield f"What learning costs was not measured, nor how long a run takes: {str(error).rstrip('.')}."
        with contextlib.suppress(RecipeError):  # no ring carries a million: the line above has what one does
            yield from _sums(plan, MILLION, *_of_client(plan, MILLION))
        return
    sums = _of_client(plan, found.trained)
    yield _learning(plan, found)
    yield from _sums(plan, found.trained, *sums)
    yield _rehearsal(plan, found, *sums)


def _learning(plan: Plan, found: Learned) -> str:
    whose = f"{plan.recipe.model.base}'s" if plan.recipe.model.base else "the recipe's"
    line = (
        f"A round's learning costs a client about {found.round.seconds:.3f} s of a processor, noise and encoding "
        f"included: {_done(found.round)} of {TOKENS} tokens each, by a model of {whose} sizes with random weights "
        f"({found.parameters:,} parameters; {found.trained:,} numbers are learned)."
    )
    if found.count:
        line += f" Counting takes it {found.count.seconds:.3f} s, once: {_done(found.count)}."
    return line


def _done(cost: Cost) -> str:
    """What was measured, and what was worked out of it."""
    if cost.done == cost.dialogues:
        return f"measured here just now on {cost.dialogues:,} made-up dialogues"
    return f"worked out for {cost.dialogues:,} made-up dialogues from {cost.done:,}, measured here just now,"


def _of_client(plan: Plan, trained: int) -> tuple[SumCost, SumCost | None]:
    """Of a round's sum and of the count's. Raises RecipeError where no ring carries so large a model."""
    return of_client(_of_a_round(plan, trained)), of_client(_of_the_count(plan)) if plan.counting else None


def _of_a_round(plan: Plan, trained: int) -> Parameters:
    return plan.agreement.sums.parameters(plan.agreement.schedule.sizes[-1], trained)


def _of_the_count(plan: Plan) -> Parameters:
    assert plan.counting is not None, "a count was planned"
    return plan.counting.agreement.sums.parameters(plan.counting.clients, plan.counting.cells)


def _sums(plan: Plan, trained: int, found: SumCost, once: SumCost | None) -> Iterator[str]:
    keys = plan.agreement.sums.slots
    serve = f"one agreement on keys serves {keys} rounds" if keys > 1 else "keys are agreed on anew in each"
    yield (
        f"A round costs a client, beside its learning and for a model of {trained:,} trained parameters: "
        f"{_bytes(found.vector + found.up)} up ({_bytes(found.up)} of them beside its vector), "
        f"{_bytes(4 * trained + found.down)} down ({_bytes(found.down)} beside the model), and {found.seconds:.3f} s "
        f"of a processor, as measured here just now; {serve}."
    )
    if once and plan.counting:
        up, down = once.vector + once.up, 4 * plan.counting.cells + once.down
        yield f"The count costs it {_bytes(up)} up, {_bytes(down)} down and {once.seconds:.3f} s, once."


def _rehearsal(plan: Plan, found: Learned, client: SumCost, once: SumCost | None) -> str:
    """How long the run takes on this machine."""
    workers = min(plan.recipe.runtime.workers, processors())
    server = of_server(_of_a_round(plan, found.trained))
    rounds, before = _rounds(plan, found, client.seconds, server.seconds), _count(plan, found, once)
    largest, whole = rounds[-1], sum(each.wall(workers) for each in [*rounds, *before])
    parts = [
        *(f"the count {duration(each.wall(workers))}" for each in before),
        f"{len(rounds)} round{'s' if len(rounds) > 1 else ''}",
    ]
    left_out = "pre-training, what a base learns from the count, evaluation" if before else "pre-training, evaluation"
    return (
        f"A rehearsal here takes about {duration(largest.wall(workers))} for a round of {largest.clients:,} "
        f"clients and {duration(whole)} in all ({', '.join(parts)}), with {workers} "
        f"{'worker' if workers == 1 else 'workers'} and nobody else at the processors: worked out of the seconds above "
        f"and of the server's {largest.server:.2f} s a round (with {server.made_up:,} clients, measured here just now"
        f"{'' if server.made_up == largest.clients else ', and worked out from those'}). "
        f"Without {left_out} and what goes to disk and to processes."
    )


def _rounds(plan: Plan, found: Learned, client: float, server: float) -> list[Sum]:
    schedule = plan.agreement.schedule
    sizes = [schedule.participants(i) for i in range(schedule.rounds)]
    return rounds_of(Sum(sizes[-1], schedule.cohort, found.round.seconds, client, server), sizes)


def _count(plan: Plan, found: Learned, client: SumCost | None) -> list[Sum]:
    """Empty where nothing is counted."""
    if not (found.count and client and plan.counting):
        return []
    clients, server = plan.counting.clients, of_server(_of_the_count(plan))
    return [Sum(clients, clients, found.count.seconds, client.seconds, server.seconds)]


def _bytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


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
