"""Whether training helped: one model before and after, on the same held-out dialogues. Takes sums; knows no model.

The rule stands in `_verdict` and the words in `sentence`; whoever tells of a run takes both from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.figures import MISSING, bits, finite, points
from chatfed.types import IntVector

Sums = NDArray[np.float64]
"""float64[dialogues, 5]: of each dialogue's words the nats, UTF-8 bytes, number, right at first place, within three."""

RESAMPLES, LEVEL, SEED = 1000, 0.95, 1
FEWEST = 5  # clients, or else dialogues, that an interval is drawn from
LEARNED, NOT_LEARNED, WORSE, UNKNOWN = "learned", "did not learn", "worse", "cannot tell"
UNLIKE, DROWNED = "cannot compare", "too much noise"
NOISE = "noise"
BETTER = {"bits_per_byte": -1, "top1": 1, "top3": 1}  # the measures, and the sign of a difference that is a gain


@dataclass(frozen=True)
class Interval:
    """After minus before, and where it lies at LEVEL; None: too few dialogues to tell."""

    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """What became of each measure, and what that means."""

    verdict: str
    over: str  # what was resampled: "clients" or "dialogues"; or NOISE, that was drawn anew
    groups: int  # how many of them
    resamples: int
    level: float
    bits_per_byte: Interval
    top1: Interval
    top3: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the fields' names."""
        return asdict(self)


def compare(before: Sums, after: Sums, clients: IntVector | None = None) -> Comparison:
    """A paired bootstrap over held-out clients: both models are measured on the same resampled clients.

    clients: int64[dialogues], whose each dialogue is; None, or fewer than FEWEST of them: over dialogues. Expanded
    percentile intervals (`share_beyond`) at LEVEL, each by itself, from RESAMPLES draws of a fixed seed. Clients
    without a word say nothing and are not counted.
    """
    over, grouped = by_groups((before, after), clients)

    def change(sums: Sums) -> Sums:
        old, new = rates(sums)
        moved: Sums = new - old
        return moved

    low, high = intervals(grouped, change)
    found = [Interval(*each) for each in zip(change(grouped.sum(1)).tolist(), low, high, strict=True)]
    kept = dict(zip(BETTER, found, strict=True))
    return Comparison(_verdict(kept), over, grouped.shape[1], RESAMPLES, LEVEL, **kept)


