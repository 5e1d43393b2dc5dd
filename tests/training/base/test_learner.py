"""Plain local training, in whatever way it is computed. What leaves a client is clipped whatever arithmetic made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import training.base.learner
from chatfed.model.by_hand import llama_gradient
from chatfed.model.parameters import flatten, load_flat
from chatfed.model.transformer import load_model
from chatfed.privacy.clipping import ClippingError, flushes_denormals
from chatfed.privacy.guarantee import Noise, Unit
from tests.training.bases import TINY, build
from training.base.learner import Learner, Way, quickest_way, train_plainly
from training.base.pretrain import precision_here
from training.base.tokens import DialogueExamples, next_token_loss, write_tokens
from training.plan.plan import learning_of
from training.plan.recipe import LocalSection, ModelSection, PrivacySection, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus
    from chatfed.types import FloatVector


@pytest.fixture(scope="module")
def examples(
    tiny_corpus: HelpdeskCorpus, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> DialogueExamples:
    dialogues = [dialogue.messages[:3] for dialogue in tiny_corpus.private[:5]]
    table = write_tokens(tmp_path_factory.mktemp("tokens") / "table", tiny_tokenizer, dialogues)
    return DialogueExamples(table, np.arange(5), 64)


@pytest.fixture
def model(tiny_base: Path) -> PreTrainedModel:
    return load_model(tiny_base)[0]


def test_one_step_is_the_rate_times_the_gradient_of_the_mean_loss(
    model: PreTrainedModel, examples: DialogueExamples
) -> None:
    before = flatten(model)
    rows, _ = examples.rows(np.arange(5))
    (next_token_loss(model, rows).sum() / 5).backward()
    gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    train_plainly(model, examples, LocalSection(batch=5, learning_rate=0.25))
    moved = flatten(model) - before
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(-0.25 * gradient[name])
    assert moved == pytest.approx(flatten(model), rel=1e-3, abs=1e-6)


def test_bfloat16_moves_float32_weights_nearly_the_same_way(model: PreTrainedModel, examples: DialogueExamples) -> None:
    start, moved = flatten(model), []
    for in_bfloat16 in (False, True):
        load_flat(model, start)
        train_plainly(model, examples, LocalSection(batch=5, learning_rate=0.25), Way(in_bfloat16))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        moved.append((flatten(model) - start).astype(np.float64))
    plain, lower = moved
    assert not np.array_equal(plain, lower)
    assert plain @ lower > 0.99 * np.linalg.norm(plain) * np.linalg.norm(lower)


@pytest.mark.parametrize("batch", [5, 2])
def test_steps_by_hand_are_those_of_autograd(model: PreTrainedModel, examples: DialogueExamples, batch: int) -> None:
    start, moved, by_hand = flatten(model), [], llama_gradient(model)
    assert by_hand is not None
    one = DialogueExamples(examples.table, np.arange(1), 64)  # whose batches are the same, whatever the order
    for mine in (examples, one) if batch == 5 else (one,):
        for way in (Way(), Way(by_hand=by_hand)):
            load_flat(model, start)
            train_plainly(model, mine, LocalSection(3 if mine is one else 1, batch, 0.25), way)
            moved.append(flatten(model) - start)
    for plain, ours in zip(moved[::2], moved[1::2], strict=True):
        assert np.linalg.norm(plain - ours) < 1e-4 * np.linalg.norm(plain)


@pytest.mark.parametrize("of", [1, 3])
def test_a_client_s_only_step_is_what_training_moves_the_model_by(
    places: tuple[str, Path, Path], of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    privacy = PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED)
    recipe = Recipe(model=ModelSection(context=64, trainable=("all",)), privacy=privacy, local=LocalSection(batch=4))
    learner = Learner.open(learning_of(recipe, 1.0), *places)
    weights = learner.initial + np.float32(0.01)
    way = Way(by_hand=llama_gradient(learner.model))
    assert way.by_hand is not None
    monkeypatch.setattr(Learner, "way", way)
    flushed, flat = [], way.by_hand.flat

    def watching(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        flushed.append(flushes_denormals())
        return flat(batch)

    monkeypatch.setattr(way.by_hand, "flat", watching)
    (step,) = learner.learn(weights, np.arange(of))
    assert flushed == [True] or not torch.set_flush_denormal(False), "time would tell of what is learned"
    assert np.array_equal(flatten(learner.model), weights), "the model takes no step"
    monkeypatch.setattr(Learner, "_only_step", lambda self, examples: None)
    (moved,) = learner.learn(weights, np.arange(of))
    assert np.linalg.norm(step - moved) < 1e-4 * np.linalg.norm(moved) and step.any()
    (nothing,) = learner.learn(weights, np.arange(0))
    assert not nothing.any()


def test_more_steps_than_one_are_taken_and_the_next_client_begins_where_the_server_says(
    places: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of weights that nobody can write to a second loading is spared, unless a client's training has moved them."""
    privacy = PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED)
    steps = LocalSection(epochs=3), LocalSection(batch=2), LocalSection()
    for local, share, of in ((steps[0], 0.0, 1), (steps[1], 0.0, 3), (steps[2], 0.25, 3)):
        section = ModelSection(context=64, trainable=("*proj.weight",), directions=share)
        learner = Learner.open(learning_of(Recipe(model=section, privacy=privacy, local=local), 1.0), *places)
        weights = learner.initial + np.float32(0.01)
        weights.flags.writeable = False
        for by_hand in (None, llama_gradient(learner.model)):
            monkeypatch.setattr(Learner, "way", Way(by_hand=by_hand))
            first, second = (next(iter(learner.learn(weights, np.arange(of)))) for _ in range(2))
            same = np.linalg.norm(first - second) < 1e-4 * np.linalg.norm(first)
            assert first.any() and (same or of > local.batch), "which of three are in a batch is drawn"
            assert not np.array_equal(learner.space.moved(weights), np.zeros_like(weights)), "the model took its steps"


