"""A claim that says nothing, or is about nobody, is not made; a weak one says so; a person is accounted for."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from chatfed.privacy.accounting import Mechanism, compose, grouped
from chatfed.privacy.conversions import PrivacyError, gaussian_epsilon
from chatfed.privacy.ledger import Charge
from chatfed.types import ClientId, IntVector
from tests.training.plans import charges_of, claim_of
from training.base.corpus import load_corpus
from training.plan.checks import check, check_clients
from training.plan.claims import Spent
from training.plan.cohorts import following
from training.plan.groups import group_epsilon
from training.plan.meaning import meaning, planned_warnings
from training.plan.recipe import SECTIONS, Recipe, load_recipe
from training.plan.settings import RecipeError
from training.plan.terms import client_terms

from ..processes import PLAIN, here

OF_CLIENTS = ["privacy.unit=client", "privacy.noise=distributed"]


def holding(*sizes: int) -> dict[ClientId, IntVector]:
    return {ClientId(f"c{i}"): np.arange(size, dtype=np.int64) for i, size in enumerate(sizes)}


@pytest.mark.parametrize(
    "override",
    ["target_epsilon=1e9", "target_epsilon=23", "budget_epsilon=1e9", "delta=0.5", "delta=0.2", "delta=0.999",
     "delta=0.1"],
)  # fmt: skip
@pytest.mark.parametrize("unit", [[], OF_CLIENTS])
def test_a_target_whose_bound_says_nothing_is_refused_by_name(override: str, unit: list[str]) -> None:
    with pytest.raises(RecipeError, match=f"privacy.{override.split('=')[0]} = .* says nothing"):
        check(load_recipe(None, [*unit, f"privacy.{override}"]), 400)


def test_a_run_without_a_claim_has_no_bound_to_say_something() -> None:
    check(load_recipe(None, ["privacy.noise=none", "privacy.target_epsilon=0", "privacy.delta=0.5"]), 400)


@pytest.mark.parametrize(
    ("overrides", "sizes", "said"),
    [
        ([], (30,) * 400, []),
        (["privacy.target_epsilon=14"], (30,) * 400, ["epsilon above 10"]),
        (["privacy.delta=1e-4"], (30,) * 400, ["1 / 12,000"]),
        (["privacy.delta=8e-5"], (30,) * 400, []),
        ([*OF_CLIENTS, "privacy.delta=1e-4"], (30,) * 400, []),
        ([*OF_CLIENTS, "privacy.delta=0.0025"], (30,) * 400, ["1 / 400"]),
        (["privacy.target_epsilon=20", "privacy.delta=0.01"], (1, 200), ["epsilon above 10", "1 / 201"]),
        (["privacy.noise=none", "privacy.target_epsilon=0", "privacy.delta=0.5"], (1, 2), []),
    ],
)
def test_a_weak_plan_is_warned_of_before_it_starts(
    overrides: list[str], sizes: tuple[int, ...], said: list[str]
) -> None:
    found = planned_warnings(claim_of(load_recipe(None, overrides)), holding(*sizes))
    assert len(found) == len(said) and all(part in each for part, each in zip(said, found, strict=True))


def test_a_person_with_several_dialogues_pays_for_a_longer_vector_exactly_at_rate_one() -> None:
    recipe = load_recipe(PLAIN, ["privacy.target_epsilon=1"])
    once = client_terms(recipe, 400).mechanism
    assert once is not None
    found = meaning(claim_of(recipe), compose([once], delta=1e-5), [once], holding(2, 3, 3, 3, 400), dealt=False)
    assert [(row["who"], row["dialogues"]) for row in found["person"]] == [
        ("5 dialogues", 5), ("the median client's dialogues", 3), ("the most of any client", 400),
    ]  # fmt: skip
    for row in found["person"]:
        assert row["epsilon"] == pytest.approx(gaussian_epsilon(row["dialogues"] / once.noise_multiplier, 1e-5))
    assert [row["strength"] for row in found["person"]] == ["moderate", "moderate", "none"]
    assert found["person"][2]["best_guess"] == "no bound"
    assert found["strength"] == "strong" and "claim does not cover" in found["person_note"]


@pytest.mark.parametrize("overrides", [["privacy.sampling_rate=0.25"], ["privacy.noise=distributed"]])
def test_a_person_costs_more_than_a_dialogue_whatever_the_noise(overrides: list[str]) -> None:
    recipe = following(load_recipe(PLAIN, ["privacy.target_epsilon=0.5", *overrides]), 400)
    terms = client_terms(recipe, 400)
    assert terms.mechanism is not None
    charges: Sequence[Charge] = charges_of(following(recipe, 400), terms, 5000, 0) or [terms.mechanism]
    costs = [group_epsilon(charges, size, 1e-5) for size in (1, 2, 5)]
    assert costs[0] <= 0.5 and 2 * costs[0] < costs[1] and 2 * costs[1] < costs[2] < math.inf
    assert group_epsilon(charges, 10_000, 1e-5) > 1e3


def test_a_group_is_not_cheaper_than_the_exact_mixture_of_its_samples() -> None:
    """Two dialogues, rate q each: shifts 0, 1, 2 with binomial weights, in one step; both directions by integration."""
    from scipy.stats import norm

    noise, rate, delta = 1.2, 0.2, 1e-4
    found = compose([grouped(Mechanism(noise, rate, 1), 2)], delta=delta)
    x = np.linspace(-14, 16, 600_001)
    none = norm.pdf(x, 0, noise)
    some = sum(w * norm.pdf(x, k, noise) for k, w in enumerate(((1 - rate) ** 2, 2 * rate * (1 - rate), rate**2)))
    for a, b in ((some, none), (none, some)):
        assert np.trapezoid(np.maximum(a - math.exp(found) * b, 0), x) <= delta
    with pytest.raises(PrivacyError, match="group"):
        grouped(Mechanism(noise, rate, 1), 0)


def test_where_the_client_is_the_unit_a_person_there_is_protected_as_a_whole() -> None:
    recipe = load_recipe(None, OF_CLIENTS)
    found = meaning(claim_of(recipe), 7.5, [], holding(2, 90), dealt=False)
    assert {row["epsilon"] for row in found["person"]} == {7.5} and found["strength"] == "moderate"
    assert meaning(claim_of(recipe), None, [], holding(2), dealt=False) == {}


@pytest.mark.parametrize(("sizes", "dealt"), [((30,) * 12, True), ((1,) * 12, False)])
@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_a_person_whose_dialogues_are_at_several_clients_is_none_of_them(
    sizes: tuple[int, ...], dealt: bool, rate: float
) -> None:
    """Dealt, or one line a client: five dialogues of a person are at five clients, each as far from absent as one."""
    recipe = load_recipe(PLAIN, [*OF_CLIENTS, "privacy.target_epsilon=2", f"privacy.sampling_rate={rate}"])
    charges = charges_of(following(recipe, 400), client_terms(recipe, 400), 5000, 0)
    row = meaning(claim_of(recipe), 2.0, charges, holding(*sizes), dealt)["person"][0]
    whole = [dataclasses.replace(charge, sampling_rate=1.0) for charge in charges]
    assert row["dialogues"] == 5 and row["epsilon"] == group_epsilon(whole, 5, 1e-5) > 10


def test_clients_of_one_dialogue_each_are_said_to_be_one_dialogue_beside_the_claim() -> None:
    recipe = load_recipe(None, OF_CLIENTS)
    warnings = [
        meaning(claim_of(recipe), 2.0, [], holding(*sizes), dealt=False)["warnings"] for sizes in ((1, 1, 1), (1, 2, 1))
    ]
    assert [len(each) for each in warnings] == [1, 0] and "not a person who has several" in warnings[0][0]


def test_what_holds_for_a_person_is_not_called_stronger_than_what_holds_for_one_dialogue() -> None:
    recipe = load_recipe(PLAIN, ["privacy.target_epsilon=0.1", "privacy.delta=0.01"])
    once = client_terms(recipe, 400).mechanism
    assert once is not None
    found = meaning(claim_of(recipe), 0.1, [once], holding(100, 300), dealt=False)
    assert found["strength"] == "weak" and {row["strength"] for row in found["person"]} <= {"weak", "none"}


def test_clients_that_were_dealt_are_no_unit_unless_the_recipe_says_simulated() -> None:
    clients = holding(3, 3, 4)
    with pytest.raises(RecipeError, match=r"--client-column.*data\.simulated_clients=true"):
        check_clients(load_recipe(None, OF_CLIENTS), clients, dealt=True)
    with pytest.raises(RecipeError, match="leave it out"):
        check_clients(load_recipe(None, ["data.simulated_clients=true"]), clients, dealt=False)
    for overrides in ([], [*OF_CLIENTS, "data.simulated_clients=true"], ["privacy.unit=client", "privacy.noise=none"]):
        (note,) = check_clients(load_recipe(None, overrides), clients, dealt=True)
        assert "simulated" in note and "nobody's" in note
    assert check_clients(load_recipe(None, OF_CLIENTS), clients, dealt=False) == []


def test_a_column_with_one_value_for_all_names_no_clients() -> None:
    with pytest.raises(RecipeError, match=r"every dialogue of .* has the same client_id"):
        check_clients(load_recipe(None, OF_CLIENTS), holding(90), dealt=False)


def test_clients_of_one_dialogue_each_are_said_to_be_one_dialogue() -> None:
    (note,) = check_clients(load_recipe(None, OF_CLIENTS), holding(1, 1, 1, 1), dealt=False)
    assert "client_id differs from line to line" in note and "one dialogue, not a person" in note
    assert check_clients(load_recipe(), holding(1, 1, 1, 1), dealt=False) == []


def test_a_claim_about_simulated_clients_says_so_in_its_sentence() -> None:
    recipe = load_recipe(None, [*OF_CLIENTS, "data.simulated_clients=true"])
    cost = Spent({ClientId("a"): 2.0}, {ClientId("a"): 1}, "one", ())
    claim = claim_of(recipe, client_terms(recipe, 400)).guarantee(cost, 1, repeats=None, dealt=True)
    assert claim.unit == "simulated client" and "each single simulated client" in claim.sentence()
    assert "dialogues were dealt" in claim.sentence()
    plain = claim_of(load_recipe(), client_terms(load_recipe(), 400)).guarantee(cost, 1, repeats=None, dealt=True)
    assert plain.unit == "dialogue" and "dialogues were dealt" in plain.sentence()


def written(path: Path, owners: list[dict[str, object]]) -> Path:
    """Dialogues of one turn each side, no two alike, with what each line says of its owner."""
    said = [("hello there", f"good day to you, number {place} of {path.stem}") for place in range(len(owners))]
    turns = [[{"role": "user", "content": ask}, {"role": "assistant", "content": answer}] for ask, answer in said]
    lines = [json.dumps({"messages": each, **owner}) for each, owner in zip(turns, owners, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_data_without_the_column_is_dealt_and_data_with_it_is_not(tmp_path: Path) -> None:
    settings = Recipe().data
    dealt = written(tmp_path / "none.jsonl", [{}] * 9)
    named = written(tmp_path / "named.jsonl", [{"client_id": f"p{i % 3}"} for i in range(9)])
    for source, is_dealt in ((dealt, True), (named, False)):
        given = dataclasses.replace(settings, source=str(source), clients=3)
        assert load_corpus(given, False, tmp_path / "cache").dealt == is_dealt


def test_a_run_for_clients_without_a_client_column_stops_in_one_line(tiny_base: Path, tmp_path: Path) -> None:
    source = written(tmp_path / "none.jsonl", [{}] * 90)
    given = [part for each in (*OF_CLIENTS, "federation.cohort=2") for part in ("--set", each)]
    done = here("--data", source, "--base", tiny_base, "--out", tmp_path / "out", *given)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "has no column client_id" in done.stderr and "--client-column" in done.stderr


def test_a_run_of_simulated_clients_says_so_in_everything_it_hands_out(tiny_base: Path, tmp_path: Path) -> None:
    source, held_out = (written(tmp_path / f"{name}.jsonl", [{}] * 12) for name in ("mine", "other"))
    given = [
        *OF_CLIENTS, "federation.cohort=4", "federation.rounds=1", "data.clients=4", "data.simulated_clients=true",
        "secagg.threshold=0.75", "runtime.workers=1", "model.context=64", "privacy.delta=0.01", "local.batch=2",
        "privacy.target_epsilon=12", "ngrams.cells=16384", "ngrams.texts=8", "ngrams.epochs=0.5",
    ]  # fmt: skip
    options = [part for each in given for part in ("--set", each)]
    out = tmp_path / "out"
    done = here("--data", source, "--validation", held_out, "--base", tiny_base, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    privacy, summary = (json.loads((out / f"{name}.json").read_text()) for name in ("privacy", "summary"))
    assert privacy["unit"] == "simulated client" and privacy["strength"] == "weak" == summary["strength"]
    assert len(privacy["warnings"]) == 1 and "epsilon above 10" in privacy["warnings"][0]
    for text in (privacy["sentence"], (out / "report.html").read_text(), (out / "model" / "README.md").read_text()):
        assert "simulated client" in text
    for text in (done.stdout, (out / "report.html").read_text(), (out / "model" / "README.md").read_text()):
        assert "epsilon above 10 is a weak guarantee" in text and "weak" in text
    assert "Each simulated client, with all its dialogues, is protected" in done.stdout
    assert "Clients are simulated" in done.stdout and "Warning: epsilon above 10" in done.stdout


NUMBERS = [
    (name, each.name, str(each.type))
    for name in SECTIONS
    for each in dataclasses.fields(getattr(Recipe(), name))
    if str(each.type) in ("int", "float") and each.name != "seed"
]


@pytest.mark.parametrize(("section", "key", "kind"), NUMBERS)
def test_a_number_that_no_run_can_compute_with_is_refused_by_name(section: str, key: str, kind: str) -> None:
    for value in ("1e300", "1e38", "-1e300") if kind == "float" else (str(10**12), str(2**70)):
        with pytest.raises(RecipeError, match=f"{section}.{key} must be"):
            load_recipe(None, [f"{section}.{key}={value}"])


@pytest.mark.parametrize("key", ["pretrain.learning_rate", "privacy.learning_rate", "local.learning_rate",
                                 "federation.server_learning_rate"])  # fmt: skip
def test_a_rate_is_at_most_a_million_and_not_next_to_nothing(key: str) -> None:
    load_recipe(None, [f"{key}=1e6"])
    for value in ("1.1e6", "1e-300", "0"):
        with pytest.raises(RecipeError, match=f"{key} must be"):
            load_recipe(None, [f"{key}={value}"])


def test_the_model_card_says_why_simulated_clients_have_no_counts() -> None:
    from training.run.release import _means

    found = meaning(claim_of(load_recipe()), 1.0, [Mechanism(5.0, 0.1, 4)], {ClientId("a"): range(3)}, dealt=True)
    assert "\n\nClients are simulated, so no person's dialogues can be counted." in _means(found)
