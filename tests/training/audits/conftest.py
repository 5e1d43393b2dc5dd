"""A house that models are taught, and the public model of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.training.audits.remembering import House, house


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> House:
    return house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def public(lived_in: House) -> Any:
    return lived_in.taught(lived_in.public, np.arange(len(lived_in.public)), 20)
