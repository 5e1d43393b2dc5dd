"""What benchmarks/dp_step.py measures with: settings, models of random weights, rows of random tokens."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from chatfed.model.silence import quiet
from chatfed.model.transformer import Architecture, build_llama, untie_output
from chatfed.types import IntVector
from training.base.learner import choose_trainable
from training.plan.recipe import ModelSection, load_recipe

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Setting:
    """One comparison."""

    name: str
    model: ModelSection
    trainable: tuple[str, ...]  # globs; not read where the model has a lora_rank
    rows: int
    tokens: int  # in a row
    steps: int  # in one sample


QUICK_MODEL = ModelSection(hidden=24, layers=2, heads=2, intermediate=40, vocabulary=300, context=32)


SEVEN_MILLION = ModelSection(hidden=256, layers=6, heads=4, intermediate=688, vocabulary=4096, context=256)


THIRTY_MILLION = ModelSection(hidden=512, layers=8, heads=8, intermediate=1376, vocabulary=4096, lora_rank=8)


def settings(quick: bool) -> list[Setting]:
    """The default model, what the recipe trains of it and all of it; a model of 7 M parameters; adapters on 30 M."""
    model = load_recipe().model
    if quick:
        adapters = Setting("adapters", replace(QUICK_MODEL, lora_rank=2), ("adapters",), 4, 16, 1)
        return [Setting("all", QUICK_MODEL, ("all",), 4, 16, 1), adapters]
    return [
        Setting("default_recipe", model, model.trainable, 16, 128, 2),
        Setting("all", model, ("all",), 16, 128, 1),
        Setting("7m_t64", SEVEN_MILLION, ("all",), 32, 64, 1),
        Setting("7m_t128", SEVEN_MILLION, ("all",), 32, 128, 1),
        Setting("adapters_30m", THIRTY_MILLION, ("adapters",), 16, 128, 1),
    ]


def scaling_settings(quick: bool) -> list[Setting]:
    """One change at a time from 16 rows of 64 tokens, width 256, 4 layers, vocabulary 4096."""
    base = replace(SEVEN_MILLION, layers=4)
    if quick:
        return [Setting("start", QUICK_MODEL, ("all",), 4, 16, 1), Setting("rows 8", QUICK_MODEL, ("all",), 8, 16, 1)]
    wide = replace(base, hidden=384, heads=6, intermediate=1024)
    return [
        Setting("start", base, ("all",), 16, 64, 1),
        *(Setting(f"rows {rows}", base, ("all",), rows, 64, 1) for rows in (4, 64)),
        *(Setting(f"tokens {tokens}", base, ("all",), 16, tokens, 1) for tokens in (16, 256)),
        Setting("width 384", wide, ("all",), 16, 64, 1),
        Setting("vocabulary 1024", replace(base, vocabulary=1024), ("all",), 16, 64, 1),
    ]


@lru_cache(maxsize=2)
def build(section: ModelSection) -> PreTrainedModel:
    """The recipe's small Llama with random weights; its tokenizer knows nothing, but has the recipe's size."""
    from chatfed.model.tokenizer import train_tokenizer

    quiet()
    words = (f"{i * i * 2654435761 % 10**9} word{i}" for i in range(20_000 if section.vocabulary > 1000 else 500))
    tokenizer = train_tokenizer(words, section.vocabulary)
    if len(tokenizer) != section.vocabulary:
        raise SystemExit(f"benchmarks.dp_step: a vocabulary of {len(tokenizer)}, not {section.vocabulary}")
    sizes = Architecture(section.hidden, section.layers, section.heads, section.intermediate, section.context)
    model = build_llama(sizes, tokenizer, seed=1)
    untie_output(model)
    return model


@dataclass(frozen=True)
class FixedRows:
    """Random tokens; each row is a dialogue of its own."""

    batch: Mapping[str, torch.Tensor]

    @classmethod
    def random(cls, setting: Setting) -> FixedRows:
        import torch

        shape = (setting.rows, setting.tokens + 1)
        ids = torch.randint(0, setting.model.vocabulary, shape, generator=torch.Generator().manual_seed(2))
        weights = torch.full((setting.rows, setting.tokens), 1 / setting.tokens)
        return cls({"ids": ids[:, :-1], "targets": ids[:, 1:], "weights": weights})

    def __len__(self) -> int:
        return len(self.batch["ids"])

    def rows(self, indices: IntVector) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """As training.base.tokens.DialogueExamples gives them."""
        import torch

        return {key: value[indices] for key, value in self.batch.items()}, torch.arange(len(indices))


def fresh(setting: Setting) -> torch.nn.Module:
    """A model of its own for each candidate, ready to train."""
    model = copy.deepcopy(build(setting.model))
    choose_trainable(model, replace(setting.model, trainable=setting.trainable))
    return model
