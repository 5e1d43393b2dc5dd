"""Weights from another machine: taken whole where they are the base's in number and shape, else not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatfed.model.checkpoint import base_digest, save_model, weights_file
from chatfed.model.received import keep_received
from chatfed.model.refusals import ModelError
from chatfed.model.transformer import load_model
from tests.training.bases import TINY, build

Weights = dict[str, torch.Tensor]
OUTPUT = "lm_head.weight"


@pytest.fixture(scope="module")
def sent(tiny_base: Path) -> bytes:
    """Other weights for the base, as a coordinator sends them."""
    return changed(tiny_base, lambda weights: {name: each * 1.25 + 0.5 for name, each in weights.items()})


def changed(base: Path, change: Callable[[Weights], Weights]) -> bytes:
    return safetensors.torch.save(change(safetensors.torch.load(weights_file(base).read_bytes())))


def test_other_weights_are_kept_with_the_base_s_own_tokenizer_template_and_kind(
    tiny_base: Path, sent: bytes, tmp_path: Path
) -> None:
    keep_received(tiny_base, sent, tmp_path / "kept", "A card.\n")
    kept, own = (safetensors.torch.load(each) for each in (weights_file(tmp_path / "kept").read_bytes(), sent))
    assert kept.keys() == own.keys() and all(torch.equal(kept[name], own[name]) for name in own)
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "kept" / name).read_text() == (tiny_base / name).read_text()
    assert (tmp_path / "kept" / "README.md").read_text() == "A card.\n"
    assert base_digest(tmp_path / "kept") != base_digest(tiny_base)


def renamed(weights: Weights) -> Weights:
    first = next(iter(weights))
    return {(f"{name}x" if name == first else name): each for name, each in weights.items()}


def reshaped(weights: Weights) -> Weights:
    return weights | {OUTPUT: weights[OUTPUT][:-1].contiguous()}


def turned(weights: Weights) -> Weights:
    return weights | {OUTPUT: weights[OUTPUT].T.contiguous()}


def one_number(value: float, kind: torch.dtype = torch.float32) -> Callable[[Weights], Weights]:
    def change(weights: Weights) -> Weights:
        broken = weights[OUTPUT].to(kind).clone()
        broken[-1, -1] = value
        return weights | {OUTPUT: broken}

    return change


TAMPERED: dict[str, Callable[[Weights], Weights]] = {
    "renamed": renamed,
    "another shape": reshaped,
    "rows for columns": turned,
    "one missing": lambda weights: dict(list(weights.items())[1:]),
    "one more": lambda weights: weights | {"extra": torch.zeros(3)},
    "none": lambda weights: {},
    "not a number": one_number(float("nan")),
    "infinity": one_number(float("-inf")),
    "too large for the base's type": one_number(1e300, torch.float64),
    "whole numbers": lambda weights: weights | {OUTPUT: torch.zeros_like(weights[OUTPUT], dtype=torch.int32)},
}


@pytest.mark.parametrize("how", TAMPERED)
def test_weights_that_are_not_the_base_s_are_refused_and_nothing_is_written(
    how: str, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="that were received"):
        keep_received(tiny_base, changed(tiny_base, TAMPERED[how]), tmp_path / "kept", "")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bytes_that_are_cut_or_flipped_give_a_model_of_finite_numbers_or_one_error(
    tiny_base: Path, sent: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(sent) - 1) | st.integers(0, 2000))
    spoiled = data.draw(st.sampled_from(("cut", "flipped", "longer")))
    given_bytes = {
        "cut": sent[:at],
        "flipped": sent[:at] + bytes([sent[at] ^ (1 << data.draw(st.integers(0, 7)))]) + sent[at + 1 :],
        "longer": sent + b"\0",
    }[spoiled]
    folder = tmp_path / f"{at}-{spoiled}"
    try:
        keep_received(tiny_base, given_bytes, folder, "")
    except ModelError:
        assert not folder.exists()
    else:
        model, _ = load_model(folder)
        assert spoiled == "flipped" and all(torch.isfinite(each).all() for each in model.parameters())


def test_an_earlier_folder_stays_where_what_comes_is_refused(tiny_base: Path, sent: bytes, tmp_path: Path) -> None:
    keep_received(tiny_base, sent, tmp_path / "kept", "")
    before = base_digest(tmp_path / "kept")
    with pytest.raises(ModelError):
        keep_received(tiny_base, sent[:-1], tmp_path / "kept", "")
    assert base_digest(tmp_path / "kept") == before


def test_a_base_that_ties_its_output_takes_weights_with_one_of_its_own_and_without(
    tiny_base: Path, tmp_path: Path
) -> None:
    _, tokenizer = load_model(tiny_base)
    model = build("llama", {**TINY["llama"], "vocab_size": len(tokenizer)})
    model.config.tie_word_embeddings = True
    model.tie_weights()
    save_model(tmp_path / "tied", model, tokenizer, "")
    assert OUTPUT not in safetensors.torch.load(weights_file(tmp_path / "tied").read_bytes())
    keep_received(tmp_path / "tied", changed(tmp_path / "tied", lambda weights: weights), tmp_path / "again", "")
    tied, _ = load_model(tmp_path / "again")
    assert tied.get_output_embeddings().weight is tied.get_input_embeddings().weight
    own = changed(tmp_path / "tied", lambda weights: weights | {OUTPUT: weights["model.embed_tokens.weight"] * 2})
    keep_received(tmp_path / "tied", own, tmp_path / "untied", "")
    untied, _ = load_model(tmp_path / "untied")
    own_output = dict(untied.named_parameters())
    assert torch.equal(own_output[OUTPUT], own_output["model.embed_tokens.weight"] * 2)
