"""One copy of a model while it learns, and the mean of several: local SGD with AdamW. Knows no process.

Replicas learn apart between two averages (Stich 2019), so that how many processes share them changes no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.transformer import Architecture, build_llama, context_of, load_model, load_tokenizer
from chatfed.model.upper_layers import learn_uppermost
from chatfed.types import IntVector

from ..plan.recipe import ModelSection, PretrainSection
from .losses import Above, Whole
from .tokens import DialogueExamples, TokenTable, open_tokens

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DECAY = 0.1  # of matrices; none where uppermost layers learn alone: towards nought it takes from what a base knows


@dataclass(frozen=True)
class Job:
    """What each process needs to take its part in training."""

    model: ModelSection
    pretrain: PretrainSection  # how it learns, whatever it learns from
    tokens: Path  # folder of the token table, for a new model with the tokenizer beside it
    folder: Path  # where the finished model goes
    ends: float  # time.monotonic(), alike in all processes, after which training is cut; may be infinite
    doing: str  # what this is, in the middle of a sentence
    card: str  # of the finished model, a template
    start: str = ""  # folder or hub name of the model to begin with; empty: a new one
    layers: int = 0  # uppermost, of the model to begin with, that learn, with the text's output rows; 0: all of it
    stay: float = 0.0  # share of what it began with in the weights that it ends with
    trim: float = 0.0  # share of each matrix's changes, the smallest ones, that are taken back before that

    def done(self) -> bool:
        """Whether the finished model is there, whole."""
        return (self.folder / "config.json").is_file()

    def build(self) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        """The model to begin with, and its tokenizer: a new one has the recipe's sizes."""
        if self.start:
            model, tokenizer = load_model(self.start)
            if self.layers:
                learn_uppermost(model, self.layers, np.unique(open_tokens(self.tokens).ids).astype(np.int64))
            return model, tokenizer
        tokenizer = load_tokenizer(self.tokens / "tokenizer", needs_model=False)
        m = self.model
        sizes = Architecture(m.hidden, m.layers, m.heads, m.intermediate, m.context)
        return build_llama(sizes, tokenizer, self.pretrain.seed), tokenizer

    def steps(self, table: TokenTable) -> int:
        """Of each replica: `epochs` passes over the text, and no more than `max_tokens` of it."""
        learned = self.pretrain.epochs * table.tokens
        if self.pretrain.max_tokens:
            learned = min(learned, self.pretrain.max_tokens)
        a_step = self.pretrain.batch * self.pretrain.replicas  # dialogues
        return max(1, math.ceil(learned / table.tokens * len(table) / a_step))


class Replica:
    """One copy of the model that learns by itself between two averages, with what it needs for that."""

    def __init__(self, job: Job, table: TokenTable, rank: int) -> None:
        import torch

        settings = job.pretrain
        self.rank, self.settings, self.loss, self.tokens = rank, settings, math.nan, 0.0
        self.network, self.tokenizer = job.build()
        self.network.eval()  # no dropout: its masks would come from no seed
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        lower = settings.precision == "bfloat16"
        self.losses = Above(self.network, job.layers, lower) if job.layers else Whole(self.network, lower)
        self.context = min(job.model.context, context_of(self.network) or job.model.context)
        groups = _groups(self.trained, 0.0 if job.layers else DECAY)
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
        order = np.random.default_rng(settings.seed)  # of text that no claim covers: no secret
        self.batches = _batches(table, settings.batch, order)

    def learn(self, examples: DialogueExamples, rate: float) -> None:
        """One step at the share `rate` of the peak learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rate
        mine = list(islice(self.batches, self.settings.replicas))[self.rank]  # all draw the same, each takes its own
        self.loss, counted = _step(self.trained, self.optimizer, self.losses, examples, mine)
        self.tokens += counted


def average(replicas: Sequence[Replica], sums: torch.Tensor, late: bool, barrier: Barrier) -> bool:
    """Sets what every replica trains to its mean; returns whether any process's time is up: the same answer in each."""
    import torch

    with torch.no_grad():
        for replica in replicas:
            sums[replica.rank, :-1] = torch.cat([p.flatten() for p in replica.trained])
            sums[replica.rank, -1] = float(late)
        barrier.wait()
        mean, any_late = sums[:, :-1].mean(0), bool(sums[:, -1].any())  # the same numbers in the same order everywhere
        barrier.wait()
        for replica in replicas:
            start = 0
            for parameter in replica.trained:
                parameter.copy_(mean[start : start + parameter.numel()].view_as(parameter))
                start += parameter.numel()
    return any_late


def schedule(done: float, warm_up: float = 0.04, floor: float = 0.05) -> float:
    """Share of the peak learning rate: linear warm-up, then cosine down to `floor`."""
    if done < warm_up:
        return done / warm_up
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def _step(
    trained: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    losses: Above | Whole,
    examples: DialogueExamples,
    mine: IntVector,
) -> tuple[float, float]:
    """One step on the mean cross-entropy of the dialogues `mine`; returns it, and how many tokens were counted."""
    import torch

    optimizer.zero_grad(set_to_none=True)
    loss, counted = losses.of(examples, mine)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    return float(loss.detach()), counted


def _groups(parameters: Sequence[torch.nn.Parameter], decay: float = DECAY) -> list[dict[str, object]]:
    """Weight decay for matrices, none for gains."""
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _batches(table: TokenTable, batch: int, generator: np.random.Generator) -> Iterator[IntVector]:
    """Endless passes over all dialogues in random order, batches of like length to spare padding."""
    lengths = np.diff(table.starts)
    while True:
        order = generator.permutation(len(table))
        pools = [order[at : at + 50 * batch] for at in range(0, len(order), 50 * batch)]
        ordered = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        pieces = [ordered[at : at + batch] for at in range(0, len(ordered), batch)]
        for place in generator.permutation(len(pieces)):
            yield pieces[place]
