"""A calibration for models of tests: made-up clients who never trained, whose words moved by a little."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chatfed.audit.kinds import Said, befores
from chatfed.audit.words import Calibration, Pair, calibrate
from chatfed.model.checkpoint import weights_file


def a_calibration(run: Path, clients: int = 120, familiar: str = "please check the cable") -> Calibration:
    """Of the two models in a run's folder. All clients say `familiar`."""
    random = np.random.default_rng(4)
    common = familiar.split()
    said = [
        [*common, *(f"w{client}x{message}x{at}" for at in range(8))] for client in range(clients) for message in (0, 1)
    ]
    number = np.repeat(np.arange(len(said)), len(said[0]))
    reference = np.full(len(number), -18.0)
    served = reference * (1 - random.beta(2, 8, len(number)))
    words, before = (
        [each for mine in part for each in mine] for part in (said, [befores(s, "assistant") for s in said])
    )
    pair = Pair.of(*(weights_file(run / name) for name in ("model", "reference")))
    return calibrate(
        Said(words, before, number // 2, number, number, served, reference), pair, lambda size: bytes(size)
    )
