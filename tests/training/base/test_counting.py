"""A dialogue's sketch is its own and of norm 1, holds what may be learned and nothing else, and is read off a sum."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.model.ngrams import keys_of
from chatfed.model.tokenizer import MARKER, TURN_END, WORD_REST, WORD_START, encode_dialogue
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.rounding import Scattered, add_clipped
from chatfed.privacy.sketch import Sketch
from chatfed.types import ClientId, Turn
from training.base.counting import FALSE, Counting
from training.base.imagining import markers
from training.base.learner import Learner
from training.base.tokens import ASSISTANT, TokenTable, open_tokens, write_tokens
from training.engines.simulation import Workplace
from training.plan.plan import learning_of, resolve
from training.plan.recipe import FederationSection, ModelSection, NGramsSection, PrivacySection, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

relaxed = settings(deadline=None)
NGram = tuple[int, ...]
token = st.tuples(st.integers(0, 9), st.sampled_from([MARKER, TURN_END, WORD_START, WORD_REST]), st.booleans())
dialogue = st.lists(token, max_size=12)  # ids, kinds, and whether the assistant speaks


def table_of(dialogues: list[list[tuple[int, int, bool]]]) -> TokenTable:
    every = [each for one in dialogues for each in one]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in dialogues])]).astype(np.int64)
    kinds = np.array([kind | ASSISTANT * spoken for _, kind, spoken in every], np.uint8)
    ids = np.array([number for number, _, _ in every], np.int32)
    return TokenTable(ids, kinds, starts, np.zeros(len(dialogues), np.int64), {})


def of_ngrams(counting: Counting, ngrams: set[NGram]) -> np.ndarray:
    """The sketch of a set of n-grams: the obvious twin."""
    return of_weights(counting, {ngram: counting.weight(len(ngram)) for ngram in ngrams})


def of_weights(counting: Counting, ngrams: dict[NGram, float]) -> np.ndarray:
    """The sketch of weighted n-grams, by a loop, of norm 1."""
    total = np.zeros(counting.dimension)
    for ngram, weight in ngrams.items():
        one, sketch = np.array([weight], np.float32), Sketch(counting.dimension)
        total += sketch.of(keys_of(np.array([ngram], np.int32)), one).dense(counting.dimension)
    norm = float(np.linalg.norm(total))
    return total / norm if norm > 1e-6 else np.zeros(counting.dimension)


def slow_ngrams(one: list[tuple[int, int, bool]], longest: int, train_on: str) -> set[NGram]:
    found = set()
    for end, (_, kind, spoken) in enumerate(one, 1):
        if kind != MARKER and (train_on == "all" or spoken):
            found |= {tuple(number for number, _, _ in one[end - n : end]) for n in range(1, min(longest, end) + 1)}
    return found


@relaxed
@given(dialogue, st.integers(1, 14), st.sampled_from([3, 10, 5000]), st.sampled_from(["all", "assistant"]))
def test_a_sketch_has_a_norm_of_one_and_holds_what_ends_in_a_word_to_be_learned(
    one: list[tuple[int, int, bool]], longest: int, cells: int, train_on: str
) -> None:
    counting = Counting(longest, cells, train_on)
    found = counting.sketch(table_of([one]), np.array([0])).dense(cells)
    assert found == pytest.approx(of_ngrams(counting, slow_ngrams(one, longest, train_on)), abs=1e-3)
    assert np.linalg.norm(found.astype(np.float64)) == pytest.approx(1 if found.any() else 0, abs=1e-5)


@relaxed
@given(st.lists(dialogue, min_size=1, max_size=5), st.integers(0, 4), st.sampled_from([3, 10, 900]))
def test_a_dialogue_more_or_less_moves_its_client_s_exact_sum_by_one_norm(
    dialogues: list[list[tuple[int, int, bool]]], which: int, cells: int
) -> None:
    which, scale, counting = which % len(dialogues), 5000.0, Counting(4, cells)
    fewer = [*dialogues[:which], *dialogues[which + 1 :]]
    with_it, without = (np.zeros(cells, np.int64) for _ in range(2))
    for total, mine in ((with_it, dialogues), (without, fewer)):
        for part in counting.gradients(table_of(mine), np.arange(len(mine))):
            add_clipped(total, part, 1.0, scale)
    assert sum(int(step) ** 2 for step in with_it - without) <= scale**2
    alone = np.zeros(cells, np.int64)
    add_clipped(alone, next(counting.gradients(table_of([dialogues[which]]), np.arange(1))), 1.0, scale)
    assert np.array_equal(with_it - without, alone), "what it adds is its own, whatever the others are"


@relaxed
@given(dialogue, dialogue, dialogue)
def test_a_dialogue_s_sketch_depends_on_that_dialogue_alone(
    one: list[tuple[int, int, bool]], before: list[tuple[int, int, bool]], after: list[tuple[int, int, bool]]
) -> None:
    counting = Counting(6, 300)
    alone, among = (
        counting.sketch(table_of([one]), np.array([0])),
        counting.sketch(table_of([before, one, after]), np.array([1])),
    )
    assert alone.places.tobytes() == among.places.tobytes() and alone.values.tobytes() == among.values.tobytes()


def added(counting: Counting, table: TokenTable, count: int) -> np.ndarray:
    """The sum of the first dialogues' sketches."""
    total = np.zeros(counting.dimension, np.float32)
    for each in range(count):
        total += counting.sketch(table, np.array([each])).dense(counting.dimension)
    return total


