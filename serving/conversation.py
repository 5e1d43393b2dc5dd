"""What the chat tab does with a message: take, answer, stop, retry, undo, edit, suggest. Not how it looks.

Knows `chatfed.Chat` and gradio's sentences for the page; holds the shared model and who is being written to.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.conversation.errors import HeldBack
from chatfed.types import ChatfedError, Turn

from .failures import NotTaken, log_failure, sentence_of, stopped, warn
from .generations import Generations
from .held_back import Held, held_back, mode_of, shown
from .messages import History, from_page, latest, text_of, texts_of, to_page, turns_of
from .system_prompt import told
from .texts import Texts, read_texts

if TYPE_CHECKING:
    from chatfed import Chat, Generation
    from chatfed.generation import Event

SUGGESTIONS = 4
LONGEST_MESSAGE = 4000  # characters
FRAME = 0.05  # seconds between two updates of the page while a reply is written
RETRY_TEMPERATURE = 0.7  # of a retry when the setting is 0, which would give the same words again


def label_of(word: str, probability: float | None) -> str:
    """What stands on the button of a suggested word; how likely it is only for who may know."""
    return word if probability is None else f"{word}  {percent(probability)}"


def add_word(draft: str, label: str) -> str:
    """`draft` with a button's word: in place of the half word that it ends in, and with a space to go on."""
    word = label.rpartition("  ")[0] or label
    half = "" if not draft or draft[-1].isspace() else draft.split()[-1]
    return f"{draft[: len(draft) - len(half)]}{word} "


def percent(probability: float) -> str:
    """A probability for a button: whole percents, or that it is below one."""
    return f"{100 * probability:.0f} %" if probability >= 0.01 else "< 1 %"


def busy(texts: Texts, **more: Any) -> Any:
    """The input field while a reply is waited for or written."""
    return gr.update(submit_btn=False, stop_btn=texts("chat.stop"), **more)


def ready(button: str) -> Any:
    """The input field once a reply is over. button: what stands on the one that sends."""
    return gr.update(submit_btn=button, stop_btn=False)


