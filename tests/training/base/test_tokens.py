"""Every token is learned from exactly once, a dialogue weighs one, and a word is counted as a plain loop counts it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatfed.model.parameters import flatten
from chatfed.model.tokenizer import MARKER, encode_dialogue, word_spans
from chatfed.model.transformer import load_model
from chatfed.types import ChatfedError, ClientId, Turn
from training.base.evaluation import Scores, _score, evaluate
from training.base.tokens import (
    ASSISTANT,
    DialogueExamples,
    TokenTable,
    next_token_loss,
    open_tokens,
    private_token_loss,
    windows,
    write_tokens,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def dialogues(tiny_corpus: HelpdeskCorpus) -> list[tuple[Turn, ...]]:
    return [dialogue.messages for dialogue in tiny_corpus.private[:12]]


@pytest.fixture(scope="module")
def table(
    dialogues: list[tuple[Turn, ...]], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> TokenTable:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "table", tiny_tokenizer, dialogues)


def invented(lengths: list[int]) -> TokenTable:
    """A table whose token at place i is i, so that each can be told from every other."""
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count = int(starts[-1])
    kinds = np.random.default_rng(0).choice([0, 1, 2, 3, ASSISTANT + 2, ASSISTANT + 3, ASSISTANT + 1], count)
    octets = np.zeros(len(lengths), np.int64)
    return TokenTable(np.arange(1, count + 1, dtype=np.int32), kinds.astype(np.uint8), starts, octets, {})


tables = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(invented)


@relaxed
@given(tables, st.integers(1, 50), st.randoms(use_true_random=False))
def test_every_token_but_the_first_is_a_target_once_with_the_tokens_before_it(
    table: TokenTable, context: int, random: Random
) -> None:
    asked = list(range(len(table)))
    random.shuffle(asked)
    batch = windows(table, np.array(asked), context)
    assert batch.ids.shape == batch.targets.shape == batch.kinds.shape and batch.ids.shape[1] <= context
    assert (np.diff(batch.owner) >= 0).all()
    for place, dialogue in enumerate(asked):
        mine = batch.owner == place
        targets = [int(t) for t in batch.targets[mine].ravel() if t]
        assert targets == table.ids[table.starts[dialogue] + 1 : table.starts[dialogue + 1]].tolist()
    real = batch.targets > 0
    assert (batch.targets[real] == batch.ids[real] + 1).all()
    assert (batch.kinds[real] == table.kinds[batch.targets[real] - 1]).all()
    assert (batch.kinds[~real] == MARKER).all()


@relaxed
@given(tables, st.integers(1, 50), st.sampled_from(["all", "assistant"]))
def test_the_weights_of_a_dialogue_sum_to_one_and_no_marker_has_any(
    table: TokenTable, context: int, train_on: str
) -> None:
    examples = DialogueExamples(table, np.arange(len(table)), context, train_on)
    rows, owner = examples.rows(np.arange(len(table)))
    totals = torch.zeros(len(table), dtype=torch.float64).index_add_(0, owner, rows["weights"].sum(1).double())
    for dialogue, total in enumerate(totals.tolist()):
        kinds = table.kinds[table.starts[dialogue] + 1 : table.starts[dialogue + 1]]
        counted = (kinds & ~np.uint8(ASSISTANT)) != MARKER
        if train_on == "assistant":
            counted &= (kinds & ASSISTANT) != 0
        assert total == pytest.approx(1.0 if counted.any() else 0.0, abs=1e-6)
    weighed = rows["weights"] > 0
    kinds = table.kinds[rows["targets"][weighed].numpy() - 1]
    assert ((kinds & ~np.uint8(ASSISTANT)) != MARKER).all()
    assert train_on == "all" or ((kinds & ASSISTANT) != 0).all()


def test_training_on_the_assistant_takes_its_words_and_its_turn_s_end_alone(
    table: TokenTable, dialogues: list[tuple[Turn, ...]], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    examples = DialogueExamples(table, np.arange(12), 48, "assistant")
    for index in range(12):
        rows, _ = examples.rows(np.array([index]))
        learned = tiny_tokenizer.decode(rows["targets"][rows["weights"] > 0].tolist())
        said = "".join(f" {turn.content}<|end|>" for turn in dialogues[index] if turn.role == "assistant")
        assert learned == said


def test_examples_are_the_dialogues_asked_for(table: TokenTable) -> None:
    examples = DialogueExamples(table, np.array([7, 2, 9]), 1000)
    rows, owner = examples.rows(np.array([2, 0]))
    assert owner.tolist() == [0, 1]
    for row, dialogue in enumerate((9, 7)):
        ids = table.ids[table.starts[dialogue] : table.starts[dialogue + 1] - 1]
        assert rows["ids"][row, : len(ids)].tolist() == ids.tolist()
    assert len(examples) == 3


def test_an_empty_sample_has_no_rows(table: TokenTable) -> None:
    rows, owner = DialogueExamples(table, np.array([1]), 8).rows(np.array([], np.int64))
    assert len(owner) == len(rows["ids"]) == 0


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> PreTrainedModel:
    torch.set_num_threads(1)
    return load_model(tiny_base)[0]


@pytest.mark.parametrize("loss", [next_token_loss, private_token_loss])
@pytest.mark.parametrize("train_on", ["all", "assistant"])
def test_the_loss_of_a_dialogue_is_its_mean_cross_entropy_however_it_is_batched(
    model: PreTrainedModel,
    table: TokenTable,
    train_on: str,
    loss: Callable[[torch.nn.Module, Mapping[str, torch.Tensor]], torch.Tensor],
) -> None:
    context = 48
    examples = DialogueExamples(table, np.arange(12), context, train_on)
    rows, owner = examples.rows(np.arange(12))
    together = torch.zeros(12).index_add_(0, owner, loss(model, rows))
    for dialogue in range(12):
        start, stop = int(table.starts[dialogue]), int(table.starts[dialogue + 1])
        nats = []
        for at in range(start, stop - 1, context):  # the obvious loop: one window, one token at a time
            ids = torch.tensor(table.ids[at : min(at + context + 1, stop)].astype(np.int64))
            with torch.no_grad():
                scores = torch.log_softmax(model(input_ids=ids[None, :-1]).logits[0].float(), -1)
            for place in range(len(ids) - 1):
                kind = int(table.kinds[at + place + 1])
                if kind & ~ASSISTANT != MARKER and (train_on == "all" or kind & ASSISTANT):
                    nats.append(-float(scores[place, ids[place + 1]]))
        assert float(together[dialogue].detach()) == pytest.approx(sum(nats) / len(nats), rel=1e-4)


def counted_by_words(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], context: int
) -> list[float]:
    """Nats, bytes, words, right at first place and within three of one dialogue, word by word and token by token.

    The obvious twin of `evaluate`.
    """
    encoded = encode_dialogue(tokenizer, turns)
    nats = {}
    ranks = {}
    for at in range(0, len(encoded.ids) - 1, context):
        ids = torch.from_numpy(encoded.ids[at : at + context + 1].astype(np.int64))
        with torch.no_grad():
            logits = model(input_ids=ids[None, :-1]).logits[0].float()
        for place in range(len(ids) - 1):
            target = int(ids[place + 1])
            nats[at + place + 1] = -float(torch.log_softmax(logits[place], -1)[target])
            ranks[at + place + 1] = 1 + int((logits[place] > logits[place, target]).sum())
    total = np.zeros(5)
    for index, turn in enumerate(turns):
        for word in range(len(word_spans(turn.content))):
            places = np.flatnonzero((encoded.turns == index) & (encoded.words == word)).tolist()
            spelt = all(ranks[place] == 1 for place in places[1:])
            first = ranks[places[0]]
            octets = len(turn.content.split()[word].encode())
            total += (sum(nats[p] for p in places), octets, 1, int(spelt and first <= 1), int(spelt and first <= 3))
    return total.tolist()


@pytest.mark.parametrize("context", [64, 17])
def test_evaluation_agrees_with_a_loop_over_words(
    model: PreTrainedModel,
    table: TokenTable,
    dialogues: list[tuple[Turn, ...]],
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: int,
) -> None:
    order = np.random.default_rng(1).permutation(12)
    found = evaluate(model, table, order, context, rows_at_once=5)
    plain = np.array([counted_by_words(model, tiny_tokenizer, dialogues[i], context) for i in order])
    assert found.sums == pytest.approx(plain, rel=1e-5), "each dialogue's own, in the order asked for"
    nats, octets, words, top1, top3 = plain.sum(0)
    assert words == sum(len(turn.content.split()) for turns in dialogues for turn in turns)
    result = found.result()
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / octets, rel=1e-5)
    assert (result.words, result.bytes) == (words, octets)
    assert result.top1 == top1 / words <= result.top3 == top3 / words


@pytest.mark.parametrize(("nats", "told"), [(13.8, 984_609.1), (13.9, None), (800.0, None), (1e300, None)])
def test_a_perplexity_that_tells_nothing_is_left_out_and_bits_per_byte_stay(nats: float, told: float | None) -> None:
    result = Scores(np.array([[2 * nats, 10.0, 2.0, 0.0, 0.0]])).result()
    assert result.perplexity == (None if told is None else pytest.approx(told))
    assert result.bits_per_byte == pytest.approx(2 * nats / math.log(2) / 10)
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 3e38])
def test_a_model_of_weights_that_are_not_finite_is_never_right(
    tiny_base: Path, table: TokenTable, broken: float
) -> None:
    """Comparisons with what is not a number are all false: its rank would be the first."""
    model, _ = load_model(tiny_base)
    with torch.no_grad():
        model.get_output_embeddings().weight[5:9] = broken
    with pytest.raises(ChatfedError, match="not finite on 3 of 3 held-out dialogues") as caught:
        evaluate(model, table, np.arange(3), 64)
    assert "\n" not in str(caught.value)


def test_what_is_not_a_number_ranks_last() -> None:
    class Odd(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
            logits = torch.tensor([[[0.0, float("nan"), 2.0, float("nan")]]]).expand(*input_ids.shape, 4)
            return SimpleNamespace(logits=logits)

    batch = windows(invented([3]), np.arange(1), 8)
    for target, rank in ((0, 4), (1, 5), (2, 3), (3, 5)):
        asked = replace(batch, targets=np.full_like(batch.targets, target))
        assert set(_score(Odd(), asked, "cpu")[1].ravel().tolist()) == {rank}


def test_a_table_knows_whose_its_dialogues_are_or_that_nobody_is_named(
    dialogues: list[tuple[Turn, ...]], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    owned = {ClientId("b"): np.array([0, 2]), ClientId("a"): np.array([1])}
    table = write_tokens(tmp_path / "named", tiny_tokenizer, dialogues[:3], owned)
    owners = table.owners(np.array([2, 1, 0]))
    assert owners is not None and owners.tolist() == [1, 0, 1]
    assert table.bytes.tolist() == [
        len("".join("".join(t.content.split()) for t in turns).encode()) for turns in dialogues[:3]
    ]
    assert write_tokens(tmp_path / "plain", tiny_tokenizer, dialogues[:3]).owners(np.arange(3)) is None


def test_evaluation_counts_hits_of_a_model_that_has_learned_the_text(tiny_base: Path, table: TokenTable) -> None:
    """A model trained on one dialogue until it knows it predicts nearly every word of it, whole."""
    learned, _ = load_model(tiny_base)
    examples = DialogueExamples(table, np.array([0]), 64)
    rows, _ = examples.rows(np.array([0]))
    optimizer = torch.optim.Adam(learned.parameters(), lr=3e-2)
    before = evaluate(learned, table, np.array([0]), 64).result()
    for _ in range(150):
        optimizer.zero_grad()
        next_token_loss(learned, rows).sum().backward()
        optimizer.step()
    after = evaluate(learned, table, np.array([0]), 64).result()
    assert before.top3 < 0.2 < 0.8 < after.top1 <= after.top3
    assert (
        after.perplexity is not None
        and after.perplexity < 3 < (before.perplexity or math.inf)
        and after.bits_per_byte < 1 < before.bits_per_byte
    )
    assert len(flatten(learned)) == sum(p.numel() for p in learned.parameters())


def test_a_table_reads_back_from_disk_with_its_clients(
    dialogues: list[tuple[Turn, ...]], tiny_tokenizer: PreTrainedTokenizerFast, table: TokenTable, tmp_path: Path
) -> None:
    owned = {ClientId("a"): np.array([0, 2]), ClientId("b"): np.array([1])}
    written = write_tokens(tmp_path / "table", tiny_tokenizer, dialogues[:3], owned)
    read = open_tokens(tmp_path / "table")
    assert read.ids.tolist() == written.ids.tolist() == table.ids[: table.starts[3]].tolist()
    assert {client: mine.tolist() for client, mine in read.clients.items()} == {"a": [0, 2], "b": [1]}
    assert len(read) == 3 and read.tokens == int(table.starts[3])
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_who_owns_what_is_found_on_disk_as_in_a_dictionary(
    dialogues: list[tuple[Turn, ...]], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    names = [
        *map(ClientId, ["", "a", "aa", "b", "Z", "é", "\0", "client-10", "client-9", "\U0001f600", "\uffff", "x" * 500])
    ]
    owned = {name: np.arange(3 * i, 3 * i + i % 4) for i, name in enumerate(names)}
    found = write_tokens(tmp_path / "table", tiny_tokenizer, dialogues[:1], owned).clients
    assert list(found) == sorted(names) and len(found) == len(names)
    assert {name: found[name].tolist() for name in names} == {name: mine.tolist() for name, mine in owned.items()}
    for missing in ("aaa", "A", "zz", "client-1"):
        assert missing not in found


def test_a_table_that_fails_half_way_leaves_nothing(
    tiny_tokenizer: PreTrainedTokenizerFast, dialogues: list[tuple[Turn, ...]], tmp_path: Path
) -> None:
    def failing() -> Iterator[tuple[Turn, ...]]:
        yield from dialogues[:2]
        raise ChatfedError("the source broke off")

    with pytest.raises(ChatfedError, match="broke off"):
        write_tokens(tmp_path / "table", tiny_tokenizer, failing())
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChatfedError, match="no readable token table"):
        open_tokens(tmp_path / "nothing")


def test_an_evaluation_of_no_words_gives_no_figure() -> None:
    with pytest.raises(ChatfedError, match="no word to measure on"):
        Scores(np.zeros((0, 5))).result()


def test_a_full_disk_names_the_table_that_could_not_be_written(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    import training.base.tokens as tokens
    from training.durable import DiskError

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tokens, "_kinds_with_role", full)  # where a write would fail
    with pytest.raises(DiskError, match=r"private failed: No space left.*chatfed resume"):
        write_tokens(tmp_path / "private", tiny_tokenizer, [[Turn("user", "hello there")]])
    assert list(tmp_path.iterdir()) == []


def test_a_message_that_is_not_to_be_learned_is_context_and_neither_target_nor_measured(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    turns = [Turn("user", "my laptop"), Turn("assistant", "wrong answer", learn=False), Turn("user", "no thanks")]
    table = write_tokens(tmp_path / "marked", tiny_tokenizer, [turns])
    whole = write_tokens(tmp_path / "whole", tiny_tokenizer, [[Turn(turn.role, turn.content) for turn in turns]])
    assert table.ids.tolist() == whole.ids.tolist()
    encoded = encode_dialogue(tiny_tokenizer, turns)
    rows, _ = DialogueExamples(table, np.array([0]), 256).rows(np.array([0]))
    weighed = rows["weights"][0].numpy() > 0
    learned = encoded.turns[1:] != 1
    assert np.array_equal(weighed, learned & (encoded.kinds[1:] != MARKER)) and weighed.any()
    assistants = DialogueExamples(table, np.array([0]), 256, train_on="assistant").rows(np.array([0]))[0]
    assert float(assistants["weights"].sum()) == 0.0


def test_bits_per_byte_are_over_the_bytes_whose_bits_are_counted(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """A long message of context would otherwise make every byte look cheap."""
    turns = [Turn("user", "nobody is asked to learn these words " * 3, learn=False), Turn("assistant", "wrong répons")]
    table = write_tokens(tmp_path / "marked", tiny_tokenizer, [turns])
    found = evaluate(model, table, np.array([0]), 64).result()
    assert (found.words, found.bytes) == (2, len("wrongrépons".encode()))


def test_a_dialogue_of_forty_thousand_messages_is_encoded_whole(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = [Turn("assistant" if place % 2 else "user", "a") for place in range(40_000)]
    encoded = encode_dialogue(tiny_tokenizer, turns)
    assert encoded.turns.max() == 39_999 and (np.diff(encoded.turns.astype(np.int64)) >= 0).all()
