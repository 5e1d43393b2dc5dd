"""Whether members and others can be told apart without any model: by length, and by which tokens they use.

Where they can, an attack's success says nothing of the model (Das, Zhang and Tramèr 2024, arXiv 2406.16201), and the
result is refused. Takes token ids; knows no model. It finds what its two guesses find: texts that differ in word order
alone pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from chatfed.audit.leakage import AuditError
from chatfed.types import IntVector

REFUSED_BELOW = 0.01  # p of the permutation test
PERMUTATIONS, FOLDS, SEED = 499, 5, 1  # FOLDS: also the fewest texts of either kind


@dataclass(frozen=True)
class Blind:
    """What guesses without the model come to."""

    auc: float  # of naive Bayes over tokens, each text guessed by what it was not fitted on
    auc_of_length: float
    p: float  # of either being so far from chance where labels are exchangeable
    permutations: int

    @property
    def refused(self) -> bool:
        """Whether members and others differ without the model."""
        return self.p < REFUSED_BELOW

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "auc_of_tokens": self.auc, "auc_of_length": self.auc_of_length, "p": self.p, "refused": self.refused,
            "permutations": self.permutations,
        }  # fmt: skip


def blind_baseline(
    ids: NDArray[np.int32],
    starts: IntVector,
    member: NDArray[np.bool_],
    strata: IntVector | None = None,
    permutations: int = PERMUTATIONS,
) -> Blind:
    """A permutation test of cross-fitted naive Bayes over which tokens a text has, and of its length.

    ids: int32[tokens], of texts end to end; starts: int64[texts + 1]; member: bool[texts].
    strata: int64[texts], within which labels are exchangeable (a client's texts); None: all are.
    The larger of the two guesses' standardised areas is compared with that of permuted labels. p can be no lower than
    1 / (permutations + 1). Raises AuditError where there are fewer than FOLDS texts of either kind.
    """
    if min(member.sum(), (~member).sum()) < FOLDS:
        raise AuditError(
            f"{member.sum():,} members and {(~member).sum():,} others are too few to compare without the model: give "
            f"{FOLDS} of each"
        )
    random = np.random.default_rng(SEED)
    labels = _permuted(member, np.zeros(len(member), np.int64) if strata is None else strata, permutations, random)
    has, lengths = _bags(ids, starts), np.diff(starts).astype(np.float64)
    by_tokens = areas(_guesses(has, labels, random.permutation(len(member)) % FOLDS), labels)
    by_length = areas(np.broadcast_to(lengths, labels.shape), labels)
    far = np.maximum(_standard(by_tokens), np.abs(_standard(by_length)))
    p = float((far >= far[0] - 1e-12).mean())
    return Blind(float(by_tokens[0]), float(by_length[0]), p, permutations)


def areas(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Area under the ROC of each row, by ranks (Mann-Whitney): float64[rows] of float64 and bool[rows, n]."""
    ranks = stats.rankdata(scores, axis=1)
    members = labels.sum(1)
    summed = np.where(labels, ranks, 0.0).sum(1)
    found: NDArray[np.float64] = (summed - members * (members + 1) / 2) / (members * (labels.shape[1] - members))
    return found


def _permuted(
    member: NDArray[np.bool_], strata: IntVector, count: int, random: np.random.Generator
) -> NDArray[np.bool_]:
    """The labels, and `count` times the labels shuffled within strata: bool[1 + count, texts]."""
    _, group = np.unique(strata, return_inverse=True)
    given = member[np.argsort(group, kind="stable")]
    labels = np.empty((1 + count, len(member)), np.bool_)
    labels[0] = member
    np.put_along_axis(labels[1:], np.argsort(group + random.random((count, len(member))), 1), given[None], 1)
    return labels


def _bags(ids: NDArray[np.int32], starts: IntVector) -> Any:
    """Which tokens each text has: a sparse float64[texts, tokens that there are] of 0 and 1."""
    _, column = np.unique(ids, return_inverse=True)
    row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    size = (len(starts) - 1, int(column.max(initial=0)) + 1)
    bags = sparse.csr_matrix((np.ones(len(ids)), (row, column)), shape=size)
    bags.data[:] = 1.0
    return bags


def _guesses(has: Any, labels: NDArray[np.bool_], fold: IntVector) -> NDArray[np.float64]:
    """Log-odds of membership of each text under each row of labels, fitted on the other folds: float64[rows, texts]."""
    found = np.empty(labels.shape)
    for each in range(FOLDS):
        inside = fold == each
        found[:, inside] = _bayes(has[~inside], labels[:, ~inside], has[inside])
    return found


def _bayes(fitted: Any, labels: NDArray[np.bool_], asked: Any) -> NDArray[np.float64]:
    """Bernoulli naive Bayes (add 1/2), all rows of labels at once: float64[rows, asked]."""
    weights = [labels.astype(np.float64), (~labels).astype(np.float64)]
    shares = [((fitted.T @ each.T).T + 0.5) / (each.sum(1, keepdims=True) + 1) for each in weights]
    present, absent = (np.log(shares[0]) - np.log(shares[1])), (np.log1p(-shares[0]) - np.log1p(-shares[1]))
    found: NDArray[np.float64] = (asked @ (present - absent).T).T + absent.sum(1, keepdims=True)
    return found


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread else np.zeros_like(values)
