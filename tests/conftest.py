"""Tiny things that several rooms' tests share: a generated corpus, and a model of a few thousand numbers."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from chatfed import Chat
    from chatfed.data.helpdesk import HelpdeskCorpus


# A busy machine is no failure; what may take how long is asserted where it matters. With CHATFED_EXAMPLES=1000 a
# property is looked at further.
settings.register_profile(
    "chatfed",
    parent=settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    max_examples=int(os.environ.get("CHATFED_EXAMPLES", "60")),
)
settings.load_profile("chatfed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests go first: else processes that share the tests would wait for the last of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def tiny_corpus() -> HelpdeskCorpus:
    from chatfed.data.helpdesk import generate

    return generate(3, clients=8, held_out_clients=2, public_dialogues=60)


@pytest.fixture(scope="session")
def tiny_data(tiny_corpus: HelpdeskCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with private.jsonl, public.jsonl and held_out.jsonl of the tiny corpus."""
    from chatfed.data.helpdesk import write

    folder = tmp_path_factory.mktemp("corpus")
    write(tiny_corpus, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_corpus: HelpdeskCorpus) -> PreTrainedTokenizerFast:
    from chatfed.model.tokenizer import train_tokenizer

    return train_tokenizer((turn.content for d in tiny_corpus.public for turn in d.messages), 400)


def build_tiny(tokenizer: PreTrainedTokenizerFast, context: int = 64) -> PreTrainedModel:
    import torch

    from chatfed.model.transformer import Architecture, build_llama

    model = build_llama(Architecture(16, 2, 2, 32, context), tokenizer, seed=5)
    with torch.no_grad():  # far from uniform, so that ranks, choices and probabilities differ
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.train(False)
    return model


@pytest.fixture(scope="session")
def tiny_base(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random model with 64 tokens of context."""
    from chatfed.model.checkpoint import save_model
    from chatfed.model.transformer import untie_output

    folder = tmp_path_factory.mktemp("base") / "model"
    model = build_tiny(tiny_tokenizer)
    untie_output(model)  # as pre-training leaves a base
    save_model(folder, model, tiny_tokenizer, "A tiny random model for tests.\n")
    return folder


@pytest.fixture(scope="module")
def chat(tiny_base: Path) -> Chat:
    """A chat with the tiny random model, on one thread."""
    import torch

    from chatfed import load_chat

    torch.set_num_threads(1)
    return load_chat(tiny_base)


@pytest.fixture
def calls(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens of a row the chat's model reads, at every call of it and of its quick steps."""
    seen: list[int] = []
    assert chat._decoder.steps is not None, "packed and tried before anything is counted"
    kind: Any = type(chat.model)
    steps: Any = type(chat._decoder.steps)
    forward, read, grow = kind.forward, steps._read, steps.grow

    def whole(self: Any, *args: Any, **given: Any) -> Any:
        seen.append(given["input_ids"].shape[1])
        return forward(self, *args, **given)

    def quick(self: Any, cache: Any, ids: Any) -> Any:
        seen.append(ids.shape[1])
        return read(self, cache, ids)

    def grown(self: Any, *given: Any) -> Any:
        seen.append(1)
        return grow(self, *given)

    monkeypatch.setattr(kind, "forward", functools.wraps(forward)(whole))
    monkeypatch.setattr(steps, "_read", quick)
    monkeypatch.setattr(steps, "grow", grown)
    return seen
