"""The cohort follows the data where the recipe leaves it open, and the plan is said before anything runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from chatfed.audit.figures import above
from chatfed.privacy.accounting import Mechanism, compose, epsilon
from tests.training.base.test_overlap import record, written
from tests.training.processes import PLAIN, TINY, here, one_line, settings
from training.plan.checks import check
from training.plan.cohorts import following, planned_participations
from training.plan.in_words import plan_in_words
from training.plan.plan import plan_of
from training.plan.recipe import DEFAULT_RECIPE, load_recipe
from training.plan.settings import RecipeError
from training.plan.terms import client_terms, count_terms
from training.run.run_folder import RunFolder

CLIENT_LEVEL = DEFAULT_RECIPE.with_name("client-level.toml")


@pytest.mark.parametrize(
    ("overrides", "clients", "cohort"),
    [
        ([], 400, 40),
        ([], 41, 40),
        ([], 30, 30),
        ([], 3, 3),
        (["federation.largest_cohort=100"], 400, 100),
        (["federation.bands=4"], 30, 7),
        (["federation.max_participations=2"], 30, 6),
        (["federation.max_participations=2", "federation.rounds=2"], 30, 30),
        (["federation.cohort=7"], 400, 7),
    ],
)
def test_an_open_cohort_is_as_many_clients_as_there_are_up_to_the_largest(
    overrides: list[str], clients: int, cohort: int
) -> None:
    recipe = following(load_recipe(PLAIN, overrides), clients)
    assert recipe.federation.cohort == cohort
    assert following(recipe, clients) is recipe, "what is settled stays"


@pytest.mark.parametrize(("clients", "cohort", "times"), [(999, 999, 1), (30, 30, 1)])
def test_the_recipe_for_whole_clients_follows_the_data_too(clients: int, cohort: int, times: int) -> None:
    recipe = following(load_recipe(CLIENT_LEVEL), clients)
    check(recipe, clients)
    assert recipe.federation.cohort == cohort and planned_participations(recipe, clients) == times


@pytest.mark.parametrize(
    ("overrides", "clients", "parts"),
    [
        ([], 1, ["1 client ", "fewer than 3", "data.client_column"]),
        ([], 2, ["2 clients", "hides nobody"]),
        (["federation.bands=4"], 8, ["federation.bands = 4", "8 clients"]),
        (["federation.max_participations=1"], 20, ["federation.max_participations = 1", "10 rounds"]),
    ],
)
def test_too_few_clients_for_a_sum_that_hides_anybody_are_refused(
    overrides: list[str], clients: int, parts: list[str]
) -> None:
    with pytest.raises(RecipeError) as caught:
        check(load_recipe(PLAIN, overrides), clients)
    for part in parts:
        assert part in str(caught.value)


def test_a_named_cohort_is_never_made_smaller() -> None:
    with pytest.raises(RecipeError, match=r"federation\.cohort is 40, but the data has 30 clients"):
        check(load_recipe(None, ["federation.cohort=40"]), 30)


def test_noise_is_for_the_cohort_that_follows() -> None:
    """30 clients in each of 10 rounds are 10 participations each; 400 clients have one."""
    for clients, times in ((400, 1), (30, 10)):
        recipe = load_recipe(PLAIN)
        assert planned_participations(recipe, clients) == times
        noise = client_terms(recipe, clients).noise_multiplier
        assert 7.9 < epsilon(noise, 1.0, times, delta=1e-5) <= 8.0


def test_noise_of_the_default_recipe_is_for_its_sampling_and_all_of_its_rounds() -> None:
    recipe = load_recipe()
    times = planned_participations(recipe, 400)
    assert times == -(-recipe.federation.rounds * recipe.federation.largest_cohort // 400) > 1
    count, noise = count_terms(recipe, 400), client_terms(recipe, 400).noise_multiplier
    assert count is not None and count.mechanism is not None
    rounds = Mechanism(noise, recipe.privacy.sampling_rate, times)
    assert 7.9 < compose([count.mechanism, rounds], delta=1e-5) <= 8.0


@pytest.mark.parametrize(
    ("path", "overrides", "clients", "parts"),
    [
        (PLAIN, [], 400, ["10 rounds of 40 of 400 clients", "at most 1 and", "27 of 40", "each dialogue", "everyone"]),
        (PLAIN, ["privacy.target_epsilon=4"], 30, ["10 rounds of all 30", "at most 10 and", "epsilon at most 4.00"]),
        (PLAIN, ["privacy.sampling_rate=0.25", "privacy.local_steps=3"], 30, ["3 steps", "with probability 0.25"]),
        (
            PLAIN,
            ["privacy.noise_multiplier=3", "federation.rounds=2"],
            30,
            ["multiplier 3.000", f"epsilon at most {above(epsilon(3.0, 1.0, 2, delta=1e-5))}"],
        ),
        (CLIENT_LEVEL, [], 999, ["1 round of all 999", "1 pass over", "each client, with all", "sums only", "99 "]),
        (None, ["privacy.noise=none", "privacy.target_epsilon=0"], 30, ["No noise", "no privacy is claimed"]),
    ],
)
def test_a_plan_says_who_takes_part_how_often_at_what_cost_and_against_whom(
    path: Path | None, overrides: list[str], clients: int, parts: list[str]
) -> None:
    recipe = following(load_recipe(path, overrides), clients)
    said = plan_in_words(plan_of(recipe, clients, client_terms(recipe, clients)))
    for part in parts:
        assert part in said, said


def test_the_plan_of_the_default_recipe_says_its_rounds_its_sampling_and_whom_it_holds_against() -> None:
    recipe = following(load_recipe(), 400)
    plan, least = recipe.federation, math.ceil(recipe.secagg.threshold * recipe.federation.cohort)
    said = plan_in_words(plan_of(recipe, 400, client_terms(recipe, 400)))
    for part in (
        f"{plan.rounds} rounds of {plan.cohort} of 400 clients; each takes part in at most "
        f"{planned_participations(recipe, 400)} and takes 1 step",
        f"each with probability {recipe.privacy.sampling_rate:g};",
        f"fewer than {least} of {plan.cohort} is unmasked",
        "each dialogue is protected with epsilon at most 8.00 at delta 1e-05, against whoever sees the sums only",
    ):
        assert part in said, said


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's own files: 30 branches with two dialogues each."""
    folder = tmp_path_factory.mktemp("own")
    written(folder / "mine.jsonl", [record(i, branch=f"b{i % 30}") for i in range(60)])
    written(folder / "held-out.jsonl", [record(1000 + i) for i in range(6)])
    written(folder / "public.jsonl", [record(2000 + i) for i in range(40)])
    return folder


