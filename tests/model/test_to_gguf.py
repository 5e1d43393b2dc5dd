"""A model folder becomes a GGUF file of the same numbers and tokens, or is refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import normalizers, pre_tokenizers

from chatfed.model.checkpoint import save_model
from chatfed.model.from_gguf import convert_gguf
from chatfed.model.gguf import read_gguf
from chatfed.model.refusals import ModelError
from chatfed.model.to_gguf import same_weights, write_as_gguf
from chatfed.model.transformer import load_model, load_tokenizer
from tests.conftest import build_tiny
from tests.model import llama_twin
from tests.model.bpe_twin import drawn_texts

IDS = [1, 40, 99, 7, 200, 5, 3]


def biased(tokenizer: Any) -> Any:
    """The tiny Llama with biases that matter."""
    model = build_tiny(tokenizer)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.5)
    return model


@pytest.fixture(scope="module")
def folder(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_model(folder, biased(tiny_tokenizer), tiny_tokenizer, "# tiny\n")
    return folder


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    write_as_gguf(folder, folder.parent / "tiny.gguf", about={"general.license": "mit"})
    return folder.parent / "tiny.gguf"


def logits(folder: Path) -> Any:
    model, _ = load_model(folder)
    with torch.inference_mode():
        return model(input_ids=torch.tensor([IDS])).logits[0].numpy()


def test_read_back_it_is_the_same_model_to_the_last_bit(folder: Path, file: Path, tmp_path: Path) -> None:
    convert_gguf(file, tmp_path / "back")
    ours, back = load_model(folder)[0].state_dict(), load_model(tmp_path / "back")[0].state_dict()
    assert set(ours) == set(back) and all(torch.equal(ours[name], back[name]) for name in ours)
    assert np.array_equal(logits(folder), logits(tmp_path / "back")) and same_weights(folder, file)


def test_biases_are_in_it_and_change_what_it_computes(folder: Path, file: Path) -> None:
    names = set(read_gguf(file).tensors)
    assert {f"blk.1.{each}.bias" for each in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_down")} <= names
    model, _ = load_model(folder)
    whole = logits(folder)
    with torch.inference_mode():
        for name, parameter in model.named_parameters():
            if name.endswith("k_proj.bias") or name.endswith("q_proj.bias"):
                parameter.zero_()
        assert np.abs(model(input_ids=torch.tensor([IDS])).logits[0].numpy() - whole).max() > 0.01


def test_without_biases_the_slow_reading_of_the_file_computes_the_same(tiny_tokenizer: Any, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    model = build_tiny(tiny_tokenizer)
    plain: Any = type(model.config).from_dict({**model.config.to_dict(), "attention_bias": False, "mlp_bias": False})
    made: Any = LlamaForCausalLM(plain)
    made.load_state_dict(model.state_dict(), strict=False)
    save_model(tmp_path / "plain", made, tiny_tokenizer, "# plain\n")
    write_as_gguf(tmp_path / "plain", tmp_path / "plain.gguf")
    wanted = llama_twin.logits(read_gguf(tmp_path / "plain.gguf"), IDS)
    assert np.abs(logits(tmp_path / "plain") - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_the_format_s_own_package_reads_every_field_and_tensor(file: Path) -> None:
    reader = gguf.GGUFReader(file)
    mine = read_gguf(file)
    assert set(mine.fields) <= set(reader.fields) and {each.name for each in reader.tensors} == set(mine.tensors)
    assert reader.fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert reader.fields["general.license"].contents() == "mit"
    for tensor in reader.tensors:
        assert np.array_equal(np.asarray(tensor.data), mine.read(tensor.name)), tensor.name


def test_tokens_and_template_come_back(folder: Path, file: Path, tmp_path: Path) -> None:
    convert_gguf(file, tmp_path / "back")
    ours, back = load_tokenizer(folder), load_tokenizer(tmp_path / "back")
    texts = [*drawn_texts(200), "<|end|> typed", "  two  blanks\n\n", "1234 it's"]
    assert [text for text in texts if ours(text)["input_ids"] != back(text)["input_ids"]] == []
    assert ours.chat_template == back.chat_template and ours.eos_token == back.eos_token


@pytest.mark.parametrize(("kind", "bits"), [("f16", 10), ("bf16", 7)])
def test_shorter_numbers_are_the_nearest_ones(folder: Path, file: Path, tmp_path: Path, kind: str, bits: int) -> None:
    write_as_gguf(folder, tmp_path / "short.gguf", kind)
    exact, short = read_gguf(file), read_gguf(tmp_path / "short.gguf")
    assert not same_weights(folder, tmp_path / "short.gguf")
    assert (tmp_path / "short.gguf").stat().st_size < 0.7 * file.stat().st_size
    for name in exact.tensors:
        wanted, found = exact.read(name), short.read(name)
        assert np.all(np.abs(found - wanted) <= np.abs(wanted) * 2.0 ** -(bits + 1) + 1e-7), name
    assert np.array_equal(short.read("output_norm.weight"), exact.read("output_norm.weight"))


def digits_apart(tokenizer: Any) -> None:
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)


def odd_splits(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def prefixed(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


def lowered(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def saved(folder: Path, tokenizer: Any, change: Any, **config: Any) -> Path:
    import copy

    other = copy.deepcopy(tokenizer)
    change(other)
    model = build_tiny(tokenizer)
    for name, value in config.items():
        setattr(model.config, name, value)
    save_model(folder, model, other, "# other\n")
    return folder


def test_digits_that_stand_alone_have_a_name_too(tiny_tokenizer: Any, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", tiny_tokenizer, digits_apart)
    write_as_gguf(folder, tmp_path / "x.gguf")
    assert read_gguf(tmp_path / "x.gguf").fields["tokenizer.ggml.pre"] == "smollm"


@pytest.mark.parametrize(
    ("change", "config", "said"),
    [
        (odd_splits, {}, "no name for the way its tokenizer splits text"),
        (prefixed, {}, "no name for the way its tokenizer splits text"),
        (lowered, {}, "no plain byte-level BPE"),
        (lambda _: None, {"hidden_act": "gelu"}, "gelu"),
        (
            lambda _: None,
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
            "stretches its positions",
        ),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    tiny_tokenizer: Any, tmp_path: Path, change: Any, config: dict[str, Any], said: str
) -> None:
    folder = saved(tmp_path / "model", tiny_tokenizer, change, **config)
    with pytest.raises(ModelError, match=said):
        write_as_gguf(folder, tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_another_kind_of_model_is_refused(tiny_tokenizer: Any, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model: Any = GPT2LMHeadModel(GPT2Config(vocab_size=len(tiny_tokenizer), n_embd=16, n_layer=1, n_head=2))
    save_model(tmp_path / "gpt2", model, tiny_tokenizer, "# gpt2\n")
    with pytest.raises(ModelError, match="gpt2"):
        write_as_gguf(tmp_path / "gpt2", tmp_path / "x.gguf")
