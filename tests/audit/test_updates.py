"""What a gradient's span tells, texts read out of it, scores of what was read, and ceilings of the best guess."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from chatfed.audit.inversion import Moves, Rules, States, Text, read
from chatfed.audit.updates import (
    distance,
    f1,
    labels,
    most_likely,
    presence_ceiling,
    rouge,
    rouge_of_batch,
    span_of,
)

D = 40
TOKENS = np.arange(2, 30)
TURN = (1, 0)
RULES = Rules([(0,)], (), texts=2, longest=20)


def state(text: Sequence[int]) -> NDArray[np.float64]:
    """What a model makes of a text: a vector that every token before changes."""
    seed = int.from_bytes(hashlib.sha256(bytes(text)).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=D)


def after(prefix: Text, moves: Moves) -> States:
    made = np.array([state((*prefix, *move)) for move in moves.tolist()])
    return States(made, np.zeros(len(moves)), np.zeros(len(moves), np.int64))


def gradient_of(texts: Sequence[Text], unseen: Sequence[Text] = (), size: int = 64) -> NDArray[np.float64]:
    """A sum of outer products, one for each place after the first, as a layer's gradient is."""
    places = [text[: at + 1] for text in texts for at in range(1, len(text))]
    inputs = np.array([state(place) for place in places if place not in unseen])
    made: NDArray[np.float64] = np.random.default_rng(5).normal(size=(size, len(inputs))) @ inputs
    return made


FIRST, SECOND = (0, 5, 9, 9, 3, 17, 28, 4), (0, 5, 9, 12, 21, 6)


def test_all_texts_of_a_batch_are_read_out_of_one_gradient_token_by_token() -> None:
    assert read([span_of(gradient_of([FIRST, SECOND]))], after, TOKENS, RULES) == [FIRST, SECOND]


def test_the_rounding_of_bfloat16_hides_nothing() -> None:
    exact = gradient_of([FIRST, SECOND])
    rounded = exact * (1 + np.random.default_rng(1).uniform(-1, 1, exact.shape) * 2**-9)
    assert read([span_of(rounded, floor=1e-2)], after, TOKENS, RULES) == [FIRST, SECOND]


def test_more_places_than_inputs_and_gradients_of_nobody_are_not_read() -> None:
    texts = [(0, *np.random.default_rng(i).choice(TOKENS, 12).tolist()) for i in range(4)]
    full, random = gradient_of(texts), np.random.default_rng(0).normal(size=(64, D))
    for gradient in (full, random):
        assert rouge_of_batch(texts, read([span_of(gradient)], after, TOKENS, RULES)) < 0.05


def test_a_token_that_the_model_is_sure_of_leaves_no_trace_and_is_read_off_the_model() -> None:
    hidden = FIRST[:4]  # what follows it is certain, so its state is not in the gradient

    def knowing(prefix: Text, moves: Moves) -> States:
        at = [(*prefix, *move) == hidden for move in moves.tolist()]
        return States(after(prefix, moves).inputs, np.where(at, 0.99, 0.1), np.full(len(moves), FIRST[4]))

    span, rules = span_of(gradient_of([FIRST], [hidden])), Rules([(0,)], (), texts=1, longest=20, sure=0.95)
    assert read([span], knowing, TOKENS, rules) == [FIRST]
    assert read([span], knowing, TOKENS, Rules([(0,)], (), texts=1, longest=20, sure=2.0)) == [FIRST[:3]]


def test_what_stands_between_messages_is_tried_as_one() -> None:
    text = (0, 5, 1, 0, 8, 3)
    span = span_of(gradient_of([text], [text[:3]]))  # nothing is predicted behind the end of a message
    for turns in ([TURN], [TURN, (1, 0, 1, 0)]):  # the longer one round a message without a word
        assert read([span], after, TOKENS, Rules([(0,)], turns, texts=1, longest=20)) == [text]


def test_inputs_lie_in_the_span_of_the_gradient_and_others_do_not() -> None:
    random = np.random.default_rng(0)
    inputs, others = random.normal(size=(20, D)), random.normal(size=(50, D))
    span = span_of(random.normal(size=(100, 20)) @ inputs)
    assert span.distance(inputs).max() < 1e-6 and span.distance(others).min() > 0.4
    slow = np.linalg.lstsq(inputs.T, others.T, rcond=None)[0].T @ inputs - others  # what no mixture of them makes
    assert span.distance(others) == pytest.approx(np.linalg.norm(slow, axis=1) / np.linalg.norm(others, axis=1))


