"""What a round gives is the same to the bit, whoever carries it: a loop in one process, or Flower between nodes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.engines.flower_line import ROOT, flower_python
from tests.training.federation import names

pytestmark = pytest.mark.flower

FIVE = names(5)
A, B, C, D, E = FIVE


class Rounds:
    """A process that plays rounds."""

    def __init__(self, folder: Path) -> None:
        self.errors = folder / "errors"
        command = [str(flower_python()), "-m", "tests.training.engines.flower_sums", "rounds", str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self.errors.open("wb") as errors:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=errors)

    def play(self, **case: dict[str, list[str]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(case).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()  # whatever it waits for has a bound
        assert line, self.errors.read_text()
        told = json.loads(line)
        return told["plain"], told["flower"]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rounds]:
    made = Rounds(tmp_path_factory.mktemp("sums"))
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


@pytest.mark.parametrize(
    ("case", "survivors", "dropped"),
    [
        ({}, FIVE, {}),
        ({"silent": {"SESSION": [A]}}, (B, C, D, E), {"SESSION": [A]}),
        ({"lost": {"SESSION": [A]}}, (B, C, D, E), {"SESSION": [A]}),
        ({"silent": {"SHARES": [B]}}, (A, C, D, E), {"SHARES": [B]}),
        ({"lost": {"SHARES": [B]}}, (A, C, D, E), {"SHARES": [B]}),
        ({"silent": {"SURVIVORS": [C]}}, FIVE, {"SURVIVORS": [C]}),
        ({"lost": {"CERTIFICATE": [D]}}, FIVE, {"CERTIFICATE": [D]}),
        ({"lost": {"SHARES": [B]}, "silent": {"CERTIFICATE": [D]}}, (A, C, D, E), {"SHARES": [B], "CERTIFICATE": [D]}),
        ({"killed": {"SHARES": [B]}}, (A, C, D, E), {"SHARES": [B]}),
    ],
    ids=str,
)
def test_a_round_over_flower_gives_the_same_bits_as_one_in_process(
    rounds: Rounds, case: dict[str, Any], survivors: tuple[str, ...], dropped: dict[str, list[str]]
) -> None:
    plain, flower = rounds.play(**case)
    assert flower == plain
    first, second = flower
    assert (first["survivors"], first["dropped"]) == ([*FIVE], {})
    assert (second["survivors"], second["dropped"]) == ([*survivors], dropped)
    assert first["mean"] != second["mean"] and second["faults"] == []
