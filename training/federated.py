"""The main job: from dialogues to a model that learned privately, and a folder that says what was done and its cost.

Prepare; then in each round invite, sum, step, account, checkpoint and measure; then publish.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chatfed.audit.comparison import compare
from chatfed.types import ClientId, FloatVector, IntVector

from .base.evaluation import Evaluation, Scores
from .base.pretrain import about_pretraining
from .base.tokens import open_tokens
from .engines.simulation import Dropouts, Simulation, simulation
from .parties.aggregator import ServerState, apply_update, follow_quantile, initial_state, invited, take_back
from .parties.homes import await_sole_use
from .parties.ledgers import check_ledgers, spent
from .parties.rounds import Outcome, Standing, commit
from .parties.session import Session
from .plan.claims import Spent
from .plan.recipe import Recipe
from .run.counted import counted_base
from .run.display import Display
from .run.prepared import Clock, Prepared, prepare
from .run.release import publish
from .run.run_folder import Checkpoint, RunError, RunFolder
from .run.summed import summed

MEASURED = ("bits_per_byte", "top1", "top3", "perplexity")  # on held-out dialogues, after each round


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
        state = stored.state if stored else initial_state(weights, _moving_clip_norm(prepared))
        metrics = stored.metrics if stored else []
        rounds = Rounds(prepared, clients, digest, before.result(), clock, display, state, metrics)
        after = rounds.run(dropouts) or clients.evaluate(rounds.state.weights, prepared.held_out)
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
        start = counted_base(prepared, count, clients, digest, clock, display)
    return replace(prepared, start=str(start)), before


def _measured(clients: Simulation, weights: FloatVector, prepared: Prepared, clock: Clock) -> Scores:
    with clock.phase("evaluate"):
        return clients.evaluate(weights, prepared.held_out)


def _moving_clip_norm(prepared: Prepared) -> float:
    """Where the clip norm begins that follows a quantile; 0 where it is fixed."""
    return prepared.plan.claim.privacy.clip_norm if prepared.plan.agreement.moving_clip_norm else 0.0


def _opening(prepared: Prepared, before: Evaluation, parameters: int, trainable: int) -> str:
    terms = prepared.plan.terms
    noise = f"noise multiplier {terms.noise_multiplier:.3f}" if terms.mechanism else "no noise, and so no guarantee"
    return (
        f"{len(prepared.clients)} clients; {parameters:,} parameters, {trainable:,} of them "
        f"trained; {noise}. Before any private dialogue, held-out text takes {before.bits_per_byte:.3f} bits a byte."
    )


@dataclass
class Rounds:
    """The rounds of a run that are left, as its server goes through them: a checkpoint after each."""

    prepared: Prepared
    clients: Simulation
    base_digest: bytes
    before: Evaluation  # of the base, on held-out dialogues
    clock: Clock
    display: Display
    state: ServerState
    metrics: list[dict[str, Any]]  # one object a finished round
    cost: Spent = field(init=False)  # by all ledgers
    standing: Standing = field(default_factory=Standing)  # keys of the rounds before

    def run(self, dropouts: Callable[[int], Dropouts] | None = None) -> Scores | None:
        """Goes through them, and returns what held-out dialogues say after the last; None where none was left."""
        self.cost = self._begin()
        schedule, after = self.prepared.plan.agreement.schedule, None
        with self.display.rounds(schedule.rounds, self.state.round - self._unmeasured()) as bar:
            self.clients.on_reply = bar.reply
            while self.state.round < schedule.rounds or self._unmeasured():
                if not self._unmeasured():
                    self.clients.dropouts = dropouts(self.state.round) if dropouts else {}
                    with self.clock.phase("federate"):
                        session = self.invite()
                        outcome, seconds = self.sum(session)
                        self.step(session, outcome)
                        self.account(session, outcome, seconds)
                        self.checkpoint()  # at once: a round is never repeated
                        commit(session, self.clients)
                    self._report_faults(outcome)
                after = self.measure()
                self._report(bar.finish())
        self.prepared.folder.write_metrics(self.metrics)
        return after

    def _begin(self) -> Spent:
        """What the ledgers hold now. Raises LedgerError where they hold less than the run has recorded."""
        folder, cost = self.prepared.folder, self._spent(self.prepared.clients)
        check_ledgers(folder.charges(), cost)
        if not self.state.round:
            self.checkpoint()
        else:
            self.display.say(f"Going on after round {self.state.round}.")
        return cost

    def _spent(self, clients: Iterable[ClientId]) -> Spent:
        return spent(self.prepared.homes, clients, self.prepared.plan.terms)

    def _unmeasured(self) -> bool:
        """Whether the run was stopped between a round's end and its evaluation."""
        return bool(self.metrics) and self.metrics[-1]["bits_per_byte"] is None

    def invite(self) -> Session:
        """Whom the round asks, and from where it starts."""
        agreement = self.prepared.plan.agreement
        asked = invited(self.prepared.clients, self.state.round, agreement.schedule)
        return Session(
            self.prepared.run,
            secrets.token_bytes(16),
            self.state.round,
            agreement.digest,
            tuple(asked),
            self.state.weights,
            self.state.clip_norm,
            tuple(asked.values()),
        )

    def sum(self, session: Session) -> tuple[Outcome, float]:
        """What the secure sum tells, and the seconds that it took. Raises Stopped where there is none."""
        agreement, name = self.prepared.plan.agreement, f"Round {session.round + 1}"
        digest, number = self.base_digest, session.round
        return summed(self.prepared, agreement, session, self.clients, digest, number, name, self.standing)

    def step(self, session: Session, outcome: Outcome) -> None:
        """The server's optimiser on what the sum told, and the clip norm of the next round."""
        plan = self.prepared.plan
        self.state = apply_update(*self._mean(session, outcome), plan.agreement.schedule)
        if outcome.within is not None:
            quantile = plan.claim.privacy.clip_quantile
            clip_norm = follow_quantile(self.state.clip_norm, outcome.within, quantile)
            self.state = replace(self.state, clip_norm=clip_norm)

    def _mean(self, session: Session, outcome: Outcome) -> tuple[ServerState, FloatVector]:
        """The mean of the updates that began in this round, as far as the sum tells."""
        agreement = self.prepared.plan.agreement
        if agreement.schedule.bands == 1:
            return self.state, outcome.mean
        lags = dict(zip(session.cohort, session.since, strict=True))
        began = sum(lags[name] == 0 for name in outcome.survivors)
        total = outcome.mean * np.float32(len(outcome.survivors))
        state, begun = take_back(self.state, total, agreement.sums.codec.coefficients)
        return state, begun / np.float32(max(1, began))

    def account(self, session: Session, outcome: Outcome, seconds: float) -> None:
        """What the round cost by its clients' ledgers, as its line of metrics.jsonl, and on record."""
        self.cost = self.cost.with_later(self._spent(session.cohort))
        self.metrics.append(self._row(outcome, seconds))
        self.prepared.folder.keep_charges(self.cost.participations)

    def checkpoint(self) -> None:
        """The server as it is now, on disk."""
        self.prepared.folder.checkpoint(self.state, self.clock.seconds, self.metrics, self.base_digest)

    def measure(self) -> Scores:
        """What held-out dialogues say of the model after the last round."""
        with self.clock.phase("evaluate"):
            after = self.clients.evaluate(self.state.weights, self.prepared.held_out)
        found = after.result().to_json()
        self.metrics[-1] |= {name: found[name] for name in MEASURED}
        self.checkpoint()
        return after

    def _row(self, outcome: Outcome, seconds: float) -> dict[str, Any]:
        """A finished round's line of metrics.jsonl; what held-out dialogues say of it comes later."""
        plan, state = self.prepared.plan, self.state
        return {
            "round": state.round,
            "cohort": plan.agreement.schedule.participants(state.round - 1),
            "survivors": len(outcome.survivors),
            "dropped": {step.name.lower(): len(who) for step, who in outcome.dropped.items()},
            "epsilon_max": self.cost.most if plan.claim.private else None,
            "epsilon_mean": self.cost.mean(len(self.prepared.clients)) if plan.claim.private else None,
            "charges": self.cost.charges,
            **dict.fromkeys(MEASURED),
            "seconds": seconds,
            "bytes_up": outcome.bytes_up,
            "update_norm": float(np.linalg.norm(outcome.mean)),
            **({"clip_norm_next": state.clip_norm} if state.clip_norm else {}),
        }

    def _report(self, left: str) -> None:
        plan = self.prepared.plan
        budget = plan.claim.privacy.budget if plan.claim.private else 0.0
        rounds = plan.agreement.schedule.rounds
        self.display.round_line(self.metrics[-1], rounds, budget, self.before.bits_per_byte, left)

    def _report_faults(self, outcome: Outcome) -> None:
        for fault in outcome.faults:
            self.display.say(f"  left out: {fault}")
        for reason in list(self.clients.refusals.values())[:3]:
            self.display.say(f"  refused: {reason}")
