"""What the results of membership attacks come to. Takes scores and a claim; asks no model.

`verdict` is the rule. These are no bounds on epsilon: thresholds and attacks are chosen on what they are judged by, for
which all tests share one error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chatfed.audit.claimed import TESTS, largest_area, reach, refutes
from chatfed.audit.membership import ATTACKS
from chatfed.audit.part import Verdict
from chatfed.audit.roc import LEVEL, Area, AtRate, Scores, TooFew
from chatfed.privacy.guarantee import Unit
from chatfed.types import IntVector

from .audited import Audited
from .controls import Pairing

SERVED, BARE = "the served model", "the run without noise"


@dataclass(frozen=True)
class Claim:
    """What privacy.json says of whom."""

    epsilon: float
    delta: float
    of_clients: bool  # else of dialogues

    def covers(self, pairing: Pairing) -> bool:
        """Whether it bounds what an attack at this level may find: of a client a dialogue's claim bounds one."""
        return pairing.level == "dialogue" or self.of_clients


def claim_of(run: Audited) -> Claim | None:
    """None where no noise was added."""
    if run.privacy.get("epsilon") is None:
        return None
    of_clients = run.plan.recipe.privacy.unit == Unit.CLIENT
    return Claim(float(run.privacy["epsilon"]), float(run.privacy["delta"]), of_clients)


@dataclass(frozen=True, eq=False)
class Result:
    """One attack on one model in one pairing."""

    target: str
    pairing: Pairing
    attack: str
    area: Area  # at `cautious`
    rates: tuple[AtRate | TooFew, ...]  # at FALSE_RATES
    sides: tuple[Scores, Scores]  # of members and others
    owners: tuple[IntVector, IntVector] | None  # whose each is; None: each is another client

    @property
    def succeeds(self) -> bool:
        """Whether members score higher beyond chance, all attacks on this model considered."""
        return self.area.low > 0.5

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the scores."""
        rates = {f"at_{each.wanted:g}": each.to_json() for each in self.rates}
        return {"target": self.target, "attack": self.attack, **self.area.to_json(), **rates}


def cautious(pairings: int) -> float:
    """The level of each area's interval, so that all those of one model hold together at LEVEL (Bonferroni).

    >>> round(cautious(2), 5)
    0.99643
    """
    return 1 - (1 - LEVEL) / (len(ATTACKS) * pairings)


def verdict(results: Sequence[Result], claim: Claim | None) -> Verdict:
    """The rule, in this order; an attack succeeds where its area's interval, corrected for all attacks, is above 1/2.

    UNJUDGED where nothing could be compared. FAULT where an attack on the served model finds more than the claim allows
    in a pairing that the claim covers; all those tests together are wrong in at most 1 - LEVEL of sound runs
    (Bonferroni). OPEN where one succeeds in a pairing that no claim covers. HOLDS where one succeeds in a covered
    pairing, within what the claim allows, or where none does but one succeeds in such a pairing on the run without
    noise: it would have been seen. Else UNJUDGED: attacks that are not known to work on such a run, for there is none
    without noise or they fail on it too, say nothing of its noise.
    """
    served = [each for each in results if each.target == SERVED]
    if not served:
        return Verdict.UNJUDGED
    if faults(results, claim):
        return Verdict.FAULT
    if any(each.succeeds for each in served if not claim or not claim.covers(each.pairing)):
        return Verdict.OPEN
    works = any(each.succeeds for each in results if claim and claim.covers(each.pairing))
    return Verdict.HOLDS if works else Verdict.UNJUDGED


def faults(results: Sequence[Result], claim: Claim | None) -> list[Result]:
    """What on the served model exceeds the claim, all tests of it together at LEVEL."""
    if claim is None:
        return []
    covered = covered_by(results, claim)
    error = (1 - LEVEL) / max(1, TESTS * len(covered))
    return [each for each in covered if refutes(*each.sides, each.owners, claim.epsilon, claim.delta, error)]


def covered_by(results: Sequence[Result], claim: Claim | None) -> list[Result]:
    """Those on the served model that the claim speaks of."""
    return [each for each in results if each.target == SERVED and claim and claim.covers(each.pairing)]


def allowed(results: Sequence[Result], claim: Claim) -> dict[str, Any]:
    """What the claim allows, and how large an epsilon so many texts could refute at all: JSON values."""
    covered = covered_by(results, claim)
    error = (1 - LEVEL) / max(1, TESTS * len(covered))
    reaches = [reach(len(each.sides[0]), len(each.sides[1]), _clients(each), claim.delta, error) for each in covered]
    return {
        "epsilon": claim.epsilon,
        "delta": claim.delta,
        "largest_area_allowed": largest_area(claim.epsilon, claim.delta),
        "tests": TESTS * len(covered),
        "refutable_epsilon": max(reaches, default=0.0),
    }


def _clients(result: Result) -> int:
    """Of the side that has fewer."""
    whose = result.owners or tuple(map(np.arange, map(len, result.sides)))
    return min(len(np.unique(each)) for each in whose)


def conclusion(results: Sequence[Result], claim: Claim | None) -> str:
    """The verdict's reason, in a sentence; nothing where the attacks' figures say it."""
    found = verdict(results, claim)
    if found == Verdict.FAULT and claim:
        return f"That is more than epsilon {claim.epsilon:.2g} allows."
    within = [each.area for each in covered_by(results, claim) if each.succeeds]
    if within and claim:
        best, told = max(within, key=lambda each: each.value), allowed(results, claim)
        return (
            f"What the claim covers is told from other texts beyond chance (area {best.value:.2f}); epsilon "
            f"{claim.epsilon:.2g} allows that much: an area up to {told['largest_area_allowed']:.4f}."
        )
    if found == Verdict.UNJUDGED:
        return _too_weak(any(each.target == BARE for each in results))
    return ""


def _too_weak(beside: bool) -> str:
    why = "they do not tell beyond chance without noise either" if beside else "there is no run without noise to try on"
    return f"These attacks are too weak on this run to say anything about its noise: {why}."
