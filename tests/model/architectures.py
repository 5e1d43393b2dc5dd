"""Architectures of causal models, and of models that only look so, each made tiny from its configuration."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

VOCABULARY = 300
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_STATE = {"state_size": 4, "mamba_d_state": 4, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1}
_BOTH = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}  # fmt: skip
_LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
           "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in ("llama", "gpt_neox", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")},
    **{kind: {} for kind in ("phi", "phi3", "olmo", "olmo2", "stablelm", "starcoder2", "granite", "smollm3", "cohere")},
    **{kind: {} for kind in ("nemotron", "glm4", "persimmon", "biogpt")},
    "cohere2": {"sliding_window": 8},
    "falcon": {"head_dim": None, "new_decoder_architecture": False, "multi_query": True, "alibi": False},
    "gpt2": _GPT,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 4, "window_size": 8},
    "gptj": {**_GPT, "rotary_dim": 4},
    "codegen": {**_GPT, "rotary_dim": 4, "n_ctx": 64},
    "openai-gpt": _GPT,
    "ctrl": {**_GPT, "dff": 48},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "mixtral": _EXPERTS,
    "qwen3_moe": _EXPERTS,
    "gpt_oss": {**_EXPERTS, "sliding_window": 8},
    "deepseek_v3": {**_EXPERTS, **_LATENT, "num_key_value_heads": 4},
    "rwkv": {"attention_hidden_size": 32, "context_length": 64},
    "mamba": _STATE,
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 4, "n_groups": 1, "chunk_size": 8},
    "falcon_mamba": _STATE,
    "bamba": {**_STATE, "attn_layer_indices": [1], "mamba_chunk_size": 8},
    "falcon_h1": {**_STATE, "mamba_d_ssm": 64, "mamba_chunk_size": 8},
    "jamba": {**_STATE, **_EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "minimax": {**_EXPERTS, "block_size": 8},
    "lfm2": {"full_attn_idxs": [1], "block_multiple_of": 8},
    "recurrent_gemma": {"lru_width": 32, "num_hidden_layers": 3, "attention_window_size": 8},
    "qwen3_next": {**_EXPERTS, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
                   "linear_value_head_dim": 8, "num_hidden_layers": 4, "shared_expert_intermediate_size": 16},
    "reformer": {"is_decoder": True, "attention_head_size": 8, "axial_pos_shape": (8, 8),
                 "axial_pos_embds_dim": (16, 16), "feed_forward_size": 48, "attn_layers": ["local", "lsh"],
                 "num_buckets": 4, "num_hidden_layers": 2},
    "xlnet": {"max_position_embeddings": None, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 4},
    **{kind: {} for kind in ("bert", "roberta", "electra", "xlm-roberta", "camembert", "roformer", "megatron-bert")},
    "big_bird": {"attention_type": "original_full"},
    **dict.fromkeys(("bart", "mbart", "blenderbot", "pegasus", "marian"), _BOTH),
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "gemma3": {},
}  # fmt: skip
BOTH_WAYS = ("bert", "roberta", "electra", "xlm-roberta", "camembert", "roformer", "megatron-bert", "big_bird", "xlm",
             "xlnet")  # fmt: skip
WITH_ENCODER = ("bart", "mbart", "blenderbot", "pegasus", "marian", "t5")
MORE_THAN_TEXT = ("gemma3",)
CAUSAL = tuple(kind for kind in KINDS if kind not in (*BOTH_WAYS, *WITH_ENCODER, *MORE_THAN_TEXT))
SHORT = ("llama", "gpt2", "gpt_neox", "gemma2", "gemma3_text", "falcon", "bloom", "opt", "mpt", "granite", "cohere2",
         "gpt_oss", "deepseek_v3", "qwen3_moe", "rwkv", "mamba", "bamba", "minimax", "openai-gpt", "reformer", "jamba",
         "lfm2", "recurrent_gemma")  # fmt: skip


def tiny(kind: str, **more: Any) -> PreTrainedModel:
    """A model of that kind with weights far from uniform, so that what is wrong shows in its logits."""
    given = {**_SIZES, **KINDS[kind], **more}
    config = AutoConfig.for_model(kind, **{name: value for name, value in given.items() if value is not None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        maker = AutoModelForSeq2SeqLM if kind in WITH_ENCODER else AutoModelForCausalLM
        untyped: Any = maker
        model: PreTrainedModel = untyped.from_config(config).float()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.3)
    model.train(False)
    return model
