"""The closing words of a run claim no more than its kind of noise earns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chatfed.audit.comparison import SAYS
from chatfed.privacy.guarantee import Noise, Unit
from training.plan.recipe import Recipe
from training.run.display import Display
from training.run.summary import _cost, print_summary

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
def test_the_last_words_name_what_is_protected_and_against_whom(
    unit: Unit, noise: Noise, protected: str, holds: str
) -> None:
    recipe = Recipe()
    said = _cost(replace(recipe, privacy=replace(recipe.privacy, unit=unit, noise=noise)), SPENT)
    assert said.startswith(protected) and f"{holds};" in said and "epsilon 2.50 at delta 1e-05" in said
    assert ("noise added by each client" in said) == (noise == "local")


def test_without_noise_the_last_words_claim_nothing() -> None:
    assert _cost(Recipe(), SPENT | {"epsilon": None}) == "No noise was added: no privacy is claimed."


SCORES = {"bits_per_byte": 2.5, "top1": 0.25, "top3": 0.4, "perplexity": 3000.0, "words": 1000, "bytes": 4500}
INTERVAL = {"difference": -0.4, "low": -0.5, "high": -0.3}


def closing_words(capsys: pytest.CaptureFixture[str], **summary: object) -> str:
    after = {**SCORES, "bits_per_byte": 2.1, "top1": 0.2, "perplexity": 40.0}
    told = {
        **{"before": SCORES, "after": after, "reference": None, "ceiling": None, "pretraining": None, **SPENT},
        "seconds": {"total": 3.0},
        "peak_memory_mib": {"main": 1, "largest_worker": 1},
        **summary,
    }
    print_summary(Display(), Recipe(), Path("runs/x"), told)
    return capsys.readouterr().out


@pytest.mark.parametrize("verdict", ["learned", "did not learn", "worse", "cannot tell"])
def test_the_last_words_say_the_verdict_of_all_measures_and_no_fall_of_one(
    capsys: pytest.CaptureFixture[str], verdict: str
) -> None:
    """Perplexity a word falls by 99 % in each, while the next word is right less often."""
    compared = {"verdict": verdict, "over": "clients", "groups": 30, "bits_per_byte": INTERVAL, "top1": INTERVAL}
    said = closing_words(capsys, comparison=compared)
    assert SAYS[verdict] in said and "fell" not in said and "2.500 → 2.100 bits per byte" in said
    assert "next word right 25.0% → 20.0%" in said


def test_a_perplexity_that_tells_nothing_is_a_dash_and_a_cut_base_is_told_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    compared = {"verdict": "learned", "over": "clients", "groups": 30}
    whole, cut = ({"cut": each, "done": 8, "steps": 12} for each in (False, True))
    said = closing_words(capsys, comparison=compared, before={**SCORES, "perplexity": None}, pretraining=whole)
    assert "–" in said and "None" not in said and "cut" not in said
    assert "not the one that the recipe names" in closing_words(capsys, comparison=compared, pretraining=cut)


def test_a_ceiling_stands_in_the_table_and_the_share_of_it_is_said_with_whom_it_is_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    share = {"learnable": 8.4, "learned": 4.8, "share": 0.571, "low": 0.53, "high": 0.604}
    ceiling = {**SCORES, "bits_per_byte": 1.125, "gain": {"bits_a_word": share}}
    compared = {"verdict": "learned", "over": "clients", "groups": 30}
    said = closing_words(capsys, comparison=compared, ceiling=ceiling)
    assert "1.125" in said and "It learned 57% of the 8.40 bits a word that could be learned [53% to 60%]." in said
    assert "no epsilon covers its figures" in said
    assert "could be learned" not in closing_words(capsys, comparison=compared)