def test_a_client_s_n_grams_weigh_the_root_of_its_dialogues_and_gradients_point_the_other_way() -> None:
    word = [(n, WORD_START, False) for n in range(5)]
    table, counting = table_of([word, word[:2], [], word[3:]]), Counting(3, 600)
    dense = [counting.sketch(table, np.array([place])).dense(600) for place in range(4)]
    assert not dense[2].any()
    whole = counting.sketch(table, np.array([0, 0, 0, 0, 3])).dense(600)
    weights: dict[NGram, float] = {}
    for times, place in ((4, 0), (1, 3)):
        for ngram in slow_ngrams([word, word[:2], [], word[3:]][place], 3, "all"):
            weights[ngram] = weights.get(ngram, 0) + times
    of = {ngram: counting.weight(len(ngram)) * math.sqrt(times) for ngram, times in weights.items()}
    assert whole == pytest.approx(of_weights(counting, of), abs=1e-6)
    assert np.linalg.norm(whole) == pytest.approx(1, abs=1e-6)
    for place, gradient in zip((3, 2), counting.gradients(table, np.array([3, 2])), strict=True):
        assert np.array_equal(gradient.dense(600), -dense[place])


TURNS = [Turn("user", "my laptop"), Turn("assistant", "wrong answer", learn=False), Turn("user", "no thanks")]


@pytest.mark.parametrize(("train_on", "learned"), [("all", (0, 2)), ("assistant", ())])
def test_a_message_that_is_not_to_be_learned_and_a_marker_end_no_ngram(
    train_on: str, learned: tuple[int, ...], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    table = write_tokens(tmp_path / "marked", tiny_tokenizer, [TURNS])
    encoded = encode_dialogue(tiny_tokenizer, TURNS)
    ids = encoded.ids.tolist()
    ends = [at for at in range(len(ids)) if encoded.kinds[at] != MARKER and encoded.turns[at] in learned]
    wanted = {tuple(ids[at - n : at + 1]) for at in ends for n in range(min(3, at + 1))}
    counting = Counting(3, 60_000, train_on)
    assert counting.sketch(table, np.array([0])).dense(60_000) == pytest.approx(of_ngrams(counting, wanted), abs=1e-6)
    assert bool(wanted) == bool(learned)
    assert not {ngram[-1] for ngram in wanted} & set(markers(tiny_tokenizer).tolist())


VOCABULARY, OPENER, CELLS = 80, 79, 3 * 16384
PHRASES = [(n, n + 20, n + 40, (n + 60) % 79) for n in range(20)]


def said(rng: np.random.Generator) -> list[tuple[int, int, bool]]:
    """A dialogue of three messages, each a marker and one of twenty phrases that all share."""
    said = []
    for phrase in rng.integers(0, len(PHRASES), 3):
        said += [(OPENER, MARKER, False), *((n, WORD_START, False) for n in PHRASES[phrase])]
    return said


@pytest.fixture(scope="module")
def summed() -> tuple[np.ndarray, dict[NGram, int]]:
    """The sum of 1,000 dialogues' sketches, and in how many of them each n-gram is."""
    rng, counting, counts = np.random.default_rng(5), Counting(4, CELLS), defaultdict[NGram, int](int)
    dialogues = [said(rng) for _ in range(1000)]
    for one in dialogues:
        for ngram in slow_ngrams(one, 4, "all"):
            counts[ngram] += 1
    return added(counting, table_of(dialogues), 1000), counts


def found_in(mean: np.ndarray) -> dict[NGram, float]:
    found = Counting(4, CELLS).read(mean.astype(np.float32), VOCABULARY, np.array([OPENER]))
    return {
        tuple(ngram.tolist()): float(count)
        for tokens, counts in zip(found.tokens, found.counts, strict=True)
        for ngram, count in zip(tokens, counts, strict=True)
    }


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_what_many_say_is_read_off_a_noisy_sum_in_any_unit_and_little_else(
    summed: tuple[np.ndarray, dict[NGram, int]], unit: float
) -> None:
    total, counts = summed
    shares = []
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 1.5, CELLS)
        found = found_in((total + noise) * unit)
        assert len(set(PHRASES) & set(found)) >= 18 and len([n for n in found if n[0] == OPENER]) >= 18
        shares.append(np.mean([ngram not in counts for ngram in found]))
        both = [ngram for ngram in found if len(ngram) == 4 and ngram in PHRASES]
        ratio = np.array([found[ngram] / counts[ngram] for ngram in both])
        assert ratio.std() < 0.25 * ratio.mean(), "counts, up to a unit"
    assert np.mean(shares) < FALSE