def test_the_readmes_command_for_own_data_runs_with_thirty_clients(own: Path) -> None:
    tiny = [part for each in TINY for part in ("--set", f"model.{each}")]
    small = settings(
        runtime__cache=f'"{own / "cache"}"', runtime__workers=1, pretrain__epochs=0.1, federation__rounds=2,
        ngrams__cells=16384, ngrams__texts=30, ngrams__epochs=0.5,
    )  # fmt: skip
    done = here(
        *("--data", own / "mine.jsonl", "--client-column", "branch", "--validation", own / "held-out.jsonl"),
        *("--public", own / "public.jsonl", "--epsilon", "4", "--out", own / "runs" / "mine", *tiny, *small),
    )
    assert done.returncode == 0, done.stderr
    assert "then 2 rounds of all 30 clients; each takes part in at most 2" in done.stdout
    assert "first one count of epsilon 3.00" in done.stdout
    assert done.stdout.index("The plan") < done.stdout.index("public base model is")
    begun = RunFolder(own / "runs" / "mine").begun()
    assert begun.recipe.federation.cohort == 30, "the folder has the recipe that ran, and can be gone on with"
    privacy = json.loads((own / "runs" / "mine" / "privacy.json").read_text())
    assert 3.9 < privacy["epsilon"] <= 4.0 and privacy["participations_most"] == 3 and privacy["clients_charged"] == 30
    assert privacy["repeats"]["dialogues"] == 60 and "none was found" in privacy["sentence"]


def test_two_clients_end_in_one_line(own: Path, tiny_base: Path, tmp_path: Path) -> None:
    source = written(tmp_path / "two.jsonl", [record(i, client_id=f"c{i % 2}") for i in range(8)])
    given = ("--data", source, "--validation", own / "held-out.jsonl", "--base", tiny_base, "--out", tmp_path / "out")
    one_line(here(*given), "2 clients", "hides nobody", code=2)
