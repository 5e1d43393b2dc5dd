"""A server's memory: what it holds is the weights and the last askers' keys, and nothing of a question."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from chatfed.encrypted.inference import Answerer, Asker
from chatfed.encrypted.network import FREE

CIPHERTEXT = 2 * 3 * 8192 * 8  # bytes of one in memory: two polynomials modulo three primes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_memory_of_a_server_does_not_grow_with_questions(asker: Asker, answerer: Answerer) -> None:
    """Thirty of them, a lost ciphertext each would be 11 MiB.

    benchmarks/encrypted_next_word.py looks over its 500 contexts, and with --served 1000 at a server's own process.
    """
    sent = asker.ask(np.zeros(FREE, np.float32)).sent
    for _ in range(6):
        answerer.answer(sent)
    before = resident()
    for _ in range(30):
        answerer.answer(sent)
    assert resident() - before < 30 * CIPHERTEXT / 4


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
