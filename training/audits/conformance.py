"""Does the program that a run used do what the proof of its claim assumes? Its own clients, rehearsed and looked at.

With the run's own plan (noise, clip, rates, ring, dimension) real clients take part in rounds in a folder of their own.
Their sums less known inputs must be the noise that their ledgers were charged for; one unit more may move what leaves
by one clip norm in whole ring steps, and nothing else; charges, samples, retries, floors, masks and rotations are
looked at. Then one decision for all tests together. `tests/mutants` is the proof that these checks find faults.

What it does not see: the machine that the run was on, time, and whether the system's generator is sound. Cohorts are
scaled down to COHORT clients, and identities are not pinned; charges are looked at in a cohort of the run's own size.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import special

from chatfed.audit.conformance import FAMILY, Decision, Test, decide
from chatfed.audit.part import Part, Table, Verdict
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.lattice import lattice_step
from chatfed.privacy.ledger import Charge
from chatfed.types import ClientId, IntVector

from ..base.learner import Learner
from ..base.tokens import TokenTable
from ..parties.client import Learn
from ..plan.agreement import Agreement
from ..plan.plan import Counting, Plan
from ..plan.terms import charges_of
from . import conduct, grey_box
from .audited import Audited, Say
from .rehearsal import Setting

COHORT = 10  # clients that begin in a rehearsed round; the recipe's floors and colluders follow from it
REPLAYED = 3  # clients of a replay
ROUNDS = 3
DRAWS = 12  # of a client's sample, with the run's own model
MOST_DIALOGUES = 40  # of the client that samples are drawn from
IN_A_STEP = 8  # dialogues of a client's own step that one is taken from
SMALL = 4096  # coordinates, where numbers are not looked at
LARGEST = 200  # cohort in which charges are looked at
NOT_OF_OWN = (
    "Where noise is a client's own, masks and the samples of dialogues were not looked at: what leaves has its noise "
    "before it is masked, and a sample does not show in one noisy step.",
)


@dataclass(frozen=True)
class Checked:
    """One check, and what it came to."""

    name: str
    tests: Sequence[Test]
    seconds: float


Check = tuple[str, Callable[[], list[Test]]]


def conformance(run: Audited, say: Say) -> Part:
    """Rehearses the run's plan, and decides: Bonferroni over all tests at FAMILY."""
    plan = run.plan
    if plan.recipe.privacy.noise is Noise.NONE:
        return _without_noise()
    learner = run.learner()
    with tempfile.TemporaryDirectory(prefix="chatfed-conformance-") as home:
        checked = list(_checked(_checks(run, learner, Path(home)), say))
    return _part(plan, learner.initial.size, checked, decide([test for each in checked for test in each.tests]))


def _without_noise() -> Part:
    return Part(
        "conformance",
        "Does the program do what the proof assumes?",
        Verdict.UNJUDGED,
        "This run adds no noise and claims nothing, so there is no claim that its program could break.",
        {},
    )


def _checked(checks: Sequence[Check], say: Say) -> Iterator[Checked]:
    for at, (name, check) in enumerate(checks, 1):
        say(f"{name} ({at} of {len(checks)})")
        start = time.perf_counter()
        yield Checked(name, check(), time.perf_counter() - start)


def _checks(run: Audited, learner: Learner, home: Path) -> list[Check]:
    plan, d = run.plan, learner.initial.size
    checks: list[Check] = [("the claim and what was charged for it", lambda: [_claim(run, d)])]
    if plan.recipe.privacy.noise is Noise.DISTRIBUTED:
        checks += _of_sums(plan, "rounds", home, d)
        if plan.counting:
            checks += _of_sums(plan.counting, "the count of n-grams", home, plan.counting.cells)
    else:
        checks.append(("noise of a client's own", lambda: _own_noise(plan, learner)))
        checks.append(("one dialogue more in a client's own step", lambda: own_steps(learner)))
    checks += _of_conduct(plan, home)
    if plan.recipe.privacy.unit is Unit.EXAMPLE and plan.recipe.privacy.noise is Noise.DISTRIBUTED:
        checks.append(("samples of dialogues", lambda: _samples(plan, learner)))
    return checks


def _of_sums(agreed: Plan | Counting, what: str, home: Path, d: int) -> list[Check]:
    """Noise and replays at the size of the run's own vectors."""
    rounds = max(ROUNDS, agreed.agreement.schedule.bands + 1)

    def setting(name: str, cohort: int) -> Setting:
        return _setting(home / what / name, agreed, d, cohort)

    return [
        (f"noise of {what}", lambda: grey_box.noise(setting("noise", COHORT), rounds)),
        (f"one unit more in {what}", lambda: grey_box.replay(setting("replay", REPLAYED))),
        (f"masks of {what}", lambda: grey_box.masks(setting("masks", REPLAYED))),
    ]


