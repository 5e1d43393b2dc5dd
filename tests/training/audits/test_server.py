"""What a server that cheats gets of real clients: each cell of the default recipe, and what would open one."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chatfed.audit.part import Verdict
from chatfed.types import ClientId, IntVector
from training.audits import matched, updates
from training.audits.attacks import same_crafted_model
from training.audits.cheating import Cheating
from training.audits.isolating import chosen, isolated
from training.audits.matched import Seen, _clients, _filtered, ceiling, filtered
from training.audits.matrix import (
    ATTACKS,
    OTHERS,
    Matrix,
    claimed,
    faults,
    matrix,
    settings_of,
    shipped,
    standing_beside,
)
from training.audits.outcomes import Cell, Outcome, crafted
from training.audits.server import part
from training.audits.victims import COHORT, Setting, victims
from training.base.learner import Learner
from training.base.tokens import write_tokens
from training.plan.plan import learning_of, resolve
from training.plan.recipe import DEFAULT_RECIPE, load_recipe
from training.plan.upload import NoisyUpload

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

REFUSED, BOUNDED, OPEN = Outcome
BY_KEY = {attack.key: attack for attack in ATTACKS}
EXPECTED: dict[str, tuple[tuple[Outcome, str], tuple[Outcome, str]]] = {  # identities none, roster: outcome, error
    "other_model": ((REFUSED, ""), (REFUSED, "refused_survivors")),
    "crafted_model": ((BOUNDED, ""), (BOUNDED, "")),
    "overflow": ((BOUNDED, ""), (BOUNDED, "")),
    "not_finite": ((REFUSED, "weights_not_finite"), (REFUSED, "weights_not_finite")),
    "between": ((OPEN, ""), (REFUSED, "malformed_message")),
    "own_cohort": ((OPEN, ""), (REFUSED, "bad_identity")),
    "few_puppets": ((BOUNDED, ""), (BOUNDED, "")),
    "many_puppets": ((OPEN, ""), (OPEN, "")),
    "small_cohort": ((REFUSED, "client_refused"), (REFUSED, "client_refused")),
    "few_survivors": ((REFUSED, "below_threshold"), (REFUSED, "below_threshold")),
    "parameters": ((REFUSED, "malformed_message"), (REFUSED, "malformed_message")),
    "clip_norm": ((REFUSED, "client_refused"), (REFUSED, "client_refused")),
    "model_again": ((BOUNDED, "budget_exceeded"), (BOUNDED, "budget_exceeded")),
    "run_again": ((BOUNDED, "budget_exceeded"), (BOUNDED, "budget_exceeded")),
    "cohort_again": ((BOUNDED, "budget_exceeded"), (BOUNDED, "budget_exceeded")),
    "retry": ((REFUSED, ""), (REFUSED, "")),
    "over": ((REFUSED, "client_refused"), (REFUSED, "client_refused")),
    "second_set": ((REFUSED, "client_refused"), (REFUSED, "client_refused")),
    "two_sets": ((REFUSED, "already_answered"), (REFUSED, "wrong_step")),
    "slot_again": ((REFUSED, "client_refused"), (REFUSED, "client_refused")),
    "echo_again": ((REFUSED, "client_refused"), (REFUSED, "client_refused")),
    "replay": ((REFUSED, "malformed_message"), (REFUSED, "malformed_message")),
}


def own(identities: str) -> Setting:
    """The default recipe at its own noise, for 400 clients."""
    plan = resolve(load_recipe(DEFAULT_RECIPE, []), 400)
    return Setting.small("default", plan.recipe, plan.terms, identities)


def other(name: str, identities: str) -> Setting:
    file, changed, _ = OTHERS[name]
    return shipped(name, load_recipe(DEFAULT_RECIPE.parent / file, list(changed)), identities)


@pytest.fixture(scope="module", params=["none", "roster"])
def column(request: pytest.FixtureRequest) -> tuple[Setting, Matrix]:
    setting = own(request.param)
    return setting, matrix([setting])


def test_each_cell_of_the_default_recipe_is_as_the_documents_say(column: tuple[Setting, Matrix]) -> None:
    setting, cells = column
    found = {key: (cell.outcome, cell.error) for key, cell in cells[setting.name].items()}
    assert found == {key: both[setting.pinned] for key, both in EXPECTED.items()}
    assert not faults([setting], cells)
    assert all("\n" not in cell.why for cell in cells[setting.name].values())


def test_the_documents_table_is_what_is_expected_here() -> None:
    text = (Path(__file__).parents[3] / "docs" / "audit-server.md").read_text(encoding="utf-8")
    for key, (none, roster) in EXPECTED.items():
        assert f"| {BY_KEY[key].title} | {none[0]} | {roster[0]} |" in text


@pytest.mark.parametrize(("name", "draws"), [("default", 16_384), ("local noise", 12_288)])
def test_a_matched_filter_comes_up_to_the_ceiling_of_one_release_and_not_beyond(name: str, draws: int) -> None:
    """Noise is the system's and has no seed: of so many draws the area's deviation is below a quarter of 0.02."""
    setting = own("none") if name == "default" else other(name, "none")
    found = filtered(setting, Seen.SUM, draws)
    assert found.surely <= found.ceiling and found.found.value > found.ceiling - 0.02


@pytest.mark.parametrize(
    ("name", "real"), [("default", True), ("local noise", True), ("client level", False), ("bands", False)]
)
def test_the_filter_runs_real_clients_in_the_recipes_of_which_the_documents_say_so(
    name: str, real: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ran(Exception):
        """A round of real clients was begun."""

    def begun(*given: Any) -> Any:
        raise Ran

    monkeypatch.setattr(matched, "victims", begun)
    setting = own("none") if name == "default" else other(name, "none")
    with pytest.raises(Ran) if real else contextlib.nullcontext():
        _filtered.__wrapped__(setting.unpinned, Seen.SUM, 64, 64)
    told = (
        (Path(__file__).parents[3] / "docs" / "audit-server.md")
        .read_text(encoding="utf-8")
        .partition("What no cell")[2]
    )
    of_real, _, of_encoder = told.partition("*The filter runs")[2].partition("Where\n")
    assert name in (of_real if real else of_encoder.partition(")")[0])


def test_where_clients_are_protected_real_uploads_have_the_noise_that_the_filter_has_in_its_own() -> None:
    """It takes the encoder alone: a client that added less would not be seen by it."""
    setting = other("client level", "none").unpinned
    with victims(setting, 64) as those:
        session = those.session()
        those.round(session)
        real = np.std([those.upload(name, session) for name in session.cohort])
    alone = np.std(_clients(setting, Seen.UPLOAD, np.zeros(600, np.bool_)))
    assert real == pytest.approx(float(alone), rel=0.2)  # six deviations of so few draws


def test_one_share_of_the_noise_hides_as_little_as_its_formula_says() -> None:
    setting = own("none")
    sums = setting.agreement.sums
    honest = sums.threshold(COHORT) - sums.colluders(COHORT)
    expected = ceiling(setting.terms.noise_multiplier / honest**0.5, setting.recipe.privacy.sampling_rate)
    found = filtered(setting, Seen.UPLOAD, 16_384)
    assert found.found.value == pytest.approx(expected, abs=0.02) and found.surely > found.ceiling
    assert found.by_noise == pytest.approx(expected) and f"one share of its noise {expected:.3f}" in str(found)


@pytest.mark.parametrize(("rate", "steps"), [(1.0, 1), (0.6, 1), (0.5, 4)])
@pytest.mark.parametrize("z", [0.5, 1.0, 3.0])
def test_which_of_two_has_a_vector_is_guessed_up_to_the_one_ceiling_and_not_beyond(
    z: float, rate: float, steps: int
) -> None:
    random, n = np.random.default_rng(0), 200_000
    noise = random.normal(scale=z * steps**0.5, size=(2, n))
    with_it, without = noise[1] + random.binomial(steps, rate, n), noise[0]
    assert np.mean(with_it > without) == pytest.approx(ceiling(z, rate, steps), abs=0.004)


def test_golden_ceilings() -> None:
    assert [round(ceiling(z), 6) for z in (0.5, 1.0, 2.0)] == [0.92135, 0.76025, 0.638163]
    assert (ceiling(0.0), ceiling(0.0, 0.5), ceiling(0.0, 0.5, 2)) == (1.0, 0.75, 0.875)


def test_two_parts_print_the_same_ceilings_for_one_upload() -> None:
    setting = own("none")
    (upload,) = [each for each in updates.filters(setting) if each.seen is Seen.UPLOAD]
    cell = Cell.behind_noise(setting, Seen.UPLOAD, "an upload")
    assert cell.filtered is not None
    assert (upload.ceiling, upload.by_noise) == (cell.filtered.ceiling, cell.filtered.by_noise)
    told: Any = updates._of_filters(setting, [upload])["matched_filter"]
    assert cell.filtered.to_json().keys() <= told["upload"].keys()


def test_the_cheating_server_has_the_true_sum_where_it_tells_all_the_same() -> None:
    """Or its failure with two models would show nothing of masks."""
    with victims(own("none"), 64) as those:
        cheat = Cheating(those, those.session())
        cheat.agree()
        cheat.collect()
        total = cheat.unmasked(cheat.survivors(cheat.numbers))
        stored = [(those.records(name).read("update") or ("", b""))[1] for name in those.clients]
        assert (total == np.sum([np.frombuffer(each, total.dtype) for each in stored], axis=0, dtype=total.dtype)).all()


def test_clients_that_add_no_noise_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell opens, and on a roster that is a fault."""

    def silent(self: NoisyUpload, steps: IntVector, entropy: Any) -> Any:
        from chatfed.secagg.integers import SignedSum

        return SignedSum(steps.size, self.ring_bits).encode(steps)

    monkeypatch.setattr(NoisyUpload, "_released", silent)
    setting = own("roster")
    _filtered.cache_clear()
    cell = same_crafted_model(setting)
    _filtered.cache_clear()
    assert cell.outcome is OPEN
    assert len(faults([setting], {setting.name: {"crafted_model": cell}})) == 1


