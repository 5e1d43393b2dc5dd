"""Our bounds beside those of jax-privacy's auditing module, on random counts: the largest difference, and a few values.

In an environment of its own that has jax-privacy, numpy and scipy: `python -m benchmarks.audit_bounds --peer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chatfed.audit.bounds import Design, clopper_pearson, f_dp, one_run

METHODS = ("one_run", "f_dp", "clopper_pearson")
SEED, SHOWN = 5, 7  # values above 0 of each method


@dataclass(frozen=True)
class Case:
    """Counts and a claim; counts are m, guesses and right ones, or hits, members, alarms and others."""

    counts: tuple[int, ...]
    delta: float
    error: float


def drawn(generator: np.random.Generator) -> tuple[Case, Case]:
    """Guesses of which at least half are right, and rates."""
    delta, error = float(10 ** generator.uniform(-8, -2)), float(generator.choice([0.01, 0.05, 0.1]))
    m = int(10 ** generator.uniform(1, 3.3))  # its f-DP rule takes seconds where m is large
    guesses = int(generator.integers(1, m - 1))  # at least one in and one out without a guess: it wants both
    correct = int(generator.integers(guesses // 2, guesses + 1))
    inside, outside = (int(each) for each in generator.integers(5, 1500, 2))
    hits, alarms = int(generator.integers(inside // 2, inside + 1)), int(generator.integers(0, outside // 2 + 1))
    return Case((m, guesses, correct), delta, error), Case((hits, inside, alarms, outside), delta, error)


def ours(name: str, case: Case) -> float:
    """The bound as chatfed gives it."""
    if name == "clopper_pearson":
        hits, inside, alarms, outside = case.counts
        rates = hits, inside, alarms, outside
        return clopper_pearson(rates, delta=case.delta, confidence=1 - case.error).epsilon
    m, guesses, correct = case.counts
    method = one_run if name == "one_run" else f_dp
    return method(Design(m, guesses, 0, case.delta, 1 - case.error), correct).epsilon


def theirs(name: str, case: Case) -> float:
    """The bound as jax-privacy gives it: scores with these counts, its public methods, an explicit threshold."""
    from jax_privacy import auditing  # type: ignore[import-not-found] # no dependency of ours

    if name == "clopper_pearson":
        hits, inside, alarms, outside = case.counts
    else:  # m canaries, of which the guesses are above the threshold; the others do not matter
        m, guesses, hits = case.counts
        alarms, rest = guesses - hits, m - guesses
        inside, outside = hits + (rest + 1) // 2, alarms + rest // 2
    scores = [np.arange(of) < count for count, of in ((hits, inside), (alarms, outside))]
    auditor = auditing.CanaryScoreAuditor(*(each.astype(float) for each in scores))
    fixed = auditing.Explicit(0.5)
    if name == "clopper_pearson":
        return float(auditor.epsilon_clopper_pearson(case.error, case.delta, one_sided=False, threshold_strategy=fixed))
    method: Callable[..., float] = auditor.epsilon_one_run if name == "one_run" else auditor.epsilon_one_run_fdp
    return float(method(case.error, case.delta, threshold_strategy=fixed))


def compare(cases: int) -> None:
    """Prints a few values as tests/audit/test_bounds.py holds them, and the largest difference of each method."""
    generator, differences = np.random.default_rng(SEED), dict[str, list[float]]()
    shown = dict.fromkeys(METHODS, 0)
    for _ in range(cases):
        guesses, rates = drawn(generator)
        for name in METHODS:
            case = rates if name == "clopper_pearson" else guesses
            found = theirs(name, case)
            differences.setdefault(name, []).append(abs(ours(name, case) - found))
            if found > 0 and shown[name] < SHOWN:
                shown[name] += 1
                print(f"{name},{','.join(map(str, case.counts))},{case.delta!r},{case.error!r},{found:.7f}", flush=True)
    for name, each in differences.items():
        print(f"{name}: {len(each)} cases, largest difference {max(each):.1e}")
