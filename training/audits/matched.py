"""The best guesser against what a server got: a matched filter, beside the ceiling of one release as it is charged.

Whoever knows the model, all other dialogues and all other clients, and guesses whether one dialogue (or client) was
there, does best by the product of what it saw with what that one adds. In Gaussian noise of deviation z times what one
may add, that filter's area under the ROC curve is q Phi(1 / (z sqrt 2)) + (1 - q) / 2, q the sampling rate,
whatever the model: so a crafted model can come up to the ceiling, and not beyond. Here canaries of
exactly the clip norm stand where a perfect isolating model would put them, sums and uploads are the real clients', and
the area is measured. `ceiling` is the one formula of all parts; what goes into it is the noise that was charged for, or
the noise that is in what is seen: of shared noise one upload has one honest client's share alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from chatfed.audit.properties import Labels
from chatfed.audit.roc import Area, area
from chatfed.privacy.guarantee import Unit
from chatfed.privacy.noise import system_random
from chatfed.types import ClientId, FloatVector

from ..parties.rounds import Exchange
from ..parties.session import Session, Step
from ..plan.upload import NoisyUpload
from .victims import Setting, Victims, names, victims

CANARIES = 8192  # dialogues; half of them are there
TRIALS = 240  # of a client
SURE = 1 - 1e-4  # confidence, of both ends, in what is called open
_LONG = 4.0  # clip norms of a canary before it is clipped


class Seen(StrEnum):
    """What a server got."""

    SUM = "a sum at the floor, with the colluders' noise taken off"
    UPLOAD = "one client's upload, the masks taken off"


@dataclass(frozen=True)
class Filtered:
    """What a matched filter makes of it."""

    seen: Seen
    found: Area
    surely: float  # the area is above this, but for one case in 20,000
    ceiling: float  # area that one release allows, as it is charged
    by_noise: float  # area that the noise in what is seen allows

    def __str__(self) -> str:
        found = self.found
        between = f"{found.low:.3f} to {found.high:.3f}"
        told = f"matched filter {found.value:.3f} ({between}), ceiling of one release {self.ceiling:.3f}"
        share = f", with one share of its noise {self.by_noise:.3f}" if self.by_noise > self.ceiling else ""
        return told + share

    def to_json(self) -> dict[str, object]:
        """Plain values, the same in every part."""
        return {
            **self.found.to_json(),
            "ceiling": self.ceiling,
            "ceiling_of_the_noise_seen": self.by_noise,
            "seen": str(self.seen),
        }


def judged(found: Filtered, setting: Setting) -> bool:
    """Whether noise bounds it: the area is no further above the ceiling than chance has it."""
    return not setting.bare and found.surely <= found.ceiling


def ceiling(noise_multiplier: float, sampling_rate: float = 1.0, steps: int = 1) -> float:
    """Area under the ROC curve of the best guesser against one Gaussian release; 1 without noise.

    Also how often it names the one of two releases that has a known vector of the clip norm in it: each has noise of
    its own, so the scores' difference has deviation sqrt 2 z. Phi(1 / (z sqrt 2)), and a coin for what was not taken:
    of steps in one release, each with that noise, k may have taken it, and k / sqrt(steps) stands for 1.

    >>> round(ceiling(1.0), 4), ceiling(0.0), round(ceiling(1.0, 0.5), 4), round(ceiling(1.0, 0.5, 2), 4)
    (0.7602, 1.0, 0.6301, 0.6811)
    """
    found = 0.0
    for k in range(steps + 1):
        chance = math.comb(steps, k) * sampling_rate**k * (1 - sampling_rate) ** (steps - k)
        apart = k / (noise_multiplier * math.sqrt(2 * steps)) if noise_multiplier else math.inf if k else 0.0
        found += chance * NormalDist().cdf(apart)
    return found


def ceiling_of(setting: Setting, shares: float = 1.0) -> float:
    """The same of a setting's release, of whose noise (its variance) what is seen has so large a part."""
    once, privacy = setting.terms.mechanism, setting.recipe.privacy
    steps = once.steps if once else privacy.local_steps
    return ceiling(setting.terms.noise_multiplier * math.sqrt(shares), privacy.sampling_rate, steps)


