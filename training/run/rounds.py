"""The rounds of a run, as its server goes through them: invite, sum, step, account, checkpoint, measure.

Knows an exchange and not who carries it: processes of this machine, or machines of others.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chatfed.types import ClientId, FloatVector

from ..base.evaluation import Evaluation, Scores
from ..engines.carrier import Carrier
from ..parties.aggregator import ServerState, apply_update, follow_quantile, invited, take_back
from ..parties.ledgers import check_ledgers, spent
from ..parties.rounds import Outcome, Standing, commit
from ..parties.session import Session
from ..plan.claims import Spent
from .canaries import keep_start, keep_sum
from .display import Display, RoundBar
from .prepared import Clock, Prepared
from .summed import Took, summed, told

MEASURED = ("bits_per_byte", "top1", "top3", "perplexity")  # on held-out dialogues, after each round


@dataclass
class Rounds:
    """The rounds of a run that are left, as its server goes through them: a checkpoint after each."""

    prepared: Prepared
    clients: Carrier
    base_digest: bytes
    before: Evaluation  # of the base, on held-out dialogues
    clock: Clock
    display: Display
    state: ServerState
    metrics: list[dict[str, Any]]  # one object a finished round
    measured: Callable[[ServerState], Scores | None]  # what held-out dialogues say of a model
    before_round: Callable[[int], None] = lambda number: None
    before_session: Callable[[Session], None] = lambda session: None  # what it may cost clients is on record
    cost: Spent = field(init=False)  # by all ledgers
    refused: dict[ClientId, str] = field(default_factory=dict)  # the last round, and why
    standing: Standing = field(default_factory=Standing)  # keys of the rounds before

    def run(self) -> Scores | None:
        """Goes through them, and returns what held-out dialogues say after the last; None where none was left."""
        self.begin()
        after = None
        with self.display.rounds(self.of, self.state.round - self._unmeasured()) as bar:
            while self.left:
                after = self.go_on(bar)
        self.prepared.folder.write_metrics(self.metrics)
        return after

    def go_on(self, bar: RoundBar) -> Scores | None:
        """One more round to its end, or the measurement of one that was stopped before it. Raises Stopped."""
        self.clients.watch(bar.reply)
        if self._unmeasured():
            self._commit_again()
        else:
            self.before_round(self.state.round)
            with self.clock.phase("federate"):
                session = self.invite(self.state.round)
                self.before_session(session)
                outcome, took = self.sum(session)
                self.step(session, outcome)
                self.account(session, outcome, took)
                self.checkpoint()  # at once: a round is never repeated
                commit(session, took.timed(self.clients), outcome.survivors)
            self._report_faults(outcome)
        after = self.measure()
        self._report(bar.finish())
        return after

    def _commit_again(self) -> None:
        """Of a round that was stopped between its checkpoint and its measurement."""
        number, agreement = self.state.round - 1, self.prepared.plan.agreement
        commit(self.invite(number), self.clients, self.prepared.folder.settled(number, agreement.digest))

    @property
    def left(self) -> bool:
        """Whether there is a round to make, or one to measure."""
        return self.state.round < self.of or self._unmeasured()

    @property
    def of(self) -> int:
        """Rounds of the run."""
        return self.prepared.plan.agreement.schedule.rounds

    def begin(self) -> None:
        """What the ledgers hold now. Raises LedgerError where they hold less than the run has recorded."""
        folder, cost = self.prepared.folder, self._spent(self.prepared.charged)
        check_ledgers(folder.charges(), cost)
        if not self.state.round:
            keep_start(folder, self.prepared.plan.recipe, self.state.weights)
            self.checkpoint()
        else:
            self.display.say(f"Going on after round {self.state.round}.")
        self.cost = cost

    def _spent(self, clients: Iterable[ClientId]) -> Spent:
        return spent(self.prepared.homes, clients, self.prepared.plan.terms)

    def _unmeasured(self) -> bool:
        """Whether the run was stopped between a round's end and its evaluation."""
        row = self.metrics[-1] if self.metrics else {"not_measured": True}
        return row.get("bits_per_byte") is None and not row.get("not_measured")

    def invite(self, number: int) -> Session:
        """Whom the round of that number, from 0, asks; and from where it starts."""
        agreement = self.prepared.plan.agreement
        asked = invited(self.prepared.clients, number, agreement.schedule)
        return Session(
            self.prepared.run,
            secrets.token_bytes(16),
            number,
            agreement.digest,
            tuple(asked),
            self.state.weights,
            self.state.clip_norm,
            tuple(asked.values()),
            given=self.prepared.given(self.prepared.run, asked),
        )

    def sum(self, session: Session) -> tuple[Outcome, Took]:
        """What the secure sum tells, and what it took. Raises Stopped where there is none."""
        agreement, name = self.prepared.plan.agreement, f"Round {session.round + 1}"
        digest, number = self.base_digest, session.round
        return summed(self.prepared, agreement, session, self.clients, digest, number, name, self.standing)

    def step(self, session: Session, outcome: Outcome) -> None:
        """The server's optimiser on what the sum told, and the clip norm of the next round."""
        plan, folder = self.prepared.plan, self.prepared.folder
        keep_sum(folder, plan.recipe, f"round-{session.round:03d}", outcome.mean, outcome.survivors)
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

    def account(self, session: Session, outcome: Outcome, took: Took) -> None:
        """What the round cost by its clients' ledgers, as its line of metrics.jsonl, and on record."""
        self.cost = self.cost.with_later(self._spent(session.cohort))
        self.metrics.append(self._row(outcome, took))
        self.prepared.folder.keep_charges(self.cost.participations)

    def checkpoint(self) -> None:
        """The server as it is now, on disk."""
        self.prepared.folder.checkpoint(self.state, self.clock.seconds, self.metrics, self.base_digest)

    def measure(self) -> Scores | None:
        """What held-out dialogues say of the model after the last round; None where they bear no measurement more."""
        with self.clock.phase("evaluate"):
            after = self.measured(self.state)
        found = after.result().to_json() if after else dict.fromkeys(MEASURED)
        self.metrics[-1] |= {name: found[name] for name in MEASURED} | ({} if after else {"not_measured": True})
        if after and after.within is not None:
            self.metrics[-1]["bits_within"] = after.within
        self.checkpoint()
        return after

    def _row(self, outcome: Outcome, took: Took) -> dict[str, Any]:
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
            "seconds": took.seconds,
            "step_seconds": took.steps,
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
        self.refused = dict(self.clients.refusals)
        for line in told(outcome, self.refused, self.prepared.apart):
            self.display.say(line)
