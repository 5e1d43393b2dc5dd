"""What a claim of (epsilon, delta) allows membership attacks to find, and whether scores show more than that.

Takes scores and counts; knows no model and no attack. A threshold is set on the very others that it is judged by, and
the interval of its false positives allows for that: above the (k + 1)-th largest of n others is a share that is spread
as Beta(k + 1, n - k), which is the upper end of the exact interval of k of n. Members are taken as independent given
the threshold; the area's test takes clients as independent.
"""

from __future__ import annotations

import math

from chatfed.audit.roc import FALSE_RATES, AtRate, Scores, area, at_false_rate, exact_share
from chatfed.types import IntVector

TESTS = len(FALSE_RATES) + 1  # of one attack in one pairing: a rate each, and the area
_LARGEST = 700.0  # epsilon whose power of e is a float


def most_found(false: float, epsilon: float, delta: float) -> float:
    """The highest true positive rate that the claim allows at a false positive rate.

    min(e^epsilon FPR + delta, 1 - e^-epsilon (1 - delta - FPR)) (Kairouz, Oh and Viswanath 2015, arXiv 1311.0776,
    section 2).

    >>> round(most_found(0.01, 1.0, 1e-5), 5), round(most_found(0.5, 1.0, 0.0), 5)
    (0.02719, 0.81606)
    """
    grown = math.exp(min(epsilon, _LARGEST))
    return min(1.0, grown * false + delta, 1 - max(0.0, 1 - delta - false) / grown)


def largest_area(epsilon: float, delta: float) -> float:
    """The largest area under the ROC that the claim allows: that under `most_found`, 1 - (1 - delta)^2 / (1 + e^eps).

    >>> round(largest_area(0.0, 0.0), 4), round(largest_area(1.0, 1e-5), 4), round(largest_area(8.0, 1e-5), 4)
    (0.5, 0.7311, 0.9997)
    """
    return 1 - (1 - delta) ** 2 / (1 + math.exp(min(epsilon, _LARGEST)))


def refutes(
    members: Scores,
    others: Scores,
    owners: tuple[IntVector, IntVector] | None,
    epsilon: float,
    delta: float,
    error: float,
) -> bool:
    """Whether scores show more than the claim allows: TESTS tests, each wrong with a chance of `error` at most.

    owners: int64[members] and int64[others], whose each is; None: all are independent. Raises AuditError as `area`.
    """
    if area(members, others, owners, 1 - error).low > largest_area(epsilon, delta):
        return True
    return any(_rate_refutes(members, others, wanted, epsilon, delta, error) for wanted in FALSE_RATES)


def _rate_refutes(members: Scores, others: Scores, wanted: float, epsilon: float, delta: float, error: float) -> bool:
    told = at_false_rate(members, others, wanted)
    if not isinstance(told, AtRate):
        return False
    found = exact_share(told.found.hits, len(members), 1 - error)
    return found.low > most_found(_false_at_most(len(others), wanted, error), epsilon, delta)


def _false_at_most(others: int, wanted: float, error: float) -> float:
    """Upper end of the false positive rate where the threshold is set on the others; by ties it is lower still."""
    return exact_share(math.floor(wanted * others + 1e-9), others, 1 - error).high


def reach(members: int, others: int, clients: int, delta: float, error: float) -> float:
    """The epsilon below which `refutes` would refute a claim if every member scored above all others; 0: none.

    members, others: how many texts; clients: of the side that has fewer.

    >>> round(reach(1000, 1000, 300, 1e-5, 0.001), 2)
    4.87
    """
    all_clients = exact_share(clients, clients, 1 - error).low
    found = [max(1.0, (1 - delta) ** 2 / (1 - all_clients) - 1)]
    low = exact_share(members, members, 1 - error).low
    for wanted in FALSE_RATES:
        if math.floor(wanted * others + 1e-9):
            false = _false_at_most(others, wanted, error)
            found += [(low - delta) / false, (1 - delta - false) / (1 - low)]
    return math.log(max(found))
