"""Which recipes have keys that serve several rounds, and how many."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from training.plan.checks import check
from training.plan.cohorts import KEY_ROUNDS, following
from training.plan.recipe import Recipe
from training.plan.settings import RecipeError
from training.plan.variants import counting


def recipe_of(key_rounds: int = 0, **federation: Any) -> Recipe:
    recipe = Recipe()
    secagg = dataclasses.replace(recipe.secagg, key_rounds=key_rounds)
    return dataclasses.replace(recipe, secagg=secagg, federation=dataclasses.replace(recipe.federation, **federation))


def test_keys_serve_several_rounds_where_each_asks_all_clients() -> None:
    def settled(clients: int, **said: int) -> int:
        return following(recipe_of(**said), clients).secagg.key_rounds

    assert [settled(30, rounds=rounds) for rounds in (4, 10, 50)] == [4, KEY_ROUNDS, KEY_ROUNDS] and KEY_ROUNDS == 10
    assert [settled(clients, cohort=12, rounds=50) for clients in (12, 13, 400)] == [KEY_ROUNDS, 1, 1]
    assert settled(400) == settled(12, cohort=3, bands=4) == settled(12, cohort=12, bands=4) == 1
    assert [settled(30, key_rounds=chosen) for chosen in (1, 3)] == [1, 3]


def test_keys_for_several_rounds_and_drawn_cohorts_contradict_each_other() -> None:
    with pytest.raises(RecipeError, match=r"secagg\.key_rounds = 3: .*all 30 clients.*federation\.cohort") as caught:
        check(recipe_of(3, cohort=12), 30)
    assert "\n" not in str(caught.value)
    check(recipe_of(1, cohort=12), 30)
    check(recipe_of(3, cohort=30), 30)


def test_the_count_of_n_grams_has_one_slot() -> None:
    assert counting(following(recipe_of(5), 30), 30).secagg.key_rounds == 1
