"""Lower bounds on epsilon from guesses about canaries, and the smallest leak that such an audit could have found.

m canaries take part or not by fair coins of their own; the auditor scores each (larger = more likely took part) and
guesses for some. Takes scores and counts; knows no model, no attack and no proven epsilon.

What must be fixed before a score is seen: the `Design` (how many guesses of each kind, delta, confidence) and, for
Clopper-Pearson, the threshold. Nothing here searches over them: the best of k bounds holds at the stated confidence
only if each was made at 1 - (1 - confidence) / k (Bonferroni).

What a bound assumes is its `label`; what it does not say is how much more there is to find. A better attack may find
more, and no upper limit follows from any attack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from chatfed.audit.leakage import AuditError
from chatfed.audit.tails import (
    any_curve_tail,
    binomial,
    f_dp_rejects,
    gaussian_epsilon,
    gaussian_tail,
    last,
    most,
    one_run_p_value,
    root,
)

Scores = NDArray[np.float64]  # float64[m], larger = more likely took part
Members = NDArray[np.bool_]  # bool[m], True = took part


class Label(StrEnum):
    """What a bound assumes of how the mechanism treats canaries."""

    DISTRIBUTION_FREE = "distribution-free"  # nothing: all canaries may be given away together
    GAUSSIAN_CURVE = "distribution-free, Gaussian curve"  # any dependence; the claim is mu-Gaussian DP for some mu
    GAUSSIAN_PRODUCT = "product channel, Gaussian curve"  # the same, each of them Gaussian or one made worse
    PRODUCT = "product channel"  # each canary through a channel of its own, independent of the others'


@dataclass(frozen=True)
class Design:
    """All that is fixed before scores are seen. Raises AuditError where it is no design."""

    m: int  # canaries, each in or out by a fair coin of its own
    guessed_in: int  # how many, the highest scores, are guessed to have taken part
    guessed_out: int  # how many, the lowest, are guessed to have not
    delta: float  # of the claim under audit, in [0, 1)
    confidence: float = 0.95  # in this share of runs, at least, the bound lies below the true epsilon
    two_sided: bool = False  # guesses that are wrong too often count as a leak too; each direction has half the error

    def __post_init__(self) -> None:
        if self.guessed_in < 0 or self.guessed_out < 0 or not 1 <= self.guesses <= self.m:
            raise AuditError(
                f"{self.guessed_in} guesses of in and {self.guessed_out} of out for {self.m} canaries: guess at least "
                "once and for each canary at most once",
                param="guessed_in",
            )
        _check_claim(self.delta, self.confidence)

    @property
    def guesses(self) -> int:
        """Of both kinds together."""
        return self.guessed_in + self.guessed_out

    @property
    def error(self) -> float:
        """Chance of a bound above the truth that is allowed in each direction that is looked at."""
        return (1 - self.confidence) / (2 if self.two_sided else 1)


@dataclass(frozen=True)
class Bound:
    """With `confidence` epsilon at `delta` is at least `epsilon`, if the label's assumption holds."""

    epsilon: float  # 0: nothing was shown
    delta: float
    confidence: float
    two_sided: bool
    method: str
    label: Label
    m: int
    guesses: int
    correct: int


@dataclass(frozen=True)
class Power:
    """What an audit could have found."""

    smallest: float | None  # least epsilon of a Gaussian mechanism that is seen in `chance` of runs; None: none is
    largest: float  # the bound if all guesses are right: no run can show more
    chance: float


Method = Callable[[Design, int], Bound]


# Guesses


def guess(scores: Scores, members: Members, design: Design) -> NDArray[np.int8]:
    """int8[m]: 1 guessed in, -1 guessed out, 0 no guess; among equal scores those that make the guesses wrong.

    `members` is looked at for ties alone. Raises AuditError where lengths are not m or a score is NaN.

    >>> guess(np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False]), Design(4, 2, 1, 0.0)).tolist()
    [1, -1, 0, 1]
    """
    _check_scores(scores, members)
    if len(scores) != design.m:
        raise AuditError(f"{len(scores)} scores for {design.m} canaries: score each once", param="scores")
    order = np.lexsort((members, -scores))  # highest first; among equals those who did not take part
    guessed = np.zeros(design.m, np.int8)
    guessed[order[: design.guessed_in]] = 1
    guessed[order[design.m - design.guessed_out :]] = -1
    return guessed


def right(guessed: NDArray[np.int8], members: Members) -> int:
    """How many guesses are right.

    >>> right(np.array([1, -1, 0, 1], np.int8), np.array([True, False, True, False]))
    2
    """
    return int(np.count_nonzero(guessed * np.where(members, 1, -1) > 0))


