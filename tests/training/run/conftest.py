"""Federations of real members in one process, for whoever tests what a coordinator does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.members import Neighbours


@pytest.fixture
def neighbours(tiny_data: Path, tiny_base: Path, tmp_path: Path) -> Iterator[Neighbours]:
    """Four members of a federation of one round, none of whom has joined yet."""
    made = Neighbours(tmp_path, tiny_base)
    made.make(tiny_data / "private.jsonl", ["federation.rounds=1"])
    yield made
    made.close()
