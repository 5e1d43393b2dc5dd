"""One reply and many: the same tokens and text over every face, alone or beside others; rows that leave are freed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import torch

from chatfed import Chat, Generation
from chatfed.generation import Event
from chatfed.generation.engine import Engine, ModelBusy
from chatfed.generation.reply import Reply
from chatfed.generation.tickets import AHEAD, Item
from chatfed.model import decoding
from chatfed.model.decoding import close
from chatfed.model.llama_rows import LlamaRows
from chatfed.model.llama_small import SmallSteps
from chatfed.model.llama_steps import _Rounded
from chatfed.model.tokenizer import train_tokenizer
from tests.generation.alone import drawn_alone
from tests.model.architectures import tiny
from tests.model.test_llama_steps import llama
from tests.model.tokenizers_of_others import TEXTS

ASKED = ["hello there my laptop", "is it on?", "a " * 60, "printer", "we have 5 left today " * 8]
GREEDY = Generation(max_new_tokens=70)
HOT = Generation(max_new_tokens=70, temperature=2.0, top_p=0.95, seed=5, repetition_penalty=1.1)


@pytest.fixture(scope="module", params=["small", "float32", "bfloat16", "int8", "gpt2"])
def chat(request: pytest.FixtureRequest) -> Iterator[Chat]:
    """A plain Llama in numpy, in torch and each precision, and a model without quick steps."""
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(TEXTS, 290)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_LARGE", 1000 if request.param in ("bfloat16", "int8") else 1 << 40)
        patch.setattr(decoding, "_SMALL", decoding._SMALL if request.param == "small" else 0)
        patch.setattr(decoding, "has_bfloat16", lambda: request.param != "int8")
        patch.setattr(decoding, "has_int8", lambda: True)
        model = tiny("gpt2", n_positions=512) if request.param == "gpt2" else llama(vocab_size=290)
        made = Chat(model, tokenizer)
        assert (made._decoder.steps is None) == (request.param == "gpt2")
        steps = made._decoder.steps
        assert isinstance(steps, SmallSteps) == (request.param == "small")
        assert isinstance(getattr(steps, "_head", None), _Rounded) == (request.param == "int8")
        assert (getattr(steps, "_dtype", None) is torch.bfloat16) == (request.param == "bfloat16")
        yield made


def reply(chat: Chat, said: str, settings: Generation = GREEDY) -> Reply:
    return Reply(chat._asked(said, settings, 0, ()), chat._token_bytes, chat._ends)


async def read(chat: Chat, said: str, settings: Generation) -> list[Event]:
    return [event async for event in chat.aevents(said, settings, top=2)]


@pytest.mark.parametrize("settings", [GREEDY, HOT], ids=["greedy", "drawn"])
def test_every_face_gives_the_same_tokens_scores_and_text_whoever_else_is_there(
    chat: Chat, settings: Generation
) -> None:
    alone = [list(chat.events(said, settings, top=2)) for said in ASKED]

    async def together() -> list[list[Event]]:
        return await asyncio.gather(*(read(chat, said, settings) for said in ASKED * 2))

    assert asyncio.run(together()) == alone * 2  # to the last bit of every log-probability
    texts = ["".join(event.text for event in events) for events in alone]
    assert chat.replies(ASKED, settings) == texts == ["".join(chat.stream(said, settings)) for said in ASKED]
    for events in alone:
        assert [event.ending is not None for event in events] == [False] * (len(events) - 1) + [True]


def test_the_engine_says_what_one_reply_by_itself_says(chat: Chat) -> None:
    wanted = [event.score.token for event in drawn_alone(chat._decoder, reply(chat, ASKED[0])) if event.score]
    found = [event.score.token for event in chat.events(ASKED[0], GREEDY) if event.score]
    same = next((at for at, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]), len(wanted))
    lower = chat._decoder.steps is not None and chat._decoder.steps.begin(1).keys.dtype is torch.bfloat16
    assert same >= (4 if lower else len(wanted))


@pytest.mark.parametrize(
    "mode",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
        lambda: np.errstate(all="raise"),
    ],
    ids=["autocast", "default device", "numpy's errors"],
)
def test_a_reply_does_not_depend_on_how_its_readers_thread_computes(
    chat: Chat, mode: Callable[[], AbstractContextManager[object]]
) -> None:
    plain = list(chat.events(ASKED[0], HOT, top=2))
    with mode():
        assert list(chat.events(ASKED[0], HOT, top=2)) == plain
    events = chat.events(ASKED[0], HOT, top=2)
    begun = [next(events) for _ in range(3)]
    with mode():  # entered in the midst of a reply
        begun.append(next(events))
        begun.append(next(events))
    assert [*begun, *events] == plain


def test_greedy_tokens_are_those_of_generate() -> None:
    torch.set_num_threads(1)
    chat = Chat(llama(vocab_size=290), train_tokenizer(TEXTS, 290))
    for said in ASKED[:3]:
        ids = chat.prompt_ids(said)
        with torch.inference_mode():
            whole: Any = chat.model.generate(  # type: ignore[operator]
                torch.tensor([ids]), max_new_tokens=40, do_sample=False, pad_token_id=0, eos_token_id=[*chat._ends]
            )
        events = chat.events(said, Generation(max_new_tokens=40))
        assert [event.score.token for event in events if event.score] == whole[0, len(ids) :].tolist()


def test_closing_frees_the_row_and_the_others_go_on(chat: Chat) -> None:
    kept, left = chat.events(ASKED[0], GREEDY), chat.events(ASKED[1], GREEDY)
    first = next(kept)
    next(left)
    left.close()
    assert chat._engine.load[0] <= 1
    assert [first, *kept] == list(chat.events(ASKED[0], GREEDY))


def test_an_abandoned_coroutine_frees_its_row(chat: Chat) -> None:
    async def some() -> None:
        events = chat.aevents(ASKED[0], GREEDY)
        assert isinstance(await anext(events), Event)
        await events.aclose()

    asyncio.run(some())
    assert len(list(chat.events(ASKED[1], GREEDY))) > 1 and chat._engine.load == (0, 0)


def test_a_reply_waits_for_a_reader_who_does_not_keep_up(chat: Chat) -> None:
    inbox: SimpleQueue[Item] = SimpleQueue()
    full = threading.Event()

    def deliver(item: Item) -> None:
        inbox.put(item)
        if inbox.qsize() >= AHEAD:
            full.set()

    ticket = chat._engine.open(reply(chat, ASKED[0]), deliver)
    assert full.wait(20)
    others = list(chat.events(ASKED[1], GREEDY))  # are not held up
    assert inbox.qsize() == AHEAD and not ticket.gone.is_set()
    assert others == list(chat.events(ASKED[1], GREEDY))
    assert list(chat._engine.read(ticket, inbox)) == list(chat.events(ASKED[0], GREEDY))


def test_more_than_may_wait_are_told_so(chat: Chat) -> None:
    engine = Engine(chat._decoder, most_rows=1, most_waiting=2)
    with engine._changed:  # the thread cannot take any in
        tickets = [engine.open(reply(chat, ASKED[0]), lambda item: None) for _ in range(2)]
        with pytest.raises(ModelBusy, match="2 replies wait"):
            engine.open(reply(chat, ASKED[0]), lambda item: None)
    for ticket in tickets:
        engine.leave(ticket)
        assert ticket.gone.wait(10)
    assert list(engine.events(reply(chat, ASKED[0]))) == list(chat.events(ASKED[0], GREEDY))


def test_what_goes_wrong_in_the_model_reaches_the_reader_and_the_next_one_is_served(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(Reply, "take", broken)
        with pytest.raises(RuntimeError, match="no memory"):
            chat.reply(ASKED[0], GREEDY)
    assert chat.reply(ASKED[0], GREEDY)


def test_an_opening_begins_the_reply_and_is_scored_as_what_is_drawn_is(chat: Chat) -> None:
    whole = list(chat.events(ASKED[0], GREEDY, top=3))
    tokens = [event.score.token for event in whole if event.score]
    assert list(chat.events(ASKED[0], GREEDY, top=3, opening=tokens[:5])) == whole
    assert whole[2].top[0] == whole[2].score
    other = whole[2].top[1].token
    gone_on = list(chat.events(ASKED[0], GREEDY, top=3, opening=[*tokens[:2], other]))
    assert gone_on[:2] == whole[:2] and gone_on[2].top == whole[2].top and gone_on[2].score == whole[2].top[1]


def test_scores_of_a_text_are_those_that_its_reply_had() -> None:
    torch.set_num_threads(1)
    chat = Chat(llama(vocab_size=290), train_tokenizer(TEXTS, 290))
    ids = chat.prompt_ids(ASKED[0])
    events = [event for event in chat.events_after(ids, Generation(max_new_tokens=12), top=2) if event.score]
    tokens = [event.score.token for event in events if event.score]
    scored = chat.score_ids([*ids, *tokens], top=2)
    assert scored[0] == (None, ()) and len(scored) == len(ids) + len(tokens)
    for event, (score, top) in zip(events, scored[len(ids) :], strict=True):
        assert score is not None and event.score is not None and score.log_prob == top[0].log_prob
        assert abs(score.log_prob - event.score.log_prob) < 1e-3 and score.token == event.score.token


def test_rows_that_come_go_and_outgrow_their_shelf_say_what_the_whole_text_says() -> None:
    chat = Chat(llama(vocab_size=290), train_tokenizer(TEXTS, 290))
    steps = chat._decoder.steps
    assert steps is not None
    rows, texts, places = LlamaRows(steps), {}, []
    for length in (3, 60, 63, 64, 70):
        ids = [(7 * at + length) % 290 for at in range(length)]
        cache = steps.begin(1)
        steps.add(cache, torch.tensor([ids]))
        places.append(rows.put(cache))
        texts[places[-1]] = ids
    for turn in range(6):
        tokens = {place: (turn * 31 + place.length) % 290 for place in texts}
        for place, logits in zip(*rows.grow(tokens), strict=True):
            texts[place] = [*texts[place], tokens[place]]
            assert close(logits, chat._decoder.whole(torch.tensor([texts[place]]))[0])
        if turn == 2:
            rows.drop(places[1])
            del texts[places[1]]
            back = rows.put(rows.take(places[0]))  # aside for a while
            texts[back] = texts.pop(places[0])
