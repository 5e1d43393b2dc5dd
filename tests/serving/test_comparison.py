"""One prompt to the public base and the private model: what each is asked, and what a visitor is told of both."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chatfed import Chat, ChatfedError, Generation, Turn
from serving.comparison import answers, cards_html, sides
from serving.run_folder import Bare, RunFolder
from serving.texts import read_texts
from tests.serving.page_server import NOTHING, Parrot, Visitor, functions_of, hosted

SAME, NOTHING_SAID = (read_texts()(f"compare.{key}") for key in ("same", "nothing_said"))
SETTINGS = (0.0, 0.9, 1.0, 20, "")
CLAIM = {"epsilon": 4.81, "delta": 1e-5, "unit": "example", "clients": 400, "clients_charged": 120}
READY, BUSY = {"submit_btn": "Ask both", "stop_btn": False}, {"submit_btn": False, "stop_btn": "Stop"}


def claimed(privacy: dict[str, Any] | None, no_claim: str = "") -> RunFolder:
    return RunFolder(Path("model"), Path("reference"), privacy, None, (), no_claim)


def of_session(name: str = "a") -> Any:
    return SimpleNamespace(session_hash=name)


class Talker(Parrot):
    """A chat that says these pieces; it keeps how it was asked, and whether it was let end."""

    path = None  # no folder, and so no calibration beside it

    def __init__(self, *pieces: str, trouble: Exception | None = None) -> None:
        super().__init__()
        self.pieces, self.trouble = pieces, trouble
        self.settings: list[Generation] = []
        self.open = 0

    def stream(self, turns: Any, settings: Generation) -> Iterator[str]:
        self.asked.append(turns)
        self.settings.append(settings)
        self.open += 1
        try:
            yield from self.pieces
            if self.trouble:
                raise self.trouble
        finally:
            self.open -= 1


def comparison(base: Any, trained: Any) -> Any:
    from serving.compare_tab import Comparison
    from serving.conversation import Conversation

    talk = Conversation(trained)
    return Comparison(base, trained, claimed(CLAIM), talk), talk


def shown(update: Any) -> dict[str, Any]:
    return {key: update.get(key) for key in READY}


@pytest.fixture(autouse=True)
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    import gradio as gr

    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", said.append)
    return said


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_both_models_are_asked_the_same_and_each_answers_as_it_does_alone(chat: Chat, temperature: float) -> None:
    settings, asked = Generation(30, temperature, seed=5), [Turn("user", "my laptop")]
    longer = Talker(*"abcdefghij" * 9)
    *_, last = answers((chat, longer), "my laptop", settings, threading.Event())  # type: ignore[arg-type]
    assert last == (chat.reply(asked, settings), "abcdefghij" * 9)
    assert longer.asked == [asked] and longer.settings == [settings]
    *_, same = answers((chat, chat), "my laptop", settings, threading.Event())
    assert same[0] == same[1] == last[0]


def test_a_stopped_comparison_ends_both_models_and_one_stopped_before_asks_neither() -> None:
    models, stop = (Talker(*"abc" * 9), Talker(*"xyz" * 9)), threading.Event()
    writing = answers(models, "hello", Generation(), stop)  # type: ignore[arg-type]
    assert [next(writing), next(writing)] == [("a", "x"), ("ab", "xy")] and models[0].open == models[1].open == 1
    stop.set()
    assert list(writing) == [] and models[0].open == models[1].open == 0
    untouched = (Talker("a"), Talker("x"))
    assert list(answers(untouched, "hello", Generation(), stop)) == []  # type: ignore[arg-type]
    assert not untouched[0].asked and not untouched[1].asked


def test_each_model_is_told_by_what_it_learned_from() -> None:
    base, private = sides(claimed(CLAIM))
    assert (base.name, base.source) == ("Public base", "Learned from public text only.")
    assert private.name == "Private model"
    assert private.source == "Learned from public text and 120 clients' dialogues, ε = 4.81 per dialogue."
    shown = cards_html((base, private), ("one", "two"))
    assert shown.index("Public base") < shown.index("one") < shown.index("Private model") < shown.index("two")


@pytest.mark.parametrize(
    ("run", "source"),
    [
        (claimed(CLAIM | {"noise": "none"}), "public text and 120 clients' dialogues, no privacy claim"),
        (claimed(None), "public text and dialogues of its own, no privacy claim"),
        (claimed(None, "privacy.json is of another model"), "public text and dialogues of its own, no privacy claim"),
        (claimed(CLAIM | {"epsilon": 700.0, "clients_charged": "<b>"}), "public text and dialogues of its own, ε = 70"),
    ],
)
def test_a_model_without_a_claim_is_not_called_private(run: RunFolder, source: str) -> None:
    _, trained = sides(run)
    assert trained.name == "Trained model" and trained.source.startswith(f"Learned from {source}")


@pytest.mark.parametrize(("how", "said"), [("without-noise", "without noise"), ("ceiling", "centrally")])
def test_a_model_without_a_guarantee_is_told_as_one(how: str, said: str) -> None:
    run = replace(claimed(CLAIM), bare=Bare(Path("bare"), how))
    assert len(sides(run)) == 2, "shown to whoever comes"
    third = sides(run, bare=True)[2]
    assert third.name == "Without any guarantee" and said in third.source and "may repeat" in third.warning
    assert third.warning in cards_html(sides(run, bare=True), ("one", "two", "three"))


def test_what_a_model_says_is_text_and_the_same_answer_is_said_to_be() -> None:
    of = sides(claimed(CLAIM))
    html = cards_html(of, ("<b>x</b> {{v}} ${1}", "</p><script>"), "<i>note", over=True)
    assert "<b>" not in html and "<script>" not in html and "<i>" not in html and "{{" not in html and "${" not in html
    assert SAME not in html and SAME in cards_html(of, ("yes ", "yes"), over=True)
    assert SAME not in cards_html(of, ("yes", "yes"))
    assert NOTHING_SAID in cards_html(of, ("", "yes"), over=True) and NOTHING_SAID not in cards_html(of, ("", "yes"))


def test_a_session_has_one_reply_or_one_comparison_and_the_chats_stop_ends_it() -> None:
    import gradio as gr

    compare, talk = comparison(Talker("a"), Talker("b"))
    field, cards = compare.ask(" hello ", of_session())
    assert shown(field) == BUSY and field["value"] == "hello" and "Both are asked" in cards
    again: tuple[Callable[[], object], ...] = (
        lambda: compare.ask("and", of_session()),
        lambda: talk.take("and", [], of_session()),
    )
    for refused in again:
        with pytest.raises(gr.Error, match="still being written"):
            refused()
    compare.ask("hello", of_session("b"))  # another session is not
    talk.stop(of_session())
    *_, (field, cards) = compare.compare("hello", *SETTINGS, of_session())
    assert shown(field) == READY and "Stopped." in cards and SAME not in cards
    talk.take("hello", [], of_session())
    with pytest.raises(gr.Error, match="still being written"):
        compare.ask("and", of_session())


def test_a_prompt_that_is_refused_or_gone_leaves_the_session_free() -> None:
    import gradio as gr

    compare, talk = comparison(Talker("a"), Talker("b"))
    for refused in ("  ", "x" * 4001):
        with pytest.raises(gr.Error):
            compare.ask(refused, of_session())
    compare.ask("hello", of_session())
    assert [shown(field) for field, _ in compare.compare(" ", *SETTINGS, of_session())] == [READY]
    assert talk.generations.idle("a", patience=0)


def test_without_a_seed_one_is_drawn_for_both_and_told() -> None:
    base, trained = Talker("a"), Talker("b")
    compare, _ = comparison(base, trained)
    told = []
    for typed in ("7", "", ""):
        *_, (_, cards) = compare.compare("hello", 0.8, 0.9, 1.0, 20, typed, of_session())
        assert base.settings[-1] == trained.settings[-1]
        assert f"temperature 0.8, with seed {base.settings[-1].seed}." in cards
        told.append(base.settings[-1].seed)
    assert told[0] == 7 and told[1] != told[2]


@pytest.mark.parametrize("trouble", [RuntimeError("out of memory"), ChatfedError("no such role")])
def test_whatever_fails_the_field_takes_the_next_prompt(
    warned: list[str], caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    compare, talk = comparison(Talker("so far"), Talker("that", trouble=trouble))
    with caplog.at_level(logging.ERROR):
        *_, (field, cards) = compare.compare("hello", *SETTINGS, of_session())
    assert shown(field) == READY and "so far" in cards and len(warned) == 1 and talk.generations.idle("a")
    assert ("no such role" in warned[0]) != ("server&#x27;s output" in warned[0])
    assert bool(caplog.records) == isinstance(trouble, RuntimeError) and str(trouble) not in caplog.text
    *_, (field, _) = compare.compare("hello", 0, 0.9, 1, 20, "a seed", of_session())
    assert shown(field) == READY and "&#x27;a seed&#x27;" in warned[1]


def test_a_comparison_goes_through_the_guard_and_is_gone_with_its_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.application import guarded
    from serving.page import build_page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = build_page(Talker("a house ", "answer"), Talker("a public answer"), claimed(CLAIM))  # type: ignore[arg-type]
    functions = functions_of(page)
    with hosted(guarded(page, patience=0.3)) as port:
        visitor = Visitor(port)
        visitor.open()
        assert visitor.call(functions["ask"], "my badge")[0] == 200 and "Both are asked" in visitor.stream()[2]
        assert visitor.call(functions["compare"], "my badge", *SETTINGS)[0] == 200
        stream = visitor.stream()[2]
        assert "a house answer" in stream and "a public answer" in stream
        assert visitor.call(functions["ask"], "x" * 70_000)[0] == 413
        assert visitor.call(functions["ask"], {"path": "/etc/hostname"})[0] == 403
        queue, deadline = page._queue, time.monotonic() + 20
        while (kept := [*page.state_holder.session_data, *queue.pending_messages_per_session]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.05)
    assert not kept and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_base_the_tab_only_says_why() -> None:
    from serving.page import build_page

    page = build_page(Parrot(), None, NOTHING)  # type: ignore[arg-type]
    said = [
        str(getattr(block, "value", ""))
        for block in page.blocks.values()
        if getattr(block, "elem_id", "") == "compare-nothing"
    ]
    assert len(said) == 1 and said[0].count(".") == 1 and "nothing to compare" in said[0] and "--reference" in said[0]
    assert "ask" not in functions_of(page)