def test_what_local_noise_claims_against_everyone_holds_without_identities() -> None:
    setting = other("local noise", "none")
    attacks = [BY_KEY[key] for key in ("between", "own_cohort", "many_puppets", "model_again")]
    cells = matrix([setting], attacks)
    assert {cell.outcome for cell in cells[setting.name].values()} == {BOUNDED}
    assert all(claimed(setting, attack) for attack in attacks) and not faults([setting], cells)


@pytest.mark.parametrize(
    ("key", "outcome", "error"),
    [
        ("too_early", REFUSED, "client_refused"),
        ("model_again", REFUSED, "client_refused"),
        ("run_again", BOUNDED, "budget_exceeded"),
        ("echo_again", BOUNDED, "budget_exceeded"),
        ("crafted_model", BOUNDED, ""),
    ],
)
def test_with_bands_updates_begin_apart_and_each_echo_is_charged(key: str, outcome: Outcome, error: str) -> None:
    cell = BY_KEY[key].run(other("bands", "roster"))
    assert cell is not None and (cell.outcome, cell.error) == (outcome, error)


def test_without_noise_most_is_open_and_nothing_claims_otherwise() -> None:
    setting = standing_beside(load_recipe(DEFAULT_RECIPE, []))[-1]
    cells = matrix([setting], [BY_KEY[key] for key in ("crafted_model", "model_again", "second_set", "over")])
    found = {key: cell.outcome for key, cell in cells[setting.name].items()}
    assert found == {"crafted_model": OPEN, "model_again": OPEN, "second_set": REFUSED, "over": REFUSED}
    assert not faults([setting], cells)


