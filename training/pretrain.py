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
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.checkpoint import save_model
from chatfed.model.tokenizer import train_tokenizer
from chatfed.model.transformer import Architecture, build_llama, load_tokenizer, untie_output
from chatfed.types import ChatfedError, IntVector, Turn
from training.durable import DiskError, alone, disk_error, read_if_there, sweep
from training.recipe import ModelSection, PretrainSection
from training.simulation import end_with_parent, worker_context
from training.tokens import LENGTHS, DialogueExamples, TokenTable, next_token_loss, open_tokens, write_tokens

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

FORMAT = 4  # raise when this module makes another model from the same inputs
STEPS_BETWEEN_AVERAGES = 8
OF_CLIENTS = ("trainable", "lora_rank", "lora_alpha", "lora_targets")  # the base learns with all its parameters
Progress = Callable[[float, str], None]  # (share done, what to say)
Said = tuple[float, str] | ChatfedError  # what a process tells its parent: progress, or why it ends

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
    sizes = {key: value for key, value in asdict(model).items() if key not in OF_CLIENTS}
    digest = hashlib.sha256(json.dumps([FORMAT, sizes, asdict(pretrain)], sort_keys=True).encode())
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
    ends = time.monotonic() + pretrain.max_seconds if pretrain.max_seconds else math.inf
    folder = (cache / "base" / inputs_digest(public, model, pretrain)[:16]).absolute()
    job = Job(model, pretrain, folder.with_name(folder.name + "-tokens"), folder, ends)
    if not job.done():
        with alone(folder.with_name(folder.name + ".lock")):  # of two runs at once the second finds the first one's
            if not job.done():
                _make(job, public, workers, progress)
                return folder
    progress(1.0, f"base model found in {folder}")
    return folder


def _make(job: Job, public: Sequence[Sequence[Turn]], workers: int, progress: Progress) -> None:
    """Tokenizer, tokens and model, in this order; the tokens do not stay."""
    sweep(job.folder.parent, job.folder.name)
    progress(0.0, "training the tokenizer on public text")
    tokenizer = train_tokenizer((turn.content for turns in public for turn in turns), job.model.vocabulary)
    try:
        table = write_tokens(job.tokens, tokenizer, public)
        if table.tokens < 1000:
            raise ChatfedError(
                "The public text has fewer than 1,000 tokens; give more of it with --public, or a model with --base."
            )
        tokenizer.save_pretrained(job.tokens / "tokenizer")
        _in_processes(job, workers, progress)
    finally:
        shutil.rmtree(job.tokens, ignore_errors=True)


@dataclass(frozen=True)
class Job:
    """What each process needs to take its part in pre-training."""

    model: ModelSection
    pretrain: PretrainSection
    tokens: Path  # folder of the token table, with the tokenizer beside it
    folder: Path  # where the finished model goes
    ends: float  # time.monotonic(), alike in all processes, at which training must have ended; may be infinite

    def done(self) -> bool:
        return (self.folder / "config.json").is_file()

    def build(self) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        tokenizer = load_tokenizer(self.tokens / "tokenizer", needs_model=False)
        m = self.model
        sizes = Architecture(m.hidden, m.layers, m.heads, m.intermediate, m.context)
        return build_llama(sizes, tokenizer, self.pretrain.seed), tokenizer


def _in_processes(job: Job, workers: int, progress: Progress) -> None:
    """Data-parallel training: one thread a process, weights averaged through shared memory (threads collapse)."""
    import torch.multiprocessing

    context = worker_context()
    network, _ = job.build()
    size = sum(p.numel() for p in network.parameters())
    sums = _shared(torch.zeros(workers, size + 1))  # each process's weights, and its share of the time
    said, barrier = context.SimpleQueue(), context.Barrier(workers)
    arguments = [(job, rank, sums, barrier, said) for rank in range(workers)]
    processes = [context.Process(target=_take_part, args=each, daemon=True) for each in arguments]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            failed = any(process.exitcode for process in processes)  # first: what it said before is there by now
            _pass_on(said, progress)
            if failed:
                raise ChatfedError(
                    "A pre-training process died (out of memory?); start again, perhaps with fewer runtime.workers."
                )
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.join()
    _pass_on(said, progress)
    if not job.done():
        raise ChatfedError("Pre-training ended without a model; start again.")


