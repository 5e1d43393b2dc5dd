"""What all clients' held-out dialogues say of a model, where no machine holds them: a secure sum of what each measures.

Each sum is made once: what it told stays in the run's folder.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.audit.comparison import Comparison, compare_blocks, compare_noisy, unlike

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
from .summed import summed

BEFORE = -2  # what the run's folder calls the sum before the first round; that after round 1 is -3, and so on


@dataclass
class Measuring:
    """The sums of a run's measurements, one for each model."""

    prepared: Prepared
    clients: Carrier
    base_digest: bytes
    standing: Standing
    books: Homes  # of what members may have charged for it
    last: Session | None = None

    def __call__(self, state: ServerState) -> Scores:
        """What is measured of the model after `state.round` rounds. Raises Stopped where there is no sum."""
        found = self._known()
        if (name := str(state.round)) not in found:
            first = {key: sums for key, sums in found.items() if key == "0"}  # and of the others the latest
            write_atomically(self._file, to_json(first | {name: self._summed(state)}).encode(), 0o644)
            found = self._known()
        return Scores(np.array(found[name]["sums"]))

    def compared(self, before: Scores, after: Scores, state: ServerState) -> Comparison:
        """What became of the model since before the first round."""
        agreement, found = self.prepared.plan.measuring, self._known()
        by = found[str(state.round)]["by"]
        if agreement is None or found["0"]["by"] != by:
            return unlike(before.sums, after.sums)
        if agreement.exact:
            return compare_blocks(before.sums, after.sums)
        code = agreement.sums.codec.upload(agreement.schedule.cohort, agreement.cells)
        assert isinstance(code, NoisyUpload), "what is not exact has noise"
        step = code.clip_norm / code.scale
        noise = code.mechanism.std * step * math.sqrt(len(by)) * np.array(MEASURED_UNITS)
        return compare_noisy(before.sums, after.sums, noise)

    def cost(self) -> Spent:
        """What measuring has cost held-out dialogues, by the members' invitations."""
        terms = self.prepared.plan.measuring_terms
        assert terms is not None, "it goes with the agreement"
        return spent(self.books, self.prepared.clients, terms)

    def close(self) -> None:
        """Tells the clients that nobody will ask for the last sum again."""
        if self.last:
            commit(self.last, self.clients)

    @property
    def _file(self) -> Path:
        return self.prepared.folder.state / "measured.json"

    def _known(self) -> dict[str, dict[str, Any]]:
        return from_json(read_if_there(self._file) or b"{}")  # type: ignore[no-any-return]

    def _summed(self, state: ServerState) -> dict[str, Any]:
        agreement = self.prepared.plan.measuring
        assert agreement is not None, "whoever is measured holds dialogues out"
        asked = tuple(invited(self.prepared.clients, state.round, agreement.schedule))
        run = measuring_run(agreement.digest)
        self.last = Session(run, secrets.token_bytes(16), state.round, agreement.digest, asked, state.weights)
        number, name = BEFORE - state.round, f"Measuring the model after {state.round} rounds"
        terms = self.prepared.plan.measuring_terms
        assert terms is not None, "it goes with the agreement"
        charge_invited(self.books, self.last, round_context(self.last, self.base_digest), agreement, terms)
        outcome, _ = summed(
            self.prepared, agreement, self.last, self.clients, self.base_digest, number, name, self.standing
        )
        summed_up = outcome.mean * np.float32(len(outcome.survivors))
        scores = Scores.of_blocks(summed_up) if agreement.exact else Scores.of_noisy(summed_up)
        return {"sums": scores.sums.tolist(), "by": outcome.survivors}
