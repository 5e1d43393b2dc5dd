"""One network, one asker and one who answers, for all tests: keys and plaintexts take a second."""

from __future__ import annotations

import numpy as np
import pytest

from chatfed.encrypted.inference import Answerer, Asker
from chatfed.encrypted.network import FREE, HIDDEN, AskerHalf, ServerHalf

KNOWN = 300  # tokens


@pytest.fixture(scope="session")
def halves() -> tuple[AskerHalf, ServerHalf]:
    """A random network, as large as one that was distilled: scores lie within about 10."""
    generator = np.random.default_rng(7)
    widths = (200, 110, 100)
    near = tuple(generator.uniform(-1, 1, (KNOWN + 1, width)).astype(np.float32) for width in widths)
    far = generator.uniform(-1, 1, (KNOWN + 1, FREE - sum(widths))).astype(np.float32)
    asker = AskerHalf(np.arange(5, KNOWN + 5, dtype=np.int32), near, far)
    units = HIDDEN - 2
    first = generator.normal(0, 0.06, (units, FREE)).astype(np.float32)
    second = generator.normal(0, 0.05, (KNOWN, units)).astype(np.float32)
    biases = (generator.normal(0, 0.5, size).astype(np.float32) for size in (units, KNOWN))
    return asker, ServerHalf.of(asker.digest, first, next(biases), second, next(biases))


@pytest.fixture(scope="session")
def asker(halves: tuple[AskerHalf, ServerHalf]) -> Asker:
    return Asker(halves[0].digest)


@pytest.fixture(scope="session")
def answerer(halves: tuple[AskerHalf, ServerHalf], asker: Asker) -> Answerer:
    """Who has the asker's keys."""
    made = Answerer(halves[1])
    made.meet(asker.keys)
    return made
