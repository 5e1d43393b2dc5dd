"""A plain transformers folder of a Llama as one GGUF file for llama.cpp. What that would compute otherwise is refused.

Llama.cpp turns rows of queries and keys in pairs that lie side by side, transformers a head's first half against its
second: rows are put in the other order, those of biases too. A tokenizer whose way of splitting text has no name in
llama.cpp is refused: any other name would give other tokens without a word. Knows no training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatfed.model.from_gguf import AROUND, BIASES, CONTROL, USER_DEFINED, WEIGHTS
from chatfed.model.gguf import read_gguf
from chatfed.model.gguf_writing import STORED, stored, write_gguf
from chatfed.model.refusals import ModelError
from chatfed.model.transformer import load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

KINDS = tuple(STORED)
FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32}  # llama.cpp's numbers for what most tensors are stored in
NORMAL, UNUSED = 1, 5
SPLITS = (  # tokenizer.json's pre-tokenizer with its defaults left out: llama.cpp's name
    ([("ByteLevel", True)], "gpt-2"),
    ([("Digits", True), ("ByteLevel", True)], "smollm"),
)


def write_as_gguf(folder: Path, file: Path, kind: str = "f32", about: Mapping[str, str] | None = None) -> None:
    """Writes the model in `folder`. kind: f32, f16 or bf16. about: more fields, such as general.name.

    Raises ModelError, and writes nothing, when llama.cpp would compute or split text otherwise.
    """
    model, tokenizer = load_model(folder)
    _refuse_kind(folder, model.config)
    fields = {
        **_general(folder, kind, about or {}),
        **_sizes(model.config),
        **_vocabulary(folder, tokenizer, int(model.config.vocab_size)),
    }
    write_gguf(file, fields, [stored(name, values, kind) for name, values in _tensors(folder, model)])


def same_weights(folder: Path, file: Path) -> bool:
    """Whether a GGUF file's tensors, read back, are the numbers of the model in `folder`, to the last bit."""
    model, _ = load_model(folder)
    there = read_gguf(file)
    wanted = dict(_tensors(folder, model))
    return set(wanted) == set(there.tensors) and all(
        np.array_equal(there.read(name).view(np.uint32), np.ascontiguousarray(values).view(np.uint32))
        for name, values in wanted.items()
    )


def _refused(folder: Path, what: str, mend: str) -> ModelError:
    return ModelError(f"{folder} cannot be written as GGUF: {what}; {mend}.", param=str(folder))


def _refuse_kind(folder: Path, config: Any) -> None:
    if config.model_type != "llama":
        raise _refused(folder, f"it is a model of kind {config.model_type}", "only llama is written")
    rope = dict(config.rope_parameters or {})
    if rope.get("rope_type", "default") != "default":
        raise _refused(folder, f"it stretches its positions ({rope['rope_type']})", "give one that does not")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise _refused(folder, "it turns a part of each head", "give one that turns all of it")
    if config.hidden_act != "silu":
        raise _refused(folder, f"its activation is {config.hidden_act}", "llama.cpp computes silu")


def _general(folder: Path, kind: str, about: Mapping[str, str]) -> dict[str, Any]:
    if kind not in KINDS:
        raise ModelError(f"{kind!r} is no type that GGUF files are written in; give f32, f16 or bf16.", param=kind)
    fields: dict[str, Any] = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": folder.name,
        "general.file_type": FILE_TYPES[kind],
        "general.quantization_version": 2,
    }
    return fields | dict(about)


def _sizes(config: Any) -> dict[str, Any]:
    head = int(config.head_dim or config.hidden_size // config.num_attention_heads)
    named = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "rope.dimension_count": head,
        "vocab_size": config.vocab_size,
    }
    theta = (config.rope_parameters or {}).get("rope_theta", 10_000.0)
    reals = {"attention.layer_norm_rms_epsilon": config.rms_norm_eps, "rope.freq_base": theta}
    sizes = {f"llama.{name}": int(value) for name, value in named.items()}
    return sizes | {f"llama.{name}": float(value) for name, value in reals.items()}


