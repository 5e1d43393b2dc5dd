"""What is imagined is learned from as any text, with all that might have stood in each place."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from chatfed.model.refusals import ModelError
from chatfed.model.transformer import load_model
from chatfed.model.upper_layers import settle
from chatfed.types import ChatfedError
from training.base.distilling import check_counted, distilling_job, write_imagined
from training.base.imagining import NEAR, Imagined
from training.base.losses import Whole
from training.base.replica import Replica
from training.base.together import in_processes
from training.base.tokens import DialogueExamples, next_token_loss, open_tokens
from training.plan.recipe import ModelSection, NGramsSection, PretrainSection, Recipe


def texts(count: int, length: int, seed: int = 0) -> Imagined:
    """Of which the second token was written by the template."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(NEAR), (count, length)).astype(np.float16)
    near = random.random((count, length, 300)).argsort(-1)[..., :NEAR].astype(np.int32)  # different ones
    said = np.broadcast_to(np.arange(length) != 1, (count, length))
    return Imagined(random.integers(0, 300, (count, length)).astype(np.int32), near, shares, said)


def test_texts_of_several_lengths_are_read_back_from_disk_as_they_were(tmp_path: Path) -> None:
    written = [texts(2, 5), texts(3, 9, 1), texts(1, 2, 2)]
    write_imagined(tmp_path / "deep" / "imagined", iter(written))
    table = open_tokens(tmp_path / "deep" / "imagined")
    assert len(table) == 6 and table.near is not None and table.shares is not None and not table.clients
    each = [(one, row) for one in written for row in range(len(one.ids))]
    for dialogue, (one, row) in enumerate(each):
        place = slice(int(table.starts[dialogue]), int(table.starts[dialogue + 1]))
        assert table.ids[place].tolist() == one.ids[row].tolist()
        assert table.near[place].tolist() == one.near[row].tolist()
        assert table.shares[place].tobytes() == one.shares[row].tobytes()
    assert (table.near.dtype.name, table.shares.dtype.name) == ("int32", "float16"), "small on disk"
    rows, _ = DialogueExamples(table, np.arange(6), 64).rows(np.arange(6))
    assert (rows["weights"] > 0).sum(1).tolist() == [3, 3, 7, 7, 7, 0], "none of the template's is learned"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["imagined"]


def test_texts_that_break_off_leave_nothing_and_others_take_the_place_of_what_was_there(tmp_path: Path) -> None:
    def failing() -> object:
        yield texts(2, 5)
        raise ChatfedError("a worker broke off")

    with pytest.raises(ChatfedError, match="broke off"):
        write_imagined(tmp_path / "imagined", failing())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    for count in (2, 3):
        write_imagined(tmp_path / "imagined", [texts(count, 4)])
    assert len(open_tokens(tmp_path / "imagined")) == 3