def test_nothing_is_read_off_zeros() -> None:
    assert found_in(np.zeros(CELLS)) == {}


def test_what_is_read_off_noise_alone_is_seldom_anything() -> None:
    found = [len(found_in(np.random.default_rng(seed).normal(size=CELLS))) for seed in range(30)]
    assert np.mean([n > 0 for n in found]) < FALSE + 0.15


def recipe(**privacy: Any) -> Recipe:
    return Recipe(
        model=ModelSection(context=64, trainable=("*norm*",)),
        privacy=replace(PrivacySection(), **privacy),
        ngrams=NGramsSection(longest=3, cells=900, share=0.25),
        federation=FederationSection(cohort=5),
    )


@pytest.fixture(scope="module")
def place(
    tiny_base: Path, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Workplace:
    folder = tmp_path_factory.mktemp("counting")
    dialogues = [[Turn("user", f"number {n} please"), Turn("assistant", "yes")] for n in range(4)]
    for name in ("private", "held-out"):
        write_tokens(folder / name, tiny_tokenizer, dialogues, {ClientId("ann"): np.arange(4)})
    plan = resolve(recipe(noise=Noise.LOCAL, target_epsilon=8.0, sampling_rate=0.1, clip_norm=0.3), 5)
    return Workplace(plan, 1, str(tiny_base), folder / "private", folder / "held-out", folder / "homes", None, True)


def test_who_counts_adds_the_noise_that_its_ledger_is_charged_for(place: Workplace) -> None:
    """That of the rounds is another: they are sampled, and others clip."""
    plan = place.plan
    assert plan.counting is not None and plan.counting.terms.mechanism is not None
    assert (
        place.agreed.learning.noise_multiplier == plan.counting.terms.noise_multiplier > plan.learning.noise_multiplier
    )
    assert place.agreed.learning.privacy.sampling_rate == plan.counting.terms.mechanism.sampling_rate == 1.0
    assert replace(place, counting=False).agreed.learning == plan.learning
    learner = Learner.open(place.agreed.learning, place.base, place.tokens, place.held_out)
    learner.how = replace(learner.how, ngrams=replace(learner.how.ngrams, cells=30_000))
    (part,) = learner.counts_of(ClientId("ann"))(np.zeros(30_000, np.float32))
    assert isinstance(part, np.ndarray)
    norm = place.agreed.learning.privacy.clip_norm / place.agreed.learning.privacy.expected_batch_size
    assert np.std(part) == pytest.approx(plan.counting.terms.noise_multiplier * norm, rel=0.03)


@pytest.mark.parametrize("unit", [Unit.EXAMPLE, Unit.CLIENT])
def test_a_client_s_count_is_the_mean_or_the_sum_of_its_sketches_up_and_single_gradients_down(
    unit: Unit, place: Workplace
) -> None:
    learner = Learner.open(place.agreed.learning, place.base, place.tokens, place.held_out)
    table, counting = open_tokens(place.tokens), Counting(3, 900)
    wanted = added(counting, table, 4)
    if unit is Unit.CLIENT:
        wanted = counting.sketch(table, np.arange(4)).dense(900)
    learner.how = learning_of(recipe(noise=Noise.NONE, target_epsilon=0.0, unit=unit, clip_norm=1.0), 0.0)
    (part,) = learner.counts_of(ClientId("ann"))(np.zeros(900, np.float32))
    size = 1.0 if unit is Unit.CLIENT else learner.how.privacy.expected_batch_size
    one = part.dense(900) if isinstance(part, Scattered) else part
    assert one * np.float32(size) == pytest.approx(wanted, abs=1e-5)
    learner.how = learning_of(recipe(noise=Noise.DISTRIBUTED, unit=unit, clip_norm=1.0), 1.0)
    parts = list(learner.counts_of(ClientId("ann"))(np.zeros(900, np.float32)))
    sign = -1 if unit is Unit.EXAMPLE else 1
    up = [sign * each.dense(900) for each in parts if isinstance(each, Scattered)]
    assert len(parts) == (4 if unit is Unit.EXAMPLE else 1)
    assert np.sum(up, 0) == pytest.approx(wanted, abs=1e-5)
