"""What worker processes work on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.training.engines.flower_line import Line
from tests.training.engines.places import a_place
from training.engines.simulation import Workplace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus


@pytest.fixture(scope="module")
def place(
    tiny_corpus: HelpdeskCorpus,
    tiny_base: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workplace:
    return a_place(tmp_path_factory.mktemp("simulation"), tiny_corpus, tiny_base, tiny_tokenizer)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Line]:
    """A coordinator of Flower for one test, and no member."""
    made = Line(tmp_path)
    try:
        yield made
    finally:
        made.close()