class Conversation:
    """What the chat tab does, apart from how it looks. Holds the shared model and who is being written to."""

    def __init__(self, chat: Chat, texts: Texts | None = None, operator: bool = False) -> None:
        self.chat = chat
        self.operator = operator  # whether who sees the page may know how likely words are
        self.texts = texts or read_texts()
        self.generations = Generations()
        self._asking = threading.Lock()
        self._newest: dict[str, object] = {}  # by session: the last asking for next words, while it goes on

    def take(self, draft: str, history: History, request: gr.Request, hold: str | None = None) -> tuple[Any, History]:
        """Moves the draft into the conversation, and holds the session for the reply, which others may go before.

        An empty draft, a reply under way, and a draft that `hold` refuses stop here with a sentence.
        """
        self.check_idle(request)
        check_draft(draft, self.texts)
        self.check_held(draft, hold)
        self.claim(request)
        return busy(self.texts, value=""), [*texts_of(history), {"role": "user", "content": to_page(draft.strip())}]

    def take_example(self, history: History, data: gr.SelectData, request: gr.Request) -> tuple[Any, History]:
        """An example prompt as the next message."""
        return self.take(text_of(data.value), history, request)

    def check_held(self, draft: str, hold: str | None) -> None:
        """Raises a sentence for the page where the draft names what the visitor chose not to say."""
        try:
            held_back(mode_of(hold), [Turn("user", draft)], None, self.texts.language)
        except HeldBack:
            raise stopped(self.texts("held.refused"), 6) from None

    def held(self, draft: str, history: History, hold: str | None = None, system: str | None = None) -> Any:
        """What the page shows of what is held back: of the draft, or of the message that was sent last."""
        found = shown(mode_of(hold), turns_of(history), draft[:LONGEST_MESSAGE], self.texts, system)
        return gr.update(value=found, visible=bool(found))

    def respond(
        self,
        history: History,
        temperature: float,
        top_p: float,
        repetition_penalty: float,
        max_new_tokens: float,
        seed: str | None,
        request: gr.Request,
        system: str | None = None,
        hold: str | None = None,
        opening: str | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Writes the reply to the last message, a few words at a time: (conversation, input field).

        system: what the model is told before. hold: the mode of what is held back from it. opening: token ids with
        which the reply begins.
        """
        history = texts_of(history)
        if not history or history[-1]["role"] != "user":
            self.generations.release(session_of(request))
            yield gr.skip(), ready(self.texts("chat.send"))
            return
        reply, silent = "", self.texts("chat.nothing_said")
        try:
            with self.generations.running(session_of(request)) as stop:
                yield gr.skip(), busy(self.texts)
                settings = settings_of(
                    temperature, top_p, repetition_penalty, max_new_tokens, seed_of(seed, self.texts)
                )
                held = held_back(mode_of(hold), turns_of(history), system, self.texts.language)
                for reply in self._write(held, settings, stop, opening):
                    yield [*history, {"role": "assistant", "content": to_page(reply)}], gr.skip()
        except ChatfedError as error:
            silent = f"({sentence_of(error, self.texts)})"
            warn(sentence_of(error, self.texts))
        except Exception as error:  # whatever it is, the field must take the next message
            silent = f"({self.texts('chat.failed')})"
            log_failure(logging.getLogger(__name__), "A reply could not be written", error)
            warn(self.texts("chat.failed"))
        yield (
            [*history, {"role": "assistant", "content": to_page(reply.strip() or silent)}],
            ready(self.texts("chat.send")),
        )

    def respond_anew(
        self,
        history: History,
        temperature: float,
        top_p: float,
        repetition_penalty: float,
        max_new_tokens: float,
        seed: str | None,
        request: gr.Request,
        system: str | None = None,
        hold: str | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """As `respond`, but drawn: at temperature 0 the reply would be the same again."""
        drawn_at = temperature or RETRY_TEMPERATURE
        yield from self.respond(
            history, drawn_at, top_p, repetition_penalty, max_new_tokens, seed, request, system, hold
        )

    def _write(self, held: Held, settings: Any, stop: threading.Event, opening: str | None = None) -> Iterator[str]:
        """The reply so far, again and again; ends when the stop flag is up, and ends the model with it."""
        asked = self.told(held.system, held.turns)
        if opening:
            begun = [int(token) for token in opening.split()]
            longer = replace(settings, max_new_tokens=settings.max_new_tokens + len(begun))
            pieces: Iterator[str] = _texts(self.chat.events(asked, longer, opening=begun))
        else:
            pieces = self.chat.stream(asked, settings)
        try:
            reply, shown = "", 0.0
            while not stop.is_set() and (piece := next(pieces, None)) is not None:
                reply += piece
                if time.monotonic() - shown >= FRAME:
                    shown = time.monotonic()
                    yield held.restore(reply)
            yield held.restore(reply)
        finally:
            getattr(pieces, "close", lambda: None)()

    def stop(self, request: gr.Request) -> None:
        """Ends the session's reply, running or to come; what is written stays."""
        self.generations.stop(session_of(request))

    def leave(self, request: gr.Request) -> None:
        """The session is over: its reply ends, and one that waits is never written."""
        self.generations.stop(session_of(request))
        self.generations.release(session_of(request))

    def retry(self, history: History, data: gr.RetryData, request: gr.Request) -> tuple[Any, History]:
        """The conversation up to the message that is to be answered once more."""
        self.claim(request)
        return busy(self.texts), _until_user(texts_of(history), _index(data.index))

    def undo(self, history: History, data: gr.UndoData, request: gr.Request) -> tuple[str, History]:
        """Takes the message and all after it back into the input field."""
        self.check_idle(request)
        kept = _until_user(texts_of(history), _index(data.index))
        return (from_page(kept[-1]["content"]), kept[:-1]) if kept else ("", [])

    def edit(self, history: History, data: gr.EditData, request: gr.Request) -> tuple[Any, History]:
        """The conversation up to the edited message, with its new words."""
        self.check_idle(request)
        new = from_page(data.value).strip()
        index = _index(data.index)
        if not new:
            raise stopped(self.texts("chat.edit_empty"), 4)
        _check_length(new, self.texts)
        self.claim(request)
        return busy(self.texts), [*texts_of(history[:index]), {"role": "user", "content": to_page(new)}]

    def clear(self, request: gr.Request) -> tuple[str, History]:
        """An empty conversation."""
        self.check_idle(request)
        return "", []

    def suggest(
        self,
        draft: str,
        history: History,
        max_new_tokens: float,
        system: str | None = None,
        request: gr.Request | None = None,
        hold: str | None = None,
    ) -> list[Any]:
        """The next words for the draft, one update a button, and what is out of the model's view.

        Nothing is updated where the visitor has been typing on meanwhile: words for an older draft may come later.
        """
        session, mine = session_of(request) if request else "", object()
        with self._asking:
            self._newest[session] = mine
        try:
            drafted = [*turns_of(history), Turn("user", draft[-LONGEST_MESSAGE:])]
            held = held_back(mode_of(hold), drafted, system, self.texts.language)
            *turns, typed = held.turns
            before = self.told(held.system, turns)
            found = self.chat.suggest(typed.content, SUGGESTIONS, before)
            hidden = self._out_of_view(turns, typed.content, int(max_new_tokens), held.system)
        except ChatfedError:
            found, hidden = [], ""
        with self._asking:
            if self._newest.get(session) is not mine:
                return [gr.skip()] * (SUGGESTIONS + 1)
            del self._newest[session]
        labels = [label_of(held.restore(word.word), word.probability if self.operator else None) for word in found]
        shown = [gr.update(value=label, visible=True) for label in labels]
        unused = [gr.update(visible=False)] * (SUGGESTIONS - len(found))
        return [*shown, *unused, gr.update(value=hidden, visible=bool(hidden))]

    def _out_of_view(self, turns: list[Turn], draft: str, max_new_tokens: int, system: str | None) -> str:
        """A sentence on messages that the next reply will be written without; empty when it sees all."""
        from chatfed.view import in_view

        asked = turns if turns and turns[-1].role == "user" else [*turns, Turn("user", draft)]
        seen, whole = in_view(self.chat, self.told(system, asked), max_new_tokens)
        if not whole:
            return self.texts("view.end_only", context=self.chat.context)
        hidden = len(asked) - seen
        return self.texts.counted("view.hidden", hidden, context=self.chat.context) if hidden else ""

    def told(self, system: str | None, turns: list[Turn]) -> list[Turn]:
        """What of a conversation a model may see, with the system prompt before it."""
        return told(self.chat, system, latest(turns, self.chat.context), self.texts)

    def claim(self, request: gr.Request) -> None:
        """Holds the session for a reply to come. Raises a sentence for the page while another one is written."""
        if not self.generations.claim(session_of(request)):
            raise stopped(self.texts("chat.writing"), 4)

    def check_idle(self, request: gr.Request) -> None:
        """Raises a sentence for the page while a reply is written: nothing else may take its place then."""
        if not self.generations.idle(session_of(request)):
            raise stopped(self.texts("chat.writing"), 4)


def settings_of(
    temperature: float, top_p: float, repetition_penalty: float, max_new_tokens: float, seed: int | None
) -> Generation:
    """The page's settings, as a Chat takes them. Raises InvalidValue for what makes no sense."""
    from chatfed import Generation

    return Generation(
        max_new_tokens=int(max_new_tokens),
        temperature=float(temperature),
        top_p=float(top_p),
        repetition_penalty=float(repetition_penalty),
        seed=seed,
    )


def seed_of(text: str | None, texts: Texts) -> int | None:
    """The seed that was typed, or none. Raises NotTaken for what is no whole number."""
    typed = (text or "").strip()
    if not typed:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", typed):
        raise NotTaken(texts("settings.seed_wrong", seed=repr(typed[:30])), param="seed")
    return int(typed)


def _texts(events: Generator[Event]) -> Iterator[str]:
    """The texts of a reply's events; ends the model with it."""
    with closing(events):
        yield from (event.text for event in events if event.text)


def session_of(request: gr.Request | None) -> str:
    """The browser session that a call comes from."""
    return str(getattr(request, "session_hash", None) or "")


def check_draft(draft: str, texts: Texts) -> None:
    """Raises a sentence for the page where there is no message, or one that is too long."""
    if not draft.strip():
        raise stopped(texts("chat.type_first"), 4)
    _check_length(draft, texts)


def _check_length(text: str, texts: Texts) -> None:
    """Raises a sentence for the page: a text that is too long stays in its field, whole."""
    if len(text) > LONGEST_MESSAGE:
        raise stopped(texts("chat.too_long", count=len(text), most=LONGEST_MESSAGE))


def _index(index: int | tuple[int, int] | list[int]) -> int:
    return int(index if isinstance(index, int) else index[0])


def _until_user(history: History, index: int) -> History:
    """`history` up to the last user message at or before `index`."""
    kept = list(history[: index + 1])
    while kept and kept[-1]["role"] != "user":
        kept.pop()
    return kept
