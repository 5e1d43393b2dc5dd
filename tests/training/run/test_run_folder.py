"""A run folder keeps what was settled, whole, over any stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatfed.types import ClientId
from training.durable import write_atomically
from training.plan.cohorts import following
from training.plan.recipe import load_recipe
from training.plan.repeats import Repeats
from training.run import run_folder
from training.run.run_folder import RunFolder


def test_survivors_that_were_settled_on_are_those_of_that_round_alone(tmp_path: Path) -> None:
    folder, survivors, agreed = RunFolder(tmp_path), [ClientId("a"), ClientId("b")], bytes(32)
    assert folder.settled(0, agreed) is None
    folder.settle(2, agreed, survivors)
    assert folder.settled(2, agreed) == survivors
    assert folder.settled(1, agreed) is None and folder.settled(3, agreed) is None
    assert folder.settled(2, bytes([1]) * 32) is None  # members have agreed to something else since


def test_a_recipe_half_completed_when_the_machine_stopped_is_completed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    begun = folder.begin(load_recipe())
    complete = following(begun.recipe, 30)
    with monkeypatch.context() as killed:

        def stops(path: Path, content: bytes, mode: int = 0o600) -> None:
            if path.name == "recipe.toml":
                raise KeyboardInterrupt
            write_atomically(path, content, mode)

        killed.setattr(run_folder, "write_atomically", stops)
        with pytest.raises(KeyboardInterrupt):
            folder.settle_recipe(complete)
    assert folder.begun().recipe == begun.recipe
    folder.settle_recipe(complete)
    assert folder.begun().recipe == complete and folder.begun().run == begun.run


def test_repeats_are_the_same_after_a_stop(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.repeats() is None
    found = Repeats(9, groups=1, grouped=2, largest=2, public=None, dropped={"the public text": 3})
    folder.keep_repeats(found)
    assert folder.repeats() == found
