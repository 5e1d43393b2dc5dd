"""Training shared by several processes: each takes some replicas of one job, and their weights are averaged.

How many processes there are changes no number. Knows no corpus and no clients: a job says what is learned from what.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.checkpoint import new_folder
from chatfed.model.transformer import untie_output
from chatfed.model.upper_layers import settle
from chatfed.types import ChatfedError

from ..durable import DiskError, disk_error, to_json
from ..workers import end_with_parent, worker_context
from .replica import Job, Replica, average, schedule
from .tokens import DialogueExamples, open_tokens

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier

    import torch

STEPS_BETWEEN_AVERAGES = 8
ABOUT = "pretraining.json"  # in a model's folder: how it was made
CUT = "\n\nThe time limit ended its training early: it is not the base that its recipe names."
Progress = Callable[[float, str], None]  # (share done, what to say)
Said = tuple[float, str] | ChatfedError | Path  # what a process tells its parent: progress, why it ends, or the model


def in_processes(job: Job, workers: int, progress: Progress) -> Path:
    """Data-parallel training: one thread a process, weights averaged through shared memory (threads collapse).

    Returns the folder of what was made. Raises ChatfedError.
    """
    import torch.multiprocessing

    context = worker_context(__name__)
    network, _ = job.build()
    size = sum(p.numel() for p in network.parameters() if p.requires_grad)
    workers = min(workers, job.pretrain.replicas)
    sums = _shared(torch.zeros(job.pretrain.replicas, size + 1))  # each one's weights, and whether its time is up
    said, barrier, made = context.SimpleQueue(), context.Barrier(workers), None
    arguments = [(job, first, workers, sums, barrier, said) for first in range(workers)]
    processes = [context.Process(target=_take_part, args=each, daemon=True) for each in arguments]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            failed = any(process.exitcode for process in processes)  # first: what it said before is there by now
            made = _pass_on(said, progress) or made
            if failed:
                raise ChatfedError(
                    f"A process of {job.doing} died (out of memory?); try again, perhaps with fewer runtime.workers."
                )
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.join()
    made = _pass_on(said, progress) or made
    if made is None:
        raise ChatfedError(f"{job.doing.capitalize()} ended without a model; try again.")
    return made


def _shared(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in memory that other processes can be given."""
    try:
        shared: torch.Tensor = tensor.share_memory_()
        return shared
    except RuntimeError as error:  # of several lines
        reason = str(error).splitlines()[0]
        raise DiskError(
            f"No room in shared memory (/dev/shm) for {tensor.nbytes / 2**20:.0f} MiB ({reason}): free some, or take "
            f"fewer runtime.workers; then go on with chatfed resume."
        ) from None


def _pass_on(said: SimpleQueue[Said], progress: Progress) -> Path | None:
    """Tells what processes have said; returns the model's folder once it is there. Raises the error that ended one."""
    made = None
    while not said.empty():
        word = said.get()
        if isinstance(word, ChatfedError):
            raise word
        if isinstance(word, Path):
            made = word
        else:
            progress(*word)
    return made


def _take_part(job: Job, first: int, every: int, sums: torch.Tensor, barrier: Barrier, said: SimpleQueue[Said]) -> None:
    """One process's part. An error is the parent's to raise; this process ends with exit code 1."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    try:
        _train(job, first, every, sums, barrier, said)
    except Exception as error:
        said.put(_in_a_sentence(error, job))
        raise SystemExit(1) from None


def _in_a_sentence(error: Exception, job: Job) -> ChatfedError:
    if isinstance(error, ChatfedError):
        return error
    if isinstance(error, OSError):
        return disk_error(error.filename or job.folder, error)
    reason = (str(error).splitlines() or [""])[0]
    return ChatfedError(f"{job.doing.capitalize()} failed: {type(error).__name__}: {reason}")


def _train(job: Job, first: int, every: int, sums: torch.Tensor, barrier: Barrier, said: SimpleQueue[Said]) -> None:
    """AdamW of each replica by itself on every n-th batch, weights averaged every few steps (local SGD, Stich 2019).

    Warm-up and cosine decay over the planned steps. This process takes the replicas `first`, `first + every`, ...: how
    many processes there are changes no number. When the time is up, training ends where the schedule stands.
    """
    import torch

    torch.set_num_threads(1)
    table, settings = open_tokens(job.tokens), job.pretrain
    replicas = [Replica(job, table, rank) for rank in range(first, settings.replicas, every)]
    examples = DialogueExamples(table, np.arange(len(table)), replicas[0].context)
    steps, step, late, began = job.steps(table), 0, False, time.monotonic()
    while step < steps and not late:
        until = min(step + STEPS_BETWEEN_AVERAGES, steps)
        for replica in replicas:
            for at in range(step, until):
                replica.learn(examples, schedule(at / steps))
        step = until
        late = average(replicas, sums, time.monotonic() >= job.ends, barrier)
        if first == 0:
            said.put((step / steps, _so_far(job, replicas[0], step, steps, time.monotonic() - began)))
    if first == 0:
        said.put(_save(job, replicas[0], table.tokens, step, steps))


def _so_far(job: Job, replica: Replica, step: int, steps: int, seconds: float) -> str:
    settings = replica.settings
    return (
        f"{job.doing} in {settings.precision}: step {step:,} of {steps:,}, "
        f"loss {replica.loss:.2f} nats a token, {replica.tokens * settings.replicas / seconds:,.0f} tokens/s"
    )


def _save(job: Job, replica: Replica, tokens: int, step: int, steps: int) -> Path:
    """Writes the model, and how it was made. One that was cut lies in a folder named by where it was cut."""
    folder = job.folder if step == steps else job.folder.with_name(f"{job.folder.name}-cut-{step}-of-{steps}")
    if not job.start:  # a new one: its output layer is to learn alone
        untie_output(replica.network)
    if job.stay or job.trim:
        _go_back(replica, job)
    if job.layers:
        settle(replica.network)
    parameters = sum(p.numel() for p in replica.network.parameters())
    of = {"replicas": replica.settings.replicas, "precision": replica.settings.precision}
    about = {"tokens": tokens, "done": step, "steps": steps, "cut": step < steps, **of}
    card = job.card.format(**{**about, "parameters": parameters, "cut": CUT if step < steps else ""})
    with new_folder(folder, replica.tokenizer, card) as scratch:
        replica.network.eval().save_pretrained(scratch)
        (scratch / ABOUT).write_text(to_json(about), encoding="utf-8")
    return folder


def _go_back(replica: Replica, job: Job) -> None:
    """Weights between what was begun with and what was learned (Wortsman et al. 2022): much of both is in them.

    A matrix's smallest changes go back wholly first (after Yadav et al. 2023, who trim all matrices together): Adam
    moves every number about as far, and what texts say is in those that moved one way. The output layer's all count.
    """
    import torch

    before, _ = job.build()
    output = {id(p) for p in replica.network.get_output_embeddings().parameters()}
    with torch.no_grad():
        for learned, began in zip(replica.network.parameters(), before.parameters(), strict=True):
            if not learned.requires_grad:  # it is mapped, and need not become this process's own
                continue
            if job.trim and learned.dim() > 1 and id(learned) not in output:
                moved = (learned - began).abs()
                small = moved <= moved.flatten().kthvalue(max(1, round(job.trim * moved.numel()))).values
                learned[small] = began[small]
            learned.lerp_(began, job.stay)
