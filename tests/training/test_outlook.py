"""`chatfed plan`: what it foretells is what a run holds itself to, and clients are counted as a run counts them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from chatfed.secagg import cost
from chatfed.secagg.messages import Parameters
from tests.training.processes import PLAIN, here
from training.base.corpus import clients_that_train, load_corpus
from training.cli import QUICK
from training.outlook import MILLION, SIZES, outlook
from training.plan.plan import resolve
from training.plan.recipe import DEFAULT_RECIPE, DataSection, Recipe, load_recipe
from training.sum_cost import measured

CLIENT_LEVEL = DEFAULT_RECIPE.with_name("client-level.toml")


@pytest.mark.parametrize(("path", "clients"), [(None, 400), (CLIENT_LEVEL, 999), (QUICK, 30)])
def test_it_names_the_digest_and_every_condition_of_the_claim(path: Path | None, clients: int) -> None:
    recipe = load_recipe(path)
    plan = resolve(recipe, clients)
    said = list(outlook(recipe, clients))
    assert said[0] == f"Recipe {plan.recipe.digest().hex()[:16]}, for {clients} clients."
    assert f"epsilon 8.00 at delta 1e-05 for each {plan.claim.protected} (moderate guarantee)" in "\n".join(said)
    listed = {line.removeprefix("  - ") for line in said if line.startswith("  - ")}
    assert {"nobody sets a client's ledger back", "the public text behind tokenizer and base model"} <= listed


def test_planned_participations_are_paid_for_one_by_one() -> None:
    twice = load_recipe(PLAIN, ["federation.rounds=20", "federation.largest_cohort=40", "privacy.noise_multiplier=2"])
    once = load_recipe(PLAIN, ["federation.rounds=10", "federation.largest_cohort=40", "privacy.noise_multiplier=2"])
    found = ["".join(outlook(recipe, 400)).partition("epsilon ")[2].partition(" at")[0] for recipe in (once, twice)]
    assert float(found[0].split()[-1]) < float(found[1].split()[-1]) < 8


def test_a_ring_is_told_by_the_model_s_size() -> None:
    recipe = load_recipe(CLIENT_LEVEL)
    plan = resolve(recipe, 999)
    (ring,) = [line for line in outlook(recipe, 999) if line.startswith("An update travels in a ring")]
    widths = {size: plan.agreement.sums.codec.upload(999, size).ring_bits for size in SIZES[4:]}
    narrow = max(size for size, bits in widths.items() if bits == 21)
    assert f"21 bits for up to {narrow:,} trained parameters, else 32 bits." in ring


def test_a_plan_without_noise_claims_nothing() -> None:
    bare = load_recipe(None, ["privacy.noise=none", "privacy.target_epsilon=0"])
    said = list(outlook(bare, 400))
    assert said[-1] == "Nothing would be claimed: no noise is added." and not any("epsilon" in line for line in said)


@pytest.mark.parametrize("more", [{}, {"clients": 7}, {"validation": True}, {"client_column": "branch"}])
def test_clients_are_counted_as_a_run_counts_them(tmp_path: Path, more: dict[str, Any]) -> None:
    said = [[{"role": "user", "content": f"door number {i} in house {7 * i} sticks"}] for i in range(40)]
    lines = [json.dumps({"branch": f"b{i % 6}", "messages": messages}) for i, messages in enumerate(said)]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines[:36]))
    if more.get("validation"):
        more = {"validation": str(tmp_path / "held-out.jsonl")}
        (tmp_path / "held-out.jsonl").write_text("\n".join(lines[36:]))
    settings = DataSection(source=str(tmp_path / "mine.jsonl"), **more)
    assert clients_that_train(settings) == len(load_corpus(settings, False, tmp_path).clients)


def test_the_help_desk_s_clients_are_known_without_making_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert clients_that_train(Recipe().data) == 400 and clients_that_train(load_recipe(QUICK).data) == 30
    assert here(command="plan").returncode == 0 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_it_says_what_a_round_costs_a_client_and_how_long_keys_serve(identities: str) -> None:
    given = [f"secagg.identities={identities}", "federation.rounds=20", "privacy.target_epsilon=8"]
    once, kept = (
        load_recipe(PLAIN, [*given, "federation.cohort=20"]),
        load_recipe(PLAIN, [*given, "federation.cohort=30"]),
    )
    said = {name: " ".join(outlook(recipe, 30)) for name, recipe in (("once", once), ("kept", kept))}
    assert "keys are agreed on anew in each" in said["once"]
    assert "one agreement on keys serves 10 rounds" in said["kept"]
    sums = resolve(kept, 30).agreement.sums
    parameters = sums.parameters(30, MILLION)
    up = cost.of_agreement(parameters).up / 10 + cost.of_sum(parameters).up
    assert f"({up / 1e3:.1f} kB of them beside its vector)" in said["kept"]
    assert f"{(cost.of_vector(parameters) + up) / 1e6:.2f} MB up" in said["kept"]


def test_seconds_of_a_sum_are_of_this_machine_and_share_the_agreement_out_over_its_rounds() -> None:
    once = Parameters(40, 21, 10, 16, slots=1)
    few, many = measured(once), measured(dataclasses.replace(once, slots=20))
    assert 0 < many.seconds < few.seconds < 5
