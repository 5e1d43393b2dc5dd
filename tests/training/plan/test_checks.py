"""Settings that contradict each other are refused with the mend."""

from __future__ import annotations

import pytest

from chatfed.privacy.guarantee import Noise, Unit
from training.plan.checks import check
from training.plan.recipe import PrivacySection, Recipe, load_recipe
from training.plan.settings import RecipeError


def test_a_clip_norm_that_could_not_move_is_refused() -> None:
    far = PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED, clip_norm=2e7, clip_quantile=0.5)
    with pytest.raises(RecipeError, match=r"privacy\.clip_norm = 2e\+07 cannot follow"):
        check(Recipe(privacy=far), 400)


def test_a_mend_for_a_run_without_noise_fits_its_unit() -> None:
    with pytest.raises(RecipeError, match=r'privacy\.noise to "distributed"'):
        check(Recipe(privacy=PrivacySection(unit=Unit.CLIENT, noise=Noise.NONE)), 400)


def test_units_and_noise_that_do_not_go_together_are_refused_with_the_mend() -> None:
    for keys, mend in (
        (["unit=client", "noise=local"], 'goes with privacy.noise = "distributed"'),
        (["unit=client", "noise=distributed", "clipping=automatic"], 'leave them at "flat" and 1'),
        (["unit=client", "noise=distributed", "local_steps=2"], 'leave them at "flat" and 1'),
        (["unit=example", "noise=distributed", "local_steps=2"], "set local_steps to 1"),
        (["unit=example", "noise=distributed", "clipping=per_layer"], 'set clipping to "flat"'),
        (["unit=example", "noise=distributed", "clip_quantile=0.5"], 'needs privacy.unit = "client"'),
    ):
        with pytest.raises(RecipeError, match=mend):
            check(load_recipe(None, [f"privacy.{each}" for each in keys]), 400)


def test_a_quantile_without_distributed_noise_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"clip_quantile = 0\.5 needs"):
        check(load_recipe(None, ["privacy.clip_quantile=0.5"]), 400)


def test_decay_towards_what_is_not_the_base_is_refused() -> None:
    for keys, mend in (
        (["model.directions=0"], r"which is the base only with model\.directions or model\.lora_rank"),
        (["federation.server_optimizer=fedavg"], 'goes with federation.server_optimizer = "fedadam"'),
        (["federation.weight_decay=90"], "in one round it would take all that was learned"),
    ):
        with pytest.raises(RecipeError, match=mend):
            check(load_recipe(None, keys), 400)
    check(load_recipe(None, ["model.lora_rank=4"]), 400)
