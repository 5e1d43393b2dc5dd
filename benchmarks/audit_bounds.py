"""How often the audit's bounds are above the truth, and how near they come: simulated audits, whose truth is known.

Null: scores that have nothing to do with membership; epsilon is 0, each positive bound is an error. Gaussian
mechanisms: an independent channel for each canary, and the best scores that there are. Trap: all coins are told with
probability p, so that at delta = p epsilon is 0; no independent channels and no Gaussian curve. Guess counts are shares
of m that were fixed before anything was drawn (GUESSED); bounds are at 95 %, one-sided.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import numpy as np
from scipy import special

from benchmarks import Row, interleaved, machine, parser, print_table, write_json
from chatfed.audit.bounds import (
    Design,
    Members,
    Method,
    Power,
    Scores,
    at_threshold,
    clopper_pearson,
    clopper_pearson_power,
    f_dp,
    fewest_right,
    guess,
    one_run,
    power,
    product_channel,
    product_channel_any_curve,
    right,
)
from chatfed.audit.tails import gaussian_epsilon, root
from chatfed.command_line import exit_code

SEED = 20261129
DELTA = 1e-5
GUESSED: Mapping[str, tuple[Method, float]] = {  # share of the canaries that are guessed, half of them in
    "one run": (one_run, 0.25),
    "f-DP, one run": (f_dp, 0.25),
    "product channel": (product_channel, 0.75),
    "product channel, any curve": (product_channel_any_curve, 0.25),
}
CLOPPER_PEARSON = "Clopper-Pearson"
THRESHOLD = 2.0  # of Clopper-Pearson: 2.3 % of those who did not take part are above it
NULL_CANARIES, GAUSSIAN_CANARIES, POWER_CANARIES = (500, 2000), (512, 1000), (256, 512, 1024, 4096)
EPSILONS, TRAPS = (1.0, 4.0, 8.0), (0.1, 0.5)

Bounds = dict[str, list[float]]  # a bound a run, by method


def plan(m: int, share: float, delta: float) -> Design:
    """So many guesses, half of them in."""
    return Design(m, round(m * share / 2), round(m * share / 2), delta)


@cache
def _bound(method: Method, design: Design, correct: int) -> float:
    return method(design, correct).epsilon


@cache
def _from_rates(rates: tuple[int, int, int, int], delta: float) -> float:
    return clopper_pearson(rates, delta=delta).epsilon


def audit(scores: Scores, members: Members, delta: float) -> dict[str, float]:
    """All bounds of one run."""
    designs = {name: (method, plan(len(scores), share, delta)) for name, (method, share) in GUESSED.items()}
    correct = {
        each: right(guess(scores, members, each), members) for each in {design for _, design in designs.values()}
    }
    found = {name: _bound(method, design, correct[design]) for name, (method, design) in designs.items()}
    return {**found, CLOPPER_PEARSON: _from_rates(at_threshold(scores, members, THRESHOLD), delta)}


def simulate(m: int, runs: int, delta: float, mu: float = 0.0, told: float = 0.0) -> Bounds:
    """Bounds of so many audits of a mu-Gaussian mechanism, which tells all coins with probability `told`."""
    generator, found = np.random.default_rng(SEED), Bounds()
    for _ in range(runs):
        members = generator.random(m) < 0.5
        shift = 1e3 if generator.random() < told else mu  # of who took part
        scores = generator.standard_normal(m) + shift * members
        for name, epsilon in audit(scores, members, delta).items():
            found.setdefault(name, []).append(epsilon)
    return found


def share_above(bounds: list[float], truth: float) -> float:
    """Of runs, those whose bound is above the truth."""
    return float(np.mean(np.array(bounds) > truth + 1e-9))


def exact_share(method: Method, design: Design) -> float:
    """The same where nothing is told, exactly: so many guesses right or more, each with chance 1/2."""
    fewest = fewest_right(method, design)
    return 0.0 if fewest is None else float(special.bdtrc(fewest - 1, design.guesses, 0.5))


def percent(share: float, runs: int) -> tuple[str, str]:
    """The share, and one standard error of the simulation."""
    return f"{share:.2%}", f"± {math.sqrt(max(share, 1 / runs) * (1 - share) / runs):.2%}"


def null_rows(runs: int) -> tuple[list[Row], dict[str, Any]]:
    """How often a bound is positive where nothing is told."""
    rows, figures = list[Row](), dict[str, Any]()
    for m in NULL_CANARIES:
        shares = {name: share_above(each, 0.0) for name, each in simulate(m, runs, DELTA).items()}
        exact = {name: exact_share(method, plan(m, share, DELTA)) for name, (method, share) in GUESSED.items()}
        told = {name: f"{share:.2%}" for name, share in exact.items()}
        rows += [(f"null, m {m}, {name}", *percent(share, runs), told.get(name, "")) for name, share in shares.items()]
        figures[str(m)] = {"measured": shares, "exact": exact}
    return rows, figures


def trap_rows(runs: int) -> tuple[list[Row], dict[str, Any]]:
    """How often a bound is positive where all is told with probability p and epsilon at delta = p is 0."""
    rows, figures = list[Row](), dict[str, Any]()
    for p in TRAPS:
        shares = {name: share_above(each, 0.0) for name, each in simulate(500, runs, p, told=p).items()}
        rows += [(f"trap p {p:g}, m 500, {name}", *percent(share, runs), "") for name, share in shares.items()]
        figures[f"{p:g}"] = shares
    return rows, figures


def gaussian_rows(runs: int) -> tuple[list[Row], dict[str, Any]]:
    """How often a bound is below the truth of a Gaussian mechanism, and the bounds' mean."""
    rows, figures = list[Row](), dict[str, Any]()
    for m in GAUSSIAN_CANARIES:
        for epsilon in EPSILONS:
            mu = root(lambda each, epsilon=epsilon: gaussian_epsilon(each, DELTA) - epsilon)  # type: ignore[misc] # a default is typed
            for name, bounds in simulate(m, runs, DELTA, mu).items():
                valid, mean = 1 - share_above(bounds, epsilon), float(np.mean(bounds))
                rows.append((f"epsilon {epsilon:g}, m {m}, {name}", *percent(valid, runs), f"{mean:.2f}"))
                figures[f"epsilon {epsilon:g}, m {m}, {name}"] = {"valid": valid, "mean": mean}
    return rows, figures


