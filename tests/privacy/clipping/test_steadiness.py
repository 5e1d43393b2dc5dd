"""What comes of one dialogue depends on weights and that dialogue alone: no dropout, no memory, no slow numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chatfed.privacy.clipping import STYLES, ClippingError, flushes_denormals, refusing_memory, steady
from chatfed.privacy.dpsgd import DPSGDConfig, clipped_gradients, train_private

from ..entropy import replay
from ..models import VOCABULARY, Dialogues, language_loss, square_loss, text


def as_published() -> nn.Module:
    """A GPT-2 with the dropout that such bases bring along: 0.1 in residuals, embeddings and attention."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(n_embd=24, n_layer=2, n_head=2, vocab_size=VOCABULARY, n_positions=32)
    assert (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) == (0.1, 0.1, 0.1)
    model: nn.Module = GPT2LMHeadModel(config).train()
    return model


def routed() -> nn.Module:
    """A mixture of experts whose router adds noise while it trains."""
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(1)
    config = MixtralConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, intermediate_size=16,
        vocab_size=VOCABULARY, num_local_experts=3, num_experts_per_tok=2, max_position_embeddings=32,
        router_jitter_noise=0.2, attention_dropout=0.2,
    )  # fmt: skip
    model: nn.Module = MixtralForCausalLM(config).train()
    return model


def skipping() -> nn.Module:
    """A model that leaves whole layers out at random while it trains."""
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(1)
    config = OPTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, ffn_dim=32, vocab_size=VOCABULARY,
        max_position_embeddings=32, word_embed_proj_dim=24, layerdrop=0.5, dropout=0.1, pad_token_id=1,
    )  # fmt: skip
    model: nn.Module = OPTForCausalLM(config).train()
    return model


BASES = {"gpt2": as_published, "mixture of experts": routed, "layers left out": skipping}


def clipped_sum(module: nn.Module, data: Dialogues, config: DPSGDConfig) -> Tensor:
    """What a private step without noise adds up, the generator of masks at a place that is known: float64[d]."""
    trained = copy.deepcopy(module)
    torch.manual_seed(3)
    train_private(trained, data, language_loss, config)
    both = zip(module.parameters(), trained.parameters(), strict=True)
    return torch.cat([(before - after).detach().double().flatten() for before, after in both])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("at_once", [1, 100])
def test_one_dialogue_more_moves_the_sum_by_the_clip_norm_also_where_the_base_has_dropout(
    style: str, at_once: int
) -> None:
    """The one more comes first: with dropout it would shift the masks of the six behind it."""
    model, config = as_published(), DPSGDConfig(0.5, 0.0, 1.0, 1.0, 1, 1.0, dialogues_at_once=at_once, clipping=style)
    if at_once > 1:  # looked up once for a batch: refused there
        model.get_submodule("transformer.wpe").requires_grad_(False)
    every = text([1] * 7)
    without = Dialogues({"input_ids": every.batch["input_ids"][1:]}, [1] * 6)
    moved = clipped_sum(model, every, config) - clipped_sum(model, without, config)
    assert 0.1 < float(moved.norm()) <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("base", BASES)
def test_a_dialogue_gives_the_same_wherever_it_stands(base: str) -> None:
    """Of shared noise: single dialogues' parts, whatever was drawn before."""
    model, config = BASES[base](), DPSGDConfig(0.5, 0.0, 1.0, 4.0, 1, 0.0)
    every = text([1] * 3)
    last = Dialogues({"input_ids": every.batch["input_ids"][2:]}, [1])
    torch.manual_seed(3)
    *_, behind = clipped_gradients(model, every, language_loss, config)
    (alone,) = clipped_gradients(model, last, language_loss, config)
    assert all(torch.equal(behind[name], alone[name]) for name in alone)
    assert model.training and any(part.any() for part in alone.values())


