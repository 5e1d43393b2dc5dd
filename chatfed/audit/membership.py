"""Membership inference on causal language models: scores of texts from the log-probabilities of their tokens.

Takes arrays; knows no model, no tokenizer and no client. Every score is higher where a text is likelier to have been
learned from; only its order matters. What scores tell apart is roc.py's, and whether a result may be believed
blind.py's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.leakage import AuditError
from chatfed.audit.roc import Scores
from chatfed.types import IntVector

LEAST_SHARE = 0.2  # of a text's tokens, that min-k looks at


@dataclass(frozen=True, eq=False)
class TokenLikelihoods:
    """What a target and its references give the tokens of texts, end to end. Nats, natural logarithms."""

    starts: IntVector  # int64[texts + 1]
    target: NDArray[np.float64]  # float64[tokens] log-probability
    references: NDArray[np.float64]  # float64[references, tokens], the public model first
    missed: NDArray[np.bool_]  # bool[tokens]: another token was the target's first choice
    divergence: NDArray[np.float64]  # float64[tokens] KL(mean of the references || target), over the vocabulary

    def __post_init__(self) -> None:
        """Raises AuditError for a text without tokens, and for a number that is none, naming the text."""
        if len(empty := np.flatnonzero(np.diff(self.starts) < 1)):
            raise AuditError(f"text {empty[0]} has no token to be scored by: leave it out")
        for name in ("target", "references", "divergence"):
            broken = np.flatnonzero(~np.isfinite(np.atleast_2d(getattr(self, name))).all(0))
            if len(broken):
                text = int(np.searchsorted(self.starts, broken[0], "right")) - 1
                raise AuditError(
                    f"text {text} has a token without a finite {name}: the weights may be broken; load the models again"
                )

    def mean(self, values: NDArray[np.float64]) -> Scores:
        """Of each text the mean over its tokens: float64[texts]."""
        summed = np.add.reduceat(values, self.starts[:-1])
        mean: Scores = summed / np.diff(self.starts)
        return mean

    @property
    def mixture(self) -> NDArray[np.float64]:
        """float64[tokens] log of the references' mean probability."""
        mixed: NDArray[np.float64] = np.logaddexp.reduce(self.references) - math.log(len(self.references))
        return mixed


def by_loss(told: TokenLikelihoods) -> Scores:
    """Mean log-probability of a text's tokens (Yeom et al. 2018, arXiv 1709.01604, section 3.1)."""
    return told.mean(told.target)


def by_least_likely(told: TokenLikelihoods, share: float = LEAST_SHARE) -> Scores:
    """Min-k %: mean log-probability of the least likely `share` of a text's tokens, one at least.

    Shi et al. 2023, arXiv 2310.16789, section 3.
    """
    lengths = np.diff(told.starts)
    order = np.lexsort((told.target, np.repeat(np.arange(len(lengths)), lengths)))
    taken = np.maximum(1, np.floor(share * lengths + 1e-9)).astype(np.int64)
    place = np.arange(len(order)) - np.repeat(told.starts[:-1], lengths)
    least = np.where(place < np.repeat(taken, lengths), told.target[order], 0.0)
    found: Scores = np.add.reduceat(least, told.starts[:-1]) / taken
    return found


def by_ratio(told: TokenLikelihoods) -> Scores:
    """Mean log-ratio to the public model's probability (Mireshghallah et al. 2022, arXiv 2203.03929, section 3)."""
    return told.mean(told.target - told.references[0])


def by_errors(told: TokenLikelihoods) -> Scores:
    """EZ-MIA (arXiv 2601.12104): at tokens where the target's first choice is wrong, what rose over all that moved.

    With d = log p_target - log p_public there, P the sum of positive d and N of negative ones' size, the paper ranks by
    P / N. We rank by P / (P + N), which orders alike and is finite where N is 0: then 1, above all else, as infinity
    would be (the paper's code gives 0). Where nothing moved, or no choice was wrong, 1/2: no evidence either way.
    """
    moved = np.where(told.missed, told.target - told.references[0], 0.0)
    rose, fell = (np.add.reduceat(np.maximum(sign * moved, 0.0), told.starts[:-1]) for sign in (1, -1))
    total = rose + fell
    return np.where(total > 0, rose / np.where(total > 0, total, 1.0), 0.5)


def by_information(told: TokenLikelihoods) -> Scores:
    """InfoRMIA at tokens: mean of log p_target / p + KL(p || p_target), with p the mean of the references.

    Tao and Shokri 2025, arXiv 2510.05582: the divergence is what the ratio would be of tokens drawn from p, so that a
    place where the target moved away from everything counts no less than one where it came closer.
    """
    return told.mean(told.target - told.mixture + told.divergence)


def rmia(target: Scores, references: NDArray[np.float64], population: IntVector, gamma: float = 1.0) -> Scores:
    """RMIA: the share of a population whose likelihood ratio a text's exceeds by `gamma` (arXiv 2312.03262, section 3).

    target: float64[texts] and references: float64[references, texts], mean log-probabilities a token; population:
    int64[k], the texts that are one. Reference models are of others' texts only (the paper's offline form, a = 1).
    """
    ratios = target - (np.logaddexp.reduce(references) - math.log(len(references)))
    ordered = np.sort(ratios[population])
    found: Scores = np.searchsorted(ordered, ratios - math.log(gamma), "right") / len(ordered)
    return found


def by_sequence(models: NDArray[np.float64], population: IntVector) -> Scores:
    """The largest rise between two consecutive models, in deviations of the population's rises at that step.

    models: float64[models, texts] mean log-probabilities, in the order in which models were published, two at least;
    population: int64[k], texts that none of them learned from. After Sequential Membership Inference (arXiv
    2602.16596): the model just after a text was learned shows it, the last one has begun to forget. Their optimal score
    knows when that was; who does not takes the largest.
    """
    if len(models) < 2:
        raise AuditError(f"{len(models)} models are no sequence: give two at least")
    rises = np.diff(models, axis=0)
    usual = rises[:, population]
    spread = np.maximum(usual.std(1, keepdims=True), 1e-12)
    found: Scores = ((rises - usual.mean(1, keepdims=True)) / spread).max(0)
    return found


def of_clients(scores: Scores, owners: IntVector) -> Scores:
    """User inference: each client's mean over its texts, float64[clients] in order of their numbers.

    Kandpal et al. 2023, arXiv 2310.09266, section 4, with `by_ratio` as the scores; other scores take the same mean.
    owners: int64[texts], whose each is. The texts need not be those learned from.
    """
    _, number = np.unique(owners, return_inverse=True)
    mean: Scores = np.bincount(number, scores) / np.bincount(number)
    return mean


ATTACKS = ("loss", "min-k", "reference ratio", "EZ-MIA", "RMIA", "InfoRMIA", "sequence")
"""What `scores` gives, in its order."""


def scores(
    told: TokenLikelihoods, sequence: Sequence[NDArray[np.float64]], population: IntVector
) -> Mapping[str, Scores]:
    """Every text's score by every attack.

    sequence: float64[tokens] of each published model in order, log-probabilities; population: int64[k], texts that
    nothing was learned from.
    """
    references = np.stack([told.mean(each) for each in told.references])
    models = np.stack([told.mean(each) for each in sequence])
    found = (
        by_loss(told), by_least_likely(told), by_ratio(told), by_errors(told),
        rmia(told.mean(told.target), references, population), by_information(told), by_sequence(models, population),
    )  # fmt: skip
    return dict(zip(ATTACKS, found, strict=True))
