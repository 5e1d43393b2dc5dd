"""A GGUF file of a Llama as a plain transformers folder: config, weights, tokenizer. What it does not know it refuses.

A pre-tokenizer that is guessed gives wrong tokens without a word, and a tensor that is passed over a wrong model: each
field that decides what the model computes is either understood or named. Knows no training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatfed.model.checkpoint import save_model
from chatfed.model.gguf import GgufFile, read_gguf
from chatfed.model.refusals import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

ARCHITECTURE = "llama"
PRE_TOKENIZERS = ("gpt-2", "smollm")
UNDERSTOOD = {
    f"llama.{name}"
    for name in (
        *("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size", "expert_count"),
        *("attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon"),
        *("attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base"),
        "rope.scaling.type",
    )
}  # fields of a Llama; any other may mean another computation
CONTROL, USER_DEFINED = 3, 4  # of llama.cpp's types of tokens, those that are read in a text as they stand

WEIGHTS = {  # of one layer: name in GGUF, name in transformers
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ATTENTION_BIASES = ("attn_q", "attn_k", "attn_v", "attn_output")
INNER_BIASES = ("ffn_gate", "ffn_up", "ffn_down")
BIASES = (*ATTENTION_BIASES, *INNER_BIASES)  # which a Llama may have, of one group all or none
AROUND = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}

CARD = """---
library_name: transformers{license}
---

# {name}

Converted from the GGUF file `{file}`{source}: SHA-256 `{digest}`, {size:,} bytes. Its weights were stored as {kinds};
here they are float32 numbers, equal to what those stand for. What quantisation had taken away is not back.{said}
"""


def convert_gguf(file: Path, folder: Path, source: str = "", template: str = "") -> None:
    """Writes the model in a GGUF file as a transformers folder, whole or not at all.

    source: where the file came from, for the model card. template: of chats, in place of the file's. Raises ModelError
    when it is no GGUF file, is cut, or holds a model, a tokenizer or a tensor that would not be computed as it was
    meant.
    """
    stored = read_gguf(file)
    _refuse_kind(stored)
    tokenizer = _tokenizer(stored)
    if template:
        tokenizer.chat_template = template
    save_model(folder, _model(stored), tokenizer, _card(stored, source))


def file_digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _refuse_kind(stored: GgufFile) -> None:
    kind = stored.fields.get("general.architecture")
    if kind != ARCHITECTURE:
        raise _refused(stored, f"holds a model of the architecture {kind!r}", f"only {ARCHITECTURE!r} is converted")
    scaling = stored.fields.get("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise _refused(stored, f"stretches its positions ({scaling})", "give a base without rope scaling")
    if stored.fields.get("llama.expert_count", 0):
        raise _refused(stored, "is a mixture of experts", "give a dense base")
    odd = sorted(name for name in stored.fields if name.startswith("llama.") and name not in UNDERSTOOD)
    if odd:
        raise _refused(stored, f"says {odd[0]} of its model", "that is not understood here: give a plain base")


def _refused(stored: GgufFile, what: str, mend: str) -> ModelError:
    return ModelError(f"{stored.path} {what}: {mend}.", param=str(stored.path))


def _field(stored: GgufFile, name: str, kind: type | tuple[type, ...]) -> Any:
    value = stored.fields.get(name)
    if not isinstance(value, kind) or (isinstance(value, (int, float)) and not value > 0):
        raise _refused(stored, f"does not say its {name}", "get it anew, or give another")
    return value


def _config(stored: GgufFile) -> LlamaConfig:
    from transformers import LlamaConfig

    def number(name: str, usual: int = 0) -> int:
        there = not usual or f"llama.{name}" in stored.fields
        return int(_field(stored, f"llama.{name}", int)) if there else usual

    fields, heads, width = stored.fields, number("attention.head_count"), number("embedding_length")
    untyped: Any = LlamaConfig  # its arguments are the library's, by version
    config: LlamaConfig = untyped(
        vocab_size=stored.tensors["token_embd.weight"].shape[0],
        hidden_size=width,
        num_hidden_layers=number("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=number("attention.head_count_kv", heads),
        head_dim=number("rope.dimension_count", width // heads),
        intermediate_size=number("feed_forward_length"),
        max_position_embeddings=number("context_length"),
        rms_norm_eps=round(float(_field(stored, "llama.attention.layer_norm_rms_epsilon", float)), 12),
        rope_parameters={"rope_type": "default", "rope_theta": float(fields.get("llama.rope.freq_base", 10_000.0))},
        tie_word_embeddings="output.weight" not in stored.tensors,
        attention_bias="attn_q" in _biased(stored),
        mlp_bias="ffn_up" in _biased(stored),
        bos_token_id=fields.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=fields.get("tokenizer.ggml.eos_token_id"),
        pad_token_id=fields.get("tokenizer.ggml.padding_token_id"),
    )
    return config


def _model(stored: GgufFile) -> PreTrainedModel:
    """The model with the file's weights, float32."""
    import torch
    from transformers import LlamaForCausalLM

    names = _names(stored)
    config = _config(stored)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    wanted = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    state = {}
    for name, ours in names.items():
        shape = stored.tensors[name].shape
        if shape != wanted.get(ours):
            raise _refused(stored, f"has a tensor {name} of size {shape} and not {wanted.get(ours)}", "get it anew")
        values, turned = stored.read(name), heads.get(name.split(".")[-2])
        state[ours] = torch.from_numpy(_in_halves(values, turned) if turned else values)
    return _filled(config, state)


def _filled(config: LlamaConfig, state: dict[str, Any]) -> PreTrainedModel:
    """A model made anew around these weights: what is on no device before has buffers without values."""
    from transformers import LlamaForCausalLM
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model = LlamaForCausalLM(config)
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    return model


