"""Real clients' updates, attacked: read whole while they are bare, and by nobody behind masks and noise."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch

from chatfed.audit.part import Verdict
from chatfed.audit.roc import Area
from chatfed.model.checkpoint import save_model
from chatfed.model.tokenizer import MARKER
from chatfed.model.transformer import Architecture, build_llama, load_model, untie_output
from chatfed.secagg import masking
from chatfed.types import Turn
from training.audits import updates
from training.audits.audited import Audited
from training.audits.ladder import Attacker, Climb, Read, climbed, manners_of, read_rung
from training.audits.matched import Filtered, Seen
from training.audits.victims import COHORT, Setting
from training.base.learner import Learner
from training.base.tokens import open_tokens, write_tokens
from training.plan.plan import learning_of
from training.plan.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from training.plan.terms import client_terms

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

HIDDEN = 96
LONG = ("all layers", "directions", "client level")
RECIPES = {
    "output layer": ("local-noise", ()),
    "all layers": ("default", ("model.directions=0",)),
    "adapters": ("adapters", ("model.lora_rank=64",)),
    "directions": ("default", ()),
    "client level": ("client-level", ()),
}


@pytest.fixture(scope="module")
def place(
    tiny_corpus: HelpdeskCorpus, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A random base and dialogues of two messages of two words."""
    folder = tmp_path_factory.mktemp("ladder")
    model = build_llama(Architecture(HIDDEN, 2, 4, 192, 128), tiny_tokenizer, seed=5)
    with torch.no_grad():  # else a state hardly depends on what was before its token
        for parameter in model.parameters():
            parameter.mul_(2 if parameter.dim() > 1 else 1)
    untie_output(model)
    save_model(folder / "base", model, tiny_tokenizer, "A random model.\n")
    for name, dialogues in (("private", tiny_corpus.private), ("held-out", tiny_corpus.held_out)):
        short = [[Turn(t.role, " ".join(t.content.split()[:2])) for t in d.messages[:2]] for d in dialogues]
        write_tokens(folder / name, tiny_tokenizer, short)
    return folder


def recipe_of(name: str) -> Recipe:
    file, settings = RECIPES[name]
    return load_recipe(DEFAULT_RECIPE.parent / f"{file}.toml", ["ngrams.longest=0", *settings])


def climb_of(name: str, place: Path, batch: int = 1) -> Climb:
    recipe = recipe_of(name)
    setting = updates.everybody(Setting.small(name, recipe, client_terms(recipe, 40)))
    how = learning_of(setting.recipe, setting.terms.noise_multiplier)
    tables = open_tokens(place / "private"), open_tokens(place / "held-out")
    learner = Learner.of(how, *load_model(place / "base"), *tables)
    batches = np.arange(COHORT * batch, dtype=np.int64).reshape(COHORT, batch)
    return Climb(Attacker(learner, learner.initial), (updates.bare(setting), setting), [*batches])


def read_of(climb: Climb) -> dict[str, Read]:
    return {each.rung: each for each in climbed(climb, manners_of(climb.attacker.learner.held_out))}


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        *product(("output layer", "all layers", "directions"), (1, 2, 4)),
        *product(("adapters",), (1, 2)),  # of four dialogues' words all are read, and of their order little
    ],
)
def test_a_raw_update_is_read_whole(name: str, batch: int, place: Path) -> None:
    climb = climb_of(name, place, batch)
    manners = manners_of(climb.attacker.learner.held_out)
    found = read_rung(climb.attacker, manners, climb.raw(1))
    assert found.rouge >= (0.9 if name == "adapters" else 0.99)
    assert found.words >= 0.9


@pytest.mark.parametrize("name", ["output layer", *(pytest.param(each, marks=pytest.mark.long) for each in LONG)])
def test_behind_masks_and_in_noise_nothing_is_read_that_chance_does_not(name: str, place: Path) -> None:
    found = read_of(climb_of(name, place))
    assert found["raw"].rouge >= 0.99
    assert found["masked"].rouge <= found["chance"].rouge + 0.02
    assert found["masked"].words <= found["chance"].words + 0.02 + 4 * (found["masked"].deviation + 0.02)
    assert found["noised sum"].rouge <= 0.02
    assert found["sum"].words >= 0.85 > 0.7 > found["noised sum"].words  # without noise a sum tells the words


def test_the_attack_reads_what_leaves_a_client_whose_masks_are_gone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "apply_masks", lambda *given, **how: None)
    climb = climb_of("output layer", place)
    bare = {rung.name: rung for rung in climb.rungs()}["masked"]
    found = read_rung(climb.attacker, manners_of(climb.attacker.learner.held_out), replace(bare, views=bare.views[:3]))
    assert found.rouge >= 0.3 and found.words >= 0.9  # fixed point without noise is coarse


def test_how_texts_begin_and_turn_is_seen_in_dialogues_that_are_nobodys_secret(place: Path) -> None:
    table = open_tokens(place / "held-out")
    manners = manners_of(table)
    assert len(manners.begins) == 1 and len(manners.turns) == 1
    first = table.ids[: table.starts[1]]
    spoken = table.kinds[: table.starts[1]] & 7
    assert manners.words(first.tolist()) == first[(spoken != MARKER) & (spoken != 1)].tolist()