def compare_noisy(before: Sums, after: Sums, noise: Sums) -> Comparison:
    """As `compare`, of one row of sums each, over the same dialogues, with Gaussian noise in it.

    noise: float64[5], its standard deviations. Bytes and words are the same before and after, so their mean is taken
    for both. Intervals at LEVEL are the noise's alone, drawn RESAMPLES times from a fixed seed: nothing here is secret.
    """
    pair = np.stack([before.sum(0), after.sum(0)])
    drawn = pair + np.random.default_rng(SEED).normal(size=(RESAMPLES, 2, 5)) * noise
    moved, change = (rates(_alike(each)[..., 1, :]) - rates(_alike(each)[..., 0, :]) for each in (drawn, pair))
    ends = np.quantile(moved, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    found = [Interval(each, finite(low), finite(high)) for each, low, high in np.stack([change, *ends], 1).tolist()]
    kept = dict(zip(BETTER, found, strict=True))
    verdict = _verdict(kept)  # where 0 lies in the interval it may be the noise that hides what was learned
    return Comparison(DROWNED if verdict == NOT_LEARNED else verdict, NOISE, 1, RESAMPLES, LEVEL, **kept)


def noise_of_bits(sums: Sums, noise: Sums) -> float:
    """Half of the interval at LEVEL that Gaussian noise float64[5] in sums float64[5] gives to their bits per byte."""
    drawn = sums + np.random.default_rng(SEED).normal(size=(RESAMPLES, 5)) * noise
    drawn[:, 1] = np.maximum(drawn[:, 1], 1)
    low, high = np.quantile(rates(np.maximum(drawn, 1e-9))[:, 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(high - low) / 2


def _alike(pair: Sums) -> Sums:
    """[..., 2, 5] sums of the same dialogues: bytes and words at their mean."""
    told = pair.copy()
    told[..., 1:3] = pair[..., 1:3].mean(-2, keepdims=True)
    return told


def unlike(before: Sums, after: Sums) -> Comparison:
    """What is left to say where the two were measured on other dialogues: two figures, and no verdict."""
    differences = rates(after.sum(0)) - rates(before.sum(0))
    kept = {name: Interval(each, None, None) for name, each in zip(BETTER, differences.tolist(), strict=True)}
    return Comparison(UNLIKE, "", 0, 0, LEVEL, **kept)


def by_groups(models: Sequence[Sums], clients: IntVector | None) -> tuple[str, Sums]:
    """What is resampled, "clients" or "dialogues", and float64[models, groups, 5]: each model's sums over each.

    clients: int64[dialogues] or None, as `compare` takes them. Groups without a word are left out.
    """
    over, owners = "clients", clients
    if owners is None or len(np.unique(owners)) < FEWEST:
        over, owners = "dialogues", np.arange(len(models[0]))
    _, owners = np.unique(owners, return_inverse=True)
    grouped = np.zeros((len(models), int(owners.max(initial=-1)) + 1, models[0].shape[1]))
    for sums, given in zip(grouped, models, strict=True):
        np.add.at(sums, owners, given)
    return over, grouped[:, grouped[0, :, 2] > 0]


def rates(sums: Sums) -> Sums:
    """[..., 5] sums -> [..., 3]: bits per byte, share of words right at first place, and within three."""
    nats, octets, words, first, third = np.moveaxis(sums, -1, 0)
    return np.stack([nats / math.log(2) / octets, first / words, third / words], -1)


def intervals(grouped: Sums, figures: Callable[[Sums], Sums]) -> tuple[list[float | None], list[float | None]]:
    """The ends of the intervals of `figures`, which takes all models' sums float64[models, 5] and gives float64[3].

    All models are measured on the same resampled groups. None: too few groups, or a draw of which there is no figure.
    """
    groups = grouped.shape[1]
    if groups < FEWEST:
        return [None] * 3, [None] * 3
    generator = np.random.default_rng(SEED)  # of what is measured, not of anything secret
    drawn = np.empty((RESAMPLES, 3))
    for resample in drawn:  # one at a time: there may be thousands of dialogues
        times = np.bincount(generator.integers(groups, size=groups), minlength=groups)
        resample[:] = figures(np.einsum("g,wgk->wk", times, grouped))
    beyond = share_beyond(groups)
    low, high = ([finite(end) for end in ends] for ends in np.quantile(drawn, [beyond, 1 - beyond], axis=0).tolist())
    return low, high


def share_beyond(groups: int) -> float:
    """Of the draws, how many to leave out at either end: Phi(-sqrt(n / (n - 1)) t), t of n - 1 degrees of freedom.

    Plain percentiles of few groups are too near: of 5, that from 2.5 to 97.5 % holds the truth in 86 % of cases, this
    one in 93 % (expanded percentile interval: Hesterberg 2015, "What Teachers Should Know About the Bootstrap").

    >>> [round(share_beyond(groups), 4) for groups in (5, 20, 1000)]
    [0.001, 0.0159, 0.0248]
    """
    from scipy.special import ndtr, stdtrit

    return float(ndtr(-math.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, (1 + LEVEL) / 2)))


def _verdict(found: Mapping[str, Interval]) -> str:
    """WORSE, LEARNED, NOT_LEARNED, or UNKNOWN where there is no interval.

    Worse: the whole interval of some measure is on the wrong side. Learned: of none, and that of bits per byte lies
    wholly on the right side.
    """
    gains = dict[str, tuple[float, float]]()  # least and most, above 0 what is better
    for name, each in found.items():
        if each.low is None or each.high is None:
            return UNKNOWN
        gains[name] = (each.low, each.high) if BETTER[name] > 0 else (-each.high, -each.low)
    if any(most < 0 for _, most in gains.values()):
        return WORSE
    return LEARNED if gains["bits_per_byte"][0] > 0 else NOT_LEARNED


SAYS = {
    LEARNED: "The run learned",
    NOT_LEARNED: "The run did NOT learn",
    WORSE: "The run made the model WORSE",
    UNKNOWN: "Too few held-out dialogues to tell whether the run learned",
    DROWNED: "Too much noise in what was measured to tell whether the run learned",
    UNLIKE: "Other members measured before the run than after it, so nothing tells whether it learned",
}


def sentence(summary: Mapping[str, Any]) -> str:
    """The verdict and what it rests on, from summary.json; empty where that holds none."""
    comparison = summary.get("comparison")
    verdict = comparison.get("verdict") if isinstance(comparison, Mapping) else None
    if not isinstance(comparison, Mapping) or not isinstance(verdict, str) or verdict not in SAYS:
        return ""
    measured = [
        f"{_pair(summary, 'bits_per_byte', bits)} bits per byte{_within(comparison, 'bits_per_byte', bits)}",
        f"next word right {_pair(summary, 'top1', '{:.1%}'.format)}{_within(comparison, 'top1', points)}",
        f"within three {_pair(summary, 'top3', '{:.1%}'.format)}{_within(comparison, 'top3', points)}",
    ]
    return f"{SAYS[verdict]}: {'; '.join(measured)}.{_how(comparison)}"


def _how(comparison: Mapping[str, Any]) -> str:
    groups, over = finite(comparison.get("groups")), comparison.get("over")
    if over == NOISE and comparison["verdict"] != UNKNOWN:
        return f" Brackets: {LEVEL:.0%} interval of the change by the noise in the two sums alone."
    if comparison["verdict"] in (UNKNOWN, UNLIKE) or groups is None or over not in ("clients", "dialogues"):
        return ""
    return f" Brackets: {LEVEL:.0%} interval of the change (paired bootstrap over {groups:.0f} held-out {over})."


def _pair(summary: Mapping[str, Any], key: str, show: Callable[[float], str]) -> str:
    both = [summary.get(when) for when in ("before", "after")]
    values = (finite(scores.get(key)) if isinstance(scores, Mapping) else None for scores in both)
    return " → ".join(MISSING if value is None else show(value) for value in values)


def _within(comparison: Mapping[str, Any], key: str, show: Callable[[float, bool], str]) -> str:
    found = comparison.get(key)
    low, high = (finite(found.get(end)) for end in ("low", "high")) if isinstance(found, Mapping) else (None, None)
    return "" if low is None or high is None else f" [{show(low, True)} to {show(high, True)}]"
