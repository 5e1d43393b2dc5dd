"""`chatfed plan`: what it foretells is what a run holds itself to, and clients are counted as a run counts them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed.secagg import cost
from chatfed.secagg.messages import Parameters
from chatfed.types import ChatfedError, IntVector
from tests.training.processes import PLAIN, here
from training.base.corpus import clients_that_train, load_corpus
from training.cli import QUICK
from training.learning_cost import TOKENS, Cost, Learned, expected, made_up, owned
from training.learning_cost import measured as learning
from training.outlook import MILLION, SIZES, outlook
from training.plan.plan import Plan, resolve
from training.plan.recipe import DEFAULT_RECIPE, DataSection, Recipe, load_recipe
from training.plan.upload import Part
from training.rehearsal import Sum, rounds_of
from training.sum_cost import measured, of_server

SPENT = Cost(26, 13, 0.5)


def told(plan: Plan) -> Learned:
    """Learning that costs what is said here: nothing is learned."""
    return Learned(2 * MILLION, MILLION, SPENT, SPENT if plan.counting else None)


CLIENT_LEVEL = DEFAULT_RECIPE.with_name("client-level.toml")


@pytest.mark.parametrize(("path", "clients"), [(None, 400), (CLIENT_LEVEL, 999), (QUICK, 30)])
def test_it_names_the_digest_and_every_condition_of_the_claim(path: Path | None, clients: int) -> None:
    recipe = load_recipe(path)
    plan = resolve(recipe, clients)
    said = list(outlook(recipe, clients, told))
    assert said[0] == f"Recipe {plan.recipe.digest().hex()[:16]}, for {clients} clients."
    assert f"epsilon 8.00 at delta 1e-05 for each {plan.claim.protected} (moderate guarantee)" in "\n".join(said)
    listed = {line.removeprefix("  - ") for line in said if line.startswith("  - ")}
    assert {"nobody sets a client's ledger back", "the public text behind tokenizer and base model"} <= listed


def test_planned_participations_are_paid_for_one_by_one() -> None:
    twice = load_recipe(PLAIN, ["federation.rounds=20", "federation.largest_cohort=40", "privacy.noise_multiplier=2"])
    once = load_recipe(PLAIN, ["federation.rounds=10", "federation.largest_cohort=40", "privacy.noise_multiplier=2"])
    found = [
        "".join(outlook(recipe, 400, told)).partition("epsilon ")[2].partition(" at")[0] for recipe in (once, twice)
    ]
    assert float(found[0].split()[-1]) < float(found[1].split()[-1]) < 8


def test_a_ring_is_told_by_the_model_s_size() -> None:
    recipe = load_recipe(CLIENT_LEVEL)
    plan = resolve(recipe, 999)
    (ring,) = [line for line in outlook(recipe, 999, told) if line.startswith("An update travels in a ring")]
    widths = {size: plan.agreement.sums.codec.upload(999, size).ring_bits for size in SIZES[4:]}
    narrow = max(size for size, bits in widths.items() if bits == 21)
    assert f"21 bits for up to {narrow:,} trained parameters, else 32 bits." in ring


def test_a_plan_without_noise_claims_nothing() -> None:
    bare = load_recipe(None, ["privacy.noise=none", "privacy.target_epsilon=0"])
    said = list(outlook(bare, 400, told))
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
    said = {name: " ".join(outlook(recipe, 30, told)) for name, recipe in (("once", once), ("kept", kept))}
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


@pytest.mark.parametrize("quorum", [0, 7])
def test_a_sum_under_threshold_keys_is_carried_through_and_measured_too(quorum: int) -> None:
    once = Parameters(12, 7, 3000, 16, committee=12 if quorum else 0, quorum=quorum, scheme="threshold-he")
    client, server = measured(once), of_server(once)
    assert client.vector == 10_125 and client.up > 11 * 4096
    assert client.seconds > 0 and server.seconds > 0 and server.made_up == 12


def test_workers_share_the_clients_and_nobody_shares_the_server() -> None:
    once = Sum(clients=10, learners=6, learning=3.0, client=0.2, server=1.5)
    assert [once.wall(workers) for workers in (1, 2)] == pytest.approx([21.5, 11.5])
    small, large = rounds_of(once, [5, 10])
    assert (small.clients, small.server) == (5, 0.75) and large == once


def test_a_run_takes_its_rounds_and_its_count() -> None:
    """40 clients of half a second each in the count and in each of the rounds, the sums apart, by one worker."""
    given = ["runtime.workers=1", "federation.rounds=3", "federation.cohort=40"]
    said = [" ".join(outlook(load_recipe(None, given + more), 40, told)) for more in ([], ["ngrams.longest=0"])]
    counted, bare = (_seconds(each.partition(" clients and ")[2]) for each in said)
    assert bare >= 60 and counted >= 80
    assert "(the count " in said[0] and "the count" not in said[1].partition("A rehearsal")[2].partition("The claim")[0]


def _seconds(said: str) -> float:
    minutes, _, rest = said.partition(" in all")[0].rpartition(" min ")
    return 60 * float(minutes or 0) + float(rest.removesuffix(" s"))


def test_what_was_measured_and_what_was_worked_out_are_said_apart() -> None:
    (line,) = [each for each in outlook(load_recipe(QUICK), 30, told) if "A round's learning" in each]
    assert f"worked out for 26 made-up dialogues from 13, measured here just now, of {TOKENS} tokens each" in line


def test_a_base_that_cannot_be_tried_is_named_and_sums_are_told_all_the_same() -> None:
    def refused(plan: Plan) -> Learned:
        raise ChatfedError("the base is too large.")

    said = "\n".join(outlook(load_recipe(QUICK), 30, refused))
    assert "nor how long a run takes: the base is too large.\n" in said and "rehearsal" not in said
    assert f"{MILLION:,} trained parameters" in said and "The claim" in said


class Slowly:
    """A code and a clock: whoever asks for a dialogue waits a third of a second, and 1/8 whatever there is to do."""

    def __init__(self) -> None:
        self.now, self.most = 0.0, 0

    def encode(self, parts: list[Part], entropy: object) -> None:
        self.now += 1 / 8 + len(parts) / 3
        self.most = max(self.most, len(parts))

    def work(self, mine: IntVector) -> list[Part]:
        return [np.zeros(1, np.float32)] * len(mine)


def test_what_each_dialogue_adds_is_multiplied_and_what_is_done_once_is_not() -> None:
    slow: Any = Slowly()
    found = learning(slow.work, slow, 30, lambda: slow.now)
    assert (found.done, slow.most) == (2, 2) and found.seconds == pytest.approx(1 / 8 + 30 / 3)


def test_the_real_learner_learns_from_made_up_dialogues() -> None:
    tiny = ["model.hidden=16", "model.heads=2", "model.layers=1", "model.intermediate=16", "model.vocabulary=300"]
    plan = resolve(load_recipe(QUICK, tiny), 30)
    learner = made_up(plan.learning, owned(plan.learning.privacy))
    mine = np.arange(len(learner.private))
    parts = list(learner.learn(learner.initial, mine))
    assert (expected(plan.learning.privacy), len(learner.private)) == (26, 36) and len(learner.tokenizer) == 300
    assert parts and all(len(part) == len(learner.initial) for part in parts) and any(part.any() for part in parts)


@pytest.mark.parametrize("signed", [(0, 0), (70, 40)])
def test_a_server_is_tried_with_one_client_s_neighbours_and_worked_out_for_all(signed: tuple[int, int]) -> None:
    many = Parameters(100, 8, 10, 16, 14, 7, *signed)
    assert of_server(many).made_up == 15 and of_server(Parameters(4, 3, 10, 16)).made_up == 4
    assert 0 < of_server(many).seconds < 5
