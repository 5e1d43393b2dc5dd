"""A place may have several possible tokens: they stay beside its target, and are learned by their shares."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.model.tokenizer import MARKER
from chatfed.model.transformer import load_model
from training.base.tokens import ASSISTANT, DialogueExamples, TokenTable, next_token_loss, windows, write_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

relaxed = settings(deadline=None)


@pytest.fixture(scope="module")
def table(
    tiny_corpus: HelpdeskCorpus, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> TokenTable:
    dialogues = [dialogue.messages for dialogue in tiny_corpus.private[:6]]
    return write_tokens(tmp_path_factory.mktemp("tokens") / "table", tiny_tokenizer, dialogues)


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> PreTrainedModel:
    torch.set_num_threads(1)
    return load_model(tiny_base)[0]


def numbered(lengths: list[int]) -> TokenTable:
    """A table whose token at place i is i + 1, so that each can be told from every other."""
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(1, starts[-1] + 1, dtype=np.int32)
    return TokenTable(ids, np.ones(len(ids), np.uint8), starts, np.zeros(len(lengths), np.int64), {})


tables = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(numbered)


def with_choices(table: TokenTable, near: np.ndarray, shares: np.ndarray) -> TokenTable:
    return replace(table, near=near.astype(np.int32), shares=shares.astype(np.float16))


@relaxed
@given(tables, st.integers(1, 50), st.randoms(use_true_random=False))
def test_what_might_have_stood_in_a_place_goes_with_the_target_of_that_place(
    table: TokenTable, context: int, random: Random
) -> None:
    asked = list(range(len(table)))
    random.shuffle(asked)
    batch = windows(table, np.array(asked), context)
    real = batch.targets > 0
    assert np.array_equal(table.ids[batch.places[real]], batch.targets[real]) and not batch.places[~real].any()
    soft = with_choices(table, np.stack([table.ids, table.ids + 1000], 1), np.tile([0.75, 0.25], (table.tokens, 1)))
    rows, _ = DialogueExamples(soft, np.array(asked), context).rows(np.arange(len(asked)))
    assert rows["near"].shape == rows["shares"].shape == (*rows["targets"].shape, 2)
    found = rows["near"][torch.from_numpy(real)]
    assert torch.equal(found[:, 0], rows["targets"][torch.from_numpy(real)])
    assert bool((found[:, 1] - found[:, 0] == 1000).all())
    hard, _ = DialogueExamples(table, np.array(asked), context).rows(np.arange(len(asked)))
    assert set(hard) == {"ids", "targets", "weights"}


@pytest.mark.parametrize("multiple", [1, 16])
@pytest.mark.parametrize("choices", [1, 5])
def test_the_loss_of_one_sure_token_a_place_is_that_of_the_token(
    model: PreTrainedModel, table: TokenTable, multiple: int, choices: int
) -> None:
    near = np.zeros((table.tokens, choices), np.int32)  # the others' shares are 0, whatever they are
    near[:, choices // 2] = table.ids
    soft = with_choices(table, near, np.arange(choices) == np.full((table.tokens, 1), choices // 2))
    asked = np.array([0, 3, 5, 1])
    hard_rows, _ = DialogueExamples(table, asked, 48).rows(np.arange(4))
    rows, _ = DialogueExamples(soft, asked, 48).rows(np.arange(4))
    with torch.no_grad():
        hard, found = next_token_loss(model, hard_rows, multiple), next_token_loss(model, rows, multiple)
    assert torch.allclose(found, hard, rtol=1e-5) and float(hard.min()) > 0.1


@pytest.mark.parametrize("known", [1.0, 0.6])
def test_the_loss_of_several_tokens_a_place_is_their_cross_entropy_by_a_loop_and_that_of_all_others_together(
    model: PreTrainedModel, table: TokenTable, known: float
) -> None:
    random = np.random.default_rng(3)
    near = random.integers((0, 100, 200), (100, 200, 300), (table.tokens, 3))
    soft = with_choices(table, near, known * random.dirichlet(np.ones(3), table.tokens))
    assert soft.near is not None and soft.shares is not None
    rows, _ = DialogueExamples(soft, np.array([2]), 1000).rows(np.arange(1))
    start, stop = int(table.starts[2]), int(table.starts[3])
    ids = torch.from_numpy(table.ids[start:stop].astype(np.int64))
    with torch.no_grad():
        scores = torch.log_softmax(model(input_ids=ids[None, :-1]).logits[0].float(), -1)
        found = float(next_token_loss(model, rows, 16)[0])
    nats = []
    for place in range(start + 1, stop):
        if int(table.kinds[place]) & ~ASSISTANT != MARKER:
            each = list(zip(soft.near[place].tolist(), soft.shares[place].tolist(), strict=True))
            said = scores[place - start - 1]
            others = 1 - sum(math.exp(float(said[token])) for token, _ in each)
            nats.append(-sum(share * float(said[token]) for token, share in each))
            nats[-1] -= max(0.0, 1 - sum(share for _, share in each)) * math.log(others)
    assert found == pytest.approx(sum(nats) / len(nats), rel=1e-4)


def test_a_model_that_says_what_the_places_say_has_nothing_to_learn(model: PreTrainedModel, table: TokenTable) -> None:
    """Also where the likeliest tokens are a part of all: what is not listed must not be taught to be impossible."""
    asked = np.array([2])
    rows, _ = DialogueExamples(table, asked, 1000).rows(np.arange(1))
    with torch.no_grad():
        own = model(input_ids=rows["ids"]).logits.float().softmax(-1)
    shares, near = own.topk(5, -1)
    assert float(shares.sum(-1).min()) < 0.9
    steps = []
    for listed in (shares, shares / shares.sum(-1, keepdim=True)):
        model.zero_grad()
        next_token_loss(model, {**rows, "near": near, "shares": listed}).sum().backward()
        steps.append(float(model.get_output_embeddings().weight.grad.norm()))
    assert steps[0] < 1e-5 and steps[1] > 0.1
