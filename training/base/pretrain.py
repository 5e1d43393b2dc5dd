"""The public base: tokenizer and small model of public text only, cached by the digest of what went in.

Steps decide what base comes out, not seconds: the same recipe gives the same bytes on the same kind of processor,
however busy it is and however many processes share the work. Knows nothing of clients. Whatever this module sees is not
covered by any privacy claim.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatfed.data.values import DataError
from chatfed.model.checkpoint import disk_errors, new_folder
from chatfed.model.tokenizer import train_tokenizer
from chatfed.model.transformer import untie_output
from chatfed.types import ChatfedError, Turn

from ..durable import DiskError, alone, disk_error, from_json, read_if_there, sweep, to_json
from ..plan.recipe import ModelSection, PretrainSection
from ..workers import end_with_parent, worker_context
from .replica import Job, Replica, average, schedule
from .tokens import DialogueExamples, open_tokens, write_tokens

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier

    import torch

FORMAT = 5  # raise when this module makes another model from the same inputs
STEPS_BETWEEN_AVERAGES = 8
OF_CLIENTS = ("trainable", "lora_rank", "lora_alpha", "lora_targets")  # the base learns with all its parameters
ABOUT = "pretraining.json"  # in a base's folder: how it was made
Progress = Callable[[float, str], None]  # (share done, what to say)
Said = tuple[float, str] | ChatfedError | Path  # what a process tells its parent: progress, why it ends, or the base

CARD = """---
library_name: transformers
pipeline_tag: text-generation
---
# Public base model

Pre-trained by chatfed on public text only ({tokens:,} tokens, {parameters:,} parameters), in {precision}: {done:,} of
{steps:,} steps of {replicas} replicas. It has seen no private dialogue: it is the reference that the leakage probe
compares a privately trained model with.{cut}
"""
CUT = "\n\nThe time limit ended its training early: it is not the base that its recipe names."


def inputs_digest(public: Iterable[Sequence[Turn]], model: ModelSection, pretrain: PretrainSection) -> str:
    """SHA-256, in hex, of all that decides the base: the public text, the sizes, the schedule and the arithmetic.

    The time limit is not among them: a base that it cut is not kept under this name.
    """
    sizes = {key: value for key, value in asdict(model).items() if key not in OF_CLIENTS}
    decides = asdict(replace(pretrain, precision=precision_here(pretrain.precision)))
    del decides["max_seconds"]
    digest = hashlib.sha256(json.dumps([FORMAT, sizes, decides], sort_keys=True, allow_nan=False).encode())
    for turns in public:
        said = [[turn.role, turn.content] if turn.learn else [turn.role, turn.content, False] for turn in turns]
        digest.update(json.dumps(said, allow_nan=False).encode())
    return digest.hexdigest()


def precision_here(asked: str) -> str:
    """The arithmetic of a recipe's `pretrain.precision` on this machine.

    "auto" is bfloat16 (autocast) where the processor says that it has it, elsewhere float32, since it is slower there
    by far. Nothing is measured: a busy machine answers as a quiet one.
    """
    if asked != "auto":
        return asked
    return "bfloat16" if b"bf16" in (read_if_there(Path("/proc/cpuinfo")) or b"") else "float32"


def pretrained_base(
    public: Sequence[Sequence[Turn]],
    model: ModelSection,
    pretrain: PretrainSection,
    cache: Path,
    workers: int,
    progress: Progress,
) -> Path:
    """Folder of the base model for these inputs, found in `cache` or trained now by at most `workers` processes.

    One that the time limit cut lies apart (`about_pretraining`), and is not found again.
    """
    ends = time.monotonic() + pretrain.max_seconds if pretrain.max_seconds else math.inf
    folder = (cache / "base" / inputs_digest(public, model, pretrain)[:16]).absolute()
    pretrain = replace(pretrain, precision=precision_here(pretrain.precision))
    job = Job(model, pretrain, folder.with_name(folder.name + "-tokens"), folder, ends)
    if not job.done():
        with alone(folder.with_name(folder.name + ".lock")):  # of two runs at once the second finds the first one's
            if not job.done():
                return _make(job, public, workers, progress)
    progress(1.0, f"base model found in {folder}")
    return folder


def about_pretraining(base: str | Path) -> dict[str, Any] | None:
    """How a base was made: tokens, steps done and planned, replicas, precision, and whether the time limit cut it.

    None for one that was not made here.
    """
    try:
        about = from_json((Path(base) / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def _make(job: Job, public: Sequence[Sequence[Turn]], workers: int, progress: Progress) -> Path:
    """Tokenizer, tokens and model, in this order; the tokens do not stay."""
    sweep(job.folder.parent, job.folder.name)
    progress(0.0, "training the tokenizer on public text")
    tokenizer = train_tokenizer((turn.content for turns in public for turn in turns), job.model.vocabulary)
    try:
        table = write_tokens(job.tokens, tokenizer, public)
        if table.tokens < 1000:
            raise DataError(
                "The public text has fewer than 1,000 tokens; give more of it with --public, or a model with --base.",
                param="data.public",
            )
        with disk_errors(job.tokens):
            tokenizer.save_pretrained(job.tokens / "tokenizer")
        return _in_processes(job, workers, progress)
    finally:
        shutil.rmtree(job.tokens, ignore_errors=True)


def _in_processes(job: Job, workers: int, progress: Progress) -> Path:
    """Data-parallel training: one thread a process, weights averaged through shared memory (threads collapse).

    Returns the base's folder.
    """
    import torch.multiprocessing

    context = worker_context(__name__)
    network, _ = job.build()
    size = sum(p.numel() for p in network.parameters())
    workers = min(workers, job.pretrain.replicas)
    sums = _shared(torch.zeros(job.pretrain.replicas, size + 1))  # each one's weights, and whether its time is up
    said, barrier, base = context.SimpleQueue(), context.Barrier(workers), None
    arguments = [(job, first, workers, sums, barrier, said) for first in range(workers)]
    processes = [context.Process(target=_take_part, args=each, daemon=True) for each in arguments]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            failed = any(process.exitcode for process in processes)  # first: what it said before is there by now
            base = _pass_on(said, progress) or base
            if failed:
                raise ChatfedError(
                    "A pre-training process died (out of memory?); start again, perhaps with fewer runtime.workers."
                )
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.join()
    base = _pass_on(said, progress) or base
    if base is None:
        raise ChatfedError("Pre-training ended without a model; start again.")
    return base


def _shared(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in memory that other processes can be given."""
    try:
        shared: torch.Tensor = tensor.share_memory_()
        return shared
    except RuntimeError as error:  # of several lines
        reason = str(error).splitlines()[0]
        raise DiskError(
            f"No room in shared memory (/dev/shm) for {tensor.nbytes / 2**20:.0f} MiB ({reason}): free some, or take "
            f"fewer runtime.workers; then go on with --resume."
        ) from None


