"""Plans of each kind, rehearsed by real clients around a tiny model: sound ones hold, and a fault is said in words."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from chatfed.audit.conformance import decide
from chatfed.audit.part import Part, Verdict
from chatfed.privacy.accounting import compose
from chatfed.privacy.clipping import ClipRule
from chatfed.privacy.discrete import DiscreteGaussian
from chatfed.privacy.distributed import distributed_epsilon
from chatfed.privacy.dpsgd import DPSGDConfig
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.types import ClientId
from tests.mutants.scenes import DIALOGUES, TINY, recipe_of, setting_of
from training.audits import conduct, grey_box
from training.audits.audited import Audited
from training.audits.conformance import conformance, own_steps
from training.audits.rehearsal import stream
from training.base.learner import Learner
from training.base.tokens import write_tokens
from training.plan.plan import Plan, resolve
from training.plan.recipe import FederationSection, ModelSection, NGramsSection, PrivacySection, Recipe, SecAggSection
from training.plan.terms import charges_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

OWNED = 30
CLIENTS = 12


def recipe(privacy: PrivacySection, ngrams: int = 0, **federation: Any) -> Recipe:
    return Recipe(
        model=ModelSection(context=64, trainable=("model.layers.0.*proj.weight",)),
        privacy=privacy,
        ngrams=NGramsSection(longest=ngrams, cells=4096),
        secagg=SecAggSection(),
        federation=FederationSection(cohort=CLIENTS, rounds=2, **federation),
    )


BY_DIALOGUE = PrivacySection(
    noise=Noise.DISTRIBUTED, sampling_rate=0.72, expected_batch_size=12.0, local_steps=1, target_epsilon=8.0
)
BY_CLIENT = PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED, sampling_rate=0.6, clip_norm=2.0)
OWN = PrivacySection(noise=Noise.LOCAL, sampling_rate=0.5, expected_batch_size=12.0, local_steps=1)


@dataclass
class Rehearsed:
    """What the check asks of a finished run."""

    plan: Plan
    made: Learner
    privacy: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        codec, schedule = self.plan.agreement.sums.codec, self.plan.agreement.schedule
        shares = charges_of(codec, schedule, self.made.initial.size, 0) * self.plan.participations
        before = self.plan.counting.charges if self.plan.counting else []
        delta, own = self.plan.recipe.privacy.delta, self.plan.own_charges
        epsilon = compose(own, delta=delta) if own else distributed_epsilon([*before, *shares], delta=delta)
        self.privacy = {"epsilon": epsilon, "delta": delta}

    @property
    def folder(self) -> Rehearsed:
        return self

    def charges(self) -> dict[ClientId, int]:
        return {ClientId("anna"): self.plan.participations + (self.plan.counting is not None)}

    def learner(self) -> Learner:
        return self.made

    def checked(self) -> Part:
        return conformance(cast(Audited, self), lambda said: None)


@pytest.fixture(scope="module")
def tables(
    tiny_corpus: HelpdeskCorpus, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("conformance")
    dialogues = [each.messages[:2] for each in tiny_corpus.private[:OWNED]]
    write_tokens(folder / "private", tiny_tokenizer, dialogues, {ClientId("anna"): np.arange(OWNED)})
    write_tokens(folder / "held-out", tiny_tokenizer, dialogues[:1])
    return folder


def rehearsed(tables: Path, base: Path, wanted: Recipe) -> Rehearsed:
    plan = resolve(wanted, CLIENTS * wanted.federation.bands)
    return Rehearsed(plan, Learner.open(plan.learning, str(base), tables / "private", tables / "held-out"))


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(recipe(BY_DIALOGUE, ngrams=2), id="dialogues, n-grams counted first"),
        pytest.param(recipe(dataclasses.replace(BY_CLIENT, sampling_rate=1.0), bands=2), id="clients in bands"),
        pytest.param(recipe(dataclasses.replace(BY_CLIENT, clip_quantile=0.5)), id="clients, a clip norm that moves"),
        pytest.param(recipe(OWN), id="noise of a client's own"),
    ],
)
def test_a_plan_of_each_kind_holds(tables: Path, tiny_base: Path, wanted: Recipe) -> None:
    part = rehearsed(tables, tiny_base, wanted).checked()
    assert part.figures["faults"] == []
    assert part.verdict is Verdict.HOLDS and "found nothing wrong" in part.sentence
    rows = [row[0] for row in part.tables[0].rows]
    assert ("noise of the count of n-grams" in rows) == bool(wanted.ngrams.longest)
    assert all(str(name) in part.sentence for name in rows)
    if wanted.privacy.noise is Noise.LOCAL:  # of what was not looked at nothing is said
        assert not re.search("masks|samples|clipping", part.sentence)
        assert "one dialogue more in a client's own step" in rows
    assert sum(int(row[1] or 0) for row in part.tables[0].rows) == part.figures["tests"] > 30


@pytest.mark.parametrize("wider", [1.1, 10.0])
def test_a_client_with_noise_of_its_own_that_learns_more_from_a_dialogue_than_it_clips_to_is_found(
    tables: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, wider: float
) -> None:
    learner = rehearsed(tables, tiny_base, recipe(OWN)).learner()
    assert decide(own_steps(learner)).holds
    rule = property(lambda self: ClipRule(wider * self.clip_norm, self.clipping, self.gamma))
    monkeypatch.setattr(DPSGDConfig, "rule", rule)
    found = decide(own_steps(learner)).faults
    assert any("by no more than its clip norm" in each.name for each in found)


def test_a_client_whose_dialogues_move_nothing_is_found(tables: Path, tiny_base: Path) -> None:
    learner = rehearsed(tables, tiny_base, recipe(OWN)).learner()
    unmoved = conduct.own_step("x", lambda w: [w * 0], lambda w: [w * 0], learner.initial, 1.0)
    assert [each.name for each in decide(unmoved).faults] == ["a dialogue moves its client's step, x"]


def test_a_run_without_noise_is_not_judged(tables: Path, tiny_base: Path) -> None:
    run = rehearsed(tables, tiny_base, recipe(BY_CLIENT))
    bare = dataclasses.replace(run.plan.recipe, privacy=dataclasses.replace(BY_CLIENT, noise=Noise.NONE))
    run.plan = dataclasses.replace(run.plan, recipe=bare)
    assert run.checked().verdict is Verdict.UNJUDGED


def test_a_claim_below_its_charges_and_a_generator_that_is_not_drawn_from_are_faults(
    tables: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rehearsed(tables, tiny_base, recipe(BY_CLIENT))
    run.privacy["epsilon"] *= 0.9
    monkeypatch.setattr(DiscreteGaussian, "sample", lambda self, size, entropy: np.zeros(size, np.int32))
    part = run.checked()
    found = [each["test"] for each in part.figures["faults"]]
    assert part.verdict is Verdict.FAULT and "claim" in found and "deviation, round 0, the sum" in found
    assert "first of all: " in part.sentence


def test_replays_of_the_same_data_are_the_same_bytes_and_so_are_others_of_a_neighbour(tmp_path: Path) -> None:
    setting = setting_of(tmp_path, recipe_of(DIALOGUES), TINY)
    unit = grey_box.neighbours(setting)["long"]
    one, again, more = (
        grey_box._replayed(setting, name, given, 0) for name, given in (("one", None), ("again", None), ("more", unit))
    )
    assert one.wire == again.wire and len(one.wire) == 12
    differ = [(step.name, who) for (step, who, a), (_, _, b) in zip(one.wire, more.wire, strict=True) if a != b]
    assert differ == [("SHARES", setting.clients[0])]
    assert decide(grey_box.compared("x", one, more, setting.clients[0])).holds


def test_a_stream_is_the_same_for_the_same_calls_whatever_comes_between() -> None:
    one, other = stream("a", 1), stream("a", 1)
    assert one(32) == other(32)
    other(8)
    assert one(32) == other(32) != stream("a", 2)(32)
    assert stream("a")(80)[:72] == stream("a")(72)


def test_the_stretch_of_ring_that_a_masked_input_ends_with_is_its_vector(tmp_path: Path) -> None:
    """Masks are taken off by the server's own sum: the masked inputs of all add up to the uploads and their masks."""
    setting = setting_of(tmp_path, recipe_of(DIALOGUES), TINY)
    with setting.generous.rehearsal("sum", grey_box.known_inputs(setting)) as made:
        made.run(made.session(0))
        name = setting.clients[0]
        assert made.masked(name).shape == made.upload(name).shape == (TINY,)
        assert (made.masked(name) != made.upload(name)).mean() > 0.99