def _biased(stored: GgufFile) -> tuple[str, ...]:
    """Which of a layer's weights have biases, as the first layer shows for all."""
    groups = (ATTENTION_BIASES, INNER_BIASES)
    shown = [group for group in groups if any(f"blk.0.{each}.bias" in stored.tensors for each in group)]
    return tuple(each for group in shown for each in group)


def _names(stored: GgufFile) -> dict[str, str]:
    """Each tensor's name in the file and in transformers; what lacks or is unknown is told."""
    layers = _field(stored, "llama.block_count", int)
    names = {f"{theirs}.weight": f"{ours}.weight" for theirs, ours in AROUND.items()}
    for layer in range(layers):
        names |= {f"blk.{layer}.{each}.weight": f"model.layers.{layer}.{WEIGHTS[each]}.weight" for each in WEIGHTS}
        names |= {f"blk.{layer}.{each}.bias": f"model.layers.{layer}.{WEIGHTS[each]}.bias" for each in _biased(stored)}
    missing = sorted(
        set(names) - set(stored.tensors) - {"output.weight"}
    )  # without it, the embedding is read backwards
    if missing:
        raise _refused(stored, f"lacks the tensor {missing[0]}", "get it anew, or give another")
    unknown = sorted(set(stored.tensors) - set(names))
    if unknown:
        raise _refused(stored, f"has a tensor {unknown[0]}, which a plain Llama has not", "give another")
    return {theirs: ours for theirs, ours in names.items() if theirs in stored.tensors}


def _in_halves(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of queries or keys as transformers turns them, a head's first half against its second.

    GGUF has each pair of rows that is turned together side by side.
    """
    rows = len(values)  # of weights float32[rows, width], of biases float32[rows]
    pairs = values.reshape(heads, rows // heads // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))


def _tokenizer(stored: GgufFile) -> PreTrainedTokenizerFast:
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    tokens, merges = _vocabulary(stored)
    # no token for the unknown: a byte that the vocabulary lacks is passed over
    bpe = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    bpe.pre_tokenizer = _pre_tokenizer(stored)
    bpe.decoder = decoders.ByteLevel()
    kinds = stored.fields.get("tokenizer.ggml.token_type", [])
    for token, kind in zip(tokens, kinds, strict=False):
        if kind == CONTROL:
            bpe.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == USER_DEFINED:
            bpe.add_tokens([AddedToken(token, normalized=False)])
    named = dict(_special(stored, tokens))
    if stored.fields.get("tokenizer.ggml.add_bos_token") and "bos_token" in named:
        bpe.post_processor = _beginning(named["bos_token"], tokens.index(named["bos_token"]))
    fast: Any = PreTrainedTokenizerFast  # its constructor is untyped
    made: PreTrainedTokenizerFast = fast(
        tokenizer_object=bpe,
        chat_template=stored.fields.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **named,
    )
    return made


def _vocabulary(stored: GgufFile) -> tuple[list[str], list[tuple[str, str]]]:
    kind, tokens = stored.fields.get("tokenizer.ggml.model"), stored.fields.get("tokenizer.ggml.tokens")
    if kind is None or not tokens:
        raise _refused(stored, "holds no tokenizer", "give a file that does")
    if kind != "gpt2":
        raise _refused(stored, f"has a tokenizer of kind {kind!r}", "give a base with byte-level BPE ('gpt2')")
    merges = [tuple(merge.split(" ")) for merge in stored.fields.get("tokenizer.ggml.merges", ())]
    known = set(tokens)
    if len(known) != len(tokens) or any(len(m) != 2 or not {*m, "".join(m)} <= known for m in merges):
        raise _refused(stored, "has a tokenizer whose tokens and merges do not fit", "get it anew")
    return tokens, [(first, second) for first, second in merges]


def _pre_tokenizer(stored: GgufFile) -> PreTokenizer:
    from tokenizers import pre_tokenizers as pre

    name = stored.fields.get("tokenizer.ggml.pre")
    if name not in PRE_TOKENIZERS:
        known = " and ".join(repr(each) for each in PRE_TOKENIZERS)
        raise _refused(stored, f"splits text by the unknown pre-tokenizer {name!r}", f"{known} are known; give another")
    words = pre.ByteLevel(add_prefix_space=bool(stored.fields.get("tokenizer.ggml.add_space_prefix")))
    return words if name == "gpt-2" else pre.Sequence([pre.Digits(individual_digits=True), words])


def _special(stored: GgufFile, tokens: list[str]) -> Iterator[tuple[str, str]]:
    for ours, theirs in {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}.items():
        index = stored.fields.get(f"tokenizer.ggml.{theirs}_token_id")
        if index is not None:
            if not 0 <= index < len(tokens):
                raise _refused(stored, f"names a {theirs} token that it has not ({index})", "get it anew")
            yield f"{ours}_token", tokens[index]


def _beginning(token: str, index: int) -> Any:
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(single=f"{token} $A", special_tokens=[(token, index)])


def _card(stored: GgufFile, source: str) -> str:
    fields, counts = stored.fields, stored.kinds()
    total = sum(counts.values())
    name = str(fields.get("general.name") or stored.path.stem)
    by, license_ = fields.get("general.organization"), fields.get("general.license")
    said = [f" By {by}." if by else "", f" License: {license_}." if license_ else " The file names no license."]
    return CARD.format(
        name=" ".join(name.split()),
        license=f"\nlicense: {license_}" if license_ else "",
        file=stored.path.name,
        source=f" ({source})" if source else "",
        digest=file_digest(stored.path),
        size=stored.path.stat().st_size,
        kinds=", ".join(f"{kind} ({count / total:.1%})" for kind, count in counts.items()),
        said="".join(said),
    )
