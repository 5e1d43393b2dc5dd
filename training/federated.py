"""The main job: from dialogues to a model that learned privately, and a folder that says what was done and what it
cost.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from chatfed.audit.comparison import compare
from chatfed.secagg.messages import ProtocolError
from chatfed.types import ChatfedError, FloatVector

from .base.evaluation import Evaluation, Scores
from .base.pretrain import about_pretraining
from .base.tokens import open_tokens
from .durable import Stopped
from .engines.simulation import Dropouts, Simulation, Workplace, simulation
from .parties.aggregator import ServerState, apply_update, follow_quantile, initial_state, invited, take_back
from .parties.ledgers import check_ledgers, spent
from .parties.rounds import Outcome, commit, run_round
from .parties.session import Session
from .plan.claims import Spent
from .plan.recipe import Recipe, without_noise
from .plan.terms import check_sums
from .plan.upload import coefficients
from .run.display import Display
from .run.prepared import Clock, Prepared, prepare
from .run.release import publish, write_page
from .run.run_folder import Begun, RunFolder

MEASURED = ("bits_per_byte", "top1", "top3", "perplexity")  # on held-out dialogues, after each round


def federate(
    recipe: Recipe, folder: RunFolder, run: bytes, display: Display, dropouts: Callable[[int], Dropouts] | None = None
) -> dict[str, Any]:
    """Runs or goes on with the run in `folder` to its end and returns its summary. Raises ChatfedError."""
    stored = folder.latest()
    clock = Clock(dict(stored.seconds) if stored else {})
    prepared = prepare(recipe, folder, run, display, clock)
    recipe = prepared.recipe
    place = Workplace(
        recipe,
        prepared.terms,
        prepared.base,
        folder.state / "private",
        folder.state / "held-out",
        folder.homes,
        folder.roster if prepared.roster else None,
    )
    with simulation(place) as clients:
        base_digest, weights, parameters = clients.facts()
        if stored and stored.base != base_digest:
            raise ChatfedError(
                f"{prepared.base} is not the base model that this run began with: bring that back, or start anew."
            )
        check_sums(recipe, prepared.terms, len(prepared.clients), len(weights))
        moving = recipe.privacy.clip_norm if recipe.privacy.clip_quantile else 0.0
        state = stored.state if stored else initial_state(weights, moving)
        metrics = stored.metrics if stored else []
        with clock.phase("evaluate"):
            before = clients.evaluate(weights, prepared.held_out)
        base = before.result()
        display.say(_opening(prepared, base, parameters, len(weights)))
        state, after = _rounds(prepared, clients, state, metrics, base_digest, base, clock, display, dropouts)
        if after is None:
            after = clients.evaluate(state.weights, prepared.held_out)
        clock.peak.look()
    owners = open_tokens(folder.state / "held-out").owners(prepared.held_out)
    facts: dict[str, Any] = {
        "clients": len(prepared.clients),
        "rounds": state.round,
        "parameters": parameters,
        "trainable_parameters": len(weights),
        "peak_memory_mib": clock.peak.to_json(),
        "pretraining": about_pretraining(prepared.base),
        "comparison": compare(before.sums, after.sums, owners).to_json(),
    }
    return publish(prepared, state, metrics, base, after.result(), facts, clock)


def _rounds(
    prepared: Prepared,
    clients: Simulation,
    state: ServerState,
    metrics: list[dict[str, Any]],
    base_digest: bytes,
    before: Evaluation,
    clock: Clock,
    display: Display,
    dropouts: Callable[[int], Dropouts] | None,
) -> tuple[ServerState, Scores | None]:
    """The rounds that are left, a checkpoint after each."""
    recipe, folder, after = prepared.recipe, prepared.folder, None
    plan = recipe.federation
    cost = spent(folder.homes, prepared.clients, prepared.terms)
    if not state.round:
        folder.checkpoint(state, clock.seconds, metrics, base_digest)
    else:
        check_ledgers(folder.charges(), cost)
        display.say(f"Going on after round {state.round}.")
    with display.rounds(plan.rounds, state.round - _unmeasured(metrics)) as bar:
        clients.on_reply = bar.reply
        while state.round < plan.rounds or _unmeasured(metrics):
            if not _unmeasured(metrics):
                clients.dropouts = dropouts(state.round) if dropouts else {}
                with clock.phase("federate"):
                    session, outcome, seconds = _one_round(prepared, clients, state, base_digest)
                    state, mean = _mean(recipe, state, session, outcome)
                    state = apply_update(state, mean, plan)
                    if outcome.within is not None:
                        clip = follow_quantile(state.clip_norm, outcome.within, recipe.privacy.clip_quantile)
                        state = replace(state, clip_norm=clip)
                    cost = cost.with_later(spent(folder.homes, session.cohort, prepared.terms))
                    metrics.append(_row(prepared, state, outcome, cost, seconds))
                    folder.keep_charges(cost.participations)
                    folder.checkpoint(state, clock.seconds, metrics, base_digest)  # at once: a round is never repeated
                    commit(session, clients)
                _report_faults(display, clients, outcome)
            with clock.phase("evaluate"):
                after = clients.evaluate(state.weights, prepared.held_out)
            found = after.result().to_json()
            metrics[-1] |= {name: found[name] for name in MEASURED}
            folder.checkpoint(state, clock.seconds, metrics, base_digest)
            left, budget = bar.finish(), recipe.privacy.budget if recipe.privacy.noise != "none" else 0.0
            display.round_line(metrics[-1], plan.rounds, budget, before.bits_per_byte, left)
    folder.write_metrics(metrics)
    return state, after


def _mean(recipe: Recipe, state: ServerState, session: Session, outcome: Outcome) -> tuple[ServerState, FloatVector]:
    """The mean of the updates that began in this round, as far as the sum tells."""
    if recipe.federation.bands == 1:
        return state, outcome.mean
    lags = dict(zip(session.cohort, session.since, strict=True))
    began = sum(lags[name] == 0 for name in outcome.survivors)
    total = outcome.mean * np.float32(len(outcome.survivors))
    state, begun = take_back(state, total, coefficients(recipe))
    return state, begun / np.float32(max(1, began))


def _unmeasured(metrics: list[dict[str, Any]]) -> bool:
    """Whether the run was stopped between a round's end and its evaluation."""
    return bool(metrics) and metrics[-1]["bits_per_byte"] is None


