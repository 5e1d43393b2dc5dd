"""A federation of four, in a ring where sums are read back exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.federation import FOUR, Federation, a_recipe


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path, a_recipe(ring_bits=16, cohort=4), FOUR)