def power_rows(canaries: tuple[int, ...]) -> tuple[list[Row], dict[str, Any]]:
    """The smallest leak that is seen in 95 of 100 runs, and the largest bound that there can be."""
    found = dict[str, Power]()
    for m in canaries:
        for name, (method, share) in GUESSED.items():
            found[f"m {m}, {name}"] = power(method, plan(m, share, DELTA))
        found[f"m {m}, {CLOPPER_PEARSON}"] = clopper_pearson_power(m // 2, m // 2, delta=DELTA)
    rows = [
        (name, "none" if each.smallest is None else f"{each.smallest:.2f}", f"{each.largest:.2f}", "")
        for name, each in found.items()
    ]
    return rows, {name: asdict(each) for name, each in found.items()}


def times(rounds: int) -> tuple[list[Row], dict[str, float]]:
    """Milliseconds of one bound at m = 4,096, four fifths of the guesses right."""
    designs = {name: (method, plan(4096, share, DELTA)) for name, (method, share) in GUESSED.items()}
    calls = {name: partial(method, each, 4 * each.guesses // 5) for name, (method, each) in designs.items()}
    seconds = {name: each.seconds for name, each in interleaved(calls, rounds).items()}
    rows = [(f"a bound at m 4096, {name}", f"{1e3 * each:.1f} ms", "", "") for name, each in seconds.items()]
    return rows, {name: 1e3 * each for name, each in seconds.items()}


def main(arguments: list[str] | None = None) -> None:
    """Simulates, prints the tables, and writes the JSON where asked to; or compares with jax-privacy."""
    made = parser("audit_bounds", "How often bounds on epsilon are above the truth, and how near they come.")
    made.add_argument("--peer", action="store_true", help="compare with jax-privacy, which must be installed")
    options = made.parse_args(arguments)
    if options.peer:
        from benchmarks.audit_bounds_peer import compare

        compare(20 if options.quick else 1000)
        return
    start, runs = time.perf_counter(), 200 if options.quick else 10_000
    where = machine("numpy", "scipy")
    errors, null = null_rows(runs)
    more, trap = trap_rows(runs)
    print_table("runs with a bound above 0, the truth", where, errors + more, ("share", "error", "exact"))
    near, gaussian = gaussian_rows(max(200, runs // 5))
    print_table("Gaussian, delta 1e-5", "", near, ("valid", "error", "mean bound"))
    least, powers = power_rows(POWER_CANARIES[:1] if options.quick else POWER_CANARIES)
    print_table("power, delta 1e-5", "", least, ("smallest leak seen", "largest bound", ""))
    fast, milliseconds = times(3 if options.quick else 7)
    print_table("processor time", "", fast, ("median", "", ""))
    print(f"{runs} runs each, Gaussian {max(200, runs // 5)}; seed {SEED}; {time.perf_counter() - start:.0f} s in all")
    if options.json:
        tables = {"null": null, "trap": trap, "gaussian": gaussian, "power": powers, "bound_ms": milliseconds}
        write_json(options.json, {"machine": where, "quick": options.quick, "runs": runs, **tables})


if __name__ == "__main__":
    sys.exit(exit_code(main))
