"""What frozen layers said is kept sealed in a file without a name while there is room, and given back as it was."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import training.base.learner
from chatfed.model.by_hand import LlamaGradient, llama_gradient
from chatfed.privacy.guarantee import Noise, Unit
from training.base import frozen
from training.base.frozen import FrozenOutputs
from training.base.learner import Learner, Way
from training.base.pretrain import precision_here
from training.base.tokens import DialogueExamples
from training.plan.plan import learning_of
from training.plan.recipe import LocalSection, ModelSection, PrivacySection, Recipe, RuntimeSection

WINDOW, OTHER = bytes(range(9)), bytes(range(1, 10))
SAID = torch.linspace(-1e30, 1e-30, 9 * 4).view(9, 4)
ENTRY = SAID.nbytes + 28  # with nonce and tag


def raw(kept: FrozenOutputs) -> bytes:
    """All that is on the disk."""
    assert kept._file is not None
    return os.pread(kept._file.fileno(), 1 << 20, 0)


def test_what_was_said_comes_back_to_the_last_bit_and_of_no_other_window(tmp_path: Path) -> None:
    kept = FrozenOutputs(tmp_path, 1 << 20)
    assert kept.get(WINDOW) is None
    kept.put(WINDOW, SAID)
    kept.put(OTHER, -SAID)
    found, other = kept.get(WINDOW), kept.get(OTHER)
    assert found is not None and other is not None
    assert torch.equal(found, SAID.flatten()) and torch.equal(other, -SAID.flatten())
    assert kept.get(WINDOW[:8]) is None


def test_no_more_is_kept_than_there_is_room_for(tmp_path: Path) -> None:
    kept = FrozenOutputs(tmp_path, ENTRY + ENTRY // 2)
    for window in (WINDOW, OTHER):
        kept.put(window, SAID)
    assert kept.get(WINDOW) is not None and kept.get(OTHER) is None and len(raw(kept)) == ENTRY


@pytest.mark.parametrize("fails", ["fails", "is short", "is nearly full"])
def test_a_disk_that_has_no_room_gets_back_what_was_taken_of_it(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger of the same client is to be written there."""
    kept = FrozenOutputs(tmp_path, 1 << 20)
    kept.put(WINDOW, SAID)
    assert kept._file is not None
    before = kept._file

    def failing(*_: object) -> int:
        if fails == "is short":
            return 3
        raise OSError(28, "No space left on device")

    if fails == "is nearly full":
        monkeypatch.setattr(frozen, "SPARED", 1 << 70)
    else:
        monkeypatch.setattr(os, "pwrite", failing)
    for _ in range(2):
        kept.put(OTHER, SAID)
    assert before.closed and kept.get(WINDOW) is None and kept.get(OTHER) is None


def test_a_folder_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    kept = FrozenOutputs(tmp_path / "gone", 1 << 20)
    kept.put(WINDOW, SAID)
    assert kept.get(WINDOW) is None


def test_the_file_has_no_name_and_nothing_in_it_can_be_read_without_this_process(tmp_path: Path) -> None:
    kept, other = FrozenOutputs(tmp_path, 1 << 20), FrozenOutputs(tmp_path, 1 << 20)
    for each in (kept, other):
        each.put(WINDOW, SAID)
    assert list(tmp_path.iterdir()) == []
    row = SAID.numpy().tobytes()[:16]
    assert row not in raw(kept) and raw(kept) != raw(other)
    other._file = kept._file
    assert other.get(WINDOW) is None
    assert kept._key.hex() not in repr(kept) and str(kept._key) not in repr(kept)


def test_what_a_disk_changed_is_read_anew(tmp_path: Path) -> None:
    kept = FrozenOutputs(tmp_path, 1 << 20)
    kept.put(WINDOW, SAID)
    assert kept._file is not None
    os.pwrite(kept._file.fileno(), bytes([raw(kept)[40] ^ 1]), 40)
    assert kept.get(WINDOW) is None


@pytest.mark.parametrize("unit", [Unit.EXAMPLE, Unit.CLIENT])
def test_a_learner_recalls_what_it_read_and_its_updates_are_those_of_one_that_keeps_nothing(
    unit: Unit, places: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.base.learner, "quickest_way", by_hand_at_once)
    updates, read = [], list[int]()
    alone = LlamaGradient._alone

    def reading(self: LlamaGradient, window: torch.Tensor) -> torch.Tensor:
        read.append(len(window))
        return alone(self, window)

    monkeypatch.setattr(LlamaGradient, "_alone", reading)
    for mib in (0, 4):
        recipe = Recipe(
            model=ModelSection(context=64, trainable=("lm_head.weight", "model.norm.weight")),
            privacy=PrivacySection(unit=unit, noise=Noise.DISTRIBUTED, sampling_rate=1.0),
            local=LocalSection(batch=3),
            runtime=RuntimeSection(frozen_outputs_mib=mib),
        )
        learner = Learner.open(learning_of(recipe, 1.0), *places)
        twice = [[part.copy() for part in learner.learn(learner.initial, np.arange(3))] for _ in range(2)]
        updates += [np.concatenate(parts) for parts in twice]
    assert learner.frozen is not None
    assert 3 <= len(read) == len(learner.frozen._at), "each was read once"
    without, _, first, recalled = updates
    assert np.array_equal(first, recalled) or unit is Unit.CLIENT  # whose order is drawn each time
    near = 0.1 if precision_here("auto") == "bfloat16" else 1e-4
    for each in (first, recalled):
        assert np.linalg.norm(each - without) < near * np.linalg.norm(without)


def by_hand_at_once(model: torch.nn.Module, shown: DialogueExamples) -> Way:
    """Whatever is quickest here."""
    return Way(by_hand=llama_gradient(model))
