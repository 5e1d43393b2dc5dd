"""What a base's chat template refuses is a bad line of its file; what its answers end with is learned and ends them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatfed import Chat, Generation, Turn
from chatfed.data.dialogue import DataError, read_dialogues
from chatfed.model.checkpoint import save_model
from tests.model.architectures import tiny
from tests.model.tokenizers_of_others import TEMPLATES, trained
from training.base.corpus import load_corpus
from training.base.templates import template_refusal
from training.base.tokens import DialogueExamples, next_token_loss, write_tokens
from training.plan.recipe import DataSection


@pytest.fixture(scope="module")
def strict_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base whose template wants a user's message first and then each in turn."""
    tokenizer = trained("byte-level", TEMPLATES["llama2"])
    folder = tmp_path_factory.mktemp("base") / "model"
    save_model(folder, tiny("llama", vocab_size=len(tokenizer)), tokenizer, "")
    return str(folder)


GOOD = [("user", "is it on?"), ("assistant", "we have 5 left")]
ODD = {
    "two users": [("user", "a"), ("user", "b"), ("assistant", "c")],
    "assistant first": [("assistant", "hello"), ("user", "b")],
    "system late": [("user", "a"), ("system", "b"), ("assistant", "c")],
    "two answers": [("user", "a"), ("assistant", "b"), ("assistant", "c")],
}


def written(path: Path, dialogues: list[list[tuple[str, str]]]) -> Path:
    lines = [
        {
            "messages": [{"role": role, "content": f"{text} {number}"} for role, text in talk],
            "client_id": f"c{number % 4}",
        }
        for number, talk in enumerate(dialogues)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("case", ODD)
def test_a_dialogue_that_the_template_refuses_is_named_by_file_and_line(
    strict_base: str, tmp_path: Path, case: str
) -> None:
    file = written(tmp_path / "mine.jsonl", [GOOD] * 6 + [ODD[case]] + [GOOD] * 3)
    refusal = template_refusal(strict_base)
    with pytest.raises(DataError, match=r"mine\.jsonl, line 7: The base's chat template refuses .*alternate") as caught:
        read_dialogues(str(file), refusal=refusal)
    assert "skip_bad_lines" in str(caught.value) and "\n" not in str(caught.value)
    table = read_dialogues(str(file), refusal=refusal, skip_bad_lines=True)
    assert len(table) == 9 and [bad.line for bad in table.skipped] == [7]
    assert len(read_dialogues(str(file))) == 10  # nothing of it stays for another base


@pytest.mark.parametrize("part", ["source", "validation"])
def test_a_run_counts_what_the_template_refuses_or_stops_at_the_line(
    strict_base: str, tmp_path: Path, part: str
) -> None:
    good = written(tmp_path / "good.jsonl", [[(role, f"{text} x") for role, text in GOOD] for _ in range(8)])
    odd = written(tmp_path / "odd.jsonl", [GOOD, GOOD, GOOD, GOOD, GOOD, ODD["two users"]])
    given: dict[str, Any] = {"source": str(good), "validation": str(good), part: str(odd)}
    refusal = template_refusal(strict_base)
    with pytest.raises(DataError, match=r"odd\.jsonl, line 6: "):
        load_corpus(DataSection(**given), False, tmp_path, refusal)
    corpus = load_corpus(DataSection(**given, skip_bad_lines=True), False, tmp_path, refusal)
    assert any(
        "Skipped 1 bad line" in note and "line 6: The base's chat template refuses" in note for note in corpus.notes
    )


def learned(tmp_path: Path, kind: str, template: str | None, talk: list[Turn]) -> Chat:
    """A chat with a tiny model that knows one dialogue by heart, learned as a run learns it."""
    tokenizer: Any = trained(kind, TEMPLATES[template] if template else None)
    table = write_tokens(tmp_path / "tokens", tokenizer, [talk])
    model = tiny("llama", vocab_size=len(tokenizer), max_position_embeddings=128).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3 if parameter.dim() > 1 else 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    examples = DialogueExamples(table, np.array([0]), 128, "assistant")
    for _ in range(45):
        optimizer.zero_grad()
        rows, _ = examples.rows(np.array([0]))
        next_token_loss(model, rows).sum().backward()
        optimizer.step()
    return Chat(model, tokenizer)


FIVE, LINES = "we have 5 left", "first line\nsecond line."
HEART = [
    *(("llama2", kind, FIVE) for kind in ("byte-level", "metaspace", "legacy")),
    *(("line before the marker", kind, LINES) for kind in ("byte-level", "regex")),
    *(("blank line", kind, LINES) for kind in ("regex", "metaspace")),
    *(("left open", kind, FIVE) for kind in ("byte-level", "legacy")),
    ("thinking", "byte-level", LINES),
    *((None, kind, FIVE) for kind in ("metaspace", "legacy")),
]


@pytest.mark.parametrize(("template", "kind", "answer"), HEART)
def test_a_reply_learned_by_heart_is_given_whole_and_ends_where_it_ended(
    tmp_path: Path, template: str | None, kind: str, answer: str
) -> None:
    torch.set_num_threads(1)
    chat = learned(tmp_path, kind, template, [Turn("user", "is it on?"), Turn("assistant", answer)])
    reply = chat.reply([Turn("user", "is it on?")], Generation(max_new_tokens=60))
    if template == "thinking":  # what the template writes within the answer is the model's to write too
        reply = reply.removeprefix("<think>").lstrip().removeprefix("</think>").lstrip()
    assert reply == (" ".join(answer.splitlines()) if template is None else answer)
