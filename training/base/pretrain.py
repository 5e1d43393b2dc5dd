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
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from chatfed.data.values import DataError
from chatfed.model.arithmetic import has_bfloat16
from chatfed.model.checkpoint import disk_errors
from chatfed.model.tokenizer import train_tokenizer
from chatfed.types import Turn

from ..durable import alone, from_json, sweep
from ..plan.recipe import ModelSection, PretrainSection
from .replica import Job
from .together import ABOUT, Progress, in_processes
from .tokens import write_tokens

DOING = "pre-training on public text"
FORMAT = 5  # raise when this module and those it trains with make another model from the same inputs
OF_CLIENTS = ("trainable", "directions", "whole", "lora_rank", "lora_alpha", "lora_targets")

CARD = """---
library_name: transformers
pipeline_tag: text-generation
---
# Public base model

Pre-trained by chatfed on public text only ({tokens:,} tokens, {parameters:,} parameters), in {precision}: {done:,} of
{steps:,} steps of {replicas} replicas. It has seen no private dialogue: it is the reference that the leakage probe
compares a privately trained model with.{cut}
"""


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
    return "bfloat16" if has_bfloat16() else "float32"


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
    job = Job(model, pretrain, folder.with_name(folder.name + "-tokens"), folder, ends, DOING, CARD)
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
        return in_processes(job, workers, progress)
    finally:
        shutil.rmtree(job.tokens, ignore_errors=True)
