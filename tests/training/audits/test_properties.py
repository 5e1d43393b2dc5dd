"""A property that is planted in real dialogues is found in bare updates of the real learner, and not in noised sums."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chatfed.audit.properties import Labels, Span
from chatfed.audit.roc import Area
from chatfed.types import ClientId, Turn
from training.audits.properties import Attacked, Noises, levels, masked, updates_of
from training.base.learner import Learner
from training.base.tokens import write_tokens
from training.plan.plan import learning_of, resolve
from training.plan.recipe import DEFAULT_RECIPE, load_recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

CLIENTS, EACH = 80, 2


@pytest.fixture(scope="module")
def learner(
    tiny_corpus: HelpdeskCorpus,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tiny_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Learner:
    """Of clients of which every other one speaks of the same thing in each of its dialogues."""
    from chatfed.model.transformer import load_model

    spoken = [dialogue.messages[0].content[:60] for dialogue in tiny_corpus.private[: CLIENTS * EACH]]
    said = [f"{'my printer again: ' if at // EACH % 2 else ''}{text}" for at, text in enumerate(spoken)]
    turns = [(Turn("user", text), Turn("assistant", "thank you")) for text in said]
    whose = {ClientId(f"c{i:02}"): np.arange(EACH * i, EACH * (i + 1)) for i in range(CLIENTS)}
    folder = tmp_path_factory.mktemp("tokens")
    table, none = (write_tokens(folder / name, tiny_tokenizer, turns, of) for name, of in (("in", whose), ("out", {})))
    plan = resolve(load_recipe(DEFAULT_RECIPE, []), 400)
    how = learning_of(plan.recipe, plan.terms.noise_multiplier)
    return Learner.of(how, load_model(tiny_base)[0], tiny_tokenizer, table, none)


@pytest.fixture(scope="module")
def updates(learner: Learner) -> np.ndarray:
    return updates_of(learner, list(learner.private.clients))


@pytest.fixture(scope="module")
def labels() -> Labels:
    return np.array([at % 2 == 1 for at in range(CLIENTS)])


def test_an_update_is_the_sum_of_its_clipped_gradients_whoever_adds_the_noise(learner: Learner) -> None:
    one = list(learner.private.clients)[:1]
    sure = dataclasses.replace(learner.how.privacy, sampling_rate=1.0)
    taking_all = dataclasses.replace(learner, how=dataclasses.replace(learner.how, privacy=sure))
    mine = learner.private.clients[one[0]]
    gradients = [part.copy() for part in taking_all.learn(learner.initial, mine)]  # each is gone when the next comes
    twin = np.sum([g / max(1.0, float(np.linalg.norm(g))) for g in gradients], axis=0)
    np.testing.assert_allclose(updates_of(taking_all, one)[0], twin, rtol=1e-4, atol=1e-6)
    assert len(gradients) == EACH


def by_chance(found: Area) -> bool:
    """Within four standard errors of one half: masks and samples are drawn anew in each test."""
    return abs(found.value - 0.5) < 4 / 3.92 * (found.high - found.low)


def test_a_planted_property_is_found_bare_and_not_under_masks_or_in_noised_sums(
    updates: np.ndarray, labels: Labels
) -> None:
    noises = Noises(upload=1.2 / np.sqrt(128), shared=24.0)
    found = {key: area for key, (_, area) in levels(Span.of(updates), labels, noises, 40, 5).items()}
    assert found["raw"].low > 0.75
    assert found["many_rounds"].low > 0.6, "of so many bare sums it is found too"
    assert not by_chance(found["raw"]) and not by_chance(found["many_rounds"])
    for hidden in ("masked", "noised_sum", "noised_rounds", "many_noised_rounds"):
        assert by_chance(found[hidden])
    assert set(found) >= {"upload", "small_noised_sum", "many_noised_rounds"}


def test_without_noise_there_are_no_noised_levels(updates: np.ndarray, labels: Labels) -> None:
    assert not [key for key in levels(Span.of(updates), labels, Noises(0.0, None), 10, 3) if "nois" in key]


def test_local_noise_adds_up_and_shared_noise_is_the_sums() -> None:
    assert Noises(2.0, None).of_sum(9) == 6.0 and Noises(0.1, 1.2).of_sum(9) == 1.2


def test_a_masked_update_is_uniform_whatever_it_was(updates: np.ndarray) -> None:
    """Twice the same update under masks has nothing in common."""
    span = Span.of(updates)
    first, second = masked(span, updates[:4]), masked(span, updates[:4])
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.4
    assert np.abs(first).min(axis=1).max() > np.abs(span.coordinates(updates[:4])).max()


def test_labels_that_mean_nothing_are_not_found(updates: np.ndarray) -> None:
    rows = Span.of(updates).coordinates(updates)
    draws = np.random.default_rng(2)
    found = [Attacked(rows, draws.permutation(CLIENTS) % 2 == 0).alone() for _ in range(10)]
    assert np.mean([each.value for each in found]) == pytest.approx(0.5, abs=0.09)
