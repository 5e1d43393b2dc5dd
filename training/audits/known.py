"""What an attacker that knows everybody's dialogues takes off a sum before it looks for canaries.

The guarantee holds against such a one: what is left is noise, which dialogues a round has sampled, and the canaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.rounding import add_clipped
from chatfed.types import ClientId, FloatVector

from ..base.canaries import NAME
from ..base.learner import Learner
from ..parties.aggregator import apply_update, initial_state, invited
from ..plan.plan import Counting, Plan
from ..plan.upload import DialoguesUpload, Part
from ..run.canaries import KeptSum, kept_or_raise, kept_start, kept_sum
from .audited import Audited

COUNT_SUM = "count"


def without_the_known(run: Audited, names: Iterable[str]) -> Iterator[tuple[str, FloatVector]]:
    """For each sum by its name, what everybody's dialogues make of it in lengths of a dialogue's part: float32[d].

    Left out are sums that somebody has dropped out of (who it was is not kept), and runs that protect whole clients or
    whose clients add all the noise themselves: there sums are looked at as they are.
    """
    privacy = run.plan.claim.privacy
    if privacy.unit is Unit.CLIENT or privacy.noise is Noise.LOCAL:
        return
    for name in names:
        kept, agreed = kept_sum(run.folder, name), _agreed(run.plan, name)
        number = 0 if name == COUNT_SUM else int(name.rpartition("-")[2])
        asked = invited(sorted(run.members.clients), number, agreed.agreement.schedule)
        if kept is None or not kept.canaries or kept.survivors != len(asked):
            continue
        yield name, _honest(run, name, kept, [each for each in asked if each != NAME])


def _agreed(plan: Plan, name: str) -> Plan | Counting:
    if name != COUNT_SUM:
        return plan
    assert plan.counting is not None, "there is a count where its sum was kept"
    return plan.counting


def _honest(run: Audited, name: str, kept: KeptSum, clients: list[ClientId]) -> FloatVector:
    """The expected sum over samples: each dialogue's part, clipped as its client does, at the rate of sampling."""
    agreed = _agreed(run.plan, name)
    how = agreed.learning
    code = agreed.agreement.sums.codec.upload(kept.survivors, len(kept.mean))
    scale = code.scale if isinstance(code, DialoguesUpload) else 2.0**20
    every = replace(how, privacy=replace(how.privacy, sampling_rate=1.0, noise=Noise.DISTRIBUTED))
    learner = run.learner(every, counting=name == COUNT_SUM)
    weights = learner.initial if name == COUNT_SUM else weights_before(run, int(name.rpartition("-")[2]))
    steps = np.zeros(len(kept.mean), np.int64)
    for client in clients:
        for part in _parts(learner, name, weights, run, client, len(steps)):
            add_clipped(steps, part, how.privacy.clip_norm, scale)
    return (steps * (how.privacy.sampling_rate / scale)).astype(np.float32)


def _parts(
    learner: Learner, name: str, weights: FloatVector, run: Audited, client: ClientId, size: int
) -> Iterable[Part]:
    mine = run.members.clients[client]
    return learner.count(mine, size) if name == COUNT_SUM else learner.learn(weights, mine)


def _as_kept(kept: KeptSum) -> FloatVector:
    return kept.mean


def weights_before(run: Audited, number: int, mean: Callable[[KeptSum], FloatVector] = _as_kept) -> FloatVector:
    """The server's weights after so many rounds, gone through again from the kept sums. Raises RunError.

    mean: what the server's steps take of a sum, float32[d].
    """
    state, schedule = initial_state(kept_start(run.folder)), run.plan.agreement.schedule
    for earlier in range(number):
        state = apply_update(state, mean(kept_or_raise(run.folder, f"round-{earlier:03d}")), schedule)
    return state.weights
