"""A sum is of no fewer clients, and hides from no more of them, than the recipe says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from chatfed.secagg.graph import derive_active
from chatfed.secagg.messages import RefusedParameters
from tests.training.federation import a_recipe
from tests.training.plans import client_level, sums_of
from training.plan.recipe import SecAggSection
from training.plan.survivors import colluders, threshold


def test_a_fraction_of_clients_is_not_one_less_for_how_floats_are_rounded() -> None:
    recipe = dataclasses.replace(client_level(100), secagg=SecAggSection(corrupt=0.29, threshold=0.8))
    assert 0.29 * 100 < 29 and colluders(recipe.secagg, 100) == 29


def test_a_client_accepts_no_round_below_what_it_has_derived_itself() -> None:
    recipe = a_recipe(identities="roster", cohort=60)
    sums = sums_of(recipe, 2.0)
    parameters = sums.parameters(60, 7)
    own = sums.floors(parameters)
    own.refuse(parameters)
    p, circle = parameters, derive_active(60, recipe.secagg.corrupt, recipe.secagg.dropout)
    assert (p.degree, p.threshold, p.most_gone) == dataclasses.astuple(circle)  # for a server that says who drops out
    weakened: tuple[dict[str, Any], ...] = (
        {"threshold": p.threshold - 1},
        {"ring_bits": 21},
        {"degree": p.degree + 2},
        {"degree": p.degree - 2, "most_gone": p.degree // 2 - 1},
        {"committee": p.committee - 1},
        {"quorum": p.quorum - 1},
        {"most_gone": p.most_gone + 1},
    )
    for weaker in weakened:
        with pytest.raises(RefusedParameters, match=next(iter(weaker))):
            own.refuse(dataclasses.replace(parameters, **weaker))
    assert own.survivors == 54  # what a tenth may leave, on a circle: its sizes are for so many
    few = sums_of(a_recipe(identities="roster", threshold=0.9, cohort=10), 2.0)
    assert few.floors(few.parameters(10, 7)).survivors == 9


def test_the_threshold_is_over_half_whatever_the_recipe_says() -> None:
    for count in range(2, 40):
        for share in (0.5000001, 0.51, 2 / 3, 0.67, 0.9, 1.0):
            need = threshold(a_recipe(threshold=share).secagg, count)
            assert count / 2 < need <= count
            assert need >= share * count - 1e-6
