"""Canaries in whole small runs: planted, kept, found, and verified by whoever has the folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chatfed.audit.canary import coins, commitment, matched
from chatfed.audit.comparison import Interval
from chatfed.audit.part import Part, Verdict
from chatfed.cli import main
from chatfed.model.checkpoint import save_model
from chatfed.model.transformer import untie_output
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.types import Turn
from tests.conftest import build_tiny
from tests.training.processes import PLAIN, here, settings
from training.audits.audited import Audited
from training.audits.canaries import WEAK, _cost_figures, _cost_table, _price, canaries
from training.audits.cost import Cost, without_directions
from training.audits.guesses import design_of, in_canaries, promised
from training.audits.retraced import verify
from training.audits.signing import sign
from training.base.canaries import NAME, ROUNDS, SUFFIX, Canaries, canary_dialogues
from training.base.evaluation import Evaluation
from training.base.tokens import open_tokens
from training.plan.plan import resolve
from training.plan.recipe import load_recipe
from training.plan.settings import RecipeError
from training.run.canaries import kept_dialogues, kept_or_raise, kept_sum, opened
from training.run.run_folder import RunError, RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

COUNT = 64
KEY = bytes(range(32))
SMALL = settings(
    audit__canaries=COUNT, ngrams__longest=2, ngrams__cells=4000, ngrams__texts=8, ngrams__epochs=0.5,
    ngrams__share=0.6, secagg__threshold=0.75, runtime__workers=1, runtime__evaluation_dialogues=5, model__context=192,
    privacy__expected_batch_size=2.0, privacy__sampling_rate=0.5,
)  # fmt: skip


def train(data: Path, base: Path, out: Path, *more: object) -> str:
    done = here(
        *("--data", data / "private.jsonl", "--validation", data / "held_out.jsonl", "--base", base),
        *("--public", data / "public.jsonl", "--recipe", PLAIN, "--rounds", "2", "--out", out, *SMALL, *more),
    )
    return done.stderr


def audited(folder: Path) -> Part:
    return canaries(Audited.open(folder), lambda text: None)


@pytest.fixture(scope="module")
def wide_base(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As tiny_base, with room for a canary dialogue."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    model = build_tiny(tiny_tokenizer, 192)
    untie_output(model)
    save_model(folder, model, tiny_tokenizer, "A tiny random model for tests.\n")
    return folder


@pytest.fixture(scope="module")
def private(tiny_data: Path, wide_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("canaries") / "out"
    noise = settings(privacy__noise='"distributed"', privacy__target_epsilon=4.0)
    assert train(tiny_data, wide_base, out, *noise) == ""
    return out


@pytest.fixture(scope="module")
def judged(private: Path) -> Part:
    """What the attack on the private run finds: the same each time, and long to find."""
    return audited(private)


@pytest.fixture(scope="module")
def bare(tiny_data: Path, wide_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bare") / "out"
    noise = settings(privacy__noise='"none"', privacy__target_epsilon=0.0, privacy__sampling_rate=1.0)
    assert train(tiny_data, wide_base, out, *noise) == ""
    return out


def test_the_seed_is_committed_to_in_the_recipe_and_nowhere_else(private: Path) -> None:
    seed = (private / "state" / "canaries.seed").read_bytes()
    assert (private / "state" / "canaries.seed").stat().st_mode & 0o777 == 0o600
    assert load_recipe(private / "recipe.toml").audit.commitment == commitment(seed)
    told = b"".join(path.read_bytes() for path in private.glob("*.json*"))
    assert seed.hex().encode() not in told and repr(seed).encode() not in told
    assert repr(Canaries(seed, 5)) == "Canaries(count=5)"


def test_the_client_of_the_directions_takes_part_pays_and_is_counted(private: Path) -> None:
    assert NAME in open_tokens(private / "state" / "private").clients
    privacy = json.loads((private / "privacy.json").read_text())
    assert privacy["clients"] == 9 and privacy["clients_charged"] == 9
    assert (privacy["canaries"]["count"], privacy["canaries"]["clients"]) == (COUNT, 1)
    count = kept_sum(RunFolder(private), "count")
    assert count is not None and count.survivors == 9 and count.canaries == (NAME,)


def test_dialogues_are_at_the_clients_for_whom_the_coin_says_so(private: Path) -> None:
    seed = (private / "state" / "canaries.seed").read_bytes()
    planted, table = kept_dialogues(RunFolder(private)), open_tokens(private / "state" / "private")
    assert len(planted) == 8  # one for each client
    there = [tuple(_ids(table, int(at))) for mine in table.clients.values() for at in mine]
    got = [there.count(tuple(_ids(planted, at))) for at in range(8)]
    assert got == coins(seed, "dialogues", 8).astype(int).tolist()


def test_attacks_on_members_leave_canaries_out(private: Path) -> None:
    run, planted = (
        Audited.open(private),
        coins((private / "state" / "canaries.seed").read_bytes(), "dialogues", 8).sum(),
    )
    assert sum(map(len, run.own.values())) == len(run.members) - planted and NAME not in run.own


def _ids(table: Any, at: int) -> Any:
    return table.ids[table.starts[at] : table.starts[at + 1]].tolist()


def test_without_noise_every_coin_of_the_sums_is_given_away(bare: Path) -> None:
    """As far as there are coins to guess: of 24 guesses of each kind some are wrong where fewer fell that way."""
    part, run = audited(bare), Audited.open(bare)
    there = int(coins(opened(run.folder, run.plan.recipe).seed, ROUNDS, COUNT).sum())
    assert part.figures["guesses"] == 48
    assert part.figures["correct"] == min(24, there) + min(24, COUNT - there)
    assert part.verdict is Verdict.OPEN and part.figures["epsilon_lower_bound_product_channel"] > 10
    assert "added no noise" in part.sentence


def test_what_the_directions_cost_is_told_beside_the_noise_that_they_add(bare: Path) -> None:
    """All are in, so without them nothing of any is left in a sum but what words happen to make of it."""
    run, part = Audited.open(bare), audited(bare)
    planted = opened(run.folder, run.plan.recipe)
    kept = kept_or_raise(run.folder, "round-001")
    coin, ones = coins(planted.seed, ROUNDS, COUNT), in_canaries(run.plan.learning.privacy, kept.survivors)
    means = kept.mean, without_directions(run, planted)(kept)
    having, lacking = (matched(mean * np.float32(ones), planted.seed, ROUNDS, COUNT) for mean in means)
    assert (having.amounts - lacking.amounts)[coin].mean() == pytest.approx(1, abs=0.1)
    assert abs(lacking.amounts[coin].mean()) <= 5 * lacking.std / coin.sum() ** 0.5
    assert part.figures["cost"]["share_of_perplexity"] != 0


def test_the_price_is_told_as_a_share_of_perplexity_with_where_it_lies() -> None:
    """One word has as many bits as its two bytes."""
    dear, cheap = (Evaluation(bits, 0.3, 0.5, 2 ** (2 * bits), 500, 1000) for bits in (2.01, 2.0))
    price = Cost(dear, cheap, Interval(0.01, 0.005, None), 7)
    assert price.perplexity == pytest.approx(dear.perplexity / cheap.perplexity - 1)  # type: ignore[operator]
    told = _cost_figures(price)
    assert told is not None and told["share_of_perplexity_low"] == pytest.approx(2**0.01 - 1)
    assert told["share_of_perplexity_high"] is None and told["held_out_dialogues"] == 7
    assert _price(price) == " The directions cost 1.40% of the perplexity of 7 held-out dialogues."
    assert _price(None) == "" and _cost_figures(None) is None
    rows: dict[str, Any] = dict(_cost_table({"round-001": 0.034}, price).rows)  # type: ignore[arg-type]
    assert rows["variance added to the sum of round-001"] == "3.40%"


def test_with_noise_the_bound_stays_below_what_is_proven(judged: Part) -> None:
    assert judged.verdict is Verdict.HOLDS and judged.figures["correct"] < judged.figures["guesses"]
    assert judged.figures["epsilon_lower_bound_product_channel"] <= judged.figures["proven_epsilon"] <= 4
    json.dumps(judged.to_json(), allow_nan=False)


def test_a_claim_that_is_too_small_is_a_fault(bare: Path, tmp_path: Path) -> None:
    """What the audit is for: the same sums under a claim that they do not keep."""
    copy = tmp_path / "run"
    shutil.copytree(bare, copy)
    privacy = json.loads((copy / "privacy.json").read_text())
    (copy / "privacy.json").write_text(json.dumps({**privacy, "epsilon": 4.0, "delta": 1e-5}))
    assert audited(copy).verdict is Verdict.FAULT


def seen(folder: Path) -> list[tuple[bool | None, str]]:
    return list(verify(folder))


def signed(folder: Path, part: Part) -> None:
    (folder / "audit.json").write_text(json.dumps({"parts": {"canaries": part.to_json()}}))


def copied(run: Path, part: Part, to: Path, *names: str) -> Path:
    """The run's folder, or some of it; what it was audited as beside it."""
    if not names:
        shutil.copytree(run, to)
    for name in names:
        to.mkdir(exist_ok=True)
        (shutil.copytree if (run / name).is_dir() else shutil.copy)(run / name, to / name)
    signed(to, part)
    return to


