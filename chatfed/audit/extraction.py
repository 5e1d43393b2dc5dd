"""(n, p)-discoverable extraction: how likely a secret is said within n tries, from its tokens' probabilities alone.

Nothing is sampled (Hayes et al. 2024, arXiv 2410.19482): the chance of one try is the product of what each token of the
secret has under the decoding that is served, given the cue and the tokens before it. Takes logits; knows no model, no
tokenizer and no text. A secret that is not found behind these cues may be found behind others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from chatfed.audit.leakage import AuditError
from chatfed.audit.roc import Share, exact_share
from chatfed.types import IntVector

Logs = NDArray[np.float64]
"""float64[secrets], natural logarithms of probabilities; -inf where a secret cannot be said."""

_GREEDY_BELOW = 1e-6  # as chatfed.chat: a lower temperature takes the likeliest token


@dataclass(frozen=True)
class Decoding:
    """How a reply's tokens are drawn."""

    name: str
    temperature: float  # 0: the likeliest token each time
    top_p: float = 1.0  # smallest set of tokens with this much probability; 1: all


def token_chances(logits: NDArray[np.float64], tokens: IntVector, decoding: Decoding) -> Logs:
    """Log of the chance that each of `tokens`, int64[k], is drawn from its row of logits float64[k, vocabulary].

    Temperature, then the nucleus, renormalised (Holtzman et al. 2020, section 3.1), as chatfed.chat draws. Raises
    AuditError for logits that are not finite.

    >>> chances = token_chances(np.log([[0.5, 0.3, 0.2]] * 3), np.arange(3), Decoding("", 1.0, 0.6))
    >>> np.exp(chances).round(4).tolist()
    [0.625, 0.375, 0.0]
    """
    if not np.isfinite(logits).all():
        raise AuditError("the model's logits are not finite: the weights may be broken; load the model again")
    if decoding.temperature < _GREEDY_BELOW:
        return np.where(logits.argmax(1) == tokens, 0.0, -np.inf)
    scaled = logits / decoding.temperature
    logs = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
    own = np.take_along_axis(logs, tokens[:, None], 1)[:, 0]
    if decoding.top_p >= 1:
        return own
    falling = -np.sort(-np.exp(logs), axis=1)
    kept = falling.cumsum(1) - falling < decoding.top_p
    kept[:, 0] = True
    least, mass = np.where(kept, falling, np.inf).min(1), np.where(kept, falling, 0.0).sum(1)
    return np.where(np.exp(own) >= least, own - np.log(mass), -np.inf)


def of_secrets(chances: Logs, starts: IntVector) -> Logs:
    """Sums over each secret's tokens: float64[secrets] of float64[tokens] and int64[secrets + 1]."""
    if len(empty := np.flatnonzero(np.diff(starts) < 1)):
        raise AuditError(f"secret {empty[0]} has no token: give a text that is there")
    summed: Logs = np.add.reduceat(chances, starts[:-1])
    return summed


def discoverable(logs: Logs, tries: float, chance: float) -> NDArray[np.bool_]:
    """Whether each secret is said at least once in `tries` tries with probability `chance` or more: bool[secrets].

    1 - (1 - p)^n >= chance, with n `tries` (Hayes et al. 2024, definition 2).

    >>> discoverable(np.log([0.5, 0.01, 0.001]), 100, 0.5).tolist()
    [True, True, False]
    """
    return needed(logs, chance) <= tries


def needed(logs: Logs, chance: float) -> NDArray[np.float64]:
    """How many tries a secret needs to be said at least once with probability `chance`, not rounded; inf: never.

    >>> needed(np.log([0.5, 0.01]), 0.5).round(4).tolist()
    [1.0, 68.9676]
    """
    with np.errstate(divide="ignore"):
        fails = np.log1p(-np.exp(np.minimum(logs, 0.0)))  # log of the chance that one try fails; -0 where it must
        tries: NDArray[np.float64] = np.where(fails < 0, math.log1p(-chance) / fails, np.inf)
    return tries


@dataclass(frozen=True)
class Recovery:
    """How many secrets were found, of those that were learned from and, as phantoms, of those that never were."""

    found: Share
    phantoms: Share | None  # None: there are none to compare with
    excess: float  # share found less that of phantoms
    p: float  # Fisher's exact test, one-sided: of so large an excess where both are found alike

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        phantoms = self.phantoms.to_json() if self.phantoms else None
        return {"found": self.found.to_json(), "phantoms": phantoms, "excess": self.excess, "p": self.p}


def recovery(found: NDArray[np.bool_], phantoms: NDArray[np.bool_]) -> Recovery:
    """Compares secrets that were learned from with such as never were, behind the same kind of cue.

    What is found of those is what the cue and the form of the value give away (arXiv 2601.03791), no memory.
    bool[secrets] each. Raises AuditError where no secret was looked for.

    >>> told = recovery(np.arange(50) < 20, np.arange(30) < 1)
    >>> round(told.excess, 3), round(told.p, 5)
    (0.367, 0.00015)
    """
    mine = exact_share(int(found.sum()), len(found))
    if not len(phantoms):
        return Recovery(mine, None, mine.share, 1.0)
    theirs = exact_share(int(phantoms.sum()), len(phantoms))
    table = [[mine.hits, mine.of - mine.hits], [theirs.hits, theirs.of - theirs.hits]]
    p = float(stats.fisher_exact(table, alternative="greater").pvalue)
    return Recovery(mine, theirs, mine.share - theirs.share, p)


def by_repetition(found: NDArray[np.bool_], repetitions: IntVector, ends: Sequence[int]) -> list[tuple[int, Share]]:
    """Of secrets said so often or more, and less often than the next of `ends`, how many were found.

    repetitions: int64[secrets]; ends: rising. An end that no secret has is left out.
    """
    place = np.searchsorted(np.asarray(ends), repetitions, "right") - 1
    groups = ((least, found[place == number]) for number, least in enumerate(ends))
    return [(least, exact_share(int(each.sum()), len(each))) for least, each in groups if len(each)]