def _of_conduct(plan: Plan, home: Path) -> list[Check]:
    """What does not depend on how long vectors are."""

    def setting(name: str, cohort: int = COHORT) -> Setting:
        return _setting(home / name, plan, SMALL, cohort)

    own = min(plan.agreement.schedule.cohort, LARGEST)
    checks: list[Check] = [
        ("charges", lambda: conduct.charges(setting("charges", own))),
        ("retries", lambda: conduct.again(setting("retries"))),
        ("floors", lambda: conduct.floors(setting("floors"))),
    ]
    privacy = plan.recipe.privacy
    if privacy.unit is Unit.CLIENT and plan.recipe.secagg.rotation and privacy.noise is Noise.DISTRIBUTED:
        checks.append(("rotations", lambda: grey_box.rotations(setting("rotations", REPLAYED))))
    if privacy.unit is Unit.CLIENT and privacy.sampling_rate < 1 and privacy.noise is Noise.DISTRIBUTED:
        checks.append(("clients' own coins", lambda: conduct.coins(setting("coins"), rounds=5)))
    return checks


def _setting(home: Path, agreed: Plan | Counting, dimension: int, cohort: int) -> Setting:
    """The agreement for a cohort of that size, without pinned identities."""
    agreement, terms = _of_cohort(agreed.agreement, cohort), agreed.terms
    names = tuple(ClientId(f"rehearsed-{i:04}") for i in range(cohort * agreement.schedule.bands))
    moving = agreement.sums.codec.privacy.clip_norm if agreement.moving_clip_norm else 0.0
    return Setting(home, agreement, terms, names, dimension, moving)


def _of_cohort(agreement: Agreement, cohort: int) -> Agreement:
    secagg = replace(agreement.sums.secagg, identities="none")
    sums = replace(agreement.sums, secagg=secagg, codec=replace(agreement.sums.codec, secagg=secagg))
    return replace(agreement, sums=sums, schedule=replace(agreement.schedule, cohort=cohort))


def _claim(run: Audited, d: int) -> Test:
    """The epsilon that is published, and the charges of the client that was asked most."""
    plan, counted = run.plan, run.plan.counting
    most = max(run.folder.charges().values(), default=0)
    before: Sequence[Charge] = ()
    if counted and counted.terms.mechanism:
        before, most = counted.charges or [counted.terms.mechanism], most - 1
    once: Sequence[Charge] = charges_of(plan.agreement.sums.codec, plan.agreement.schedule, d, 0)
    if not once and plan.terms.mechanism:
        once = [plan.terms.mechanism]
    return conduct.accounted("claim", run.privacy["epsilon"], run.privacy["delta"], [*before, *list(once) * most])


def _own_noise(plan: Plan, learner: Learner) -> list[Test]:
    """What is learned from no dialogue at all: noise at the learning rate, over the expected batch."""
    privacy = plan.recipe.privacy
    nothing = np.empty(0, np.int64)
    step = privacy.learning_rate * plan.terms.noise_multiplier * privacy.clip_norm / privacy.expected_batch_size
    std = step * math.sqrt(privacy.local_steps)
    return conduct.own_noise(lambda weights: learner.learn(weights, nothing), learner.initial, std, ROUNDS)


def _samples(plan: Plan, learner: Learner) -> list[Test]:
    """Of one client's dialogues, with the run's own model: who is in samples, and what one dialogue more changes."""
    mine, fewer = _neighbours(learner.private)
    rate, more = plan.recipe.privacy.sampling_rate, _learning(learner, mine)
    tests = conduct.samples(more, learner.initial, len(mine), rate, DRAWS)
    return tests + conduct.one_more(more, _learning(learner, fewer), learner.initial)


def _learning(learner: Learner, dialogues: IntVector) -> Learn:
    return lambda weights: learner.learn(weights, dialogues)


