"""How a visitor's replies are drawn: repeatable, and of no use to measure a probability by search.

Whoever chooses seed and top_p freely holds the draw still and moves the bound past it, and so reads one probability
after another off single tokens. A visitor's settings are therefore coarse, and the seed is mixed with them, the prompt
and a secret: the same request gives the same reply, another one another draw. docs/api-http.md says what that leaves.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from array import array
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from .requests import Sampling

STEPS = 20  # of each setting, from one whole number to the next


def coarse(sampling: Sampling) -> Sampling:
    """Temperature, top_p and repetition_penalty as multiples of 0.05; the last two never 0."""
    return replace(
        sampling,
        temperature=_coarse(sampling.temperature),
        top_p=max(_coarse(sampling.top_p), 1 / STEPS),
        repetition_penalty=max(_coarse(sampling.repetition_penalty), 1 / STEPS),
    )


def mixed(sampling: Sampling, ids: Sequence[int]) -> Sampling:
    """With a seed of its own for these settings after this prompt; without a seed as it is."""
    if sampling.seed is None:
        return sampling
    of = [sampling.seed, sampling.temperature, sampling.top_p, sampling.repetition_penalty]
    digest = hashlib.sha256(array("q", ids).tobytes()).hexdigest()
    said = json.dumps([*of, digest], allow_nan=False).encode()
    seed = int.from_bytes(hmac.digest(_secret(), said, "sha256")[:8], "big")
    return replace(sampling, seed=seed)


@cache
def _secret() -> bytes:
    """Of this process, kept nowhere else."""
    return secrets.token_bytes(32)


def _coarse(value: float) -> float:
    return round(value * STEPS) / STEPS
