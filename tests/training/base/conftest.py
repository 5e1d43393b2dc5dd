"""What a learner of the tiny model reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus


@pytest.fixture
def places(
    tiny_base: Path, tiny_corpus: HelpdeskCorpus, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> tuple[str, Path, Path]:
    """As `Learner.open` takes them: the base, and tables of three private and three held-out dialogues."""
    from training.base.tokens import write_tokens

    for name, dialogues in (("private", tiny_corpus.private), ("held-out", tiny_corpus.held_out)):
        write_tokens(tmp_path / name, tiny_tokenizer, [d.messages[:3] for d in dialogues[:3]])
    return str(tiny_base), tmp_path / "private", tmp_path / "held-out"