def at_threshold(scores: Scores, members: Members, threshold: float) -> tuple[int, int, int, int]:
    """(true positives, members, false positives, others) of a threshold; a score that equals it is guessed wrong.

    >>> at_threshold(np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False]), 2.0)
    (1, 2, 1, 2)
    """
    _check_scores(scores, members)
    counted = (scores > threshold) & members, members, (scores >= threshold) & ~members, ~members
    hits, inside, alarms, outside = (int(np.count_nonzero(each)) for each in counted)
    return hits, inside, alarms, outside


# Bounds


def clopper_pearson(
    rates: tuple[int, int, int, int],
    *,
    delta: float,
    confidence: float = 0.95,
    two_sided: bool = False,
    own_runs: bool = False,
) -> Bound:
    """From true and false positives at a threshold that was fixed beforehand, as `at_threshold` counts them.

    Exact limits of the true and the false positive rate, each with half the error; epsilon is at least
    log((TPR - delta) / FPR) and log((TNR - delta) / FNR) (Jagielski et al. 2020). The canaries of one run are
    independent only if their channels are; with `own_runs`, each canary in a run of its own, nothing is assumed. Raises
    AuditError for counts that are none.

    >>> round(clopper_pearson((90, 100, 10, 100), delta=1e-5).epsilon, 4)
    1.5421
    """
    hits, inside, alarms, outside = rates
    if not (0 <= hits <= inside and 0 <= alarms <= outside and inside > 0 and outside > 0):
        raise AuditError(f"rates {rates}: give hits of members and alarms of others, at least one each", param="rates")
    _check_claim(delta, confidence)
    error = (1 - confidence) / (2 if two_sided else 1)
    directions = [rates, (inside - hits, inside, outside - alarms, outside)][: 2 if two_sided else 1]
    epsilon = max(_from_rates(each, delta, error / 2) for each in directions)
    label = Label.DISTRIBUTION_FREE if own_runs else Label.PRODUCT
    canaries, correct = inside + outside, hits + outside - alarms
    return Bound(epsilon, delta, confidence, two_sided, "Clopper-Pearson", label, canaries, canaries, correct)


def one_run(design: Design, correct: int) -> Bound:
    """From the number of right guesses in one run, whatever the mechanism does (Steinke et al. 2023, theorem 5.2).

    An (epsilon, delta)-DP mechanism gives `correct` or more right with a chance of at most `one_run_p_value`; the bound
    is the largest epsilon that this rejects.

    >>> round(one_run(Design(1000, 500, 500, 1e-5), 750).epsilon, 5)
    0.97637
    """
    counted = _counted(design, correct)
    epsilon = root(lambda each: one_run_p_value(design.m, design.guesses, counted, each, design.delta) - design.error)
    return _bound("one run", Label.DISTRIBUTION_FREE, design, correct, epsilon)


def f_dp(design: Design, correct: int) -> Bound:
    """From the same for Gaussian curves: the largest mu that is rejected, as epsilon (Mahloujifar et al. 2024).

    Canaries may depend on each other. That the claim's trade-off curve is Gaussian is assumed: what reveals all with a
    small probability is no such mechanism, and epsilon at delta may be less than what is said here. Needs delta > 0.

    >>> round(f_dp(Design(1000, 125, 125, 1e-5), 235).epsilon, 3)
    3.817
    """
    counted, at_delta = _counted(design, correct), _positive(design.delta)
    mu = last(lambda each: f_dp_rejects(design.m, design.guesses, counted, each, design.error))
    return _bound("f-DP, one run", Label.GAUSSIAN_CURVE, design, correct, gaussian_epsilon(mu, at_delta))


def product_channel(design: Design, correct: int) -> Bound:
    """From the exact law of right guesses where each canary has a Gaussian channel of its own (Xiang et al. 2025).

    The largest mu at which so many right guesses or more, `gaussian_tail`, have a chance of at most the error, as
    epsilon. Holds for any way to choose the guesses and for any mu-GDP channels, which are Gaussian ones made worse, as
    long as they are independent: what reveals all canaries together breaks it. Needs delta > 0.

    >>> round(product_channel(Design(1000, 250, 250, 1e-5), 397).epsilon, 3)
    3.756
    """
    wrong, at_delta = design.guesses - _counted(design, correct), _positive(design.delta)
    mu = root(lambda each: gaussian_tail(design.m, design.guesses, wrong, each) - design.error)
    return _bound("product channel tail", Label.GAUSSIAN_PRODUCT, design, correct, gaussian_epsilon(mu, at_delta))


def product_channel_any_curve(design: Design, correct: int) -> Bound:
    """The same where each canary has any (epsilon, delta)-DP channel of its own, Gaussian or not.

    The largest epsilon at which so many right guesses or more, `any_curve_tail`, have a chance of at most the error.

    >>> round(product_channel_any_curve(Design(1000, 250, 250, 1e-5), 397).epsilon, 3)
    1.164
    """
    wrong = design.guesses - _counted(design, correct)
    epsilon = root(lambda each: any_curve_tail(design.m, design.guesses, wrong, each, design.delta) - design.error)
    return _bound("product channel tail, any curve", Label.PRODUCT, design, correct, epsilon)


