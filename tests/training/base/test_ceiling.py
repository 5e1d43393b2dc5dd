"""The ceiling's training: the base it is given goes on learning, all of it, from all that is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from chatfed.model.transformer import load_model
from tests.training.bases import TINY, write_base
from training.base import ceiling, replica
from training.base.ceiling import BROUGHT, ceiling_job, trained_ceiling
from training.base.losses import Whole
from training.base.pretrain import about_pretraining
from training.base.replica import Job
from training.base.tokens import DialogueExamples, open_tokens, write_tokens
from training.plan.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus


@pytest.fixture
def tokens(tiny_corpus: HelpdeskCorpus, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    write_tokens(tmp_path / "tokens", tiny_tokenizer, [each.messages for each in tiny_corpus.private[:40]])
    return tmp_path / "tokens"


def recipe(base: str = "", replicas: int = 1) -> Recipe:
    default = load_recipe()
    how = replace(default.pretrain, replicas=replicas, precision="float32")
    return replace(default, pretrain=how, model=replace(default.model, base=base, context=256))


def silent(done: float, text: str) -> None:
    pass


def test_it_is_what_a_plain_loop_makes_of_the_base(tokens: Path, tiny_base: Path, tmp_path: Path) -> None:
    job = ceiling_job(recipe(), str(tiny_base), tokens, 1.0, tmp_path / "model")
    made, _ = load_model(trained_ceiling(job, 2, silent))
    twin, _ = load_model(tiny_base)
    table, how = open_tokens(tokens), job.pretrain
    optimizer = torch.optim.AdamW(replica._groups(trained := list(twin.parameters())), betas=(0.9, 0.98), fused=True)
    batches = replica._batches(table, how.batch, np.random.default_rng(how.seed))
    examples = DialogueExamples(table, np.arange(len(table)), 64)
    torch.set_num_threads(1)
    for step in range(10):
        for group in optimizer.param_groups:
            group["lr"] = how.learning_rate * replica.schedule(step / 10)
        replica._step(trained, optimizer, Whole(twin, lower=False), examples, next(batches))
    assert (about_pretraining(tmp_path / "model") or {})["done"] == 10, "40 dialogues, four at a time, once"
    before = dict(load_model(tiny_base)[0].named_parameters())
    learned = dict(made.named_parameters())
    for name, parameter in twin.named_parameters():
        assert torch.equal(parameter, learned[name]), name
        assert not torch.equal(parameter, before[name]), f"{name} learned nothing"


def test_a_base_that_was_brought_keeps_its_kind_its_ties_and_its_context(
    tokens: Path, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "gpt2", "gpt2", TINY["gpt2"], tiny_tokenizer)
    job = ceiling_job(recipe(str(base)), str(base), tokens, 0.2, tmp_path / "model")
    model, _ = load_model(trained_ceiling(job, 1, silent))
    assert model.config.model_type == "gpt2" and model.config.tie_word_embeddings
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert job.pretrain.learning_rate == pytest.approx(BROUGHT * load_recipe().pretrain.learning_rate)


def test_no_limit_of_pre_training_cuts_it(tokens: Path, tiny_base: Path, tmp_path: Path) -> None:
    short = recipe()
    short = replace(short, pretrain=replace(short.pretrain, max_tokens=1, max_seconds=1e-6))
    job = ceiling_job(short, str(tiny_base), tokens, 2.0, tmp_path / "model")
    assert job.steps(open_tokens(tokens)) == 20 and job.ends > 1e300


def test_what_is_there_is_found_and_what_is_of_other_passes_is_not(
    tokens: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Job] = []
    first = ceiling_job(recipe(), str(tiny_base), tokens, 0.1, tmp_path / "model")
    trained_ceiling(first, 1, silent)
    monkeypatch.setattr(ceiling, "in_processes", lambda job, *_: trained.append(job))
    assert trained_ceiling(first, 1, silent) == tmp_path / "model" and not trained
    trained_ceiling(ceiling_job(recipe(), str(tiny_base), tokens, 0.5, tmp_path / "model"), 1, silent)
    (tmp_path / "model" / "config.json").unlink()
    trained_ceiling(first, 1, silent)
    assert [job.pretrain.epochs for job in trained] == [0.5, 0.1]
