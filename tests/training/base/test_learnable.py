"""No epsilon is spent on noise alone: what has nothing to learn, or nothing to move, is refused before any charge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from chatfed.model.tokenizer import MARKER
from chatfed.types import ChatfedError, ClientId
from tests.conftest import build_tiny
from tests.training.base.test_overlap import Files, record
from tests.training.processes import PLAIN, here, one_line
from training.base.learnable import refuse_unmoved, refuse_without_targets
from training.base.tokens import ASSISTANT, DialogueExamples, TokenTable
from training.plan.checks import check
from training.plan.recipe import load_recipe
from training.plan.settings import RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def silent(number: int, **more: object) -> dict[str, Any]:
    """A record in which the assistant says nothing."""
    return {**record(number, **more), "messages": record(number)["messages"][:1]}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def refusal(files: Files) -> str:
    with pytest.raises(ChatfedError) as caught:
        files.load(train_on="assistant")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_answers_are_not_learned_from_data_without_answers(files: Files) -> None:
    files.private = [silent(i, client_id=f"c{i % 5}") for i in range(20)]
    message = refusal(files)
    for part in (
        'data.train_on = "assistant"',
        "Of the clients' dialogues in",
        "mine.jsonl",
        "spent on noise",
        '"all"',
    ):
        assert part in message
    assert len(files.load(train_on="all").clients) == 5, "words of both sides are there to learn"


def test_a_program_is_told_which_file_has_nothing_to_learn(files: Files) -> None:
    files.private = [silent(i, client_id=f"c{i % 5}") for i in range(20)]
    with pytest.raises(ChatfedError) as caught:
        files.load(train_on="assistant")
    assert Path(caught.value.param or "").name == "mine.jsonl"


def test_a_client_without_answers_takes_no_part_and_is_counted(files: Files) -> None:
    files.private[4::5] = [silent(i, client_id="c4") for i in range(4, 20, 5)]
    files.private[0] = silent(0, client_id="c0")
    corpus = files.load(train_on="assistant")
    assert sorted(corpus.clients) == ["c0", "c1", "c2", "c3"] and corpus.clients[ClientId("c0")].tolist() == [5, 10, 15]
    notes = " ".join(corpus.notes)
    assert "5 of 20 have no assistant's message" in notes and "1 of 5 clients have no dialogue to learn from" in notes


def test_held_out_dialogues_without_answers_measure_nothing_of_answers(files: Files) -> None:
    files.held_out = [silent(100 + i) for i in range(6)]
    assert "Of the held-out dialogues" in refusal(files)


def test_public_text_without_answers_is_learned_and_said(files: Files) -> None:
    files.public = [silent(200 + i) for i in range(10)]
    corpus = files.load(train_on="assistant")
    assert corpus.public is not None and len(corpus.public) == 10
    assert "Of the public text, 10 of 10 have no assistant's message that is learned" in corpus.notes[-1]


@pytest.mark.parametrize("train_on", ["all", "assistant"])
def test_messages_that_are_marked_as_context_are_nothing_to_learn(files: Files, train_on: str) -> None:
    def marked(number: int, **more: object) -> dict[str, Any]:
        given = record(number, **more)
        given["messages"][1]["weight"] = 0
        return {**given, "messages": given["messages"][1:]}

    files.private[4::5] = [marked(i, client_id="c4") for i in range(4, 20, 5)]
    corpus = files.load(train_on=train_on)
    assert sorted(corpus.clients) == ["c0", "c1", "c2", "c3"]
    files.private = [marked(i, client_id=f"c{i % 5}") for i in range(20)]
    with pytest.raises(ChatfedError, match="nothing could be learned"):
        files.load(train_on=train_on)


def test_the_program_refuses_before_anything_is_charged(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    files.private = [silent(i, client_id=f"c{i % 5}") for i in range(20)]
    files.load()
    given = ["--data", tmp_path / "mine.jsonl", "--validation", tmp_path / "held-out.jsonl", "--base", tiny_base]
    done = here(*given, "--set", "data.train_on=assistant", "--out", tmp_path / "out")
    one_line(done, "Of the clients' dialogues", "spent on noise", code=2)
    assert not (tmp_path / "out").exists()


# What only tokens tell


def table(kinds: list[list[int]], clients: dict[str, list[int]]) -> TokenTable:
    """Dialogues with tokens of these kinds."""
    flat = np.array([kind for each in kinds for kind in each], np.uint8)
    starts = np.cumsum([0, *map(len, kinds)])
    owned = {ClientId(name): np.array(mine, np.int64) for name, mine in clients.items()}
    return TokenTable(np.arange(len(flat), dtype=np.int32), flat, starts, np.ones(len(kinds), np.int64), owned)


WORD = 1
ANSWERED = [MARKER, WORD, WORD, MARKER, WORD | ASSISTANT, WORD | ASSISTANT]
ASKED = [MARKER, WORD, WORD, MARKER]


@pytest.mark.parametrize(
    ("train_on", "kinds"),
    [("assistant", ASKED), ("assistant", [WORD | ASSISTANT]), ("all", [WORD]), ("all", [MARKER, MARKER])],
)
def test_a_client_of_whose_tokens_none_is_learned_is_refused_by_name(train_on: str, kinds: list[int]) -> None:
    words = (load_recipe().model.context, train_on)
    refuse_without_targets(table([ANSWERED, kinds], {"a": [0], "b": [0, 1]}), *words)
    with pytest.raises(ChatfedError, match=r"1 of 2 clients \(the first is b\) have no token that is learned"):
        refuse_without_targets(table([ANSWERED, kinds], {"a": [0], "b": [1]}), *words)


def test_a_late_answer_in_a_long_dialogue_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.base import learnable

    monkeypatch.setattr(learnable, "_AT_ONCE", 2)
    words = (8, "assistant")
    late = [MARKER, *[WORD] * 40, WORD | ASSISTANT]
    refuse_without_targets(table([late, ANSWERED, late], {"a": [0], "b": [1], "c": [2]}), *words)


# What moves


def examples() -> DialogueExamples:
    return DialogueExamples(table([ANSWERED], {}), np.arange(1), 64)


def test_a_parameter_outside_the_loss_is_refused_by_name(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_tiny(tiny_tokenizer)
    refuse_unmoved(model, examples())
    assert all(parameter.grad is None for parameter in model.parameters())
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(3)))
    with pytest.raises(ChatfedError, match=r"1 of \d+ trained parameters have no part in the model's loss .*unused"):
        refuse_unmoved(model, examples())
    model.unused.requires_grad_(False)
    refuse_unmoved(model, examples())


def test_a_model_of_which_nothing_trained_is_in_the_loss_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_tiny(tiny_tokenizer)
    model.requires_grad_(False)
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(3)))
    with pytest.raises(ChatfedError, match="1 of 1 trained parameters"):
        refuse_unmoved(model, examples())


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["privacy.learning_rate=1e-30"], "privacy.learning_rate"),
        (["privacy.clip_norm=1e-20"], "privacy.clip_norm"),
        (["privacy.expected_batch_size=1e9", "privacy.clip_norm=1e-20"], "expected_batch_size"),
        (["secagg.update_clip=1e-25"], "clip norm"),
        (["federation.server_learning_rate=1e-20"], "server_learning_rate"),
        (
            [
                "federation.server_optimizer=fedadam",
                "federation.adam_epsilon=1e9",
                "federation.server_learning_rate=1e-6",
            ],
            "server_learning_rate",
        ),
        (
            ["privacy.unit=client", "privacy.noise=distributed", "local.learning_rate=1e-29"],
            "local.learning_rate",
        ),
    ],
)
def test_a_plan_that_moves_no_weight_is_refused(overrides: list[str], part: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check(load_recipe(PLAIN, overrides), 400)
    assert "epsilon would be spent all the same" in str(caught.value) and part in str(caught.value)


@pytest.mark.parametrize("overrides", [[], ["privacy.learning_rate=1e-3"], ["federation.server_optimizer=fedadam"]])
def test_a_plan_that_moves_weights_a_little_is_not(overrides: list[str]) -> None:
    check(load_recipe(PLAIN, overrides), 400)
