"""Checks of what clients do around what leaves them: charges, learning, answers and samples.

Each rehearses rounds of the real clients and hands back tests; noise and masks are `grey_box`'s.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.conformance import Residual, Spent, Test, exact, least_delta, residual_tests, sampling_tests
from chatfed.privacy.distributed import DistributedGaussian
from chatfed.privacy.ledger import Charge, Entry
from chatfed.privacy.rounding import Scattered
from chatfed.secagg.messages import ProtocolError
from chatfed.types import ChatfedError, ClientId, FloatVector

from ..parties.client import Learn
from ..parties.rounds import commit
from ..parties.session import round_of
from ..plan.upload import Part
from .grey_box import known_inputs
from .rehearsal import Rehearsal, Setting, ask_to_unmask, collected, frozen, stream

ROUNDING = 2.0**-20  # of weights and of their move, in norm: 16 units in the last place of float32


def again(setting: Setting) -> list[Test]:
    """A round that is asked for again gives the same numbers for one charge, learned once; and none once it is over."""
    first, tests = setting.beginner(0), list[Test]()
    with setting.generous.rehearsal("again", known_inputs(setting)) as made:
        means, uploads = [], []
        for attempt in range(3):
            means.append(made.run(made.session(0, attempt)).mean.tobytes())
            uploads.append(made.upload(first).tobytes())
        tests.append(exact("a retry leaves with the same noise", len(set(uploads)) == 1, "noise was drawn anew"))
        tests.append(exact("sums of a retry", len(set(means)) == 1, "two sums of one round differ"))
        tests += _once(made, "three attempts")
        session = made.session(0, 3)
        commit(session, made)
        with suppress(ChatfedError):
            made.run(session)
        tests += _once(made, "a round that is over")
        tests.append(exact("a round that is over gives nothing", not made.wire, "it was answered once more"))
    return tests


def _once(made: Rehearsal, what: str) -> list[Test]:
    there = made.setting.invited(0)
    learned = {len(made.charged.get(name, ())) for name in there}
    charges = {len(made.ledger(name)[0]) for name in there}
    return [
        exact(f"{what}: learned once", learned == {1}, f"learned {sorted(learned)} times"),
        exact(f"{what}: charged once", charges == {1}, f"charged {sorted(charges)} times"),
    ]


def charges(setting: Setting, affordable: int = 2) -> list[Test]:
    """Each round is charged before it is learned, as what it is, at no less than it costs; and none over the budget."""
    first = setting.beginner(0)
    with setting.generous.rehearsal("costs", known_inputs(setting)) as made:
        for index in range(affordable):
            made.run(made.session(index))
        entries, cost = made.ledger(first)
        tests = [*_in_time(made, affordable), *_sound(setting, entries, cost)]
    with setting.of_budget(cost * (1 + 1e-6)).rehearsal("budget", known_inputs(setting)) as made:
        for index in range(affordable + 1):
            with suppress(ProtocolError):  # too few are left for a sum
                made.run(made.session(index))
        return tests + _within(made, first, affordable)


def _in_time(made: Rehearsal, rounds: int) -> list[Test]:
    """When a client learns in the k-th round that it is asked in, k charges are on the disk."""
    wrong = []
    for name in made.setting.clients:
        asked = [made.setting.invited(index)[name] for index in range(rounds) if name in made.setting.invited(index)]
        expected, seen = [k for k, lag in enumerate(asked, 1) if not lag], made.charged.get(name, [])
        wrong += [] if seen == expected else [f"{seen} charges on the disk when learning began, not {expected}"]
    return [exact("charged before it is learned", not wrong, "".join(wrong[:1]))]


def _within(made: Rehearsal, first: ClientId, affordable: int) -> list[Test]:
    """After one round more than the first client can pay for."""
    ledgers = {name: made.ledger(name) for name in made.charged}
    over = [name for name, (_, cost) in ledgers.items() if cost > made.setting.terms.budget.epsilon]
    unpaid = [
        name for name, seen in made.charged.items() if sorted(set(seen)) != seen or seen[-1] > len(ledgers[name][0])
    ]
    late = [step.name for step, name, _ in made.wire if name == first]
    return [
        exact("budget", not over, f"{over[:1]} went over its budget"),
        exact("no learning without a charge", not unpaid, f"{unpaid[:1]} learned what it could not pay"),
        exact(
            "nothing leaves over the budget", affordable < made.setting.bands or not late, f"{late[:1]} was answered"
        ),
    ]


def _sound(setting: Setting, entries: Sequence[Entry], cost: float) -> list[Test]:
    """What was charged: as much noise as was agreed, from the fewest that sums may be of, at the recipe's rate."""
    charged, rate = [entry.mechanism for entry in entries], setting.codec.privacy.sampling_rate
    known = spent_on(charged)
    over = [each for each in entries if _more_than_honest(setting, each)]
    return [
        exact("honest shares", not over, f"more are charged for than are certain: {[e.mechanism for e in over][:1]}"),
        exact("rate", all(each[1] >= rate for each in known), "a lower one is charged for"),
        exact("multiplier", min(known)[0] >= setting.terms.noise_multiplier * (1 - 1e-9), "less noise than agreed"),
        accounted("cost", cost, setting.terms.budget.delta, charged),
    ]