def _shared(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in memory that other processes can be given."""
    try:
        return tensor.share_memory_()
    except RuntimeError as error:  # of several lines
        reason = str(error).splitlines()[0]
        raise DiskError(
            f"No room in shared memory (/dev/shm) for {tensor.nbytes / 2**20:.0f} MiB ({reason}): free some, or take "
            f"fewer runtime.workers; then go on with --resume."
        ) from None


def _pass_on(said: SimpleQueue[Said], progress: Progress) -> None:
    """Tells what processes have said. Raises the error with which one of them ended."""
    while not said.empty():
        word = said.get()
        if isinstance(word, ChatfedError):
            raise word
        progress(*word)


def _take_part(job: Job, rank: int, sums: torch.Tensor, barrier: Barrier, said: SimpleQueue[Said]) -> None:
    """One process's part. An error is the parent's to raise; this process ends with exit code 1."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    try:
        _train(job, rank, sums, barrier, said)
    except Exception as error:
        said.put(_in_a_sentence(error, job.folder))
        raise SystemExit(1) from None


def _in_a_sentence(error: Exception, folder: Path) -> ChatfedError:
    if isinstance(error, ChatfedError):
        return error
    if isinstance(error, OSError):
        return disk_error(error.filename or folder, error)
    reason = (str(error).splitlines() or [""])[0]
    if "No space left" in reason:  # safetensors has a type of its own for a full disk
        return DiskError(f"The disk is full ({reason}). Free some space, then go on with --resume.")
    return ChatfedError(f"Pre-training failed: {type(error).__name__}: {reason}")


def _train(job: Job, rank: int, sums: torch.Tensor, barrier: Barrier, said: SimpleQueue[Said]) -> None:
    """AdamW by itself on every n-th batch, weights averaged every few steps (local SGD, Stich 2019).

    Warm-up and cosine decay over `epochs`; `max_seconds` shortens the schedule, smoothly.
    """
    import torch

    torch.set_num_threads(1)
    network, tokenizer = job.build()
    table, settings = open_tokens(job.tokens), job.pretrain
    examples = DialogueExamples(table, np.arange(len(table)), job.model.context)
    steps = max(1, math.ceil(settings.epochs * len(table) / settings.batch / len(sums)))
    batches = _batches(table, settings.batch, np.random.default_rng(settings.seed))  # order of public text: no secret
    optimizer = torch.optim.AdamW(_groups(network), lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    network.train()
    precision = _faster(network, examples, list(islice(batches, 4)), sums, rank, barrier)
    started, step, used, tokens = time.monotonic(), 0, 0.0, 0.0
    allowed = max(job.ends - started, 1e-3)  # seconds
    while step < steps and used < 1:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(min(max(step / steps, used), 1.0))
        mine = list(islice(batches, len(sums)))[rank]  # all draw the same batches, and each takes its own
        loss, counted = _step(network, optimizer, examples, mine, precision)
        step, tokens = step + 1, tokens + counted
        if step % STEPS_BETWEEN_AVERAGES == 0 or step == steps:
            seconds = time.monotonic() - started
            used = _average(network, sums, rank, seconds / allowed, barrier)
            if rank == 0:
                rate = f"{tokens * len(sums) / seconds:,.0f} tokens/s"
                said.put(
                    (
                        min(max(step / steps, used), 1.0),
                        f"pre-training on public text in {precision}: loss {loss:.2f} nats a token, {rate}",
                    )
                )
    if rank == 0:
        untie_output(network)
        parameters = sum(p.numel() for p in network.parameters())
        save_model(job.folder, network.eval(), tokenizer, CARD.format(tokens=table.tokens, parameters=parameters))


def _faster(
    network: torch.nn.Module,
    examples: DialogueExamples,
    trial: Sequence[IntVector],
    sums: torch.Tensor,
    rank: int,
    barrier: Barrier,
) -> str:
    """Names float32 or bfloat16 (autocast), by what all processes measure at once: the same answer in each.

    Only where the processor has bfloat16 arithmetic; elsewhere it is slower by far. Trains nothing.
    """
    import torch

    if b"bf16" not in (read_if_there(Path("/proc/cpuinfo")) or b""):
        return "float32"
    for column, precision in enumerate(("float32", "bfloat16")):
        for _ in range(2):  # the first time sets kernels up
            began = time.perf_counter()
            for mine in trial:
                _loss(network, examples, mine, precision)[0].backward()
            sums[rank, column] = time.perf_counter() - began
    network.zero_grad(set_to_none=True)
    barrier.wait()
    plain, lower = torch.sum(sums[:, :2], 0).tolist()
    barrier.wait()
    return "bfloat16" if lower < plain else "float32"


def _step(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: DialogueExamples,
    mine: IntVector,
    precision: str,
) -> tuple[float, float]:
    """One step on the mean cross-entropy of the dialogues `mine`; returns it, and how many tokens were counted."""
    import torch

    optimizer.zero_grad(set_to_none=True)
    loss, counted = _loss(network, examples, mine, precision)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach()), counted


def _loss(
    network: torch.nn.Module, examples: DialogueExamples, mine: IntVector, precision: str
) -> tuple[torch.Tensor, float]:
    """Mean cross-entropy of the dialogues `mine`, nats a token, and how many tokens were counted."""
    import torch

    rows, _ = examples.rows(mine)
    counted = (rows["weights"] > 0).float()
    lower = precision == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16, enabled=lower):
        losses = next_token_loss(network, {**rows, "weights": counted}, LENGTHS if lower else 1)
    return losses.sum() / counted.sum(), float(counted.sum())


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
