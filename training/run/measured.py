"""What all clients' held-out dialogues say of a model, where no machine holds them: a secure sum of what each measures.

Each sum is made once: what it told stays in the run's folder.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.audit.comparison import Comparison, compare_noisy, unlike
from chatfed.privacy.ledger import BudgetExceeded

from ..base.evaluation import Scores
from ..durable import from_json, read_if_there, to_json, write_atomically
from ..engines.carrier import Carrier
from ..parties.aggregator import ServerState, invited
from ..parties.homes import Homes
from ..parties.ledgers import charge_invited, spent
from ..parties.rounds import Standing, commit
from ..parties.session import Session, measuring_run, round_context
from ..plan.claims import Spent
from ..plan.upload import NoisyUpload
from ..plan.variants import MEASURED_UNITS
from .prepared import Prepared
from .summed import summed, told

BEFORE = -2  # what the run's folder calls the sum before the first round; that after round 1 is -3, and so on


@dataclass
class Measuring:
    """The sums of a run's measurements, one for each model."""

    prepared: Prepared
    clients: Carrier
    base_digest: bytes
    standing: Standing
    books: Homes  # of what members may have charged for it
    say: Callable[[str], None] = lambda line: None  # to a person

    def __call__(self, state: ServerState) -> Scores | None:
        """What is measured of the model after `state.round` rounds; None where budgets bear no measurement more.

        Raises Stopped where there is no sum.
        """
        found = self._known()
        if (name := str(state.round)) not in found:
            first = {key: sums for key, sums in found.items() if key == "0"}  # and of the others the latest
            try:
                summed_up = self._summed(state)
            except BudgetExceeded:
                return None
            write_atomically(self._file, to_json(first | {name: summed_up}).encode(), 0o644)
            found = self._known()
        return self._scores(found[name])

    def latest(self) -> tuple[int, Scores]:
        """The last model that was measured, by its rounds, and what was found."""
        found = self._known()
        last = max(found, key=int)
        return int(last), self._scores(found[last])

    def known(self, state: ServerState) -> bool:
        """Whether that was measured before, and nobody has to be asked."""
        return str(state.round) in self._known()

    def compared(self, before: Scores, after: Scores, rounds: int) -> Comparison:
        """What became of the model in so many rounds."""
        found = self._known()
        by = found[str(rounds)]["by"]
        if after.noise is None or found["0"]["by"] != by:
            return unlike(before.sums, after.sums)
        return compare_noisy(before.sums, after.sums, after.noise)

    def _scores(self, found: dict[str, Any]) -> Scores:
        """What a sum told, with how much noise of its survivors is in it."""
        agreement = self.prepared.plan.measuring
        assert agreement is not None, "whoever is measured holds dialogues out"
        code = agreement.sums.codec.upload(agreement.schedule.cohort, agreement.cells)
        assert isinstance(code, NoisyUpload), "measurements have noise"
        share = code.mechanism.std * code.clip_norm / code.scale
        return Scores(np.array(found["sums"]), share * math.sqrt(len(found["by"])) * np.array(MEASURED_UNITS))

    def cost(self) -> Spent:
        """What measuring has cost held-out dialogues, by the members' invitations."""
        terms = self.prepared.plan.measuring_terms
        assert terms is not None, "it goes with the agreement"
        return spent(self.books, self.prepared.charged, terms)

    def close(self, state: ServerState) -> None:
        """Tells the clients that nobody will ask for the last sum again; once more where the run was stopped since."""
        session, agreement = self._session(state), self.prepared.plan.measuring
        assert agreement is not None, "looked at before"
        settled = self.prepared.folder.settled(BEFORE - state.round, agreement.digest)
        commit(session, self.clients, settled)

    @property
    def _file(self) -> Path:
        return self.prepared.folder.state / "measured.json"

    def _known(self) -> dict[str, dict[str, Any]]:
        return from_json(read_if_there(self._file) or b"{}")  # type: ignore[no-any-return]

    def _summed(self, state: ServerState) -> dict[str, Any]:
        agreement, session = self.prepared.plan.measuring, self._session(state)
        assert agreement is not None, "whoever is measured holds dialogues out"
        number, name = BEFORE - state.round, f"Measuring the model after {state.round} rounds"
        terms = self.prepared.plan.measuring_terms
        assert terms is not None, "it goes with the agreement"
        charge_invited(self.books, session, round_context(session, self.base_digest), agreement, terms)
        outcome, _ = summed(
            self.prepared, agreement, session, self.clients, self.base_digest, number, name, self.standing
        )
        for line in told(outcome, self.clients.refusals, self.prepared.apart):
            self.say(f"  {name[0].lower()}{name[1:]}:{line[1:]}")
        summed_up = outcome.mean * np.float32(len(outcome.survivors))
        return {"sums": Scores.of_noisy(summed_up).sums.tolist(), "by": outcome.survivors}

    def _session(self, state: ServerState) -> Session:
        agreement = self.prepared.plan.measuring
        assert agreement is not None, "whoever is measured holds dialogues out"
        asked = tuple(invited(self.prepared.clients, state.round, agreement.schedule))
        run = measuring_run(agreement.digest)
        given = self.prepared.given(run, asked)
        return Session(run, secrets.token_bytes(16), state.round, agreement.digest, asked, state.weights, given=given)
