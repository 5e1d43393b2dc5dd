"""Checks of what leaves clients: its noise, its masks, and how far one unit moves it.

Each rehearses rounds of the real clients and hands back tests; what clients do besides is `conduct`'s. `tests/mutants`
says which fault each finds.

Knows a setting, never a model. Expected numbers are worked out here anew from the recipe and from what the ledger was
charged, in plain numpy, not by the code that is looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress

import numpy as np

from chatfed.audit.conformance import (
    Residual,
    Test,
    exact,
    replayed,
    residual_tests,
    uniformity,
)
from chatfed.privacy.distributed import DistributedGaussian
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.rounding import Scattered
from chatfed.secagg.integers import SignedSum
from chatfed.secagg.masking import RingVector
from chatfed.secagg.messages import BODY
from chatfed.secagg.primitives import CHECKSUM_BYTES
from chatfed.types import ChatfedError, ClientId, FloatVector, IntVector

from ..parties.rounds import Outcome, Standing
from ..parties.session import Step, round_of
from ..plan.upload import BIT, Part, UpdateUpload
from .rehearsal import Inputs, Rehearsal, Setting, stream

MOST_SEEDS = 40  # replays until a client's own coin takes its update
TOGETHER = 40  # parts of a client, all alike: a divisor that depends on data shows in their sum


def known_inputs(setting: Setting) -> Inputs:
    """Where dialogues are protected: TOGETHER long dense ones that are alike, and a scattered one; else zeros.

    Zeros are whole steps whatever the rotation, so that no rounding is left in the residual.
    """
    d, privacy = setting.dimension, setting.codec.privacy
    if privacy.unit is Unit.CLIENT or privacy.noise is not Noise.DISTRIBUTED:
        return lambda name: [np.zeros(d, np.float32)]

    def inputs(name: ClientId) -> list[Part]:
        alike = _direction(d, name) * np.float32(3.0)
        places = np.arange(0, d, 2, dtype=np.int64)
        return [alike] * TOGETHER + [Scattered(places, _direction(d, f"{name}, scattered")[places] * np.float32(50.0))]

    return inputs


def _direction(d: int, name: str) -> FloatVector:
    """float32[d] of norm 1, the same for the same name."""
    drawn = np.random.default_rng(list(name.encode())).standard_normal(d)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def noise(setting: Setting, rounds: int) -> list[Test]:
    """What is left of sums, and of what one client gives to them, less known inputs: the noise that was charged for.

    Anew in each round and in each echo.
    """
    residuals, first = list[Residual](), setting.beginner(0)
    with setting.generous.rehearsal("noise", known_inputs(setting)) as made:
        for index in range(rounds):
            outcome = made.run(made.session(index))
            charged = _charged(made, index, outcome)
            if charged is None:
                return [
                    exact("a sum is charged for", False, f"that of {len(outcome.survivors)} clients is in no ledger")
                ]
            residuals.append(_of_sum(made, index, outcome, charged))
            if first in outcome.survivors:
                residuals.append(_of_upload(made, index, first, charged))
    return residual_tests(residuals)


def _charged(made: Rehearsal, index: int, outcome: Outcome) -> DistributedGaussian | None:
    """What the survivors' ledgers say of the round: of their charges the one with most noise."""
    entries = [entry for name in outcome.survivors for entry in made.ledger(name)[0] if round_of(entry.key) == index]
    found = [each.mechanism for each in entries if isinstance(each.mechanism, DistributedGaussian)]
    return max(found, key=lambda each: each.std, default=None)


def _of_upload(made: Rehearsal, index: int, name: ClientId, charged: DistributedGaussian) -> Residual:
    """In ring steps, of what lies in the client's own records: before masks."""
    given = SignedSum(charged.dimension, made.ring_bits).decode(made.upload(name))
    signal = _signal(made, [name], charged)
    residual, within = given if signal is None else given - signal, f"round {index}, the sum"
    return Residual(f"round {index}, one client", residual, charged.std, signal, within=within)


def _signal(made: Rehearsal, names: Iterable[ClientId], charged: DistributedGaussian) -> IntVector | None:
    """int64[d]: the known inputs of these clients in ring steps; None where all are zeros."""
    privacy = made.setting.codec.privacy
    if privacy.unit is Unit.CLIENT:
        return None
    signal = np.zeros(made.setting.dimension, np.int64)
    for name in names:
        parts = list(made.inputs(name))
        for part, times in Counter(map(id, parts)).items():
            given = next(each for each in parts if id(each) == part)
            signal += times * _in_steps(given, privacy.clip_norm, charged.norm, signal.size)
    return signal


