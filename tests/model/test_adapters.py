"""Adapters on a base: where they begin, what they may sit on, and folders that are not what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from chatfed import ChatfedError, load_chat
from chatfed.model.adapters import Adapters, attach, base_folder, base_of, check_adapters, save_adapters
from chatfed.model.checkpoint import weights_digest
from chatfed.model.parameters import flatten
from chatfed.model.transformer import load_model
from tests.training.bases import TINY, write_base

IDS = torch.arange(5, 25)[None]


def made(base: Path, rank: int = 2, alpha: float = 4.0, *targets: str) -> tuple[Any, Any, Any]:
    """(model, peft's cover, tokenizer)."""
    model, tokenizer = load_model(base)
    return model, attach(model, Adapters(rank, alpha, targets)), tokenizer


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS).logits  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def saved(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of adapters that change what the base says; `base` is beside it."""
    place = tmp_path_factory.mktemp("saved")
    shutil.copytree(tiny_base, place / "base")
    model, cover, tokenizer = made(place / "base")
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.fill_(0.1)
    save_adapters(place / "model", cover, tokenizer, "card\n", str(place / "base"))
    return place / "model"


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("targets", [(), ("all-linear",), ("mlp.c_fc", "up_proj")])
def test_new_adapters_change_nothing_and_are_all_that_is_trainable(
    kind: str, targets: tuple[str, ...], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    base = write_base(tmp_path, kind, TINY[kind], tiny_tokenizer)
    if len(targets) == 2:
        targets = targets[:1] if kind == "gpt2" else targets[1:]
    model, _, _ = made(base, 2, 4.0, *targets)
    assert torch.equal(logits(model), logits(load_model(base)[0]))
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)
    assert "lm_head" not in " ".join(trainable)


def test_everybody_begins_with_the_same_adapters_and_no_generator_is_disturbed(tiny_base: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one = made(tiny_base)[0]
    assert torch.equal(torch.rand(1), expected)
    assert (flatten(one) == flatten(made(tiny_base)[0])).all() and flatten(one).any()


def test_the_digest_tells_bases_ranks_and_targets_apart(tiny_base: Path) -> None:
    other = made(tiny_base)[0]
    with torch.no_grad():
        next(p for p in other.parameters() if not p.requires_grad)[0, 0] += 1e-3
    models = [made(tiny_base)[0], made(tiny_base, 3)[0], made(tiny_base, 2, 4.0, "q_proj")[0], other]
    digests = {weights_digest(model) for model in [*models, load_model(tiny_base)[0]]}
    assert len(digests) == 5 and weights_digest(made(tiny_base)[0]) in digests


def test_the_base_stays_mapped_from_its_file(tiny_base: Path) -> None:
    """Processes share the pages of a mapped file; a copy of its own would cost each its size."""
    model, _, _ = made(tiny_base)
    weights_digest(model)
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(tiny_base) in line]
    ranges = [tuple(int(part, 16) for part in line[0].split("-")) for line in mapped]
    for p in model.parameters():
        assert p.requires_grad or any(low <= p.data_ptr() < high for low, high in ranges)


@pytest.mark.parametrize("target", ["q_prjo", "proj", "layers.9.self_attn.q_proj"])
def test_a_target_that_is_no_layer_is_refused_with_the_names_there_are(target: str, tiny_base: Path) -> None:
    with pytest.raises(ChatfedError, match=rf"'{target}' is no layer.*down_proj.*all-linear"):
        made(tiny_base, 2, 4.0, "q_proj", target)


def test_a_layer_that_takes_no_adapter_is_refused(tiny_base: Path) -> None:
    with pytest.raises(ChatfedError, match=r"llama: Target module LlamaRMSNorm.*not supported.*q_proj"):
        made(tiny_base, 2, 4.0, "input_layernorm")


def test_a_kind_for_which_peft_has_no_choice_is_refused_unless_layers_are_named(tiny_base: Path) -> None:
    model, _ = load_model(tiny_base)
    model.config.__class__ = type("Odd", (type(model.config),), {"model_type": "unheard-of"})
    vars(model.config)["model_type"] = "unheard-of"
    with pytest.raises(ChatfedError, match=r"unheard-of.*target_modules.*q_proj.*all-linear"):
        attach(model, Adapters(2, 4.0))
    attach(model, Adapters(2, 4.0, ("q_proj",)))


@pytest.mark.parametrize("base", [True, False])
def test_what_attach_would_refuse_is_told_without_weights(base: bool, tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "base", ignore=lambda *_: ["model.safetensors"])
    name = str(tmp_path / "base") if base else ""
    check_adapters(Adapters(2, 4.0, ("layers.1.self_attn.q_proj",)), name, 2)
    with pytest.raises(ChatfedError, match="is no layer"):
        check_adapters(Adapters(2, 4.0, ("layers.2.self_attn.q_proj",)), name, 2)
    with pytest.raises(ChatfedError, match="There is no model folder"):
        check_adapters(Adapters(2, 4.0), str(tmp_path / "nothing"), 2)


def test_a_base_that_is_no_language_model_is_refused_without_weights(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    for config in ('{"model_type": "vit"}', '{"model_type": "unheard-of"}', "{"):
        (tmp_path / "base" / "config.json").write_text(config)
        with pytest.raises(ChatfedError, match=str(tmp_path / "base")) as caught:
            check_adapters(Adapters(2, 4.0), str(tmp_path / "base"), 2)
        assert "\n" not in str(caught.value)


def test_a_chat_on_adapters_says_what_was_saved(saved: Path) -> None:
    model, _, _ = made(saved.parent / "base")
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.fill_(0.1)
    chat = load_chat(saved)
    assert torch.equal(logits(chat.model), logits(model))
    assert not torch.equal(logits(chat.model), logits(load_model(saved.parent / "base")[0]))


def test_adapters_whose_base_was_moved_find_it_beside_them(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "model")
    assert base_of(tmp_path / "model") == str(saved.parent / "base")
    config = json.loads((saved / "adapter_config.json").read_text())
    gone = json.dumps(config | {"base_model_name_or_path": str(tmp_path / "gone")})
    (tmp_path / "model" / "adapter_config.json").write_text(gone)
    with pytest.raises(ChatfedError, match=rf"{tmp_path / 'gone'}, which is not there: bring it back"):
        load_chat(tmp_path / "model")
    shutil.copytree(saved.parent / "base", tmp_path / "reference")
    assert torch.equal(logits(load_chat(tmp_path / "model").model), logits(load_chat(saved).model))


def test_a_base_of_the_hub_is_found_in_its_cache(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "hub" / "models--org--small"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc")
    shutil.copytree(saved.parent / "base", kept / "snapshots" / "abc")
    shutil.copytree(saved, tmp_path / "model")
    rewritten(base_model_name_or_path="org/small")(tmp_path / "model")
    assert base_folder(tmp_path / "model") is None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert base_folder(tmp_path / "model") == kept / "snapshots" / "abc"


def rewritten(**changes: object) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | changes))

    return rewrite


SPOILT: dict[str, Callable[[Path], object]] = {
    "names no base model": lambda folder: (folder / "adapter_config.json").write_text("{"),
    "names no base": lambda folder: (folder / "adapter_config.json").write_text("[]"),
    "There is no model folder": rewritten(base_model_name_or_path="./nowhere"),
    "cannot be put on": lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\x08"),
    "There is no .*adapter_model.safetensors": lambda folder: (folder / "adapter_model.safetensors").rename(
        folder / "adapter_model.bin"
    ),
    "in one of both only": rewritten(target_modules=["q_proj"]),
    "size mismatch|cannot be put": rewritten(r=3),
    "prompts|cannot be": rewritten(peft_type="PROMPT_TUNING", num_virtual_tokens=2),
    "tokenizer|No causal": lambda folder: (folder / "tokenizer.json").unlink(),
}


@pytest.mark.parametrize("words", SPOILT)
def test_a_spoilt_folder_of_adapters_gets_one_line(words: str, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "model")
    SPOILT[words](tmp_path / "model")
    with pytest.raises(ChatfedError, match=words) as caught:
        load_chat(tmp_path / "model")
    assert "\n" not in str(caught.value)
