"""A plain Llama token by token says what its layers say of the whole text, in float32, and nearly so in fewer bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM

from chatfed.model import decoding
from chatfed.model.decoding import Decoder, close
from chatfed.model.llama_steps import LlamaSteps, Precision, _Rounded, llama_steps
from tests.model.architectures import tiny

IDS = torch.tensor([[7, 30, 5, 61, 90, 12, 44, 8, 101, 3], [3, 2, 1, 9, 8, 7, 6, 5, 4, 30]])


def llama(**changes: Any) -> Any:
    torch.manual_seed(3)
    usual: dict[str, Any] = {"vocab_size": 128, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6}
    sizes = {
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
    }
    return LlamaForCausalLM(LlamaConfig(**{**usual, **sizes, **changes})).eval()


@pytest.mark.parametrize(
    "changes", [{}, {"attention_bias": True, "mlp_bias": True}, {"num_key_value_heads": 6}, {"head_dim": 16}]
)
@pytest.mark.parametrize("steps", [(10,), (1,) * 10, (3, 1, 4, 2)])
def test_steps_say_what_the_whole_text_says(changes: dict[str, object], steps: tuple[int, ...]) -> None:
    model = llama(**changes)
    quick = llama_steps(model)
    assert quick is not None
    cache, at = quick.begin(2), 0
    with torch.inference_mode():
        wanted = model(input_ids=IDS).logits
    for step in steps:
        each = quick.add(cache, IDS[:, at : at + step], last=False)
        torch.testing.assert_close(each, wanted[:, at : at + step], rtol=1e-4, atol=1e-4)
        at += step
    assert cache.length == 10


def test_a_cache_grows_and_keeps_what_was_read() -> None:
    model = llama()
    quick = llama_steps(model)
    assert quick is not None
    ids = torch.arange(200)[None] % 128
    cache = quick.begin(1)
    for at in range(0, 200, 25):
        found = quick.add(cache, ids[:, at : at + 25])
    with torch.inference_mode():
        assert close(found[0], model(input_ids=ids).logits[0, -1])


def test_rows_of_a_repeated_cache_grow_apart() -> None:
    model = llama()
    quick = llama_steps(model)
    assert quick is not None
    one = quick.begin(1)
    quick.add(one, IDS[:1, :6])
    both = one.repeated(2)
    found = quick.add(both, torch.tensor([[1, 2], [3, 4]]))
    for row, more in enumerate(([1, 2], [3, 4])):
        whole = torch.tensor([[*IDS[0, :6].tolist(), *more]])
        with torch.inference_mode():
            assert close(found[row], model(input_ids=whole).logits[0, -1])
    assert one.length == 6


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_fewer_bits_are_near_and_not_the_same(precision: Precision) -> None:
    model = llama()
    quick = llama_steps(model, precision)
    assert quick is not None
    found = quick.add(quick.begin(2), IDS, last=False)
    with torch.inference_mode():
        wanted = model(input_ids=IDS).logits
    apart = float((found - wanted).abs().max() / (wanted.max() - wanted.min()))
    assert 1e-5 < apart < decoding.NEAR


@pytest.mark.parametrize("kind", ["gpt2", "qwen3", "gemma2", "mamba"])
def test_other_models_have_no_steps(kind: str) -> None:
    assert llama_steps(tiny(kind)) is None and Decoder(tiny(kind)).steps is None


def test_a_hook_is_never_passed_over() -> None:
    model = llama()
    model.lm_head.register_forward_hook(lambda layer, given, out: out * 2)
    assert llama_steps(model) is None


def test_steps_that_do_not_agree_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Decoder(llama(initializer_range=0.5))
    decoder = Decoder(llama())
    monkeypatch.setattr(decoder, "whole", other.whole)
    assert decoder.steps is None


def test_steps_follow_a_model_whose_weights_change() -> None:
    model = llama()
    decoder = Decoder(model)
    before = decoder.steps
    assert before is not None and decoder.steps is before
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(2)
    found = decoder.drawn(2).add(IDS.numpy().astype(np.int32))
    assert decoder.steps is not before and all(
        close(one, other) for one, other in zip(found, decoder.whole(IDS), strict=True)
    )


def test_an_operator_that_is_not_here_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(decoding, "_LARGE", 1000)
    monkeypatch.setattr(decoding, "has_bfloat16", lambda: True)
    monkeypatch.setattr(decoding, "llama_steps", lambda model, *fewer: refused() if fewer else llama_steps(model))
    steps = Decoder(llama()).steps
    assert steps is not None and steps.begin(1).keys.dtype is torch.float32


@pytest.mark.parametrize(
    ("has", "taken"), [((True, True), "bfloat16"), ((False, True), "int8"), ((False, False), None)]
)
def test_a_large_model_is_read_in_what_the_processor_has(
    has: tuple[bool, bool], taken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = llama(), list[str]()

    def steps(model: Any, *fewer: Precision) -> LlamaSteps | None:
        asked.extend(fewer)
        return llama_steps(model, fewer[0] if fewer else "float32")

    monkeypatch.setattr(decoding, "_LARGE", 1000)
    monkeypatch.setattr(decoding, "has_bfloat16", lambda: has[0])
    monkeypatch.setattr(decoding, "has_int8", lambda: has[1])
    monkeypatch.setattr(decoding, "llama_steps", steps)
    assert Decoder(model).steps is not None and asked == ([taken] if taken else [])


def test_weights_of_8_bits_are_whole_steps_of_their_outputs_scale() -> None:
    layer = torch.nn.Linear(96, 40)
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(-3, 3, 40)[:, None])
        layer.weight[7] = 0.0
    x = torch.randn(5, 96, generator=torch.Generator().manual_seed(1)).bfloat16()
    found, weight = _Rounded([layer])(x), layer.weight.detach()
    scale = (weight.abs().amax(1, keepdim=True) / 127).bfloat16().float()
    steps = torch.where(scale > 0, weight / scale, 0.0).round().clamp(-127, 127)
    wanted = x.double() @ (steps * scale).double().T + layer.bias.detach().double()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-2, atol=1e-2)
    assert torch.equal(found[:, 7], layer.bias.detach()[7].expand(5))


@pytest.mark.parametrize("width", [40, 24])
def test_a_width_that_the_operator_does_not_take_is_drawn_in_float32(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = llama(hidden_size=width, num_attention_heads=4, head_dim=8)
    with pytest.raises(RuntimeError, match=f"multiple of 16 inputs, these {width}"):
        llama_steps(model, "int8")
    monkeypatch.setattr(decoding, "_LARGE", 1000)
    monkeypatch.setattr(decoding, "has_bfloat16", lambda: False)
    monkeypatch.setattr(decoding, "has_int8", lambda: True)
    steps = Decoder(model).steps
    assert steps is not None and not isinstance(steps._head, _Rounded)


def test_one_loud_weight_that_drowns_the_others_is_not_taken_in_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    with torch.no_grad():  # of an input that is always nought
        model.model.layers[0].input_layernorm.weight[3] = 0.0
        model.model.layers[0].self_attn.v_proj.weight[:, 3] = 1e6
    monkeypatch.setattr(decoding, "_LARGE", 1000)
    monkeypatch.setattr(decoding, "has_bfloat16", lambda: False)
    taken, wanted = Decoder(model).steps, Decoder(model).whole(IDS)
    for steps, right in ((taken, True), (llama_steps(model, "int8"), False)):
        assert steps is not None
        found = steps.add(steps.begin(2), IDS)
        assert all(close(*pair, decoding.NEAR) for pair in zip(found, wanted, strict=True)) == right


def test_a_long_prompt_is_read_without_an_array_of_all_scores() -> None:
    quick = llama_steps(llama(max_position_embeddings=4096))
    assert quick is not None
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            largest = max([largest, *(each.numel() for each in tree_leaves(found) if isinstance(each, torch.Tensor))])
            return found

    with Sizes():  # type: ignore[no-untyped-call]
        quick.stream(torch.arange(3000)[None] % 128)
    assert largest < 3000 * 3000 / 4


def test_a_large_model_draws_in_bfloat16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_LARGE", 1000)
    for there, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(decoding, "has_bfloat16", lambda there=there: there)
        steps = Decoder(llama()).steps
        assert steps is not None and steps.begin(1).keys.dtype is dtype


def test_what_layers_above_would_read_is_what_they_read() -> None:
    model = llama()
    lowest = llama_steps(model, layers=2)
    assert lowest is not None
    with torch.inference_mode():
        wanted = model(input_ids=IDS, output_hidden_states=True).hidden_states[2]
    np.testing.assert_allclose(lowest.stream(IDS).numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4)