def a_run(name: str, place: Path) -> Audited:
    """A run as far as this part looks at it."""
    recipe, climb = recipe_of(name), climb_of(name, place)
    plan = SimpleNamespace(recipe=recipe, terms=client_terms(recipe, 40))
    return cast(Audited, SimpleNamespace(plan=plan, learner=lambda: climb.attacker.learner))


def test_a_run_is_told_what_each_rung_gives_away(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "TRIALS", 200)
    said = list[str]()
    part = updates.updates(a_run("directions", place), said.append)
    assert part.verdict is Verdict.HOLDS and said
    assert "could read the dialogues" in part.not_protected[0] and "which words" in part.not_protected[1]
    figures = part.to_json()
    assert figures["rungs"]["raw"]["rouge_2"] >= 0.99 and figures["rungs"]["noised sum"]["rouge_2"] <= 0.02
    for each in figures["matched_filter"].values():
        assert each["rate"] == pytest.approx(each["ceiling_of_the_noise_seen"], abs=0.03)


def test_a_recipe_that_trains_nothing_that_can_be_read_is_not_judged(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "TRIALS", 200)
    run = a_run("directions", place)
    monkeypatch.setattr(Attacker, "readable", False)
    part = updates.updates(run, lambda said: None)
    assert part.verdict is Verdict.UNJUDGED and "matched_filter" in part.figures


def test_the_matched_filter_comes_up_to_its_ceiling_where_there_is_no_noise_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(updates, "TRIALS", 200)
    recipe = recipe_of("directions")  # a dialogue is in the sum with probability 0.72
    found = updates.filters(updates.bare(Setting.small("directions", recipe, client_terms(recipe, 40))))
    for each in found:
        assert each.ceiling == each.by_noise == pytest.approx(0.72 + 0.28 / 2)
        assert each.found.value == pytest.approx(each.ceiling, abs=0.02)


def a_filter(value: float = 0.67, by_noise: float = 0.67, seen: Seen = Seen.SUM) -> Filtered:
    return Filtered(seen, Area(value, value - 0.01, value + 0.01, 4096, 4096), value - 0.03, 0.67, by_noise)


def a_read(rung: str, rouge: float, words: float, spread: float = 0.02, views: int = 12) -> Read:
    return Read(rung, rouge, words, spread, 0.0, views)


def rungs(**changed: Read) -> dict[str, Read]:
    """What the default run's rungs look like, but for what is changed; names with _ for spaces."""
    usual = [
        a_read("raw", 1.0, 0.97, 0.0, 1),
        a_read("masked", 0.0, 0.03, views=10),
        a_read("chance", 0.0, 0.03, views=10),
        a_read("sum", 0.0, 0.93, 0.0, 1),
        a_read("noised sum", 0.0, 0.15, views=3),
        a_read("chance of a sum", 0.0, 0.14),
    ]
    return {each.rung: each for each in usual} | {name.replace("_", " "): read for name, read in changed.items()}


def judged(found: list[Filtered] | None = None, **changed: Read) -> tuple[Verdict, str]:
    recipe = recipe_of("directions")
    setting = Setting.small("directions", recipe, client_terms(recipe, 40))
    return updates._judged(setting, rungs(**changed), found or [a_filter()])


def test_it_holds_where_the_attack_works_on_what_is_bare_and_nowhere_else() -> None:
    verdict, sentence = judged()
    assert verdict is Verdict.HOLDS
    assert "behind masks no word pairs or words beyond chance" in sentence
    assert "of a sum with noise no words (without noise F1 of words 0.93)" in sentence  # and no word pairs: see there


@pytest.mark.parametrize("seen", list(Seen))
def test_a_filter_that_misses_its_ceiling_is_no_defence(seen: Seen) -> None:
    verdict, sentence = judged([a_filter(0.55, 0.67, seen)])
    assert verdict is Verdict.UNJUDGED and f"finds 0.55 of {seen}, not 0.67" in sentence


def test_an_attack_that_does_not_read_a_raw_update_judges_nothing() -> None:
    verdict, sentence = judged(raw=a_read("raw", 0.3, 0.6, 0.0, 1))
    assert verdict is Verdict.UNJUDGED and "of a raw update it reads no more than 30%" in sentence


def test_where_sequences_are_not_read_words_judge_and_the_sentence_says_so() -> None:
    verdict, sentence = judged(raw=a_read("raw", 0.3, 0.95, 0.0, 1))
    assert verdict is Verdict.HOLDS and "behind masks no words beyond chance" in sentence


def test_a_sum_that_is_not_read_without_noise_is_not_judged_by_texts() -> None:
    verdict, sentence = judged(sum=a_read("sum", 0.0, 0.5, 0.0, 1))
    assert verdict is Verdict.HOLDS and "texts of sums were not judged" in sentence
    assert "of a sum with noise" not in sentence


def test_words_of_a_noised_sum_beyond_chance_and_its_draws_are_open() -> None:
    verdict, sentence = judged(noised_sum=a_read("noised sum", 0.0, 0.3, views=3))
    assert verdict is Verdict.OPEN and "words, F1 0.30, where chance has 0.14" in sentence
    within = judged(noised_sum=a_read("noised sum", 0.0, 0.17, views=3))  # three deviations are 0.04
    assert within[0] is Verdict.HOLDS


def test_a_masked_update_or_a_filter_beyond_what_is_allowed_is_a_fault() -> None:
    assert judged(masked=a_read("masked", 0.0, 0.2, views=10))[0] is Verdict.FAULT
    assert judged([a_filter(0.75)])[0] is Verdict.FAULT
