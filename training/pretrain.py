"""The public base: tokenizer and small language model trained on public text only, cached by the digest of what went
in.

Knows nothing of clients. Whatever this module sees is not covered by any privacy claim.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.checkpoint import save_model
from chatfed.model.tokenizer import train_tokenizer
from chatfed.model.transformer import Architecture, build_llama, load_tokenizer, untie_output
from chatfed.types import ChatfedError, IntVector, Turn
from training.recipe import ModelSection, PretrainSection
from training.simulation import end_with_parent
from training.tokens import DialogueExamples, TokenTable, next_token_loss, open_tokens, write_tokens

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

FORMAT = 3  # raise when this module makes another model from the same inputs
STEPS_BETWEEN_AVERAGES = 8
Progress = Callable[[float, str], None]  # (share done, what to say)

CARD = """---
library_name: transformers
pipeline_tag: text-generation
---
# Public base model

Pre-trained by chatfed on public text only ({tokens:,} tokens, {parameters:,} parameters). It has seen no private
dialogue:
it is the reference that the leakage probe compares a privately trained model with.
"""


def inputs_digest(public: Iterable[Sequence[Turn]], model: ModelSection, pretrain: PretrainSection) -> str:
    """SHA-256, in hex, of all that decides the base: the public text, the sizes and the schedule."""
    sizes = replace(model, trainable=("all",))  # the base learns with all its parameters, whatever clients train later
    digest = hashlib.sha256(json.dumps([FORMAT, asdict(sizes), asdict(pretrain)], sort_keys=True).encode())
    for turns in public:
        digest.update(json.dumps([[turn.role, turn.content] for turn in turns]).encode())
    return digest.hexdigest()


def pretrained_base(
    public: Sequence[Sequence[Turn]],
    model: ModelSection,
    pretrain: PretrainSection,
    cache: Path,
    workers: int,
    progress: Progress,
) -> Path:
    """Folder of the base model for these inputs, trained now by `workers` processes or found in `cache`."""
    folder = (cache / "base" / inputs_digest(public, model, pretrain)[:16]).absolute()
    if (folder / "config.json").is_file():
        progress(1.0, f"base model found in {folder}")
        return folder
    progress(0.0, "training the tokenizer on public text")
    tokenizer = train_tokenizer((turn.content for turns in public for turn in turns), model.vocabulary)
    tokens = folder.with_name(folder.name + "-tokens")
    table = write_tokens(tokens, tokenizer, public)
    if table.tokens < 1000:
        raise ChatfedError(
            "The public text has fewer than 1,000 tokens; give more of it with --public, or a model with --base."
        )
    tokenizer.save_pretrained(tokens / "tokenizer")
    _in_processes(Job(model, pretrain, tokens, folder), workers, progress)
    shutil.rmtree(tokens, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class Job:
    """What each process needs to take its part in pre-training."""

    model: ModelSection
    pretrain: PretrainSection
    tokens: Path  # folder of the token table, with the tokenizer beside it
    folder: Path  # where the finished model goes

    def build(self) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        tokenizer = load_tokenizer(self.tokens / "tokenizer", needs_model=False)
        m = self.model
        sizes = Architecture(m.hidden, m.layers, m.heads, m.intermediate, m.context)
        return build_llama(sizes, tokenizer, self.pretrain.seed), tokenizer


def _in_processes(job: Job, workers: int, progress: Progress) -> None:
    """Data-parallel training: one thread a process, weights averaged through shared memory (threads collapse)."""
    import torch.multiprocessing

    context = torch.multiprocessing.get_context("spawn")
    network, _ = job.build()
    size = sum(p.numel() for p in network.parameters())
    sums = torch.zeros(workers, size + 1).share_memory_()  # each process's weights, and its share of the time
    said, barrier = context.SimpleQueue(), context.Barrier(workers)
    arguments = [(job, rank, sums, barrier, said) for rank in range(workers)]
    processes = [context.Process(target=_take_part, args=each, daemon=True) for each in arguments]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            while not said.empty():
                progress(*said.get())
            if any(process.exitcode for process in processes):
                raise ChatfedError(
                    "A pre-training process died (out of memory?); start again, perhaps with fewer runtime.workers."
                )
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.join()
    if not (job.folder / "config.json").is_file():
        raise ChatfedError("Pre-training ended without a model: is the disk full? Free some space and start again.")


def _take_part(job: Job, rank: int, sums: torch.Tensor, barrier: Barrier, said: SimpleQueue[tuple[float, str]]) -> None:
    """One process's part: AdamW by itself on every n-th batch, weights averaged every few steps (local SGD, Stich
    2019).

    Warm-up and cosine decay over `epochs`; `max_seconds` shortens the schedule, smoothly.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    torch.set_num_threads(1)
    network, tokenizer = job.build()
    table, settings = open_tokens(job.tokens), job.pretrain
    examples = DialogueExamples(table, np.arange(len(table)), job.model.context)
    steps = max(1, math.ceil(settings.epochs * len(table) / settings.batch / len(sums)))
    batches = _batches(table, settings.batch, np.random.default_rng(settings.seed))  # order of public text: no secret
    optimizer = torch.optim.AdamW(_groups(network), lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    network.train()
    started, step, used, tokens = time.monotonic(), 0, 0.0, 0.0
    while step < steps and used < 1:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(min(max(step / steps, used), 1.0))
        mine = list(islice(batches, len(sums)))[rank]  # all draw the same batches, and each takes its own
        loss, counted = _step(network, optimizer, examples, mine)
        step, tokens = step + 1, tokens + counted
        if step % STEPS_BETWEEN_AVERAGES == 0 or step == steps:
            seconds = time.monotonic() - started
            used = _average(
                network, sums, rank, seconds / settings.max_seconds if settings.max_seconds else 0.0, barrier
            )
            if rank == 0:
                rate = f"{tokens * len(sums) / seconds:,.0f} tokens/s"
                said.put(
                    (
                        min(max(step / steps, used), 1.0),
                        f"pre-training on public text: loss {loss:.2f} nats a token, {rate}",
                    )
                )
    if rank == 0:
        untie_output(network)
        parameters = sum(p.numel() for p in network.parameters())
        save_model(job.folder, network.eval(), tokenizer, CARD.format(tokens=table.tokens, parameters=parameters))


def _step(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer, examples: DialogueExamples, mine: IntVector
) -> tuple[float, float]:
    """One step on the mean cross-entropy of the dialogues `mine`; returns it, and how many tokens were counted."""
    import torch

    rows, _ = examples.rows(mine)
    counted = (rows["weights"] > 0).float()
    loss = next_token_loss(network, {**rows, "weights": counted}).sum() / counted.sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach()), float(counted.sum())


def _average(network: torch.nn.Module, sums: torch.Tensor, rank: int, used: float, barrier: Barrier) -> float:
    """Sets every process's weights to their mean; returns the largest share of the time that any has used."""
    import torch

    with torch.no_grad():
        sums[rank, :-1] = torch.cat([p.flatten() for p in network.parameters()])
        sums[rank, -1] = used
        barrier.wait()
        mean, most = sums[:, :-1].mean(0), float(sums[:, -1].max())  # the same numbers in the same order everywhere
        barrier.wait()
        start = 0
        for parameter in network.parameters():
            parameter.copy_(mean[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()
    return most


def _groups(model: torch.nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices, none for gains."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _schedule(done: float, warm_up: float = 0.04, floor: float = 0.05) -> float:
    """Share of the peak learning rate: linear warm-up, then cosine down to `floor`."""
    if done < warm_up:
        return done / warm_up
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


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