PUBLISHED = ("recipe.toml", "privacy.json", "canaries", "model")


def test_anyone_with_the_published_folder_finds_the_same_bound(private: Path, judged: Part, tmp_path: Path) -> None:
    found = seen(copied(private, judged, tmp_path / "published", *PUBLISHED))
    assert [right for right, _ in found] == [True, True, True, None]
    assert "of 48 guesses right from the sums alone" in found[1][1] and "without the server's state" in found[3][1]
    whole = seen(copied(private, judged, tmp_path / "whole"))
    assert [right for right, _ in whole] == [True] * 4 and "end at the published model" in whole[3][1]


def test_a_published_run_verifies_and_its_canaries_cannot_be_looked_at_there(
    private: Path, judged: Part, tmp_path: Path
) -> None:
    run = shutil.copytree(private, tmp_path / "run")
    audit = {"claim": json.loads((run / "privacy.json").read_text()), "parts": {"canaries": judged.to_json()}}
    weights = hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()
    results = json.dumps({**audit, "weights_sha256": weights, "not_protected": []}, allow_nan=False).encode()
    for name, content in (("audit.json", results), ("audit.html", b""), ("audit.sig", sign(results, b"", run, KEY))):
        (run / name).write_bytes(content)
    to = tmp_path / "published"
    assert main(["publish", str(run), "--to", str(to), "--gguf", "none", "--base-model", "owner/name"]) == 0
    done = here("verify", to, command="audit")
    told = [line for line in done.stdout.splitlines() if "canaries:" in line]
    assert done.returncode == 0 and len(told) == 1 and told[0].startswith("--  ") and "run's own folder" in told[0]
    shutil.copytree(run / "canaries", to / "canaries")  # records that nobody can check are no reason to trust them
    assert here("verify", to, command="audit").returncode == 1