def test_what_is_counted_is_learned_as_long_as_the_recipe_says_from_the_base_on(
    tiny_base: Path, tmp_path: Path
) -> None:
    counted = NGramsSection(longest=3, epochs=2.5, batch=3, learning_rate=0.01, seed=7)
    pretrain = PretrainSection(epochs=9, max_tokens=100, batch=32, replicas=2, max_seconds=5, precision="float32")
    recipe = Recipe(model=ModelSection(context=64), pretrain=pretrain, ngrams=counted)
    job = distilling_job(recipe, str(tiny_base), tmp_path / "imagined", tmp_path / "made")
    write_imagined(job.tokens, [texts(12, 6)])
    how = job.pretrain
    assert (how.epochs, how.batch, how.learning_rate, how.seed, how.replicas) == (2.5, 3, 0.01, 7, 2)
    assert job.steps(open_tokens(job.tokens)) == 5, "no bound of pre-training's holds: 2.5 times 12 texts, 6 a step"
    assert job.ends == math.inf and job.start == str(tiny_base) and not job.done()
    base = load_model(tiny_base)[0]
    for mine, its in zip(job.build()[0].parameters(), base.parameters(), strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("layers", [0, 1])
def test_a_replica_that_learns_from_texts_comes_to_say_what_might_have_stood_there(
    tiny_base: Path, tmp_path: Path, layers: int
) -> None:
    one = texts(4, 8)
    one.near[:] = one.near[:, :1]  # of a text all places are alike
    one.ids[:, :2] = one.near[:, 0, :2]  # output rows of tokens that stand in no text do not learn
    one.shares[:] = np.array([0.75, 0.25] + [0] * (NEAR - 2), np.float16)
    recipe = Recipe(
        model=ModelSection(context=64),
        pretrain=PretrainSection(replicas=1, precision="float32"),
        ngrams=NGramsSection(longest=2, learning_rate=0.03, batch=4, layers=layers),
    )
    job = distilling_job(recipe, str(tiny_base), tmp_path / "imagined", tmp_path / "made")
    write_imagined(job.tokens, [one])
    examples = DialogueExamples(table := open_tokens(job.tokens), np.arange(4), 64)
    replica = Replica(job, table, 0)
    with torch.no_grad():
        before = float(next_token_loss(replica.network, examples.rows(np.arange(4))[0]).mean())
    for _ in range(60):
        replica.learn(examples, 1.0)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert before > 4 and entropy - 0.01 < replica.loss < entropy + 0.3, "what nobody can learn away"
    if layers:
        settle(replica.network)
    ids = torch.from_numpy(one.ids[:, :-1].astype(np.int64))
    with torch.no_grad():
        said = replica.network(input_ids=ids).logits[:, -1].softmax(-1).numpy()
    likely = said[np.arange(4)[:, None], one.near[:, 0, :2]]
    assert likely == pytest.approx(np.tile([0.75, 0.25], (4, 1)), abs=0.15)


def test_the_loss_above_frozen_layers_is_that_of_the_whole_model_on_windows_too(
    tiny_base: Path, tmp_path: Path
) -> None:
    recipe = Recipe(
        model=ModelSection(context=8),  # of texts of 12 tokens: two windows each
        pretrain=PretrainSection(replicas=1, precision="float32"),
        ngrams=NGramsSection(longest=2, layers=1),
    )
    job = distilling_job(recipe, str(tiny_base), tmp_path / "imagined", tmp_path / "made")
    write_imagined(job.tokens, [texts(3, 12)])
    examples = DialogueExamples(table := open_tokens(job.tokens), np.arange(3), 8)
    replica = Replica(job, table, 0)
    whole = Whole(replica.network, lower=False)
    for mine in ([0, 1], [2, 0], [1]):  # what lies below is read once and kept
        found, counted = replica.losses.of(examples, np.array(mine))
        wanted, count = whole.of(examples, np.array(mine))
        assert counted == count > 0
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    frozen = [p.clone() for p in replica.network.model.layers[0].parameters()]
    replica.learn(examples, 1.0)
    assert all(map(torch.equal, frozen, replica.network.model.layers[0].parameters()))


def test_more_layers_than_there_are_are_refused_before_anybody_counts() -> None:
    check_counted(ModelSection(layers=3), NGramsSection(longest=2, layers=3))
    check_counted(ModelSection(layers=3), NGramsSection(longest=0, layers=9))
    with pytest.raises(ModelError, match="the base has 3 layers"):
        check_counted(ModelSection(layers=3), NGramsSection(longest=2, layers=4))


def learned_from(
    base: Path, folder: Path, workers: int = 1, replicas: int = 1, **counted: float
) -> dict[str, torch.Tensor]:
    """The weights of the base, whose top layer has learned eight texts in processes."""
    settings = NGramsSection(longest=2, learning_rate=0.03, batch=4, epochs=2.0, layers=1, **counted)  # type: ignore[arg-type]
    pretrain = PretrainSection(replicas=replicas, precision="float32")
    recipe = Recipe(model=ModelSection(context=64), pretrain=pretrain, ngrams=settings)
    job = distilling_job(recipe, str(base), folder / "imagined", folder / "made")
    write_imagined(job.tokens, [texts(8, 6)])
    return dict(load_model(in_processes(job, workers, lambda *_: None))[0].state_dict())


def test_what_stays_of_the_base_is_a_share_of_every_weight_that_learned(tiny_base: Path, tmp_path: Path) -> None:
    made = {stay: learned_from(tiny_base, tmp_path / str(stay), stay=stay) for stay in (0.0, 0.25)}
    before = load_model(tiny_base)[0].state_dict()
    moved = [name for name in before if not torch.equal(before[name], made[0.0][name])]
    assert "lm_head.weight" in moved and 2 < len(moved) < len(before)
    for name, weights in made[0.25].items():
        torch.testing.assert_close(weights, 0.75 * made[0.0][name] + 0.25 * before[name], rtol=1e-5, atol=1e-7)


def test_output_rows_of_the_texts_tokens_learn_and_no_others(tiny_base: Path, tmp_path: Path) -> None:
    before, made = load_model(tiny_base)[0].state_dict(), learned_from(tiny_base, tmp_path)
    moved = set(torch.nonzero((made["lm_head.weight"] != before["lm_head.weight"]).any(1)).flatten().tolist())
    said = set(texts(8, 6).ids.ravel().tolist())
    assert moved and moved <= said and len(said) < len(before["lm_head.weight"]) / 2


@pytest.mark.parametrize(("layers", "decays"), [(0, {0.1, 0.0}), (1, {0.0})])
def test_weights_decay_where_all_of_the_model_learns_and_not_where_its_top_does(
    tiny_base: Path, tmp_path: Path, layers: int, decays: set[float]
) -> None:
    settings = NGramsSection(longest=2, batch=4, layers=layers)
    recipe = Recipe(model=ModelSection(context=64), pretrain=PretrainSection(replicas=1), ngrams=settings)
    job = distilling_job(recipe, str(tiny_base), tmp_path / "imagined", tmp_path / "made")
    write_imagined(job.tokens, [texts(4, 6)])
    replica = Replica(job, open_tokens(job.tokens), 0)
    assert {group["weight_decay"] for group in replica.optimizer.param_groups} == decays


def test_the_smallest_changes_of_each_matrix_are_taken_back_and_no_others(tiny_base: Path, tmp_path: Path) -> None:
    whole, made = learned_from(tiny_base, tmp_path / "0"), learned_from(tiny_base, tmp_path / "1", trim=0.75)
    for name, began in load_model(tiny_base)[0].state_dict().items():
        moved = (whole[name] - began).abs()
        if began.dim() < 2 or not moved.any() or name == "lm_head.weight":
            assert torch.equal(made[name], whole[name])
            continue
        kept = made[name] != began
        assert kept.sum() == moved.numel() - round(0.75 * moved.numel())
        assert torch.equal(made[name][kept], whole[name][kept]) and moved[kept].min() >= moved[~kept].max()


def test_what_is_left_of_changes_is_shared_with_the_base_and_processes_change_no_number(
    tiny_base: Path, tmp_path: Path
) -> None:
    trimmed = learned_from(tiny_base, tmp_path / "trimmed", replicas=2, trim=0.5)
    alone, both = (learned_from(tiny_base, tmp_path / str(n), n, 2, trim=0.5, stay=0.25) for n in (1, 2))
    for name, began in load_model(tiny_base)[0].state_dict().items():
        assert torch.equal(alone[name], both[name])
        torch.testing.assert_close(alone[name], 0.75 * trimmed[name] + 0.25 * began, rtol=1e-5, atol=1e-7)
