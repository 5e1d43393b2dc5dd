"""What `chatfed he distil` says of the network beside the model: on held-out dialogues, as a run measures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from training.base.evaluation import evaluate
from training.base.next_word import NextWord
from training.base.tokens import TokenTable, open_tokens, write_tokens
from training.distil import figures, table
from training.run.run_folder import RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed import Chat
    from chatfed.data.helpdesk import HelpdeskCorpus

SERVED = {"perplexity": 52.08, "top1": 0.415, "top3": 0.556, "words": 27_188, "dialogues": 300}
NETWORK = {"perplexity": 93.72, "top1": 0.365, "top3": 0.505, "words": 27_188, "dialogues": 300}


@pytest.fixture
def held(tiny_corpus: HelpdeskCorpus, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> TokenTable:
    """A run's folder that holds held-out dialogues: three short ones."""
    turns = [dialogue.messages[:3] for dialogue in tiny_corpus.held_out[:3]]
    return write_tokens(RunFolder(tmp_path).state / "held-out", tiny_tokenizer, turns)


def test_model_and_network_are_measured_on_the_same_held_out_dialogues(
    chat: Chat, held: TokenTable, tmp_path: Path
) -> None:
    vocabulary = int(chat.model.config.vocab_size)
    network = NextWord(np.arange(vocabulary, dtype=np.int32), vocabulary)
    found = figures(tmp_path, chat, network, 2)
    assert list(found) == ["served model", "distilled network"]
    for model, each in zip((chat.model, network), found.values(), strict=True):
        alone = evaluate(model, open_tokens(RunFolder(tmp_path).state / "held-out"), np.arange(2), chat.context)
        assert each == alone.result().to_json() | {"dialogues": 2}
    served, distilled = found.values()
    assert served["words"] == distilled["words"] > 0 and served["bits_per_byte"] != distilled["bits_per_byte"]
    assert figures(tmp_path, chat, network, 99)["served model"]["dialogues"] == len(held) == 3
    assert len(list(table(found))) in (3, 4)


def test_without_held_out_dialogues_nothing_is_measured(chat: Chat, held: TokenTable, tmp_path: Path) -> None:
    network: Any = None
    assert figures(tmp_path, chat, network, 0) == figures(tmp_path / "elsewhere", chat, network, 5) == {}
    assert list(table({})) == ["There are no held-out dialogues here to measure on."]


def test_the_table_has_both_side_by_side_and_what_is_left_of_the_top_three() -> None:
    head, first, second, last = table({"served model": SERVED, "distilled network": NETWORK})
    assert head.split() == ["perplexity", "a", "word", "top-1", "top-3"]
    assert first.split() == ["served", "model", "52.1", "41.5%", "55.6%"]
    assert second.split() == ["distilled", "network", "93.7", "36.5%", "50.5%"]
    assert len(head) == len(first) == len(second)
    assert last == "Of 27,188 words of 300 held-out dialogues: the network has 91% of the model's top-3."


def test_a_model_that_is_never_right_and_a_perplexity_beyond_counting_are_said_as_such() -> None:
    lines = list(table({"served model": SERVED | {"top3": 0.0}, "distilled network": NETWORK | {"perplexity": None}}))
    assert len(lines) == 3 and "above 1,000,000" in lines[2]