def test_figures_that_were_changed_and_signed_again_are_found_wrong(
    private: Path, judged: Part, tmp_path: Path
) -> None:
    copy = copied(private, judged, tmp_path / "published", *PUBLISHED)
    audit = json.loads((copy / "audit.json").read_text())
    audit["parts"]["canaries"]["without_knowing_dialogues"]["correct"] -= 5
    (copy / "audit.json").write_text(json.dumps(audit))
    assert [right for right, _ in seen(copy)] == [True, False, True, None]


def test_sums_that_were_changed_are_no_more_those_of_the_audit_or_of_the_model(
    private: Path, judged: Part, tmp_path: Path
) -> None:
    copy = copied(private, judged, tmp_path / "run")
    path = copy / "canaries" / "sums" / "round-001.npz"
    with np.load(path) as stored:
        changed = {**stored, "mean": stored["mean"] + np.float32(1e-3)}
    np.savez(path, **changed)
    found = verify(copy)
    assert [next(found)[0] for _ in range(3)][2] is False
    with pytest.raises(RunError, match="do not give the published model"):
        next(found)


def test_another_seed_than_the_one_committed_to_is_refused(private: Path, judged: Part, tmp_path: Path) -> None:
    copy = copied(private, judged, tmp_path / "run")
    (copy / "canaries" / "seed").write_bytes(bytes(32))
    with pytest.raises(RunError, match=r"audit\.commitment"):
        seen(copy)


def test_canaries_of_shared_noise_go_through_clipping_noise_and_the_secure_sum(
    tiny_data: Path, wide_base: Path, tmp_path: Path
) -> None:
    """Little noise, all sampled: nearly all guesses are right, and not all."""
    noise = settings(
        privacy__noise='"distributed"', privacy__target_epsilon=20.0, privacy__sampling_rate=1.0, ngrams__longest=0,
        audit__canaries=256, federation__rounds=1,
    )  # fmt: skip
    assert train(tiny_data, wide_base, tmp_path / "out", *noise) == ""
    part = audited(tmp_path / "out")
    assert part.verdict is Verdict.HOLDS and part.figures["knows_dialogues"]
    assert 0.85 * 192 < part.figures["correct"] < 192
    assert part.figures["epsilon_lower_bound_product_channel"] > 8
    assert abs(part.figures["correct"] - part.figures["right_guesses_promised"]) < 15


