"""What canaries cost the run that they are in: its rounds gone through again without them, and both models measured.

In the rounds' sums alone. What it leaves out: canaries of the count before them, canary dialogues at clients, the place
of a cohort that a client of canaries took, and what clients would have given to other models. Which of the directions
each round had sampled nobody knows, so that each is taken off at the rate of sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chatfed.audit.canary import coins, together
from chatfed.audit.comparison import Interval, compare
from chatfed.types import FloatVector

from ..base.canaries import ROUNDS, Canaries
from ..base.evaluation import Evaluation, Scores, spread
from ..run.canaries import KeptSum
from .audited import Audited
from .guesses import in_canaries, there
from .known import weights_before

MOST_NATS = 700.0  # of a word: e to the power of more is no float


@dataclass(frozen=True)
class Cost:
    """Of the directions in the rounds, on held-out dialogues."""

    with_them: Evaluation
    without: Evaluation
    bits: Interval  # per byte, with them less without
    dialogues: int

    @property
    def perplexity(self) -> float:
        """How much larger it is with them: 0.01 is 1 %."""
        return self._larger(self.bits.difference)

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Where that lies in 95 of 100 choices of held-out clients; None: too few to tell."""
        low, high = (None if end is None else self._larger(end) for end in (self.bits.low, self.bits.high))
        return low, high

    def _larger(self, bits: float) -> float:
        return math.expm1(min(bits * math.log(2) * self.without.bytes / self.without.words, MOST_NATS))


def cost(run: Audited, planted: Canaries) -> Cost | None:
    """Both models on as many held-out dialogues as the run is measured on; None where those have no word."""
    learner, rounds = run.learner(), run.plan.agreement.schedule.rounds
    measured = spread(len(run.others), run.plan.recipe.runtime.evaluation_dialogues)
    means: tuple[Callable[[KeptSum], FloatVector], ...] = (lambda kept: kept.mean, without_directions(run, planted))
    scores: list[Scores] = [learner.evaluate(weights_before(run, rounds, mean), measured) for mean in means]
    if not scores[0].sums[:, 2].any():
        return None
    bits = compare(scores[1].sums, scores[0].sums, run.others.owners(measured)).bits_per_byte
    return Cost(scores[0].result(), scores[1].result(), bits, len(measured))


def without_directions(run: Audited, planted: Canaries) -> Callable[[KeptSum], FloatVector]:
    """A kept sum's mean, float32[d], less what the directions in it are expected to make of it."""
    privacy, coin = run.plan.learning.privacy, coins(planted.seed, ROUNDS, planted.count)
    drawn: dict[bytes, FloatVector] = {}  # the last ones: where one client gives all, each round's are the same

    def mean(kept: KeptSum) -> FloatVector:
        if not kept.canaries:
            return kept.mean
        who = coin & there(run.plan, planted, kept.canaries)
        if who.tobytes() not in drawn:
            drawn.clear()
            drawn[who.tobytes()] = together(planted.seed, ROUNDS, np.flatnonzero(who).tolist(), len(kept.mean))
        size = privacy.sampling_rate / in_canaries(privacy, kept.survivors)
        return (kept.mean - np.float32(size) * drawn[who.tobytes()]).astype(np.float32)

    return mean