def filtered(setting: Setting, seen: Seen, canaries: int = CANARIES, trials: int = TRIALS) -> Filtered:
    """The matched filter on what real clients of a setting gave. Measured once: the same noise is in many attacks."""
    return _filtered(setting.unpinned, seen, canaries, trials)


@lru_cache(maxsize=32)
def _filtered(setting: Setting, seen: Seen, canaries: int, trials: int) -> Filtered:
    unit = setting.recipe.privacy.unit
    labels = np.random.default_rng().random(canaries if unit is Unit.EXAMPLE else trials) < 0.5
    scores = _dialogues(setting, seen, labels) if unit is Unit.EXAMPLE else _clients(setting, seen, labels)
    sides = scores[labels].astype(np.float64), scores[~labels].astype(np.float64)
    shares = 1 / _honest(setting) if seen is Seen.UPLOAD and not setting.local else 1.0
    return Filtered(seen, area(*sides), area(*sides, level=SURE).low, ceiling_of(setting), ceiling_of(setting, shares))


def _honest(setting: Setting) -> int:
    """Clients whose noise is surely in a sum and not known to the server."""
    sums, cohort = setting.agreement.sums, setting.recipe.federation.participants(0)
    return sums.threshold(cohort) - sums.colluders(cohort)


def _dialogues(setting: Setting, seen: Seen, labels: Labels) -> FloatVector:
    """Each canary dialogue of one client has a coordinate of its own, which is its score in what is seen."""
    long, places = np.float32(_LONG * setting.recipe.privacy.clip_norm), np.flatnonzero(labels).tolist()

    def spikes(weights: FloatVector) -> Sequence[FloatVector]:
        return Spikes(places, len(labels), long)

    target = names(1)[0]
    with victims(setting, len(labels), {target: spikes}) as those:
        session = those.session()
        outcome = those.round(session, leaving_out(those, session) if seen is Seen.SUM else None)
        if setting.local:  # whoever else is in a sum adds noise of its own, which is not counted
            return -those.upload(target, session)
        total = outcome.mean.astype(np.float64) * len(outcome.survivors)
        for name in outcome.survivors[1:][: _known(setting, seen)]:
            total -= those.upload(name, session)
        return (-total).astype(np.float32)


def _known(setting: Setting, seen: Seen) -> int:
    """Of how many others the server has what they gave."""
    cohort = setting.recipe.federation.participants(0)
    return cohort if seen is Seen.UPLOAD else setting.agreement.sums.colluders(cohort)


@dataclass(frozen=True)
class Spikes(Sequence[FloatVector]):
    """Gradients float32[dimension], each along a coordinate of its own: made when they are asked for."""

    places: Sequence[int]
    dimension: int
    size: np.float32

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, at: Any) -> Any:
        """Of one place; of a slice nothing is asked."""
        spike = np.zeros(self.dimension, np.float32)
        spike[self.places[at]] = self.size
        return spike


def leaving_out(those: Victims, session: Session) -> Exchange:
    """An exchange in which as many of the last clients as may be missing fall silent before they give anything."""
    away = session.cohort[those.setting.agreement.sums.fewest(len(session.cohort)) :]

    def exchange(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        reached = {name: each for name, each in messages.items() if name not in away or each[0] < Step.SHARES}
        yield from those(reached)

    return exchange


def _clients(setting: Setting, seen: Seen, labels: Labels) -> FloatVector:
    """One canary client, there or not: what is seen of so many sums along the direction in which it moves them."""
    sums, dimension = setting.agreement.sums, 64
    cohort = setting.recipe.federation.participants(0)
    code = sums.codec.upload(cohort, dimension, bytes(range(32)))
    canary = np.zeros(dimension, np.float32)
    canary[3] = _LONG * setting.recipe.privacy.clip_norm
    shares = _honest(setting) if seen is Seen.SUM and isinstance(code, NoisyUpload) else 1
    scores = np.empty(len(labels), np.float32)
    for at, there in enumerate(labels):
        total = np.float64(0)
        for one in range(shares):
            vector = canary if there and not one else np.zeros_like(canary)
            total += float(code.decode(code.encode([vector], system_random), 1).update[3])
        scores[at] = total
    return scores
