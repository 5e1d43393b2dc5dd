"""data.redact: placeholders before anything is learned, counted, in the claim, and in no digest of before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training.base.corpus import load_corpus
from training.plan.claims import REDACTED
from training.plan.in_words import planned_claim
from training.plan.plan import plan_of
from training.plan.recipe import DataSection, Recipe, load_recipe
from training.plan.terms import client_terms

SMALL = DataSection(clients=4, seed=3)


def test_what_is_found_is_replaced_in_what_is_learned_and_in_what_is_measured(tmp_path: Path) -> None:
    bare = load_corpus(SMALL, False, tmp_path)
    made = load_corpus(replace(SMALL, redact=True), False, tmp_path)
    assert list(made.clients) == list(bare.clients) and len(made.private) == len(bare.private)
    from chatfed.data import helpdesk

    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    corpus = helpdesk.read(folder)
    parts = ((corpus.facts, made.private), (corpus.held_out_facts, made.held_out.table))
    kinds = ("employee", "ticket", "bank", "phone")
    facts = [(fact, part[fact.dialogue]) for of, part in parts for fact in of if fact.kind in kinds]
    assert len(facts) > 30
    assert not [fact.kind for fact, dialogue in facts if fact.value in dialogue.messages[fact.turn].content]
    said = [note for note in made.notes if "data.redact" in note]
    assert len(said) == 2 and "name" in said[0] and "What it missed is learned" in said[0]
    assert not any(fact.value in note for fact in corpus.facts for note in said)


def test_roles_owners_and_what_is_learned_stay(tmp_path: Path) -> None:
    bare = load_corpus(SMALL, False, tmp_path)
    made = load_corpus(replace(SMALL, redact=True), False, tmp_path)
    for one, other in zip(bare.private, made.private, strict=True):
        assert one.client_id == other.client_id
        assert [(turn.role, turn.learn) for turn in one.messages] == [
            (turn.role, turn.learn) for turn in other.messages
        ]
    assert made.private.where(0) == bare.private.where(0) and made.private.client_ids == bare.private.client_ids


def test_the_claim_says_that_the_filter_adds_and_replaces_nothing() -> None:
    recipe = Recipe()
    with_filter = replace(recipe, data=replace(recipe.data, redact=True))
    bare, made = (planned_claim(plan_of(each, 400, client_terms(each, 400))) for each in (recipe, with_filter))
    said = made.sentence()
    assert "entity filter replaced names" in said and "adds to the guarantee and replaces nothing" in said
    assert "data.redact" not in bare.sentence() and "filter" not in bare.sentence()
    assert made.epsilon == bare.epsilon and replace(made, excludes=bare.excludes) == bare, "nothing else is claimed"
    assert made.to_json()["excludes"] == [*bare.to_json()["excludes"], REDACTED]


def test_without_noise_the_filter_makes_no_claim() -> None:
    recipe = load_recipe(None, ["privacy.noise=none", "privacy.target_epsilon=0", "data.redact=true"])
    said = planned_claim(plan_of(recipe, 400, client_terms(recipe, 400))).sentence()
    assert "No differential privacy is claimed" in said and "filter" not in said


def test_a_recipe_without_it_has_the_digest_that_it_had() -> None:
    recipe = Recipe()
    assert replace(recipe, data=replace(recipe.data, redact=False, redact_language="en")).digest() == recipe.digest()
    assert replace(recipe, data=replace(recipe.data, redact=True)).digest() != recipe.digest()