def test_an_adapters_inner_inputs_are_compared_behind_its_first_matrix() -> None:
    random = np.random.default_rng(0)
    inputs, first = random.normal(size=(9, D)), random.normal(size=(16, D))
    span = span_of(random.normal(size=(100, 9)) @ inputs @ first.T, through=first)
    assert distance([span, span], inputs).max() < 1e-6 < 0.2 < distance([span], random.normal(size=(50, D))).min()


def test_noise_of_known_deviation_adds_no_direction() -> None:
    random = np.random.default_rng(0)
    noisy = random.normal(size=(500, 12)) @ random.normal(size=(12, D)) + 0.5 * random.normal(size=(500, D))
    assert len(span_of(noisy, noise=0.5).basis) == 12
    assert len(span_of(0.5 * random.normal(size=(500, D)), noise=0.5).basis) == 8  # to guess by
    assert len(span_of(noisy).basis) == D // 2  # without knowing it: all stand out


def test_rows_of_the_output_layer_tell_what_was_to_be_predicted() -> None:
    random = np.random.default_rng(0)
    states = random.normal(size=(15, D)) + 1.0  # hidden states have a common direction
    probabilities = random.dirichlet(np.full(300, 0.1), size=15)
    next_ones = np.array([3, 7, 7, 11, *range(100, 111)])
    gradient = (probabilities - np.eye(300)[next_ones]).T @ states
    truth = sorted(set(next_ones.tolist()))
    assert most_likely(labels(gradient, np.ones(D, np.float32)), len(truth)).tolist() == truth


def test_rouge_is_the_share_of_common_pairs_counted_as_often_as_both_have_them() -> None:
    assert rouge([1, 2, 1, 2], [1, 2, 1, 3]) == pytest.approx(2 * 2 / 6)
    assert rouge([7], [7]) == rouge([], []) == 1.0 and rouge([7], [8]) == rouge([1, 2], []) == 0.0
    assert rouge_of_batch([[1, 2, 3], [1, 2, 4]], [[1, 2, 3]]) == 0.5  # a guess is for one text
    assert rouge_of_batch([[1, 2, 3]], [[9, 9], [1, 2, 3]]) == 1.0


def slow_rouge(truth: Sequence[int], guess: Sequence[int]) -> float:
    """Pairs crossed out one by one."""
    theirs, ours = list(pairwise(truth)), list(pairwise(guess))
    left, common = list(ours), 0
    for pair in theirs:
        if pair in left:
            left.remove(pair)
            common += 1
    return 2 * common / (len(theirs) + len(ours)) if common else 0.0


@given(st.lists(st.integers(0, 4), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_rouge_is_that_of_crossing_pairs_out(truth: list[int], guess: list[int]) -> None:
    assert rouge(truth, guess) == (1.0 if truth == guess else pytest.approx(slow_rouge(truth, guess)))
    assert rouge(truth, guess) == rouge(guess, truth) and 0 <= rouge(truth, guess) <= 1


def test_words_by_chance_are_their_share_of_all() -> None:
    random, truth = np.random.default_rng(0), set(range(20))
    found = [f1(truth, most_likely(random.random(1000), 20).tolist()) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(20 / 1000, abs=0.003)
    assert f1(truth, truth) == 1.0 and f1(truth, []) == 0.0


@pytest.mark.parametrize("z", [0.5, 1.0, 3.0])
def test_whether_a_vector_is_there_is_guessed_up_to_its_ceiling_and_not_beyond(z: float) -> None:
    noise = np.random.default_rng(0).normal(scale=z, size=(2, 200_000))
    right = (np.mean(noise[1] + 1 > 0.5) + np.mean(noise[0] <= 0.5)) / 2  # the threshold half way is the best
    assert right == pytest.approx(presence_ceiling(z), abs=0.004)


def test_golden_ceilings() -> None:
    assert [round(presence_ceiling(z), 6) for z in (0.5, 1.0, 2.0)] == [0.841345, 0.691462, 0.598706]
    assert presence_ceiling(0.0) == 1.0