# Power


def fewest_right(method: Method, design: Design) -> int | None:
    """How many guesses must be right for a bound above 0; None: not even all are enough.

    >>> fewest_right(one_run, Design(500, 250, 250, 0.0)), fewest_right(one_run, Design(4, 2, 2, 0.0))
    (269, None)
    """
    low, high = (design.guesses - 1) // 2, design.guesses  # half the guesses right show nothing
    if method(design, high).epsilon <= 0:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if method(design, middle).epsilon > 0 else (middle, high)
    return high


def power(method: Method, design: Design, chance: float = 0.95) -> Power:
    """What `method` could have found with this design, against Gaussian channels and the best attack on them.

    A weaker attack finds less: this says what a bound of 0 can rule out at best. Needs delta > 0.

    >>> round(power(product_channel, Design(512, 192, 192, 1e-5)).smallest or 0, 2)
    1.28
    """
    delta, total, fewest = _positive(design.delta), design.guesses, fewest_right(method, design)
    if fewest is None:
        return Power(None, 0.0, chance)
    mu = root(lambda each: gaussian_tail(design.m, total, total - fewest, each) - chance)
    return Power(gaussian_epsilon(mu, delta), method(design, total).epsilon, chance)


def clopper_pearson_power(
    inside: int, outside: int, *, delta: float, confidence: float = 0.95, chance: float = 0.95
) -> Power:
    """The same for `clopper_pearson`, one-sided, with so many members and others and the threshold half way.

    >>> round(clopper_pearson_power(256, 256, delta=1e-5).smallest or 0, 2)
    2.0
    """
    largest = clopper_pearson((inside, inside, 0, outside), delta=_positive(delta), confidence=confidence).epsilon
    if largest <= 0:
        return Power(None, 0.0, chance)
    hits, error = np.arange(inside + 1), (1 - confidence) / 2
    highest = most(np.arange(outside + 1), outside, error)  # false positive rates, by how many there were
    allowed = np.searchsorted(highest, 1 - most(inside - hits, inside, error) - delta)  # counts with a positive bound

    def shown(mu: float) -> float:  # chance that there are fewer false positives than the hits allow
        rate = float(special.ndtr(mu / 2))
        alarms = np.where(allowed > 0, special.bdtr(allowed - 1.0, outside, 1 - rate), 0.0)
        return float(binomial(hits, inside, rate) @ alarms)

    return Power(gaussian_epsilon(root(lambda mu: shown(mu) - chance), delta), largest, chance)


def _from_rates(rates: tuple[int, int, int, int], delta: float, error: float) -> float:
    """The better of both inequalities; `error` for each limit."""
    hits, inside, alarms, outside = rates
    most_missed, most_alarms = float(most(inside - hits, inside, error)), float(most(alarms, outside, error))
    pairs = (1 - most_missed - delta, most_alarms), (1 - most_alarms - delta, most_missed)
    return max([0.0, *(math.log(first / second) for first, second in pairs if first > 0)])


def _counted(design: Design, correct: int) -> int:
    """The right guesses, or the wrong ones where those count as well."""
    if not 0 <= correct <= design.guesses:
        raise AuditError(f"{correct} of {design.guesses} guesses are right: count them again", param="correct")
    return max(correct, design.guesses - correct) if design.two_sided else correct


def _bound(method: str, label: Label, design: Design, correct: int, epsilon: float) -> Bound:
    claim = design.delta, design.confidence, design.two_sided
    return Bound(epsilon, *claim, method, label, design.m, design.guesses, correct)


def _positive(delta: float) -> float:
    """Raises AuditError for a delta of 0, at which no Gaussian mechanism has an epsilon."""
    if delta <= 0:
        raise AuditError("delta is 0: no Gaussian mechanism has an epsilon there; give a delta above 0", param="delta")
    return delta


def _check_claim(delta: float, confidence: float) -> None:
    if not 0 <= delta < 1:
        raise AuditError(f"delta {delta}: give a number from 0 to below 1", param="delta")
    if not 0.5 < confidence < 1:
        raise AuditError(f"confidence {confidence}: give a number between 0.5 and 1", param="confidence")


def _check_scores(scores: Scores, members: Members) -> None:
    if scores.ndim != 1 or scores.shape != members.shape:
        raise AuditError(
            f"scores {scores.shape} and members {members.shape}: give one of each a canary", param="scores"
        )
    if np.isnan(scores).any():
        raise AuditError(
            "a score is not a number: find out why the attack gave none, or score it lowest", param="scores"
        )