class Noisy(nn.Module):
    """Dropout called as a function that does not look at the mode."""

    def __init__(self, draw: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.draw = nn.Linear(4, 4), draw

    def forward(self, x: Tensor) -> Tensor:
        return self.draw(self.layer(x))


class Remembering(nn.Module):
    """Divides by the largest number that it has met."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.most: Tensor
        self.register_buffer("most", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.most = torch.maximum(self.most, x.detach().abs().max())
        out: Tensor = self.layer(x / self.most)
        return out


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: Noisy(lambda x: nn.functional.dropout(x, 0.1)), "draws random numbers"),
        (lambda: Noisy(lambda x: x + torch.randn_like(x)), "draws random numbers"),
        (Remembering, "most changes as the model computes"),
    ],
    ids=["dropout", "noise", "memory"],
)
def test_what_draws_or_remembers_in_evaluation_mode_too_is_refused_with_one_line(
    model: Callable[[], nn.Module], words: str
) -> None:
    data, config = Dialogues({"x": torch.randn(3, 2, 4)}, [1, 1, 1]), DPSGDConfig(1.0, 1.0, 1.0, 2.0, 1, 0.1)
    for at_once in (1, 2):
        with pytest.raises(ClippingError, match=words) as error:
            train_private(model(), data, square_loss, DPSGDConfig(1.0, 1.0, 1.0, 2.0, 1, 0.1, at_once))
        assert "\n" not in str(error.value)
    with pytest.raises(ClippingError, match=words):
        next(clipped_gradients(model(), data, square_loss, config))


def test_spectral_norm_and_running_means_stay_as_they_are() -> None:
    """They are kept up in training mode only, so a model that has them gives each dialogue its own."""
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.InstanceNorm1d(2, affine=True))
    before = {name: value.clone() for name, value in model.named_buffers()}
    data = Dialogues({"x": torch.randn(3, 2, 4)}, [1, 1, 1])
    with steady(model), refusing_memory(model):
        square_loss(model, data.batch).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())


def test_private_training_takes_denormal_numbers_as_zero_and_gives_the_setting_back() -> None:
    """Weights can be chosen so that one dialogue's activations are denormal, which takes several times as long."""
    seen: list[bool] = []

    def watching(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        seen.append(flushes_denormals())
        losses = square_loss(module, batch)
        losses.register_hook(lambda g: seen.append(flushes_denormals()))
        return losses

    data, before = Dialogues({"x": torch.randn(3, 4)}, [1, 1, 1]), flushes_denormals()
    for at_once in (1, 2):
        train_private(nn.Linear(4, 4), data, watching, DPSGDConfig(1.0, 1.0, 1.0, 2.0, 1, 0.1, at_once))
    list(clipped_gradients(nn.Linear(4, 4), data, watching, DPSGDConfig(1.0, 1.0, 1.0, 2.0, 1, 0.1)))
    able = torch.set_flush_denormal(True)
    torch.set_flush_denormal(before)
    assert set(seen) == {able} and len(seen) >= 16 and flushes_denormals() == before


def test_numpy_and_torch_flush_alike_in_a_thread_whatever_numpy_says_of_small_numbers() -> None:
    small, factor = np.full(64, 2.0**-100, np.float32), 2.0**-30
    with np.errstate(under="raise"):
        before = flushes_denormals()
        assert bool((torch.from_numpy(small) * factor).any()) != before
        with steady(nn.Linear(1, 1)):
            assert flushes_denormals() or not torch.set_flush_denormal(True)
            assert bool((torch.from_numpy(small) * factor).any()) != flushes_denormals()
            with np.errstate(under="ignore"):
                assert bool((small * np.float32(factor)).any()) != flushes_denormals()
        assert flushes_denormals() == before


def test_noise_is_the_same_number_for_number_where_denormals_are_flushed() -> None:
    from chatfed.privacy.lattice import noised

    total = np.random.default_rng(0).normal(size=500)
    usual = noised(total, 1.0, 0.7, replay(b"noise"), divisor=3.0)
    with steady(nn.Linear(1, 1)):
        assert np.array_equal(noised(total, 1.0, 0.7, replay(b"noise"), divisor=3.0), usual)
