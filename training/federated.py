"""The main job: from dialogues to a model that learned privately, and a folder that says what was done and its cost.

Prepare; then in each round invite, sum, step, account, checkpoint and measure; then publish.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from chatfed.audit.comparison import compare
from chatfed.types import FloatVector, IntVector

from .base.evaluation import Evaluation, Scores
from .base.pretrain import about_pretraining
from .base.tokens import open_tokens
from .engines.simulation import Dropouts, Simulation, simulation
from .parties.aggregator import ServerState, initial_state
from .parties.homes import await_sole_use
from .plan.recipe import Recipe
from .run.counted import counted_base
from .run.display import Display
from .run.prepared import Clock, Prepared, prepare
from .run.release import publish
from .run.rounds import Rounds
from .run.run_folder import Checkpoint, RunError, RunFolder


@dataclass(frozen=True, eq=False)
class Ended:
    """A run at its end: what it published, and what was measured on each held-out dialogue."""

    prepared: Prepared
    clock: Clock
    before: Scores
    after: Scores
    owners: IntVector | None  # int64[dialogues], whose each is; None where nobody is named
    summary: dict[str, Any]


def federate(
    recipe: Recipe, folder: RunFolder, run: bytes, display: Display, dropouts: Callable[[int], Dropouts] | None = None
) -> Ended:
    """Runs or goes on with the run in `folder` to its end. Raises ChatfedError."""
    folder.refuse_an_earlier_build()
    await_sole_use(folder.homes)
    stored = folder.latest()
    clock = Clock(dict(stored.seconds) if stored else {})
    prepared = prepare(recipe, folder, run, display, clock)
    with closing(prepared.homes):
        return _federate(prepared, stored, clock, display, dropouts)


def _federate(
    prepared: Prepared,
    stored: Checkpoint | None,
    clock: Clock,
    display: Display,
    dropouts: Callable[[int], Dropouts] | None,
) -> Ended:
    prepared, measured = _after_the_count(prepared, clock, display)
    with simulation(prepared.workplace()) as clients:
        digest, weights, parameters = clients.facts()
        if stored and stored.base != digest:
            raise RunError(
                f"{prepared.begun_with} is not the base model that this run began with: bring that back, or start anew."
            )
        prepared.plan.refuse_unaffordable(len(weights))
        before = measured or _measured(clients, weights, prepared, clock)
        display.say(_opening(prepared, before.result(), parameters, len(weights)))
        state = stored.state if stored else initial_state(weights, prepared.plan.first_clip_norm)
        metrics = stored.metrics if stored else []

        def of_model(state: ServerState) -> Scores:
            return clients.evaluate(state.weights, prepared.held_out)

        def scripted(number: int) -> None:
            clients.dropouts = dropouts(number) if dropouts else {}

        rounds = Rounds(prepared, clients, digest, before.result(), clock, display, state, metrics, of_model, scripted)
        after = rounds.run() or of_model(rounds.state)
        clock.peak.look()
    owners = open_tokens(prepared.folder.state / "held-out").owners(prepared.held_out)
    facts: dict[str, Any] = {
        "clients": len(prepared.clients),
        "rounds": rounds.state.round,
        "parameters": parameters,
        "trainable_parameters": len(weights),
        "peak_memory_mib": clock.peak.to_json(),
        "pretraining": about_pretraining(prepared.base),
        "comparison": compare(before.sums, after.sums, owners).to_json(),
    }
    summary = publish(prepared, rounds.state, metrics, before.result(), after.result(), facts, clock)
    return Ended(prepared, clock, before, after, owners, summary)


def _after_the_count(prepared: Prepared, clock: Clock, display: Display) -> tuple[Prepared, Scores | None]:
    """What rounds begin with where n-grams are counted first, and what was measured on the public base before."""
    count = prepared.plan.counting
    if count is None:
        return prepared, None
    with simulation(prepared.workplace(counting=True)) as clients:
        digest, weights, _ = clients.facts()
        prepared.plan.refuse_unaffordable(len(weights))  # the rounds too: before anything is counted
        before = _measured(clients, weights, prepared, clock)
        start = counted_base(prepared, count, clients, clients.imagine, digest, clock, display)
    return replace(prepared, start=str(start)), before


def _measured(clients: Simulation, weights: FloatVector, prepared: Prepared, clock: Clock) -> Scores:
    with clock.phase("evaluate"):
        return clients.evaluate(weights, prepared.held_out)


def _opening(prepared: Prepared, before: Evaluation, parameters: int, trainable: int) -> str:
    terms = prepared.plan.terms
    noise = f"noise multiplier {terms.noise_multiplier:.3f}" if terms.mechanism else "no noise, and so no guarantee"
    return (
        f"{len(prepared.clients)} clients; {parameters:,} parameters, {trainable:,} of them "
        f"trained; {noise}. Before any private dialogue, held-out text takes {before.bits_per_byte:.3f} bits a byte."
    )
