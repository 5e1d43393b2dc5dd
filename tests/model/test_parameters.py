"""A module as one vector and back, and model folders on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from chatfed.model.checkpoint import replace_folder, save_model, weights_digest
from chatfed.model.parameters import dimension, flatten, load_flat, set_trainable
from chatfed.model.transformer import Architecture, build_llama, check_model_folder, load_model, load_tokenizer
from chatfed.types import ChatfedError
from tests.conftest import build_tiny


@pytest.fixture
def model(tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return build_tiny(tiny_tokenizer)


def test_flatten_and_load_are_inverse(model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    vector = flatten(model)
    assert vector.dtype == np.float32 and vector.shape == (dimension(model),)
    other = build_llama(Architecture(16, 2, 2, 32, 64), tiny_tokenizer, seed=9)
    assert weights_digest(other) != weights_digest(model)
    load_flat(other, vector)
    assert weights_digest(other) == weights_digest(model)
    assert flatten(other).tobytes() == vector.tobytes()


def test_only_trainable_parameters_are_in_the_vector(model: PreTrainedModel) -> None:
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    count = set_trainable(model, ["*norm*", "*.mlp.*.bias"])
    chosen = {name for name, p in model.named_parameters() if p.requires_grad}
    assert chosen and all("norm" in name or (".mlp." in name and name.endswith("bias")) for name in chosen)
    assert count == sum(before[name].numel() for name in chosen) == len(flatten(model))
    load_flat(model, flatten(model) + 1)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name] + 1 if name in chosen else before[name]), name


def test_the_vector_is_in_the_order_of_names(model: PreTrainedModel) -> None:
    set_trainable(model, ["all"])
    pieces = [p.detach().numpy().ravel() for _, p in sorted(model.named_parameters(), key=lambda item: item[0])]
    assert flatten(model).tobytes() == np.concatenate(pieces).tobytes()


def test_a_vector_of_another_length_and_a_glob_without_match_are_refused(model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="expected float32"):
        load_flat(model, np.zeros(3, np.float32))
    with pytest.raises(ChatfedError, match=r"'layers.99.*' matches no parameter"):
        set_trainable(model, ["*norm*", "layers.99.*"])


def test_the_vector_is_a_copy(model: PreTrainedModel) -> None:
    vector = flatten(model)
    kept = vector.copy()
    load_flat(model, vector * 0)
    assert vector.tobytes() == kept.tobytes()


def test_the_digest_changes_with_any_single_weight(model: PreTrainedModel) -> None:
    digests = {weights_digest(model)}
    parameters = list(model.parameters())
    for parameter in parameters:
        with torch.no_grad():
            flat = parameter.view(-1)
            old = flat[-1].clone()
            flat[-1] = torch.nextafter(old, torch.tensor(float("inf")))
            digests.add(weights_digest(model))
            flat[-1] = old
    assert len(digests) == 1 + len(parameters)
    assert weights_digest(model) in digests


def test_the_same_seed_builds_the_same_model_and_leaves_torch_s_generator_alone(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two = (build_llama(Architecture(16, 1, 2, 32, 64), tiny_tokenizer, seed=4) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert weights_digest(one) == weights_digest(two)
    assert weights_digest(one) != weights_digest(build_llama(Architecture(16, 1, 2, 32, 64), tiny_tokenizer, seed=5))


def test_a_saved_model_loads_to_the_same_weights_and_tokens(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    save_model(tmp_path / "model", model, tiny_tokenizer, "card\n")
    loaded, tokenizer = load_model(tmp_path / "model")
    assert weights_digest(loaded) == weights_digest(model)
    assert tokenizer.get_vocab() == tiny_tokenizer.get_vocab()
    assert tokenizer.chat_template == tiny_tokenizer.chat_template
    assert not loaded.training
    assert (tmp_path / "model" / "README.md").read_text() == "card\n"
    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight


def test_saving_replaces_the_whole_folder_and_leaves_nothing_beside_it(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale.bin").write_text("old")
    (tmp_path / ".model-old").mkdir()  # left by a crash
    save_model(target, model, tiny_tokenizer, "card\n")
    assert not (target / "stale.bin").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_save_that_fails_leaves_the_old_model_and_no_scrap(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    target = tmp_path / "model"
    save_model(target, model, tiny_tokenizer, "first\n")
    with pytest.raises(TypeError):
        save_model(target, model, tiny_tokenizer, None)  # type: ignore[arg-type]
    assert (target / "README.md").read_text() == "first\n"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_replacing_a_folder_moves_the_new_one_in_place(tmp_path: Path) -> None:
    for name in ("new", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name.txt").write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "target")
    assert (tmp_path / "target" / "name.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChatfedError, match="There is no model folder"):
        check_model_folder(tmp_path / "nothing")
    with pytest.raises(ChatfedError, match=r"no config.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ChatfedError, match="could be loaded") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
