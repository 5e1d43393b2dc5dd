"""The uppermost layers above what is frozen are the model: same values, same gradients, and nothing below learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chatfed.model.refusals import ModelError
from chatfed.model.upper_layers import UpperLayers, check_uppermost, learn_uppermost, settle
from tests.model.architectures import tiny
from tests.model.test_llama_steps import IDS, llama

TOKENS = np.array([1, 5, 7])


def test_above_what_is_frozen_stands_the_model() -> None:
    model = llama(tie_word_embeddings=True)
    learn_uppermost(model, 2, TOKENS)
    upper = UpperLayers(model, 2, lower=False)
    found = upper.above(upper.read(IDS)) @ upper.frozen_head.t()
    wanted = model(input_ids=IDS).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    mine = [p for name, p in model.named_parameters() if p.requires_grad and name != "lm_head.learned"]
    theirs = torch.autograd.grad(wanted.square().sum(), mine)
    ours = torch.autograd.grad(found.square().sum(), mine)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_what_lies_below_is_frozen_and_the_embedding_too() -> None:
    model = llama(tie_word_embeddings=True)
    before = model.model.embed_tokens.weight
    learn_uppermost(model, 1, TOKENS)
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns and all(name.startswith(("model.layers.2.", "model.norm.", "lm_head.learned")) for name in learns)
    assert model.lm_head.weight is not before and model.model.embed_tokens.weight is before


def test_rows_that_learned_stand_in_the_output_layer_afterwards_and_no_others_moved() -> None:
    model = llama(tie_word_embeddings=True)
    kept, names = model.lm_head.weight.detach().clone(), set(model.state_dict())
    learn_uppermost(model, 1, TOKENS)
    with torch.no_grad():
        model.lm_head.learned += 1
    settle(model)
    moved = (model.lm_head.weight - kept).abs().sum(1)
    assert np.flatnonzero(moved.detach().numpy()).tolist() == TOKENS.tolist() and set(model.state_dict()) == names


@pytest.mark.parametrize("layers", [0, 4])
def test_layers_that_are_not_there_are_refused(layers: int) -> None:
    with pytest.raises(ModelError, match=r"ngrams\.layers"):
        learn_uppermost(llama(), layers, TOKENS)


def test_another_kind_of_model_is_refused() -> None:
    for kind in ("gpt2", "qwen3"):
        with pytest.raises(ModelError, match="no plain Llama"):
            learn_uppermost(tiny(kind), 1, TOKENS)


def test_too_many_layers_are_refused_before_any_weights_are_there() -> None:
    check_uppermost("", 3, of=3)
    with pytest.raises(ModelError, match="the base has 3 layers"):
        check_uppermost("", 4, of=3)