def test_the_runs_own_recipe_stands_first_and_a_fault_is_the_verdict(column: tuple[Setting, Matrix]) -> None:
    setting, cells = column
    plan = resolve(load_recipe(DEFAULT_RECIPE, []), 400)
    assert [each.pinned for each in settings_of(plan)[:2]] == [False, True]
    made = part([setting], cells, {})
    assert made.verdict is Verdict.OPEN and "Of 22 ways" in made.sentence
    wrong = dataclasses.replace(cells[setting.name]["few_survivors"], outcome=OPEN)
    broken = {setting.name: {**cells[setting.name], "few_survivors": wrong}}
    assert part([setting], broken, {}).verdict is (Verdict.FAULT if setting.pinned else Verdict.OPEN)
    assert made.to_json()["cells"][setting.name]["between"]["outcome"] == cells[setting.name]["between"].outcome


@pytest.mark.long
@pytest.mark.parametrize("identities", ["none", "roster"])
def test_no_recipe_is_open_against_its_claim(identities: str) -> None:
    settings = [other(name, identities) for name in OTHERS]
    assert not faults(settings, matrix(settings))


@pytest.mark.long
def test_the_documents_table_of_other_recipes_is_what_runs_give() -> None:
    plan = resolve(load_recipe(DEFAULT_RECIPE, []), 400)
    settings = standing_beside(plan.recipe)
    cells = matrix(settings)
    text = (Path(__file__).parents[3] / "docs" / "audit-server.md").read_text(encoding="utf-8")
    for attack in ATTACKS:
        found = [cells[each.name].get(attack.key) for each in settings]
        row = " | ".join(str(cell.outcome) if cell else "–" for cell in found)
        assert f"| {attack.title} | {row} |" in text