def _more_than_honest(setting: Setting, entry: Entry) -> bool:
    """Whether a charge counts on more shares than the fewest survivors less the colluders give."""
    participants = setting.agreement.schedule.participants(round_of(entry.key))
    colluders = max(1, math.floor(setting.codec.secagg.corrupt * participants + 1e-9))
    return isinstance(entry.mechanism, DistributedGaussian) and entry.mechanism.shares > (
        fewest(setting, participants) - colluders
    )


def accounted(name: str, epsilon: float, delta: float, charged: Sequence[Charge]) -> Test:
    """No less is claimed than these charges cost, by a lower bound that no accountant of ours works out."""
    least = least_delta(epsilon, spent_on(charged))
    return exact(name, least <= delta, f"at epsilon {epsilon:.4g} delta is {least:.2g}, above {delta:g}")


def spent_on(charged: Sequence[Charge]) -> list[Spent]:
    """Charges as sampled Gaussians."""
    return [
        (
            each.noise_multiplier,
            each.sampling_rate,
            each.rounds if isinstance(each, DistributedGaussian) else each.steps,
        )
        for each in charged
    ]


def fewest(setting: Setting, participants: int) -> int:
    """Survivors without whom the recipe lets nothing be unmasked: its share of a cohort, and over half of it."""
    return max(math.ceil(setting.codec.secagg.threshold * participants - 1e-9), participants // 2 + 1)


def floors(setting: Setting) -> list[Test]:
    """A server that asks for the sum of fewer than the recipe allows gets no answer; of two sets, one gets answers.

    The second set is asked for in another attempt at the round, with other masks around the same updates.
    """
    n = setting.agreement.schedule.participants(0)
    least = fewest(setting, n)
    with setting.generous.rehearsal("floors", known_inputs(setting)) as made:
        session = made.session(0)
        state = collected(made, session)
        too_few = ask_to_unmask(made, session, state, range(1, least))
        enough = ask_to_unmask(made, session, state, range(1, least + 1))
        tests = [
            exact("too few survivors", not too_few, f"{len(too_few)} clients unmask a sum of {least - 1}"),
            exact("enough survivors", len(enough) == least, "clients refuse a sum that the recipe allows"),
        ]
        if least < n:
            session = made.session(0, 1)
            others = ask_to_unmask(made, session, collected(made, session), range(1, n + 1)).keys() & enough.keys()
            tests.append(exact("a second survivor set", not others, f"{len(others)} clients unmask two sums"))
    return tests


def coins(setting: Setting, rounds: int) -> list[Test]:
    """Where a client's whole update is the unit: its own coin says whether it is in a sum, at the agreed rate.

    Under the same entropy an update is in a sum where what leaves with it differs from what leaves with zeros.
    """
    left = [_left(setting, norm, rounds) for norm in (0.0, 1.0)]
    taken = np.array([[a != b for a, b in zip(*both, strict=True)] for both in zip(*left, strict=True)])
    return sampling_tests("clients' coins", taken, setting.codec.privacy.sampling_rate)


def _left(setting: Setting, norm: float, rounds: int) -> list[list[bytes]]:
    """What left each client in each round, before masks, where all give an update of that norm."""
    update = np.full(setting.dimension, norm / math.sqrt(setting.dimension), np.float32)
    left = list[list[bytes]]()
    with setting.generous.rehearsal(f"coins {norm:g}", lambda client: [update], lambda client: stream(client)) as made:
        for index in range(rounds):
            made.run(made.session(index))
            left.append([made.upload(name).tobytes() for name in setting.clients])
    return left


def samples(learn: Learn, weights: FloatVector, units: int, rate: float, draws: int) -> list[Test]:
    """The real learner, asked again and again, takes a Poisson sample at the rate that is charged, drawn anew.

    units: dialogues of the client, all different. A part is known again by its bytes, since it is to be a function of
    the weights and its dialogue alone: were it not, there would be more kinds of parts than dialogues.
    """
    columns, drawn = dict[bytes, int](), np.zeros((draws, units), np.bool_)
    for row in drawn:
        for part in learn(weights):
            column = columns.setdefault(_digest(part), len(columns))
            if column >= units:
                return [exact("a dialogue's part", False, "depends on more than its dialogue")]
            row[column] = True
    return sampling_tests("samples of dialogues", drawn, rate)


def one_more(more: Learn, less: Learn, weights: FloatVector) -> list[Test]:
    """The real learner on two data sets, of which one has a dialogue more at its end, under the same entropy."""
    parts = []
    for learn in (more, less):
        with frozen(stream("one more")):
            parts.append([_digest(part) for part in learn(weights)])
    with_it, without = parts
    others = with_it[: len(without)] == without
    return [
        exact("others' parts", others, "a dialogue more changes what others add"),
        exact("a dialogue's own part", len(with_it) <= len(without) + 1, "one dialogue adds more than one part"),
    ]


def own_noise(learn: Learn, weights: FloatVector, std: float, draws: int) -> list[Test]:
    """Where the noise is a client's own: what it learns from no dialogue at all is that noise, drawn anew each time.

    std: in the unit of weights.
    """
    found = [next(iter(learn(weights))) for _ in range(draws)]
    dense = [part.dense(weights.size) if isinstance(part, Scattered) else part for part in found]
    return residual_tests([Residual(f"draw {k}", part, std, whole=False) for k, part in enumerate(dense)])


def own_step(name: str, more: Learn, less: Learn, weights: FloatVector, norm: float) -> list[Test]:
    """Where the noise is a client's own: a step with one dialogue more, under the same entropy, which it is in.

    It moves the weights, by no more than `norm`, what one clipped dialogue may do; but for ROUNDING.
    """
    first, second = (_step_of(learn, weights) for learn in (more, less))
    moved, long = float(np.linalg.norm(first - second)), float(np.linalg.norm(weights) + np.linalg.norm(first))
    return [
        exact(f"a dialogue moves its client's step, {name}", moved > 0, "it does not"),
        exact(
            f"by no more than its clip norm, {name}",
            moved <= norm + ROUNDING * long,
            f"moved the step by {moved:.3g}, {norm:.3g} are charged for",
        ),
    ]


def _step_of(learn: Learn, weights: FloatVector) -> NDArray[np.float64]:
    """By how much one step moves the weights: float64[d]."""
    with frozen(stream("own step")):
        (part,) = learn(weights)
        return np.array(part.dense(weights.size) if isinstance(part, Scattered) else part, np.float64)


def _digest(part: Part) -> bytes:
    arrays = part if isinstance(part, Scattered) else (part,)
    return hashlib.sha256(b"".join(each.tobytes() for each in arrays)).digest()
