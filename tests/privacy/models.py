"""Small models, layers, losses and dialogues that the privacy tests share, and one dialogue's gradient by autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from chatfed.privacy.clipping import Loss
from chatfed.types import IntVector

VOCABULARY = 29


def llama(tied: bool = True) -> nn.Module:
    """A two-layer transformers Llama, vocabulary 29, width 24."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, vocab_size=VOCABULARY,
        tie_word_embeddings=tied, max_position_embeddings=64,
    )  # fmt: skip
    model: nn.Module = LlamaForCausalLM(config)
    return model


def gpt2() -> nn.Module:
    """A two-layer transformers GPT-2 without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(
        n_embd=24, n_layer=2, n_head=2, vocab_size=VOCABULARY, n_positions=32, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0,
    )  # fmt: skip
    model: nn.Module = GPT2LMHeadModel(config)
    return model


def language_loss(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Summed cross-entropy of each row of `input_ids`: float[rows]."""
    ids = batch["input_ids"]
    logits = module(input_ids=ids, use_cache=False).logits[:, :-1]
    return nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").sum(1)


def square_loss(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Half the squared outputs, weighted so that no two positions look alike: float[rows]."""
    out = module(batch["x"])
    weights = torch.linspace(0.5, 1.5, out[0].numel(), dtype=out.dtype).view_as(out[0])
    losses: Tensor = ((out * weights).sin() + 0.5 * out.square()).flatten(1).sum(1)
    return losses


class Dialogues:
    """Fixed rows of tensors with their owners; `counts` says how many rows each dialogue has."""

    def __init__(self, batch: dict[str, Tensor], counts: list[int], shuffle: bool = False) -> None:
        self.batch, self.counts = batch, counts
        self.owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64))
        if shuffle:
            order = torch.randperm(len(self.owner), generator=torch.Generator().manual_seed(3))
            self.owner, self.batch = self.owner[order], {k: v[order] for k, v in batch.items()}

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, indices: IntVector) -> tuple[dict[str, Tensor], Tensor]:
        """Rows of the chosen dialogues, in stored order."""
        place = torch.full((len(self.counts),), -1)
        place[torch.as_tensor(indices)] = torch.arange(len(indices))
        owner = place[self.owner]
        return {k: v[owner >= 0] for k, v in self.batch.items()}, owner[owner >= 0]


def text(counts: list[int], length: int = 7, seed: int = 5, shuffle: bool = False) -> Dialogues:
    """Random token rows."""
    ids = torch.randint(0, VOCABULARY, (sum(counts), length), generator=torch.Generator().manual_seed(seed))
    return Dialogues({"input_ids": ids}, counts, shuffle)


def plain_gradient(module: nn.Module, loss: Loss, batch: dict[str, Tensor]) -> Tensor:
    """One dialogue by itself, ordinary autograd."""
    trained = [p for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss(module, batch).sum(), trained, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(trained, found, strict=True)])


def bounds_of(counts: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum(counts)
    return [(int(last - count), int(last)) for count, last in zip(counts, ends, strict=True)]


class Scale(nn.Module):
    """A layer nobody registered: Opacus' functorch path."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2.0, size))

    def forward(self, x: Tensor) -> Tensor:
        """X times a vector, twisted."""
        return (x * self.scale).tanh()


class Tied(nn.Module):
    """One parameter as input and output embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        """Scores of all tokens."""
        out: Tensor = self.head(self.embed(x).tanh())
        return out


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        """The layer after itself."""
        out: Tensor = self.layer(self.layer(x).tanh())
        return out


def llama_norm() -> nn.Module:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm: nn.Module = LlamaRMSNorm(6)
    nn.init.uniform_(norm.weight, 0.5, 1.5)  # type: ignore[arg-type]
    return norm


def conv1d() -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    layer: nn.Module = Conv1D(5, 6)
    return layer


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 5),
    "linear without bias": lambda: nn.Linear(6, 5, bias=False),
    "layer norm": lambda: nn.LayerNorm(6),
    "rms norm": lambda: nn.RMSNorm(6),
    "llama rms norm": llama_norm,
    "conv1d": conv1d,
    "unknown": lambda: Scale(6),
    "used twice": Twice,
    "stack": lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 4)),
    "group norm": lambda: nn.GroupNorm(2, 4),
}
COUNTS = [1, 3, 2]
