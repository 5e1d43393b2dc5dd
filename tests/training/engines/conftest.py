"""What worker processes work on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
