"""A federation of four, in a ring where sums are read back exactly, also on keys that stand; and a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.federation import FOUR, Federation, a_recipe
from tests.training.parties.standing import Epochs, a_federation
from tests.training.parties.tampering import Once
from training.parties.store import Store


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path, a_recipe(ring_bits=16, cohort=4), FOUR)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "records.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Once(path)
    yield made
    made.close()


@pytest.fixture
def epochs(tmp_path: Path) -> Epochs:
    return a_federation(tmp_path)


@pytest.fixture(params=["none", "roster"])
def each_kind(tmp_path: Path, request: pytest.FixtureRequest) -> Epochs:
    return a_federation(tmp_path, request.param)