def test_what_an_evaluation_read_of_frozen_weights_goes_back(
    places: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner.open(learning_of(Recipe(model=ModelSection(context=64)), 1.0), *places)
    learner.evaluate(learner.initial, np.arange(1))
    made, rested = learner.by_hand, list[str]()
    assert made is not None
    monkeypatch.setattr(made, "rest", lambda: rested.append("rested"))
    learner.evaluate(learner.initial, np.arange(1))
    assert rested == ["rested"]


def test_measuring_ways_trains_nothing_and_an_empty_client_needs_none(
    model: PreTrainedModel, examples: DialogueExamples
) -> None:
    before = flatten(model)
    assert isinstance(quickest_way(model, examples), Way)
    assert quickest_way(model, examples, by_hand=False).by_hand is None
    assert np.array_equal(flatten(model), before) and all(p.grad is None for p in model.parameters())
    nobody = DialogueExamples(examples.table, np.arange(0), 64)
    assert quickest_way(model, nobody) == Way()


def test_no_client_s_dialogues_and_no_server_choose_how_others_are_trained(
    places: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(
        model=ModelSection(context=64, trainable=("all",)),
        privacy=PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED),
        local=LocalSection(batch=2),
    )
    learner = Learner.open(learning_of(recipe, 1.0), *places)
    measured: list[tuple[DialogueExamples, FloatVector]] = []

    def watching(model: PreTrainedModel, shown: DialogueExamples) -> Way:
        measured.append((shown, flatten(model)))
        return quickest_way(model, shown)

    monkeypatch.setattr(training.base.learner, "quickest_way", watching)
    for mine in (np.arange(0), np.arange(3)):
        learner.learn(learner.initial + 1, mine)
    ((shown, weights),) = measured
    assert shown.table is learner.held_out and shown.dialogues.tolist() == [0, 1]
    assert np.array_equal(weights, learner.initial)


def test_clients_of_one_worker_learn_without_dropout_so_that_none_shifts_the_masks_of_the_next(
    examples: DialogueExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPT-2 brings dropout along; what one client drew would show in all that another learns."""
    model, updates, flushed = build("gpt2", TINY["gpt2"]), [], []
    start = flatten(model)

    def watching(model: torch.nn.Module, rows: Mapping[str, torch.Tensor], multiple: int = 1) -> torch.Tensor:
        flushed.append(flushes_denormals())
        return next_token_loss(model, rows, multiple)

    monkeypatch.setattr(training.base.learner, "next_token_loss", watching)
    for drawn_before in (0, 1000):
        torch.manual_seed(3)
        torch.rand(drawn_before)
        load_flat(model, start)
        train_plainly(model, examples, LocalSection(batch=5, learning_rate=0.25))
        updates.append(flatten(model) - start)
    assert updates[0] == pytest.approx(updates[1], rel=1e-3, abs=1e-6) and updates[0].any()  # the order differs
    able = torch.set_flush_denormal(True)
    torch.set_flush_denormal(False)
    assert flushed == [able] * 2


def test_a_base_that_would_carry_something_from_client_to_client_is_refused(
    places: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for unit, noise in ((Unit.CLIENT, Noise.DISTRIBUTED), (Unit.EXAMPLE, Noise.LOCAL)):
        recipe = Recipe(
            model=ModelSection(context=64, trainable=("all",)),
            privacy=PrivacySection(unit=unit, noise=noise, sampling_rate=1.0),
        )
        learner = Learner.open(learning_of(recipe, 1.0), *places)
        learner.model.get_submodule("model.layers.0").register_forward_pre_hook(
            lambda layer, given: (torch.nn.functional.dropout(given[0], 0.1), *given[1:])
        )
        learner.by_hand = None  # as of a base that is opened with such a layer
        with pytest.raises(ClippingError, match="draws random numbers"):
            learner.learn(learner.initial, np.arange(3))


def test_single_dialogues_gradients_are_worked_out_by_hand_and_are_autograds(
    places: tuple[str, Path, Path],
) -> None:
    recipe = Recipe(
        model=ModelSection(context=64, trainable=("all",)),
        privacy=PrivacySection(unit=Unit.EXAMPLE, noise=Noise.DISTRIBUTED, sampling_rate=1.0),
    )
    learner = Learner.open(learning_of(recipe, 1.0), *places)
    ours = [part.copy() for part in learner.learn(learner.initial, np.arange(3))]
    assert learner.by_hand is not None
    learner.by_hand = None
    theirs = [part.copy() for part in learner.learn(learner.initial, np.arange(3))]
    assert len(ours) == 3
    near = 0.1 if precision_here("auto") == "bfloat16" else 1e-5  # a tiny random model; trained: 0.014
    for a, b in zip(ours, theirs, strict=True):
        assert 0 < np.linalg.norm(a - b) < near * np.linalg.norm(b)


def test_the_gradient_by_hand_is_tried_on_the_base_and_used_on_the_weights_that_came(
    places: tuple[str, Path, Path],
) -> None:
    """A server that sends what is no number in a learner's first round must not choose the arithmetic of later ones."""
    recipe = Recipe(
        model=ModelSection(context=64, trainable=("*proj.weight",), directions=0.5),
        privacy=PrivacySection(unit=Unit.EXAMPLE, noise=Noise.DISTRIBUTED, sampling_rate=1.0),
    )
    how = learning_of(recipe, 1.0), *places
    learner, fresh = Learner.open(*how), Learner.open(*how)
    moved = learner.initial + np.float32(0.05)
    (nowhere,) = learner.learn(np.full_like(learner.initial, np.nan), np.arange(1))
    assert learner.by_hand is not None and not np.isfinite(nowhere).any()
    (after,) = (part.copy() for part in learner.learn(moved, np.arange(1)))
    (first,) = (part.copy() for part in fresh.learn(moved, np.arange(1)))
    (at_base,) = (part.copy() for part in fresh.learn(fresh.initial, np.arange(1)))
    assert after.tobytes() == first.tobytes() != at_base.tobytes()
