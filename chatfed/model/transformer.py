"""The language model: a small Llama built from a configuration, or any causal model from a transformers folder.

RMSNorm and rotary positions keep per-example gradients exact. Knows no training and no data.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.model.checkpoint import holds_adapters
from chatfed.model.refusals import ModelError
from chatfed.model.silence import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
"""Settings of the environment that keep hub, data sets and telemetry from reaching out."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of the small Llama."""

    hidden: int = 160
    layers: int = 3
    heads: int = 5
    intermediate: int = 432
    context: int = 256  # tokens in one window, in training and in the chat


def build_llama(sizes: Architecture, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """A Llama with tied input and output embeddings and random weights drawn from `seed`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate,
        max_position_embeddings=sizes.context,
        initializer_range=0.06,  # near 1 / sqrt(width): with 0.02 narrow attention takes long to wake
        tie_word_embeddings=True,
        attention_bias=True,  # few numbers that learn much: what private training prefers (Bu et al. 2022, DP-BiTFiT)
        mlp_bias=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):  # initial weights carry no secret: a seed keeps runs comparable
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def untie_output(model: PreTrainedModel) -> None:
    """Gives the output layer weights of its own, equal to the input embedding's, so that it can learn alone.

    Training only what stands near the output spares the backward pass through all below.
    """
    from torch import nn

    untyped: Any = model  # in some versions of transformers, and not in others
    head = untyped.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output layer to learn alone; give another base.")
    head.weight = nn.Parameter(head.weight.detach().clone())
    model.config.tie_word_embeddings = False


def load_model(name: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The causal model and its tokenizer from a folder, or from the hub when `name` is no folder.

    Raises ModelError when there is no such model or it has no fast tokenizer.
    """
    tokenizer = load_tokenizer(name)
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    _refuse_kind(name, _load(AutoConfig, name))
    # float32 safetensors stay mapped: processes of one machine share the pages of all weights that nobody trains
    found: Any = _load(
        AutoModelForCausalLM, name, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    model: Any = found[0]
    _refuse_gaps(name, model, found[1])
    refuse_sizes(model, tokenizer, name)
    model.train(False)
    return model, tokenizer


def _refuse_kind(name: str | Path, config: Any) -> None:
    """Raises ModelError for what AutoModelForCausalLM takes a part of, without a word, or cannot compute here."""
    kind = config.model_type
    if config.is_encoder_decoder:
        raise ModelError(
            f"{name} ({kind}) is an encoder with a decoder: as a causal model it would lose its encoder. Give a "
            "decoder-only base.",
            param=str(name),
        )
    if getattr(config, "text_config", None) is not None and config.get_text_config() is not config:
        text = config.get_text_config().model_type
        raise ModelError(
            f"{name} ({kind}) is a model for more than text: give its text model alone, saved as model_type {text}.",
            param=str(name),
        )
    if getattr(config, "quantization_config", None):
        raise ModelError(
            f"{name} holds quantized weights, which cannot be trained: give its full-precision form.", param=str(name)
        )


def _refuse_gaps(name: str | Path, model: Any, info: Any) -> None:
    """Raises ModelError when the folder did not give every weight: what lacks is filled with random numbers."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    missing = sorted(set(info["missing_keys"]) - tied)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(
            f"{name} lacks the weights {missing[0]}{more}, which would be random: restore its safetensors files, or "
            "give the base that they belong to.",
            param=str(name),
        )
    odd = sorted(tuple(each) for each in info["mismatched_keys"])
    if odd:
        key, stored, wanted = odd[0]
        sizes = " and ".join("x".join(map(str, shape)) for shape in (stored, wanted))
        raise ModelError(
            f"{name} holds {key} and its config.json do not fit: sizes {sizes}. Restore the config.json that its "
            "weights were saved with.",
            param=str(name),
        )


def refuse_sizes(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str | Path) -> None:
    """Raises ModelError when the tokenizer has tokens for which the model has no embedding."""
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    tokens = max(len(tokenizer), max(tokenizer.get_vocab().values(), default=-1) + 1)
    if tokens > rows:
        raise ModelError(
            f"{name}: the tokenizer has {tokens:,} tokens, the embedding {rows:,}. Give the tokenizer that the weights "
            "were trained with, or save the model after resize_token_embeddings.",
            param=str(name),
        )


def empty_twin(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the same configuration without any weights, on torch's meta device."""
    import copy

    import torch

    made: Any = type(model)
    with torch.device("meta"):
        return made(copy.deepcopy(model.config))  # type: ignore[no-any-return]


def random_twin(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the same configuration with random weights, float32: it computes as long as the real one."""
    import copy

    import torch

    made: Any = type(model)
    with torch.random.fork_rng(devices=[]):
        return made(copy.deepcopy(model.config)).eval()  # type: ignore[no-any-return]


def skeleton(name: str, layers: int) -> PreTrainedModel:
    """A model without any weights, on torch's meta device: its layers by name and kind.

    That of folder or hub name `name`, or, where that is empty, a small Llama of so many layers. Raises ModelError as
    `load_model` does.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 8}
    if name:
        load_tokenizer(name)
        config = _load(AutoConfig, name)
        _refuse_kind(name, config)
    else:
        config = AutoConfig.for_model("llama", num_hidden_layers=layers, **small)
    kind: Any = AutoModelForCausalLM
    with torch.device("meta"):
        try:
            return kind.from_config(config)  # type: ignore[no-any-return]
        except ValueError:
            raise ModelError(f"{name} is no causal language model; give another base.", param=str(name)) from None


def load_tokenizer(name: str | Path, needs_model: bool = True) -> PreTrainedTokenizerFast:
    """The tokenizer alone. Raises ModelError as `load_model` does."""
    path = Path(name)
    if needs_model and (path.exists() or path.is_absolute() or str(name).startswith((".", "~"))):
        check_model_folder(path)
    from transformers import AutoTokenizer

    quiet()
    tokenizer: PreTrainedTokenizerFast = _load(AutoTokenizer, name)
    if not tokenizer.is_fast:
        raise ModelError(
            f"{name} has no fast tokenizer (tokenizer.json), which word positions need; give another base.",
            param=str(name),
        )
    return tokenizer


def _load(kind: Any, name: str | Path, **options: Any) -> Any:
    try:
        return kind.from_pretrained(str(name), local_files_only=Path(name).exists(), **options)
    except Exception as error:  # safetensors and tokenizers raise types of their own, even plain Exception
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"No causal language model could be loaded from {name}: {reason}", param=str(name)) from None


def check_model_folder(path: Path) -> None:
    """Raises ModelError when `path` is not a folder with a transformers model in it."""
    if not path.is_dir():
        raise ModelError(f"There is no model folder {path}. Train one with: chatfed train", param=str(path))
    if holds_adapters(path):
        raise ModelError(
            f"{path} holds adapters, no whole model: name their base, or merge them first.", param=str(path)
        )
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path} holds no config.json, so it is no transformers model; name the folder model/ of a run.",
            param=str(path),
        )


def context_of(model: PreTrainedModel) -> int | None:
    """How many tokens the model takes, as far as its configuration says."""
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "context_length")
    given = (getattr(model.config, name, None) for name in names)
    return next((int(length) for length in given if length and int(length) > 0), None)


def stay_offline() -> None:
    """Keeps hub, datasets and telemetry from reaching out.

    The caller skips it when a person names something on the hub.
    """
    for name in OFFLINE:
        os.environ.setdefault(name, "1")
