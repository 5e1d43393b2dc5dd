"""A wrong setting is told by the name under which it was given: an option, --set, or the recipe's file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tests.training.processes import here, one_line
from training import cli
from training.cli import train
from training.plan.origins import OPTIONS, Origins
from training.plan.recipe import Recipe
from training.plan.settings import RecipeError


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--epsilon", "-1"], "error: --epsilon must be 0 or more, not -1.0"),
        (["--epsilon", "nan"], "error: --epsilon must be a finite number, not nan"),
        (["--cohort", "1"], "error: --cohort must be 0 or between 2 and 65520, not 1"),
        (["--rounds", "0"], "error: --rounds must be 1 or more, not 0"),
        (["--data", ""], 'error: --data must be non-empty, not ""'),
        (["--client-column", ""], 'error: --client-column must be non-empty, not ""'),
        (["--out", "mine", "--epsilon", "-1"], "error: --epsilon must be 0 or more, not -1.0"),
        (
            ["--set", "privacy.target_epsilon=-1"],
            "error: --set privacy.target_epsilon=-1: privacy.target_epsilon must be 0 or more, not -1.0",
        ),
        (
            ["--epsilon", "3", "--set", "privacy.target_epsilon=-1", "--set", "federation.rounds=3"],
            "error: --set privacy.target_epsilon=-1: privacy.target_epsilon must be 0 or more, not -1.0",
        ),
        (
            ["--set", "federation.beta2=2"],
            "error: --set federation.beta2=2: federation.beta2 must be 0 or more and below 1, not 2.0",
        ),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_what_was_typed_is_named_and_nothing_else(options: list[str], told: str) -> None:
    done = here(*options)
    assert (done.returncode, done.stderr.strip()) == (2, told)


def test_what_a_recipe_holds_is_led_by_its_file_unless_it_was_typed_over(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[privacy]\ntarget_epsilon = -1\n")
    one_line(here("--recipe", recipe), f"error: {recipe}: privacy.target_epsilon must be 0 or more", code=2)
    one_line(here("--recipe", recipe, "--epsilon", "-2"), "error: --epsilon must be 0 or more, not -2.0", code=2)
    recipe.write_text("[privacy]\ntarget_epsilon = -1\n[model]\nhidden = 31\n")
    one_line(here("--recipe", recipe, "--epsilon", "2"), f"error: {recipe}: model.hidden must be", code=2)
    both = here("--recipe", recipe, "--epsilon", "2", "--set", "model.heads=4")
    one_line(both, f"error: {recipe}, --set model.heads=4: model.hidden must be", code=2)


def test_a_key_that_nobody_gave_is_told_by_its_option_where_it_has_one() -> None:
    error = RecipeError(
        "{federation.cohort} is 40, but there are {clients} clients: set {federation.cohort} to 30, or "
        "{secagg.ring_bits}.",
        clients=30,
    )
    said = "federation.cohort is 40, but there are 30 clients: set federation.cohort to 30, or secagg.ring_bits."
    assert str(error) == said
    assert str(Origins("default.toml").told(error)) == said.replace("federation.cohort", "--cohort")
    filed = Origins("mine.toml", frozenset(["federation.cohort"]))
    assert str(filed.told(error)) == f"mine.toml: {said}"


def test_an_error_is_told_in_other_words_and_stays_the_same_to_a_program() -> None:
    error = RecipeError("{privacy.noise} and {federation.cohort} are at odds")
    told = Origins("mine.toml", frozenset(["privacy.noise"])).told(error)
    assert str(told) == "mine.toml: privacy.noise and --cohort are at odds"
    assert (told.code, told.param, told.keys) == ("bad_recipe", "privacy.noise", ("privacy.noise", "federation.cohort"))


@pytest.mark.parametrize("given", ["dialogues/data.source.jsonl", "data.source", "{data.source}", "{0.real}", "{"])
def test_a_value_is_left_alone_whatever_it_looks_like(given: str) -> None:
    error = RecipeError("{where} is cut short", where=given)
    told = Origins("mine.toml", frozenset(["data.source"])).told(error)
    assert (str(told), told.keys, told.param) == (f"{given} is cut short", (), None)


def test_each_key_with_an_option_is_one_and_has_it() -> None:
    import inspect

    for key, option in OPTIONS.items():
        section, _, name = key.partition(".")
        assert name in {each.name for each in fields(getattr(Recipe(), section))}
        assert option[2:].replace("-", "_") in inspect.signature(train).parameters


def test_each_option_that_sets_a_key_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[cli.Given] = []
    monkeypatch.setattr(cli, "_begin", lambda given, *rest: typed.append(given))
    cli.train(overlap="all")
    (given,) = typed
    assert given.options.keys() == OPTIONS.keys()
    with pytest.raises(RecipeError, match=r'^--overlap must be one of .*, not "all"$'):
        given.read()
