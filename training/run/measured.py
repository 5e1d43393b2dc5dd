"""What all clients' held-out dialogues say of a model, where no machine holds them: a secure sum of what each measures.

Each sum is made once: what it told stays in the run's folder.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.evaluation import Scores
from ..durable import from_json, read_if_there, to_json, write_atomically
from ..engines.carrier import Carrier
from ..parties.aggregator import ServerState, invited
from ..parties.rounds import Standing, commit
from ..parties.session import Session
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
    last: Session | None = None

    def __call__(self, state: ServerState) -> Scores:
        """What is measured of the model after `state.round` rounds. Raises Stopped where there is no sum."""
        found = self._known()
        if (name := str(state.round)) not in found:
            first = {key: sums for key, sums in found.items() if key == "0"}  # and of the others the latest
            write_atomically(self._file, to_json(first | {name: self._summed(state).sums.tolist()}).encode(), 0o644)
            found = self._known()
        return Scores(np.array(found[name]))

    def close(self) -> None:
        """Tells the clients that nobody will ask for the last sum again."""
        if self.last:
            commit(self.last, self.clients)

    @property
    def _file(self) -> Path:
        return self.prepared.folder.state / "measured.json"

    def _known(self) -> dict[str, list[list[float]]]:
        return from_json(read_if_there(self._file) or b"{}")  # type: ignore[no-any-return]

    def _summed(self, state: ServerState) -> Scores:
        agreement = self.prepared.plan.measuring
        assert agreement is not None, "whoever is measured holds dialogues out"
        run = hashlib.sha256(b"measured" + self.prepared.run).digest()[:16]  # rounds have the same numbers
        asked = tuple(invited(self.prepared.clients, state.round, agreement.schedule))
        self.last = Session(run, secrets.token_bytes(16), state.round, agreement.digest, asked, state.weights)
        number, name = BEFORE - state.round, f"Measuring the model after {state.round} rounds"
        outcome, _ = summed(
            self.prepared, agreement, self.last, self.clients, self.base_digest, number, name, self.standing
        )
        return Scores.of_blocks(outcome.mean * np.float32(len(outcome.survivors)))