def _of_sum(made: Rehearsal, index: int, outcome: Outcome, charged: DistributedGaussian) -> Residual:
    """In ring steps, of the decoded mean: so what decodes and divides is looked at as well."""
    privacy, n = made.setting.codec.privacy, len(outcome.survivors)
    mean, name, std = outcome.mean.astype(np.float64), f"round {index}, the sum", charged.std * math.sqrt(n)
    signal = _signal(made, outcome.survivors, charged)
    if signal is None:
        steps = mean * (n * charged.sampling_rate / _step_of_updates(made.setting, index))
        whole = not made.setting.codec.secagg.rotation
        return Residual(name, np.rint(steps) if whole else steps, std, whole=whole)
    step = privacy.learning_rate * privacy.clip_norm / privacy.expected_batch_size / charged.norm
    return Residual(name, np.rint(mean * (-n / step)) - signal, std, signal)


def _step_of_updates(setting: Setting, index: int) -> float:
    """A ring step in the unit of updates; with the bit beside them they are all a little shorter."""
    participants = setting.agreement.schedule.participants(index)
    code = setting.codec.upload(participants, setting.dimension, clip_norm=setting.clip_norm)
    assert isinstance(code, UpdateUpload), "of a client's whole update"
    return code.clip_norm * (math.sqrt(1 + (BIT / 2) ** 2) if code.quantile else 1.0) / code.scale


def _in_steps(part: Part, norm: float, steps: float, d: int) -> IntVector:
    """A part clipped to `norm` and cut to whole steps, by float64: within a step of what the code makes of it."""
    exactly = (part.dense(d) if isinstance(part, Scattered) else part).astype(np.float64)
    return np.trunc(exactly * (steps / max(float(np.linalg.norm(exactly)), norm))).astype(np.int64)