def _vocabulary(folder: Path, tokenizer: PreTrainedTokenizerFast, rows: int) -> dict[str, Any]:
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens, kinds = _tokens(folder, described, rows)
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in described["model"]["merges"]]
    fields: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _split(folder, described),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
    }
    named = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "padding": tokenizer.pad_token_id}
    fields |= {f"tokenizer.ggml.{name}_token_id": int(index) for name, index in named.items() if index is not None}
    fields |= {
        "tokenizer.ggml.add_bos_token": _begins(tokenizer),
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }
    template = tokenizer.chat_template
    return fields | ({"tokenizer.chat_template": template} if isinstance(template, str) else {})


def _tokens(folder: Path, described: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """Texts and kinds by id; an embedding without a token gets one that no text holds."""
    vocabulary = {index: (token, NORMAL) for token, index in described["model"]["vocab"].items()}
    for added in described["added_tokens"]:
        if added["lstrip"] or added["rstrip"] or added["single_word"]:
            raise _refused(folder, f"its token {added['content']} takes space around it", "give one that takes none")
        vocabulary[added["id"]] = (added["content"], CONTROL if added["special"] else USER_DEFINED)
    filled = [vocabulary.get(index, (f"<|unused-{index}|>", UNUSED)) for index in range(rows)]
    if len({token for token, _ in filled}) != rows:
        raise _refused(folder, "two of its tokens have one text", "give one whose tokens differ")
    return [token for token, _ in filled], [kind for _, kind in filled]


def _split(folder: Path, described: dict[str, Any]) -> str:
    """The name by which llama.cpp splits text as this tokenizer does."""
    bpe = described["model"]
    odd = [name for name in ("ignore_merges", "byte_fallback", "dropout", "unk_token") if bpe.get(name)]
    if bpe["type"] != "BPE" or odd or described["normalizer"]:
        what = f"its tokenizer ({bpe['type']}{', '.join(['', *odd])}) is no plain byte-level BPE"
        raise _refused(folder, what, "give one that is")
    outer = described["pre_tokenizer"] or {}
    parts = outer.get("pretokenizers", [outer])
    found = [(part.get("type"), _usual(part)) for part in parts]
    for known, name in SPLITS:
        if found == known:
            return name
    said = " then ".join(str(kind) for kind, _ in found)
    raise _refused(folder, f"llama.cpp has no name for the way its tokenizer splits text ({said})", "leave GGUF out")


def _usual(part: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer is set as the named ones are."""
    if part.get("type") == "Digits":
        return bool(part.get("individual_digits"))
    return bool(part.get("use_regex", True)) and not part.get("add_prefix_space")


def _begins(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether the tokenizer puts a token of the beginning in front by itself."""
    first: list[int] = tokenizer("a")["input_ids"][:1]
    return first == [tokenizer.bos_token_id]


def _tensors(folder: Path, model: PreTrainedModel) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each tensor by its name in GGUF, float32; a tied output is left out, as llama.cpp then takes the embedding."""
    config = model.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = dict(model.named_parameters())  # of two that are tied, one
    for theirs, ours in _names(int(config.num_hidden_layers)).items():
        if ours in state:
            values = np.ascontiguousarray(state.pop(ours).detach().float().numpy())
            turned = heads.get(theirs.split(".")[-2])
            yield theirs, in_pairs(values, turned) if turned else values
    if state:
        raise _refused(folder, f"a plain Llama has no weights {min(state)}", "leave GGUF out")


def _names(layers: int) -> dict[str, str]:
    names = {f"{theirs}.weight": f"{ours}.weight" for theirs, ours in AROUND.items()}
    for layer in range(layers):
        for theirs, ours in WEIGHTS.items():
            names[f"blk.{layer}.{theirs}.weight"] = f"model.layers.{layer}.{ours}.weight"
        for theirs in BIASES:
            names[f"blk.{layer}.{theirs}.bias"] = f"model.layers.{layer}.{WEIGHTS[theirs]}.bias"
    return names


def in_pairs(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of queries or keys as GGUF has them: each pair that is turned together side by side.

    values: float32[rows, width] of weights, float32[rows] of biases.

    >>> in_pairs(np.arange(8, dtype=np.float32), 2).tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    rows = len(values)
    halves = values.reshape(heads, 2, rows // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
