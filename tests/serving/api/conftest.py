"""The API with tiny models on a real socket, and keys of both roles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import build_tiny
from tests.serving.api.running import OPERATOR_KEY, Running, running

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed import Chat
    from chatfed.generation.events import Event


@pytest.fixture(scope="session")
def wide_chat(tiny_tokenizer: PreTrainedTokenizerFast) -> Chat:
    """A tiny random model that sees 256 tokens."""
    import torch

    from chatfed import Chat

    torch.set_num_threads(1)
    return Chat(build_tiny(tiny_tokenizer, 256), tiny_tokenizer)


@pytest.fixture(scope="session")
def api_server(wide_chat: Chat, tiny_base: Path) -> Iterator[Running]:
    """Model "tiny", for anyone, and its reference, for whoever has OPERATOR_KEY."""
    from chatfed import load_chat
    from serving.api.keys import Keys
    from serving.api.options import ApiOptions
    from serving.api.routes import api

    options = ApiOptions("tiny", Keys(operators=[OPERATOR_KEY]))
    with running(api(wide_chat, load_chat(tiny_base), options)) as server:
        yield server


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each token that a model has drawn for a reply."""
    from chatfed.generation.reply import Reply

    written, take = list[int](), Reply.take

    def counted(reply: Reply, *given: Any) -> Event:
        written.append(1)
        return take(reply, *given)

    monkeypatch.setattr(Reply, "take", counted)
    return written