@pytest.fixture(scope="module")
def learner(
    tiny_corpus: HelpdeskCorpus,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tiny_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Learner:
    """Of twelve clients with two short dialogues each, at the default recipe's noise."""
    from chatfed.model.transformer import load_model

    turns = [dialogue.messages[:2] for dialogue in tiny_corpus.private[:24]]
    folder = tmp_path_factory.mktemp("tokens")
    whose = {ClientId(f"c{i:02}"): np.array([2 * i, 2 * i + 1]) for i in range(12)}
    table, none = (write_tokens(folder / name, tiny_tokenizer, turns, of) for name, of in (("in", whose), ("out", {})))
    setting = own("none")
    how = learning_of(setting.recipe, setting.terms.noise_multiplier)
    return Learner.of(how, load_model(tiny_base)[0], tiny_tokenizer, table, none)


def test_without_noise_an_isolating_model_reads_one_dialogues_words_off_the_sum_and_with_noise_it_does_not(
    learner: Learner,
) -> None:
    found = isolated(learner, own("none"))
    bare, noised = found[False], found[True]
    assert bare.silent == bare.dialogues - 1 == 19 and bare.tokens >= 10
    assert bare.found.low > 0.9 and bare.read > 0.8
    assert noised.found.value < 0.75 and noised.read < 0.4


def test_a_token_of_one_dialogue_alone_is_chosen(learner: Learner) -> None:
    table = learner.private
    picked = chosen(table, np.arange(24), 64)
    assert picked is not None
    holders = [at for at in range(24) if picked[0] in table.ids[table.starts[at] : table.starts[at + 1]]]
    assert len(holders) == 1 and len(picked[1]) > 0
    assert chosen(table, np.array([0, 0]), 64) is None, "of two that are alike none has a token alone"


def test_crafted_weights_are_finite_and_other_than_the_honest_ones() -> None:
    with victims(own("none"), 64) as those:
        assert np.isfinite(crafted(those)).all() and (crafted(those) != those.session().weights).any()