def _pass_on(said: SimpleQueue[Said], progress: Progress) -> Path | None:
    """Tells what processes have said; returns the base once it is there. Raises the error with which one ended."""
    base = None
    while not said.empty():
        word = said.get()
        if isinstance(word, ChatfedError):
            raise word
        if isinstance(word, Path):
            base = word
        else:
            progress(*word)
    return base


def _take_part(job: Job, first: int, every: int, sums: torch.Tensor, barrier: Barrier, said: SimpleQueue[Said]) -> None:
    """One process's part. An error is the parent's to raise; this process ends with exit code 1."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    try:
        _train(job, first, every, sums, barrier, said)
    except Exception as error:
        said.put(_in_a_sentence(error, job.folder))
        raise SystemExit(1) from None


def _in_a_sentence(error: Exception, folder: Path) -> ChatfedError:
    if isinstance(error, ChatfedError):
        return error
    if isinstance(error, OSError):
        return disk_error(error.filename or folder, error)
    reason = (str(error).splitlines() or [""])[0]
    return ChatfedError(f"Pre-training failed: {type(error).__name__}: {reason}")


def _train(job: Job, first: int, every: int, sums: torch.Tensor, barrier: Barrier, said: SimpleQueue[Said]) -> None:
    """AdamW of each replica by itself on every n-th batch, weights averaged every few steps (local SGD, Stich 2019).

    Warm-up and cosine decay over the planned steps. This process takes the replicas `first`, `first + every`, ...: how
    many processes there are changes no number. When the time is up, training ends where the schedule stands.
    """
    import torch

    torch.set_num_threads(1)
    table, settings = open_tokens(job.tokens), job.pretrain
    examples = DialogueExamples(table, np.arange(len(table)), job.model.context)
    replicas = [Replica(job, table, rank) for rank in range(first, settings.replicas, every)]
    steps, step, late, began = job.steps(table), 0, False, time.monotonic()
    while step < steps and not late:
        until = min(step + STEPS_BETWEEN_AVERAGES, steps)
        for replica in replicas:
            for at in range(step, until):
                replica.learn(examples, schedule(at / steps))
        step = until
        late = average(replicas, sums, time.monotonic() >= job.ends, barrier)
        if first == 0:
            said.put((step / steps, _so_far(replicas[0], step, steps, time.monotonic() - began)))
    if first == 0:
        said.put(_save(job, replicas[0], table.tokens, step, steps))


def _so_far(replica: Replica, step: int, steps: int, seconds: float) -> str:
    settings = replica.settings
    return (
        f"pre-training on public text in {settings.precision}: step {step:,} of {steps:,}, "
        f"loss {replica.loss:.2f} nats a token, {replica.tokens * settings.replicas / seconds:,.0f} tokens/s"
    )


def _save(job: Job, replica: Replica, tokens: int, step: int, steps: int) -> Path:
    """Writes the base, and beside it how it was made. One that was cut lies in a folder named by where it was cut."""
    folder = job.folder if step == steps else job.folder.with_name(f"{job.folder.name}-cut-{step}-of-{steps}")
    untie_output(replica.network)
    parameters = sum(p.numel() for p in replica.network.parameters())
    of = {"replicas": replica.settings.replicas, "precision": replica.settings.precision}
    about = {"tokens": tokens, "done": step, "steps": steps, "cut": step < steps, **of}
    card = CARD.format(**{**about, "parameters": parameters, "cut": CUT if step < steps else ""})
    with new_folder(folder, replica.tokenizer, card) as scratch:
        replica.network.eval().save_pretrained(scratch)
        (scratch / ABOUT).write_text(to_json(about), encoding="utf-8")
    return folder
