"""What a claim means to a person: a word for its strength, warnings, and what holds for several dialogues of one.

Computes from the charges that are claimed; knows no ledger and no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import replace
from statistics import median
from typing import Any

from chatfed.audit.tiers import SCALE, guess_in_words, strength, warnings_of
from chatfed.privacy.guarantee import Unit
from chatfed.privacy.ledger import Charge
from chatfed.types import ClientId

from .claims import Claim
from .groups import group_epsilon
from .recipe import PrivacySection

FEW = 5  # dialogues of a person, whatever the data are
COUNTED = (
    "the median and the most dialogues of a client are counted in the data without noise: facts of this run that its "
    "claim does not cover"
)

DEALT = "clients are simulated, so no person's dialogues can be counted"
UNKNOWN = "how many dialogues a member has is known to that member alone"
SINGLE = "every client has one dialogue: each dialogue is protected, and not a person who has several"


def units(claim: Claim, clients: Mapping[ClientId, Sized]) -> int:
    """How many protected units train."""
    return len(clients) if claim.privacy.unit is Unit.CLIENT else sum(map(len, clients.values()))


def planned_warnings(claim: Claim, clients: Mapping[ClientId, Sized]) -> list[str]:
    """Of the claim that a run sets out to make; said before it starts."""
    if not claim.private:
        return []
    return warnings_of(claim.privacy.budget, claim.privacy.delta, units(claim, clients), claim.protected)


def meaning(
    claim: Claim,
    epsilon: float | None,
    charges: Sequence[Charge],
    clients: Mapping[ClientId, Sized] | None,
    dealt: bool,
) -> dict[str, Any]:
    """What privacy.json says beside the numbers; empty where nothing is claimed. charges: the costliest client's.

    clients: None where nobody but each of them knows how many dialogues it has.
    """
    if epsilon is None:
        return {}
    delta, count = claim.privacy.delta, units(claim, clients or {}) or 1
    sizes = sorted(len(mine) for mine in (clients or {}).values() if len(mine)) or [0]
    several = {"5 dialogues": FEW}
    if not dealt and clients:
        several |= {"the median client's dialogues": math.ceil(median(sizes)), "the most of any client": sizes[-1]}
    single = not dealt and sizes[-1] == 1 and claim.privacy.unit is Unit.CLIENT
    if spread := dealt or single:  # a person's dialogues are at as many clients
        charges = [replace(charge, sampling_rate=1.0) for charge in charges]
    return {
        "strength": strength(epsilon, delta, count),
        "scale": SCALE,
        "warnings": warnings_of(epsilon, delta, count, claim.protected) + [SINGLE] * single,
        "person": [
            {"who": who, "dialogues": size, **_for_person(claim.privacy, epsilon, charges, size, spread, count)}
            for who, size in several.items()
        ],
        "person_note": DEALT if dealt else COUNTED if clients else UNKNOWN,
    }


def _for_person(
    privacy: PrivacySection, epsilon: float, charges: Sequence[Charge], size: int, spread: bool, units: int
) -> dict[str, Any]:
    """Epsilon for all dialogues of one person at once, at the claim's delta; None where no finite one holds.

    spread: they are at as many clients, so that none of these is the person.
    """
    delta = privacy.delta
    if privacy.unit is Unit.EXAMPLE or (spread and size > 1):
        epsilon = max(epsilon, group_epsilon(charges, size, delta))
    return {
        "epsilon": epsilon if math.isfinite(epsilon) else None,
        "strength": strength(epsilon, delta, units),
        "best_guess": guess_in_words(epsilon, delta),
    }
