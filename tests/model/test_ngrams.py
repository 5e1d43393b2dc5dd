"""n-grams are those of a plain loop, a mixture is the probabilities that a plain loop gives, and none is overlooked."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chatfed.model import ngrams
from chatfed.model.ngrams import DOUBT, Heavy, Keys, NGrams, grown, keys_of, ngrams_in
from chatfed.types import FloatVector

relaxed = settings(deadline=None)
NGram = tuple[int, ...]
VOCABULARY = 6
MARK = VOCABULARY - 1  # a token that is nobody's word


def key(ngram: NGram) -> int:
    return int(keys_of(np.array([ngram], np.int32))[0])


def spelt(text: list[int], longest: int) -> list[NGram]:
    return [tuple(text[at : at + n]) for n in range(1, longest + 1) for at in range(len(text) - n + 1)]


def counted_in(texts: list[list[int]], longest: int) -> Counter[NGram]:
    """How many texts hold each n-gram that ends in a word."""
    return Counter(ngram for text in texts for ngram in set(spelt(text, longest)) if ngram[-1] != MARK)


def made(counts: Counter[NGram] | dict[NGram, int], longest: int) -> NGrams:
    """The n-grams of a dictionary."""
    parts = [sorted(ngram for ngram in counts if len(ngram) == n) for n in range(1, longest + 1)]
    return NGrams(
        tuple(np.array(part, np.int32).reshape(-1, n) for n, part in enumerate(parts, 1)),
        tuple(np.array([counts[ngram] for ngram in part], np.float32) for part in parts),
    )


texts_of_few = st.lists(st.lists(st.integers(0, MARK), max_size=9), max_size=5)


@relaxed
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12), st.integers(1, 14))
def test_the_ngrams_of_a_text_are_those_of_a_loop_that_end_in_a_counted_token(
    text: list[tuple[int, bool]], longest: int
) -> None:
    ids, counted = np.array([i for i, _ in text], np.int32), np.array([c for _, c in text], np.bool_)
    found = ngrams_in(ids, counted, longest)
    for length in range(1, longest + 1):
        ends = [end for end in range(length, len(text) + 1) if text[end - 1][1]]
        wanted = {key(tuple(int(i) for i in ids[end - length : end])) for end in ends}
        assert sorted(wanted) == found[length - 1].tolist()


def test_a_text_without_tokens_and_one_shorter_than_the_longest_have_no_more_than_they_hold() -> None:
    sizes = [[len(keys) for keys in ngrams_in(np.zeros(n, np.int32), np.ones(n, np.bool_), 4)] for n in (0, 1, 2, 9)]
    assert sizes == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


def test_no_two_ngrams_of_a_large_vocabulary_have_the_same_key() -> None:
    alone = keys_of(np.arange(200_000, dtype=np.int32)[:, None])
    first, second = np.divmod(np.unique(np.random.default_rng(0).integers(0, 50_000**2, 400_000)), 50_000)
    pairs = keys_of(np.stack([first, second], 1).astype(np.int32))
    near = keys_of(np.array(list(product(range(24), repeat=4)), np.int32))
    every = np.concatenate([alone, pairs, near, keys_of(np.array(list(product(range(60), repeat=3)), np.int32))])
    assert len(np.unique(every)) == len(every)


def slow_mixture(
    found: Counter[NGram] | dict[NGram, int], model: list[float], before: NGram, longest: int
) -> list[float]:
    """The obvious twin: a dictionary of n-grams, one context after the other, one token at a time."""
    now = list(model)
    for length in range(1, min(longest - 1, len(before)) + 1):
        context = before[len(before) - length :]
        follows = {token: found[(*context, token)] for token in range(len(now)) if (*context, token) in found}
        if not follows:
            continue
        total = max(sum(follows.values()), found.get(context, 0))
        others = sum(p for token, p in enumerate(now) if token not in follows)
        left = 1 - sum(follows.values()) / total
        said = [follows[t] / total if t in follows else left * p / others for t, p in enumerate(now)]
        doubt = math.prod([DOUBT] * length)
        now = [(1 - doubt) * s + doubt * p for s, p in zip(said, now, strict=True)]
    return now


@relaxed
@given(
    texts_of_few, st.lists(st.lists(st.integers(0, MARK), min_size=3, max_size=3), min_size=1, max_size=6), st.data()
)
def test_a_mixture_is_that_of_a_loop_over_a_dictionary(
    texts: list[list[int]], before: list[list[int]], data: st.DataObject
) -> None:
    longest = data.draw(st.integers(1, 5))
    counts = counted_in(texts, longest)
    wanted_rows = st.lists(st.floats(0.01, 1), min_size=VOCABULARY + 1, max_size=VOCABULARY + 1)  # one that none lists
    rows = np.array([data.draw(wanted_rows) for _ in before])
    rows /= rows.sum(1, keepdims=True)
    mixed = made(counts, longest).mixed(rows.astype(np.float32), np.array(before, np.int64))
    wanted = [slow_mixture(counts, row.tolist(), tuple(b), longest) for row, b in zip(rows, before, strict=True)]
    assert mixed == pytest.approx(np.array(wanted), abs=1e-5)
    assert mixed.dtype == np.float32 and (mixed >= 0).all() and mixed.sum(1) == pytest.approx(1, abs=1e-5)


ONE_PAIR = made({(0,): 10, (1,): 5, (0, 1): 5}, 2)


@pytest.mark.parametrize("sure", [0, 14, 16, 17, 18, 20, 25, 40, 200])
@pytest.mark.parametrize("of", [1, 7])
def test_a_mixture_with_a_model_that_is_all_but_sure_sums_to_one(sure: float, of: int) -> None:
    """What rounding leaves of 1 is no probability to scale others up by."""
    logits = torch.zeros(3, 1000)
    logits[:, of] = sure
    mixed = ONE_PAIR.mixed(logits.softmax(-1).numpy(), np.zeros((3, 1), np.int64))
    assert (mixed >= 0).all() and mixed.sum(1, dtype=np.float64) == pytest.approx(1, abs=1e-5)
    if of == 1:
        assert mixed[0, 1] >= (1 - DOUBT) * 0.5


def test_where_nothing_else_can_follow_all_goes_to_what_is_listed() -> None:
    mixed = ONE_PAIR.mixed(np.array([[0, 1, 0]], np.float32), np.array([[0]]))
    assert mixed.tolist() == [[0, 1, 0]]
    listed = ONE_PAIR.mixed(np.array([[0.5, 0, 0.5]], np.float32), np.array([[0]]))
    assert listed[0] == pytest.approx([0.4125, 0.175, 0.4125])


NOTHING = made({}, 3)


@pytest.mark.parametrize(
    ("found", "before"),
    [
        (NOTHING, [[0, 0, 0]]),
        (made({(0,): 3, (1,): 2}, 3), [[0, 1, 0]]),
        (ONE_PAIR, [[0, 1, 1]]),
        (ONE_PAIR, [[]]),
        (made({(0,): 3}, 1), [[0]]),
    ],
    ids=["nothing", "no pair", "another context", "no context", "single tokens"],
)
def test_where_nothing_was_counted_the_mixture_is_the_model_s_own(found: NGrams, before: list[list[int]]) -> None:
    own = np.array([[0.2, 0.5, 0.3]], np.float32)
    assert found.mixed(own.copy(), np.array(before, np.int64).reshape(1, -1)).tolist() == own.tolist()


class Oracle:
    """Says of candidates what a dictionary says, and remembers what it was asked."""

    def __init__(self, counts: Counter[NGram]) -> None:
        self.counts = {key(ngram): float(count) for ngram, count in counts.items()}
        self.asked: list[Keys] = []
        self.expected: list[FloatVector | None] = []

    def __call__(self, length: int) -> Heavy:
        def heavy(keys: Keys, expected: FloatVector | None) -> FloatVector:
            self.asked.append(keys)
            self.expected.append(expected)
            return np.array([self.counts.get(int(k), 0.0) for k in keys], np.float32)

        return heavy


def as_counter(found: NGrams) -> Counter[NGram]:
    ngrams_found = zip(found.tokens, found.counts, strict=True)
    return Counter(
        {tuple(n.tolist()): int(c) for tokens, counts in ngrams_found for n, c in zip(tokens, counts, strict=True)}
    )


def between_markers(counts: Counter[NGram]) -> Counter[NGram]:
    """A marker may open an n-gram; within one it ends a shorter n-gram, which is not counted."""
    return Counter({ngram: count for ngram, count in counts.items() if MARK not in ngram[1:]})


@relaxed
@given(texts_of_few, st.integers(1, 6))
def test_all_that_is_there_is_grown_and_nothing_else(texts: list[list[int]], longest: int) -> None:
    counts = counted_in(texts, longest)
    found = grown(Oracle(counts), VOCABULARY, np.array([MARK]), longest)
    assert as_counter(found) == between_markers(counts) and found.longest == longest
    assert [tokens.shape[1] for tokens in found.tokens] == list(range(1, longest + 1))


@relaxed
@given(texts_of_few)
def test_what_is_tried_is_what_has_both_its_ends_each_once_with_what_independence_would_make(
    texts: list[list[int]],
) -> None:
    oracle = Oracle(counts := between_markers(counted_in(texts, 3)))
    grown(oracle, VOCABULARY, np.array([MARK]), 3)
    words = {ngram[0] for ngram in counts if len(ngram) == 1}
    assert sorted(oracle.asked[1].tolist()) == sorted(key((a, b)) for a in {*words, MARK} for b in words)
    pairs = [ngram for ngram in counts if len(ngram) == 2]
    expected = {
        key((*left, right[1])): counts[left] * counts[right] / max(counts[left[1:]], counts[left])
        for left, right in product(pairs, pairs)
        if left[1] == right[0]
    }
    given_out = oracle.expected[2]
    assert given_out is not None
    assert dict(zip(oracle.asked[2].tolist(), given_out.tolist(), strict=True)) == pytest.approx(expected)
    assert len(oracle.asked[2]) == len(expected)


def test_pairs_are_expected_as_often_as_independent_tokens_would_meet_and_openers_as_the_most_frequent() -> None:
    oracle = Oracle(Counter({(0,): 6, (1,): 2}))
    grown(oracle, VOCABULARY, np.array([MARK]), 2)
    assert oracle.expected[0] is None and oracle.expected[1] is not None
    found = dict(zip(oracle.asked[1].tolist(), oracle.expected[1].tolist(), strict=True))
    assert found == {key((0, 0)): 4.5, key((0, 1)): 1.5, key((1, 0)): 1.5, key((1, 1)): 0.5,
                     key((MARK, 0)): 4.5, key((MARK, 1)): 1.5}  # fmt: skip


def test_no_more_is_expected_than_of_the_ends_where_noise_left_less_of_what_is_between() -> None:
    oracle = Oracle(Counter({(0,): 2, (0, 0): 8}))
    grown(oracle, VOCABULARY, np.array([MARK]), 3)
    assert oracle.expected[2] == pytest.approx([8.0])


def test_of_many_tokens_the_heaviest_make_pairs_and_openers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "MOST_TOKENS", 2)
    oracle = Oracle(Counter({(0,): 1, (1,): 7, (2,): 3, (3,): 5}))
    found = grown(oracle, VOCABULARY, np.array([MARK, 3]), 2)
    assert sorted(oracle.asked[1].tolist()) == sorted(key((a, b)) for a in (1, 3, MARK) for b in (1, 3))
    assert len(found.tokens[0]) == 4, "single tokens all stay"


@pytest.mark.parametrize("openers", [[], [MARK]])
@pytest.mark.parametrize("longest", [1, 2, 5])
def test_where_nothing_is_heavy_nothing_grows(openers: list[int], longest: int) -> None:
    nothing: Callable[[int], Heavy] = lambda length: lambda keys, expected: np.zeros(len(keys), np.float32)  # noqa: E731
    found = grown(nothing, VOCABULARY, np.array(openers, np.int64), longest)
    assert [tokens.shape for tokens in found.tokens] == [(0, n) for n in range(1, longest + 1)]
    own: NDArray[np.float32] = np.full((2, VOCABULARY), 1 / VOCABULARY, np.float32)
    assert (found.mixed(own.copy(), np.zeros((2, 9), np.int64)) == own).all()


def test_counts_that_say_more_of_followers_than_of_their_context_leave_nothing_to_others() -> None:
    """Noise does that: counts are read one by one."""
    by_context: dict[NGram, int] = defaultdict(int, {(0,): 2, (1,): 9, (0, 1): 4, (0, 2): 4})
    mixed = made(by_context, 2).mixed(np.full((1, 4), 0.25, np.float32), np.array([[0]]))
    assert mixed[0] == pytest.approx([0.1625, 0.3375, 0.3375, 0.1625])