def own_steps(learner: Learner) -> list[Test]:
    """One step of a client that adds the noise itself, IN_A_STEP dialogues in it, with one of them and without it.

    At the recipe's clip norm, and at a hundredth of it, which every dialogue's gradient is longer than.
    """
    mine, fewer = _neighbours(learner.private, IN_A_STEP)
    tests = list[Test]()
    for share in (1.0, 0.01):
        privacy = replace(learner.how.privacy, local_steps=1, sampling_rate=1.0)
        privacy = replace(privacy, clip_norm=share * privacy.clip_norm)
        one = replace(learner, how=replace(learner.how, privacy=privacy))
        d, clip = learner.initial.size, privacy.clip_norm
        clip += math.sqrt(d) * lattice_step(d, clip, one.how.noise_multiplier)  # what noise is wide enough for
        norm, name = privacy.learning_rate * clip / privacy.expected_batch_size, f"clip norm {privacy.clip_norm:g}"
        tests += conduct.own_step(name, _learning(one, mine), _learning(one, fewer), learner.initial, norm)
    return tests


def _neighbours(table: TokenTable, most: int = MOST_DIALOGUES) -> tuple[IntVector, IntVector]:
    """A client's dialogues, and those without the longest, which is learned from last."""
    mine = _all_different(table)[:most]
    lengths = table.starts[mine + 1] - table.starts[mine]
    return mine, mine[np.argsort(lengths, kind="stable")][:-1]


def _all_different(table: TokenTable) -> IntVector:
    """Dialogues of the client with most, no two alike, MOST_DIALOGUES at the most."""
    most = max(table.clients.values(), key=len)
    kept: dict[bytes, int] = {}
    for dialogue in most:
        kept.setdefault(table.ids[table.starts[dialogue] : table.starts[dialogue + 1]].tobytes(), int(dialogue))
    return np.array(list(kept.values())[:MOST_DIALOGUES], np.int64)


def _part(plan: Plan, d: int, checked: Sequence[Checked], decision: Decision) -> Part:
    shortfall = _smallest_shortfall(d * ROUNDS, decision.tests)
    return Part(
        "conformance",
        "Does the program do what the proof assumes?",
        Verdict.HOLDS if decision.holds else Verdict.FAULT,
        _sentence(checked, decision, shortfall),
        {
            "tests": decision.tests,
            "p": decision.p,
            "alpha": FAMILY,
            "worst": decision.worst.name,
            "faults": [{"test": each.name, "p": each.p, "found": each.found} for each in decision.faults],
            "coordinates": d,
            "rounds": ROUNDS,
            "smallest_shortfall_found": shortfall,
            "power": {
                "sentence": f"Noise that is {shortfall:.2%} too small would have been found in 95 of 100 such checks."
            },
            "seconds": round(sum(each.seconds for each in checked), 1),
        },
        [_table(checked, decision)],
        notes=_notes(plan),
    )


def _sentence(checked: Sequence[Checked], decision: Decision, shortfall: float) -> str:
    """What was looked at, by name, and nothing else."""
    if decision.holds:
        names = [each.name for each in checked]
        return (
            f"The run's own program was rehearsed with known data: {decision.tests} tests of {', '.join(names[:-1])} "
            f"and {names[-1]} found nothing wrong. Noise that is {100 * shortfall:.2g} % too small would have been "
            "found."
        )
    first = decision.faults[0]
    found = f" ({first.found})" if first.found else ""
    return (
        f"The run's own program does not do what the proof assumes: {len(decision.faults)} of {decision.tests} tests "
        f"failed, first of all: {first.name}{found}."
    )


def _smallest_shortfall(coordinates: int, tests: int) -> float:
    """Of the noise's deviation, relative: what is found with 95 % at this many coordinates and tests."""
    threshold = -float(special.ndtri(FAMILY / tests / 2))
    return (threshold + 1.645) / math.sqrt(2 * coordinates)


def _table(checked: Sequence[Checked], decision: Decision) -> Table:
    rows = list[list[str | int | float | None]]()
    for each in checked:
        worst = min(each.tests, key=lambda test: test.p)
        p = min(1.0, worst.p * decision.tests)
        rows.append([each.name, len(each.tests), worst.name, p, round(each.seconds, 1)])
    return Table("What was looked at", ["check", "tests", "furthest out", "p (of all tests together)", "seconds"], rows)


def _notes(plan: Plan) -> list[str]:
    own = plan.agreement.schedule.cohort
    return [
        f"Rounds were rehearsed with {COHORT} clients (replays and masks with {REPLAYED}) where the run asks {own}, at "
        "the run's own noise multiplier, clip, rates and dimension; charges in a cohort of the run's own size, up to "
        f"{LARGEST}.",
        f"One decision for all tests: Bonferroni at {FAMILY:g}. The checks are themselves tested: a list of faults of "
        "this program, each put in by an edit, is found by them (make test-mutants).",
        *(NOT_OF_OWN if plan.recipe.privacy.noise is Noise.LOCAL else ()),
        "Not looked at: time, the machine's random generator, and what other software on that machine did.",
    ]
