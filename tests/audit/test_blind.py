"""The blind baseline: finds what differs without a model, and is not deceived by what does not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from chatfed.audit.blind import _bayes, areas, blind_baseline
from chatfed.audit.leakage import AuditError
from chatfed.audit.roc import area

Ids = NDArray[np.int32]


def texts(
    random: np.random.Generator, lengths: NDArray[np.int64], vocabulary: int = 200
) -> tuple[Ids, NDArray[np.int64]]:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return random.integers(0, vocabulary, starts[-1]).astype(np.int32), starts


def test_texts_that_differ_in_nothing_are_refused_as_seldom_as_the_test_says() -> None:
    random, refused, low, runs = np.random.default_rng(1), 0, 0, 100
    member = np.arange(80) % 2 == 0
    for _ in range(runs):
        found = blind_baseline(*texts(random, random.integers(5, 40, 80)), member, permutations=199)
        refused, low = refused + found.refused, low + (found.p <= 0.2)
    assert refused <= 4  # expected 1; more than 4 in 1 of 250 seeds
    assert 0.08 <= low / runs <= 0.33


def test_longer_members_are_refused_by_length_alone() -> None:
    random, member = np.random.default_rng(2), np.arange(200) % 2 == 0
    found = blind_baseline(*texts(random, np.where(member, 22, 18) + random.integers(-6, 7, 200)), member)
    assert found.refused and found.auc_of_length > 0.6


def test_shorter_members_are_refused_as_well() -> None:
    random, member = np.random.default_rng(2), np.arange(200) % 2 == 0
    found = blind_baseline(*texts(random, np.where(member, 18, 22) + random.integers(-6, 7, 200)), member)
    assert found.refused and found.auc_of_length < 0.4


def test_a_word_that_members_use_more_often_is_enough() -> None:
    random, member = np.random.default_rng(3), np.arange(300) % 2 == 0
    ids, starts = texts(random, np.full(300, 20))
    ids[starts[:-1][member & (random.random(300) < 0.6)]] = 200
    ids[starts[:-1][~member & (random.random(300) < 0.1)]] = 200
    found = blind_baseline(ids, starts, member)
    assert found.refused and found.auc > 0.65 and found.auc_of_length == 0.5


def test_what_tells_clients_apart_tells_nothing_where_both_are_of_the_same_clients() -> None:
    random = np.random.default_rng(4)
    whose = np.repeat(np.arange(20), 8)
    member = np.tile(np.arange(8) % 2 == 0, 20)
    ids, starts = texts(random, 5 + 3 * whose)  # each client has a length and a word of its own
    ids[starts[:-1]] = 200 + whose
    assert not blind_baseline(ids, starts, member, whose).refused
    other = whose < 10  # members are other clients: the same features tell all
    assert blind_baseline(ids, starts, other).refused


def test_areas_by_rank_are_those_of_pairs() -> None:
    random = np.random.default_rng(5)
    scores, labels = random.integers(0, 6, (3, 40)).astype(float), random.random((3, 40)) < 0.4
    expected = [area(row[label], row[~label]).value for row, label in zip(scores, labels, strict=True)]
    assert areas(scores, labels) == pytest.approx(expected)


def test_log_odds_are_naive_bayes_s() -> None:
    from scipy import sparse

    has = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], float)
    labels = np.array([[True, True, False, False]])
    (found,) = _bayes(sparse.csr_matrix(has), labels, sparse.csr_matrix(np.array([[1.0, 0.0]])))
    inside, outside = np.array([2.5 / 3, 1.5 / 3]), np.array([0.5 / 3, 1.5 / 3])
    wanted = np.log(inside[0] / outside[0]) + np.log((1 - inside[1]) / (1 - outside[1]))
    assert found == pytest.approx([wanted])


def test_too_few_texts_are_an_error() -> None:
    random = np.random.default_rng(6)
    with pytest.raises(AuditError, match="4 members and 16 others"):
        blind_baseline(*texts(random, np.full(20, 5)), np.arange(20) < 4)


def test_p_is_no_lower_than_the_permutations_allow() -> None:
    member = np.arange(40) % 2 == 0
    ids = np.repeat(np.where(member, 0, 1), 3).astype(np.int32)
    assert blind_baseline(ids, np.arange(0, 121, 3), member, permutations=99).p == pytest.approx(1 / 100)
