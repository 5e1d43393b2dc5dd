"""The ladder's recipes, and its table. What it measures is tested in tests/training/audits/test_updates.py."""

from __future__ import annotations

import math

import pytest

from benchmarks import ladder
from benchmarks.ladder import SHAPES, setting_of, table
from training.audits.updates import bare, everybody
from training.audits.victims import COHORT


@pytest.mark.parametrize("name", SHAPES)
def test_every_recipe_has_noise_of_its_own_and_a_twin_without(name: str) -> None:
    setting = everybody(setting_of(name))
    plain = bare(setting)
    assert setting.terms.noise_multiplier > 0 and plain.bare
    assert setting.recipe.federation.cohort == plain.recipe.federation.cohort == COHORT
    assert setting.recipe.privacy.sampling_rate == 1.0
    assert setting.recipe.model == plain.recipe.model


def test_bands_cost_noise_and_adapters_differ_in_rank_alone() -> None:
    bands, once = setting_of("bands"), setting_of("client level")
    assert bands.bands == 2 and bands.terms.noise_multiplier > once.terms.noise_multiplier
    few, many = setting_of("adapters, rank 8"), setting_of("adapters, rank 128")
    assert math.isclose(few.terms.noise_multiplier, many.terms.noise_multiplier)
    assert (few.recipe.model.lora_rank, many.recipe.model.lora_rank) == (8, 128)


def test_the_table_is_markdown() -> None:
    assert table([["recipe", "ROUGE-2"], ["---", "---"], ["bands", 1 / 3], ["all", 1]]).splitlines() == [
        "| recipe | ROUGE-2 |",
        "| --- | --- |",
        "| bands | 0.333 |",
        "| all | 1 |",
    ]


def test_help_shows_examples_and_a_mistyped_recipe_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ladder.main(["--help"])
    assert "python -m benchmarks.ladder" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        ladder.main(["--recipes", "band"])
    assert "band" in capsys.readouterr().err