def neighbours(setting: Setting) -> Mapping[str, Part]:
    """What one unit may be that is there in one data set and not in the other: each path that it may take."""
    d, norm = setting.dimension, setting.codec.privacy.clip_norm
    one, places = _direction(d, "unit"), np.arange(0, d, 3, dtype=np.int64)
    broken = one.copy()
    broken[d // 2 :] = np.nan
    endless = one.copy()
    endless[::7] = np.inf
    found: dict[str, Part] = {
        "short": one * np.float32(0.3 * norm),
        "long": one * np.float32(40 * norm),
        "huge": one * np.float32(1e30),
        "not a number": broken,
        "infinite": endless,
    }
    if setting.codec.privacy.unit is Unit.EXAMPLE:
        found["long and scattered"] = Scattered(places, one[places] * np.float32(90 * norm))
        found["scattered and not a number"] = Scattered(places, broken[places])
    return found


def replay(setting: Setting) -> list[Test]:
    """Rounds under the same entropy, with one unit and without it: of all that leaves one vector moves, by its norm."""
    units, first = neighbours(setting), setting.beginner(0)
    for seed in range(MOST_SEEDS):
        without, long = (_replayed(setting, name, units.get(name), seed) for name in ("without", "long"))
        if _moves(without, long, first):
            break
    else:
        return [exact("a unit moves what leaves", False, f"in none of {MOST_SEEDS} replays")]
    tests = compared("one unit more, long", without, long, first)
    for name, unit in units.items():
        if name != "long":
            tests += compared(f"one unit more, {name}", without, _replayed(setting, name, unit, seed), first)
    return tests


def _moves(without: Transcript, unit: Transcript, first: ClientId) -> bool:
    """Whether the unit is in the sum, which a client's own coin may decide; or the client is not even there for it."""
    if first not in without.masked or first not in unit.masked:
        return True
    return bool((without.masked[first] != unit.masked[first]).any())


def _one_client(setting: Setting, unit: Part | None) -> list[Part]:
    """The first client's data, with the unit or without it.

    Where a client is the unit it has no update without it; one that is sent again must be one, and is zeros.
    """
    if setting.codec.privacy.unit is Unit.EXAMPLE:
        before = known_inputs(setting)(setting.beginner(0))
        return [*before] if unit is None else [*before, unit]
    if unit is None:
        return [] if setting.bands == 1 else [np.zeros(setting.dimension, np.float32)]
    return [unit]


class Transcript:
    """What is seen of one replay from outside, and what its ledgers say."""

    def __init__(self, made: Rehearsal) -> None:
        self.wire, self.refusals, self.charged = made.wire, made.refusals, made.charged
        self.ring_bits = made.ring_bits
        self.ledgers = {name: made.ledger(name)[0] for name in made.setting.invited(0)}
        self.masked = {name: made.masked(name) for step, name, _ in made.wire if step == Step.SHARES}


def _replayed(setting: Setting, name: str, unit: Part | None, seed: int) -> Transcript:
    first, others = setting.beginner(0), known_inputs(setting)

    def inputs(client: ClientId) -> Iterable[Part]:
        return _one_client(setting, unit) if client == first else others(client)

    with setting.generous.rehearsal(f"replay {seed} {name}", inputs, lambda client: stream(seed, client)) as made:
        with suppress(ChatfedError):  # who fell silent is in the transcript, and why
            made.run(made.session(0))
        return Transcript(made)


def compared(name: str, one: Transcript, other: Transcript, first: ClientId) -> list[Test]:
    """Two replays that differ in a unit of `first`: charges, messages, lengths, and by how much what leaves moves."""
    charges = exact(f"charges, {name}", one.ledgers == other.ledgers, "another charge")
    shape = [[(step, who, len(answer)) for step, who, answer in each.wire] for each in (one, other)]
    flow = exact(
        f"control flow and lengths, {name}",
        shape[0] == shape[1] and one.refusals == other.refusals and one.charged.keys() == other.charged.keys(),
        "; ".join(other.refusals.values()) or "other messages, or of another length",
    )
    if flow.p < 1 or first not in one.masked or len(other.ledgers[first]) != 1:
        return [charges, flow, exact(f"one charge and one input, {name}", False, "there was none, or more")]
    (entry,) = other.ledgers[first]
    assert isinstance(entry.mechanism, DistributedGaussian), "a share of a sum's noise"
    code = SignedSum(entry.mechanism.dimension, one.ring_bits)
    told = _tell(one, other, first)
    return [
        charges,
        flow,
        exact(f"other messages, {name}", not told, f"{told} tells of it too"),
        replayed(f"what leaves, {name}", code.decode(other.masked[first] - one.masked[first]), entry.mechanism.norm),
    ]


def _tell(one: Transcript, other: Transcript, first: ClientId) -> str:
    """A message that differs, and may not: all but the vector in the masked input of `first` are to be the same."""
    for (step, who, answer), (_, _, again) in zip(one.wire, other.wire, strict=True):
        if step == Step.SHARES and who == first:
            size = one.masked[who].nbytes
            answer, again = _but_for_vector(answer, size), _but_for_vector(again, size)
        if answer != again:
            return f"{who} in step {step.name}"
    return ""


def _but_for_vector(answer: bytes, size: int) -> bytes:
    """A masked input without its vector, and without the checksum over it: the 16 bytes before the body."""
    body = 1 + BODY
    return answer[: body - CHECKSUM_BYTES] + answer[body : len(answer) - size]


def masks(setting: Setting) -> list[Test]:
    """What leaves looks like nothing, also beside what left in another round."""
    at, standing = setting.bands - 1, Standing()  # from there on sums are of as many
    first = setting.beginner(at)
    with setting.generous.rehearsal("masks", known_inputs(setting), lambda client: stream("masks", client)) as made:
        sent, plain = [], []
        for index in (at, at + 1):
            made.run(made.session(index), standing)
            sent.append(made.masked(first).copy())
            plain.append(made.upload(first).copy())
    tests = uniformity("a masked input", sent[0])
    tests += uniformity("two rounds' masked inputs, subtracted", sent[1] - sent[0])
    return tests + uniformity("two rounds' masks, subtracted", sent[1] - plain[1] - sent[0] + plain[0])


def rotations(setting: Setting) -> list[Test]:
    """Where updates are rotated: two rounds under one entropy give one update two directions."""
    for seed in range(MOST_SEEDS):
        moved = [_moved(setting, times * setting.bands, seed) for times in (1, 2)]  # the same clients begin
        if moved[0].any():
            return [exact("rotation", not np.array_equal(moved[0], moved[1]), "it is not of the round")]
    return [exact("a unit moves what leaves", False, f"in none of {MOST_SEEDS} replays")]


def _moved(setting: Setting, index: int, seed: int) -> RingVector:
    """By what an update moves what the first client gives to a round: ring elements, before masks."""
    unit, uploads = _direction(setting.dimension, "rotated"), list[RingVector]()
    for update in (np.zeros_like(unit), unit):
        inputs, name = (lambda client, given=update: [given]), f"rotation {index} {seed} {bool(update.any())}"
        with setting.generous.rehearsal(name, inputs, lambda client: stream(seed, client)) as made:
            made.run(made.session(index))
            uploads.append(made.upload(setting.beginner(index)).copy())
    return uploads[1] - uploads[0]
