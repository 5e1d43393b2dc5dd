"""What a curious server learns from searches: attacks by volume and by frequency, with and without padding.

After Xu, Zheng, Xu, Yuan and Wang, "Leakage-Abuse Attacks Against Forward and Backward Private Searchable Symmetric
Encryption" (CCS 2023, arXiv 2309.04697), who show that what such schemes leak is enough: how many entries each search
newly asks for (volumetric inference), and which searches are for one word (frequency matching). The server knows the
scheme and a public text like the log's, counts words there, and gives each word that was searched for the likeliest
word of the public text, each at most once (a linear assignment). Pure; knows no log, only what one would show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chatfed.types import InvalidValue

from .log_index import padded
from .log_words import words_of

Scores = NDArray[np.float64]  # float64[searched words, candidates], log-likelihoods
_LEAST = 1e-12
_DRIFTS = (0.01, 0.1, 0.3, 1.0)  # by which the logarithms of a word's frequencies may differ: the likeliest is taken


@dataclass(frozen=True)
class Setting:
    """What is searched for, and what the server knows of it.

    Which words people look for no data here says; so it is assumed, and the assumption helps the attacker: a word is
    searched for in proportion to the square root of how many messages have it, and the server assumes just that.
    """

    candidates: int = 500  # the commonest words of the public text: the server knows that it is one of them
    words: int = 150  # that are searched for, drawn among those of them that the log has
    searches: int = 3000  # of all of them together
    moments: int = 1  # the log grows by equal parts, and every word is searched for after each
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """One attack: of the words searched for, which share it names, and which share is among its first ten."""

    attack: str
    padded: bool
    named: float
    among_ten: float


@dataclass(frozen=True)
class Outcomes:
    """All attacks in one setting."""

    setting: Setting
    words: int
    candidates: int
    messages: int
    public: int  # messages of the public text
    volumes: tuple[int, int]  # different volumes that the server saw: without padding, with
    attacks: tuple[Outcome, ...]


def attack(log: Sequence[str], public: Sequence[str], setting: Setting | None = None) -> Outcomes:
    """Attacks the searches of a log, by a public text of which the server has the words' frequencies.

    log, public: texts of messages. Raises InvalidValue where they have no ten words in common.
    """
    setting = setting or Setting()
    known = Counter(word for text in public for word in words_of(text))
    candidates = [word for word, _ in known.most_common(setting.candidates)]
    parts = _parts(log, setting.moments)
    counts = [Counter(word for text in part for word in words_of(text)) for part in parts]
    generator = np.random.default_rng(setting.seed)  # of an experiment; nothing here is secret
    there = [word for word in candidates if sum(each[word] for each in counts) > 0]
    if len(there) < 10:
        raise InvalidValue("The two texts have no ten words in common: give one like the log.", param="public")
    searched = sorted(generator.choice(len(there), min(setting.words, len(there)), replace=False))
    asked = [there[place] for place in searched]
    volumes = np.array([[each[word] for each in counts] for word in asked], dtype=np.float64)
    shares = np.array([known[word] for word in candidates]) / len(public)
    often = _searches(volumes.sum(axis=1), shares, setting, generator)
    truth = np.array([candidates.index(word) for word in asked])
    expected = shares * len(log)
    found = []
    for pad in (False, True):
        by_volume = max((_by_volume(volumes, expected, drift, pad) for drift in _DRIFTS), key=_best)
        for name, scores in (("volume", by_volume), ("frequency", often), ("both", by_volume + often)):
            found.append(_outcome(name, pad, scores, truth))
    seen = [{tuple(row) for row in _seen(volumes, pad)} for pad in (False, True)]
    sizes = len(seen[0]), len(seen[1])
    return Outcomes(setting, len(asked), len(candidates), len(log), len(public), sizes, tuple(found))


def _parts(log: Sequence[str], moments: int) -> list[Sequence[str]]:
    edges = np.linspace(0, len(log), moments + 1).astype(int)
    return [log[first:last] for first, last in pairwise(edges)]


def _seen(volumes: Scores, pad: bool) -> Scores:
    """What a search newly asks for at each moment, as `log_index.padded` pads it."""
    return np.vectorize(lambda count: float(padded(int(count))))(volumes) if pad else volumes


def _by_volume(volumes: Scores, expected: Scores, drift: float, pad: bool) -> Scores:
    """How well each candidate explains how many entries each searched word has in all.

    expected: float64[candidates]. The logarithm of a number is taken as normal about that of the expected one, with the
    variances of two counts, of what the texts differ by, and of what padding leaves open: of a volume above 2 the
    server knows between which powers of two it lies, and of several moments it knows the sum.
    """
    from scipy import stats

    seen = _seen(volumes, pad)
    hidden = pad & (seen > 2)
    known = np.where(hidden, 0.75 * seen + 0.5, seen).sum(axis=1)
    unknown = np.where(hidden, (seen / 2) ** 2 / 12, 0.0).sum(axis=1)  # of a number that is uniform between two powers
    about = np.log(known + 0.5)[:, None] - np.log(expected + 0.5)
    spread = np.sqrt(drift**2 + 2 / (expected + 1) + (unknown / known**2)[:, None])
    found: Scores = stats.norm.logpdf(about / spread) - np.log(spread)
    return found


def _searches(volumes: Scores, shares: Scores, setting: Setting, generator: np.random.Generator) -> Scores:
    """How well each candidate explains how often each word was searched for, as the setting says that words are."""
    from scipy import stats

    weights, assumed = np.sqrt(volumes), np.sqrt(shares)
    times = generator.multinomial(setting.searches, weights / weights.sum())
    rates = setting.searches * assumed / (assumed.mean() * len(times))
    found: Scores = stats.poisson.logpmf(times[:, None], rates)
    return found


def _best(scores: Scores) -> float:
    """The likelihood of the best assignment."""
    from scipy import optimize

    return float(scores[optimize.linear_sum_assignment(-scores)].sum())


def _outcome(name: str, pad: bool, scores: Scores, truth: NDArray[np.int64]) -> Outcome:
    from scipy import optimize

    rows, guessed = optimize.linear_sum_assignment(-scores)
    named = float(np.mean(guessed == truth[rows]))
    own = scores[np.arange(len(truth)), truth]
    better = (scores > own[:, None]).sum(axis=1) + ((scores == own[:, None]).sum(axis=1) - 1) / 2
    return Outcome(name, pad, named, float(np.mean(better < 10)))


def lines(found: Outcomes) -> Iterable[str]:
    """The outcome for a person, line by line."""
    setting = found.setting
    yield (
        f"{found.words} words searched for {setting.searches:,} times in a log of {found.messages:,} messages, "
        f"{'once' if setting.moments == 1 else f'at {setting.moments} moments while it grew'}; the server knows the "
        f"frequencies of {found.candidates:,} words in {found.public:,} public messages."
    )
    unpadded, pads = found.volumes
    yield f"A guess at random names {1 / found.candidates:.1%}. Different volumes seen: {unpadded}, padded {pads}."
    yield "attack      padding  named    among the first ten"
    for each in found.attacks:
        pad = "yes" if each.padded else "no"
        yield f"{each.attack:<10}  {pad:<7}  {each.named:>6.1%}  {each.among_ten:>6.1%}"
