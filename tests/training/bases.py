"""Public bases with random weights, as a person would bring them: a GPT-2 and a Llama of any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from chatfed.model.checkpoint import save_model

TINY: Mapping[str, Mapping[str, int]] = {
    "gpt2": {"vocab_size": 600, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {
        "vocab_size": 600,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    },
}


def build(kind: str, sizes: Mapping[str, Any]) -> PreTrainedModel:
    """GPT-2 has learned position embeddings, and ties its output layer to its input; this Llama ties nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        if kind == "gpt2":
            return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2))
        return LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False))


def bare(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer as GPT-2's is: without a chat template, role markers and a token for padding."""
    plain: Any = PreTrainedTokenizerFast
    return plain(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")  # type: ignore[no-any-return]


def write_base(folder: Path, kind: str, sizes: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> Path:
    """The base as a transformers folder; its vocabulary may be larger than the tokenizer's. A GPT-2's is bare."""
    model = build(kind, sizes)
    save_model(folder, model, bare(tokenizer) if kind == "gpt2" else tokenizer, "Random weights, for tests.\n")
    return folder