def _one_round(
    prepared: Prepared, clients: Simulation, state: ServerState, base_digest: bytes
) -> tuple[Session, Outcome, float]:
    started, attempt = time.monotonic(), secrets.token_bytes(16)
    asked = invited(prepared.clients, state.round, prepared.recipe.federation)
    start = (prepared.recipe.digest(), tuple(asked), state.weights, state.clip_norm, tuple(asked.values()))
    session = Session(prepared.run, attempt, state.round, *start)
    try:
        outcome = run_round(
            session,
            prepared.recipe,
            base_digest,
            clients,
            prepared.folder.settled(state.round),
            lambda survivors: prepared.folder.settle(state.round, survivors),
            roster=prepared.roster,
            noise_multiplier=prepared.terms.noise_multiplier,
        )
        return session, outcome, time.monotonic() - started
    except ProtocolError as error:
        why = f" One client said: {next(iter(clients.refusals.values()))}" if clients.refusals else ""
        raise Stopped(
            f"Round {state.round + 1} ended without a sum: {error}.{why} Go on with --resume {prepared.folder.path}"
        ) from None


def _row(prepared: Prepared, state: ServerState, outcome: Outcome, cost: Spent, seconds: float) -> dict[str, Any]:
    """A finished round's line of metrics.jsonl; what held-out dialogues say of it comes later."""
    private = prepared.terms.mechanism is not None
    return {
        "round": state.round,
        "cohort": prepared.recipe.federation.participants(state.round - 1),
        "survivors": len(outcome.survivors),
        "dropped": {step.name.lower(): len(who) for step, who in outcome.dropped.items()},
        "epsilon_max": cost.most if private else None,
        "epsilon_mean": cost.mean(len(prepared.clients)) if private else None,
        "charges": cost.charges,
        **dict.fromkeys(MEASURED),
        "seconds": seconds,
        "bytes_up": outcome.bytes_up,
        "update_norm": float(np.linalg.norm(outcome.mean)),
        **({"clip_norm_next": state.clip_norm} if state.clip_norm else {}),
    }


def _report_faults(display: Display, clients: Simulation, outcome: Outcome) -> None:
    for fault in outcome.faults:
        display.say(f"  left out: {fault}")
    for reason in list(clients.refusals.values())[:3]:
        display.say(f"  refused: {reason}")


def _opening(prepared: Prepared, before: Evaluation, parameters: int, trainable: int) -> str:
    noise = (
        f"noise multiplier {prepared.terms.noise_multiplier:.3f}"
        if prepared.terms.mechanism
        else "no noise, and so no guarantee"
    )
    return (
        f"{len(prepared.clients)} clients; {parameters:,} parameters, "
        f"{trainable:,} of them "
        f"trained; {noise}. Before any private dialogue, held-out text takes {before.bits_per_byte:.3f} bits a byte."
    )


def run_with_reference(begun: Begun, folder: RunFolder, display: Display) -> dict[str, Any]:
    """The run, and if that is wanted the same run without noise beside it, in `without-noise/` of its folder."""
    summary = federate(begun.recipe, folder, begun.run, display)
    recipe = folder.begun().recipe  # as the data has completed it
    if not begun.reference:
        return summary
    display.say("The same run without noise, for comparison only: its model has no guarantee.")
    beside = RunFolder(folder.path / "without-noise")
    bare = without_noise(replace(recipe, runtime=replace(recipe.runtime, out=str(beside.path))))
    beside.sweep()
    bare_run = beside.begun() if (beside.path / "recipe.toml").exists() else beside.begin(bare)
    bare_summary = federate(bare, beside, bare_run.run, display)
    summary["reference"] = bare_summary["after"]
    folder.write_json("summary.json", summary)
    write_page(folder, summary, folder.read_json("privacy.json"), folder.read_metrics())
    return summary