def test_where_what_was_planted_is_not_what_is_looked_for_nothing_is_judged(bare: Path, tmp_path: Path) -> None:
    """As if the client of the directions had given nothing: flat evidence is no sign that a claim holds."""
    copy = shutil.copytree(bare, tmp_path / "run")
    generator = np.random.default_rng(1)
    for path in (copy / "canaries" / "sums").glob("*.npz"):
        with np.load(path) as stored:
            mean = 0.02 * generator.standard_normal(len(stored["mean"])).astype(np.float32)
            np.savez(path, **{**stored, "mean": mean})
    part = audited(copy)
    assert part.verdict is Verdict.UNJUDGED and "is not what was looked for" in part.sentence


def test_evidence_that_keeps_its_promise_is_not_short_and_that_of_nothing_is() -> None:
    generator = np.random.default_rng(3)
    for count, std in ((64, 0.1), (64, 0.3), (4096, 0.3), (4096, 1.0)):
        design, truth = design_of(count, 0.0), np.arange(count) % 2 == 0
        noise = std * generator.standard_normal(count)
        total, short = promised((2 * (truth + noise) - 1) / (2 * std**2), truth, design)
        assert short < WEAK / 2 and design.guesses / 2 < total <= design.guesses
        assert promised((2 * noise - 1) / (2 * std**2), truth, design)[1] > WEAK


def test_with_noise_of_each_clients_own_the_sum_is_not_what_the_claim_is_about(
    tiny_data: Path, wide_base: Path, tmp_path: Path
) -> None:
    noise = settings(privacy__noise='"local"', privacy__target_epsilon=8.0, ngrams__longest=0, federation__rounds=1)
    assert train(tiny_data, wide_base, tmp_path / "out", *noise) == ""
    part = audited(tmp_path / "out")
    assert part.verdict is Verdict.UNJUDGED and "a single upload, which was not looked at" in part.sentence


def test_a_run_without_canaries_says_how_to_get_some(private: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(private, copy)
    recipe = load_recipe(copy / "recipe.toml", ["audit.canaries=0", 'audit.commitment=""'])
    (copy / "recipe.toml").write_text(recipe.to_toml())
    about = json.loads((copy / "state" / "run.json").read_text())
    (copy / "state" / "run.json").write_text(json.dumps({**about, "recipes": [recipe.digest().hex()]}))
    with pytest.raises(RunError, match=r"--set audit\.canaries"):
        audited(copy)


def test_where_clients_are_protected_each_canary_is_a_client_and_they_may_not_be_more_than_corrupt_ones() -> None:
    recipe = load_recipe(None, ['privacy.unit="client"', "audit.canaries=64", "federation.largest_cohort=2000"])
    with pytest.raises(RecipeError, match=r"audit\.canaries = 64 are as many clients"):
        resolve(recipe, 400)
    many = load_recipe(None, [*CLIENT_LEVEL, "audit.canaries=64", "federation.largest_cohort=2000"])
    plan = resolve(many, 700)
    planted = Canaries(bytes(32), 64)
    names = planted.clients(Unit.CLIENT)
    assert len(set(names)) == 64 and plan.claim.privacy.noise is Noise.DISTRIBUTED
    found = [planted.learn(name, plan.learning, ROUNDS) for name in names]
    lengths = [float(np.linalg.norm(next(iter(learn(np.zeros(100, np.float32)))))) for learn in found if learn]
    clip_norm = plan.claim.privacy.clip_norm
    assert lengths == pytest.approx((coins(bytes(32), ROUNDS, 64) * clip_norm).tolist(), rel=1e-5)


CLIENT_LEVEL = ('privacy.unit="client"', "privacy.sampling_rate=1.0", "federation.rounds=1", "ngrams.longest=0")


def test_canaries_where_updates_are_sent_again_are_refused() -> None:
    recipe = load_recipe(None, [*CLIENT_LEVEL, "federation.rounds=4", "federation.bands=2", "audit.canaries=32"])
    with pytest.raises(RecipeError, match=r"audit\.canaries"):
        resolve(recipe, 700)


def test_canary_dialogues_begin_as_public_ones_and_end_in_rare_words_of_theirs() -> None:
    said = "the printer in room seven does not print any more today please help"
    public = [
        (Turn("user", f"{said} {word}"), Turn("assistant", f"we look at it soon {word} thanks")) for word in WORDS
    ]
    made = canary_dialogues(bytes(32), 20, public)
    assert len(set(made)) == 20
    for first, last in made:
        words = last.content.split()
        assert first.content.startswith(said) and last.role == "assistant"
        assert words[:5] == ["we", "look", "at", "it", "soon"] and len(words) == 6 + SUFFIX
        assert not set(words[-SUFFIX:]) & set(said.split())


WORDS = [f"{a}{b}{c}ow" for a in "bdfgk" for b in "aeiou" for c in "lmnr"]
