"""What (epsilon, delta) lets an attacker do, in figures and in a word. Knows no mechanism, no accountant and no run.

The words follow the tiers of Ponomareva et al. 2023, "How to DP-fy ML" (arXiv 2303.00654, section 5.2): epsilon up to 1
strong, up to 10 reasonable (here: moderate), above weak to none. Where weak ends is ours: at an epsilon of 22.8, ln of
8.2e9, even an attacker that suspects nobody more than anyone else on Earth may become surer than even that a person was
there. Delta is to be well below 1 / n (NIST SP 800-226): to publish one of n records whole, picked by lot, is (0, 1 /
n)-differentially private.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from chatfed.audit.figures import above, finite

STRONG, MODERATE, WEAK, NONE = "strong", "moderate", "weak", "none"

SCALE = (
    "strong: epsilon up to 1; moderate: up to 10; weak: up to 22, or delta not below 1 / (number of units); none: "
    "above, or delta of 0.1 or more (after Ponomareva et al. 2023, arXiv 2303.00654, section 5.2)"
)
"""What the words of `strength` mean."""

MOST_EPSILON = 22.0
"""Above it the bound says nothing, and nothing is claimed."""

MOST_DELTA = 0.1
"""From it on, nothing is claimed: one record in ten may be published whole."""

_STRONG, _MODERATE = 1.0, 10.0


def strength(epsilon: float, delta: float, units: int | None = None) -> str:
    """The word for (epsilon, delta) over so many protected units (None: not known).

    >>> [strength(epsilon, 1e-5, 12_000) for epsilon in (1.0, 8.0, 14.4, 1e9)]
    ['strong', 'moderate', 'weak', 'none']
    >>> strength(0.5, 1e-3, 1_000), strength(0.5, 0.5)
    ('weak', 'none')
    """
    if not (epsilon <= MOST_EPSILON and delta < MOST_DELTA):
        return NONE
    if epsilon > _MODERATE or (units and delta * units >= 1):
        return WEAK
    return STRONG if epsilon <= _STRONG else MODERATE


def best_guess(epsilon: float, delta: float) -> float:
    """The most that an even guess at one unit's presence can be right: (e^eps + delta) / (1 + e^eps).

    From the trade-off bound of (eps, delta)-differential privacy (Kairouz, Oh and Viswanath 2015, theorem 2.1).

    >>> [round(best_guess(epsilon, 1e-5), 4) for epsilon in (0.0, 1.0, 8.0)]
    [0.5, 0.7311, 0.9997]
    """
    odds = math.exp(-epsilon)
    return min(1.0, (1 + odds * delta) / (1 + odds))


def guess_in_words(epsilon: float, delta: float) -> str:
    """`best_guess` as a share, rounded up and never to a whole 100 %.

    >>> guess_in_words(1.0, 1e-5), guess_in_words(8.0, 1e-5), guess_in_words(14.0, 1e-5), guess_in_words(800.0, 1e-5)
    ('73.11 %', '99.97 %', '99.99992 %', 'no bound')
    """
    share = best_guess(epsilon, delta)
    if strength(epsilon, delta) == NONE:
        return "no bound"
    for digits in range(2, 12):
        shown = math.ceil(share * 10 ** (digits + 2) - 1e-6) / 10**digits
        if shown < 100:
            return f"{shown:.{digits}f}".rstrip("0").rstrip(".") + " %"
    return "no bound"


def factor_in_words(epsilon: float) -> str:
    """e^epsilon, to three digits or whole numbers.

    >>> factor_in_words(0.1), factor_in_words(8.0), factor_in_words(1e9)
    ('1.11', '2,981', 'more than a billion')
    """
    if epsilon > math.log(1e9):
        return "more than a billion"
    value = math.exp(epsilon)
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def warnings_of(epsilon: float, delta: float, units: int | None, unit: str) -> list[str]:
    """What a reader must know of a weak claim: a sentence each; empty for a moderate or strong one.

    >>> warnings_of(8.0, 1e-5, 400, "client")
    []
    """
    said = []
    if epsilon > _MODERATE:
        guess = guess_in_words(epsilon, delta)
        right = "at all times" if guess == "no bound" else f"in up to {guess} of cases"
        said.append(
            f"epsilon above {_MODERATE:g} is a weak guarantee: an even guess at whether one {unit} was there may be "
            f"right {right}"
        )
    if units and delta * units >= 1:
        said.append(
            f"delta is not below 1 / (number of units), 1 / {units:,}: such a delta allows that some {unit} is "
            "published whole"
        )
    return said


def said_of_several(row: Mapping[str, Any]) -> str:
    """What holds for several dialogues of one person together: a row of privacy.json's `person`.

    >>> said_of_several({"epsilon": 3.1, "strength": "moderate", "best_guess": "95.7 %"})
    'ε = 3.10, moderate; an even guess right in at most 95.7 % of cases'
    >>> said_of_several({"epsilon": 71.2, "strength": "none"}), said_of_several({"epsilon": None})
    ('no meaningful bound (ε = 71.20)', 'no meaningful bound')
    """
    epsilon = finite(row.get("epsilon"))
    if epsilon is None:
        return "no meaningful bound"
    if row.get("strength") == NONE:
        return f"no meaningful bound (ε = {above(epsilon)})"
    return (
        f"ε = {above(epsilon)}, {row.get('strength')}; an even guess right in at most {row.get('best_guess')} of cases"
    )
