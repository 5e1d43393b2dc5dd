"""The closing words of a run claim no more than its kind of noise earns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.recipe import Recipe
from training.summary import _cost

SPENT = {"epsilon": 2.5, "delta": 1e-5}
EVERYONE, SUMS_ONLY = "holds against everyone", "holds against whoever sees the sums only"


@pytest.mark.parametrize(
    ("unit", "noise", "protected", "holds"),
    [
        ("example", "local", "Each dialogue is protected", EVERYONE),
        ("example", "distributed", "Each dialogue is protected", SUMS_ONLY),
        ("client", "distributed", "Each client, with all its dialogues, is protected", SUMS_ONLY),
    ],
)
def test_the_last_words_name_what_is_protected_and_against_whom(unit, noise, protected, holds):
    recipe = Recipe()
    said = _cost(replace(recipe, privacy=replace(recipe.privacy, unit=unit, noise=noise)), SPENT)
    assert said.startswith(protected) and f"{holds};" in said and "epsilon 2.50 at delta 1e-05" in said
    assert ("noise added by each client" in said) == (noise == "local")


def test_without_noise_the_last_words_claim_nothing():
    assert _cost(Recipe(), SPENT | {"epsilon": None}) == "No noise was added: no privacy is claimed."
