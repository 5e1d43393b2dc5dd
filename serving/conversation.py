"""What the chat tab does with a message: take, answer, stop, retry, undo, edit, suggest. Not how it looks.

Knows `chatfed.Chat` and gradio's sentences for the page; holds the shared model and who is being written to.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.types import ChatfedError, InvalidValue, Turn

from .generations import Generations
from .messages import History, from_page, latest, text_of, texts_of, to_page, turns_of

if TYPE_CHECKING:
    from chatfed import Chat, Generation

SUGGESTIONS = 4
LONGEST_MESSAGE = 4000  # characters
FRAME = 0.05  # seconds between two updates of the page while a reply is written
RETRY_TEMPERATURE = 0.7  # of a retry when the setting is 0, which would give the same words again
NOTHING_SAID = "(The model ended its reply without a word. Press Retry or say it in other words.)"
FAILED = "The reply could not be written. The server's output says why; the generation settings may be the cause."
WRITING = "The last reply is still being written, here or on another tab. Press Stop there first."


def label_of(word: str, probability: float) -> str:
    """What stands on the button of a suggested word."""
    return f"{word}  {percent(probability)}"


def add_word(draft: str, label: str) -> str:
    """`draft` with a button's word: in place of the half word that it ends in, and with a space to go on."""
    word = label.rpartition("  ")[0]
    half = "" if not draft or draft[-1].isspace() else draft.split()[-1]
    return f"{draft[: len(draft) - len(half)]}{word} "


def percent(probability: float) -> str:
    """A probability for a button: whole percents, or that it is below one."""
    return f"{100 * probability:.0f} %" if probability >= 0.01 else "< 1 %"


def busy(**more: Any) -> Any:
    """The input field while a reply is waited for or written."""
    return gr.update(submit_btn=False, stop_btn="Stop", **more)


def ready(button: str = "Send") -> Any:
    """The input field once a reply is over."""
    return gr.update(submit_btn=button, stop_btn=False)


class Conversation:
    """What the chat tab does, apart from how it looks. Holds the shared model and who is being written to."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.generations = Generations()

    def take(self, draft: str, history: History, request: gr.Request) -> tuple[Any, History]:
        """Moves the draft into the conversation, and holds the session for the reply, which others may go before.

        An empty draft or a reply under way stops here with a sentence.
        """
        self._be_idle(request)
        check_draft(draft)
        self.claim(request)
        return busy(value=""), [*texts_of(history), {"role": "user", "content": to_page(draft.strip())}]

    def take_example(self, history: History, data: gr.SelectData, request: gr.Request) -> tuple[Any, History]:
        """An example prompt as the next message."""
        return self.take(text_of(data.value), history, request)

    def respond(
        self,
        history: History,
        temperature: float,
        top_p: float,
        repetition_penalty: float,
        max_new_tokens: float,
        seed: str | None,
        request: gr.Request,
    ) -> Iterator[tuple[Any, Any]]:
        """Writes the reply to the last message, a few words at a time: (conversation, input field)."""
        history = texts_of(history)
        if not history or history[-1]["role"] != "user":
            self.generations.release(session_of(request))
            yield gr.skip(), ready()
            return
        reply, silent = "", NOTHING_SAID
        try:
            with self.generations.running(session_of(request)) as stop:
                yield gr.skip(), busy()
                settings = settings_of(temperature, top_p, repetition_penalty, max_new_tokens, seed_of(seed))
                for reply in self._write(turns_of(history), settings, stop):
                    yield [*history, {"role": "assistant", "content": to_page(reply)}], gr.skip()
        except ChatfedError as error:
            silent = f"({error})"
            gr.Warning(str(error))
        except Exception:  # whatever it is, the field must take the next message
            silent = f"({FAILED})"
            logging.getLogger(__name__).exception("A reply could not be written")
            gr.Warning(FAILED)
        yield [*history, {"role": "assistant", "content": to_page(reply.strip() or silent)}], ready()

    def respond_anew(
        self,
        history: History,
        temperature: float,
        top_p: float,
        repetition_penalty: float,
        max_new_tokens: float,
        seed: str | None,
        request: gr.Request,
    ) -> Iterator[tuple[Any, Any]]:
        """As `respond`, but drawn: at temperature 0 the reply would be the same again."""
        drawn_at = temperature or RETRY_TEMPERATURE
        yield from self.respond(history, drawn_at, top_p, repetition_penalty, max_new_tokens, seed, request)

    def _write(self, turns: list[Turn], settings: Any, stop: threading.Event) -> Iterator[str]:
        """The reply so far, again and again; ends when the stop flag is up, and ends the model with it."""
        pieces = self.chat.stream(latest(turns, self.chat.context), settings)
        try:
            reply, shown = "", 0.0
            while not stop.is_set() and (piece := next(pieces, None)) is not None:
                reply += piece
                if time.monotonic() - shown >= FRAME:
                    shown = time.monotonic()
                    yield reply
            yield reply
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
        return busy(), _until_user(texts_of(history), _index(data.index))

    def undo(self, history: History, data: gr.UndoData, request: gr.Request) -> tuple[str, History]:
        """Takes the message and all after it back into the input field."""
        self._be_idle(request)
        kept = _until_user(texts_of(history), _index(data.index))
        return (from_page(kept[-1]["content"]), kept[:-1]) if kept else ("", [])

    def edit(self, history: History, data: gr.EditData, request: gr.Request) -> tuple[Any, History]:
        """The conversation up to the edited message, with its new words."""
        self._be_idle(request)
        new = from_page(data.value).strip()
        index = _index(data.index)
        if not new:
            raise gr.Error("An edited message needs at least one word.", duration=4, print_exception=False)
        _check_length(new)
        self.claim(request)
        return busy(), [*texts_of(history[:index]), {"role": "user", "content": to_page(new)}]

    def clear(self, request: gr.Request) -> tuple[str, History]:
        """An empty conversation."""
        self._be_idle(request)
        return "", []

    def suggest(self, draft: str, history: History, max_new_tokens: float) -> list[Any]:
        """The next words for the draft, one update a button, and what is out of the model's view."""
        turns = turns_of(history)
        try:
            before = latest(turns, self.chat.context)
            found = self.chat.suggest(draft[-LONGEST_MESSAGE:], SUGGESTIONS, before)
            hidden = self._out_of_view(turns, draft[-LONGEST_MESSAGE:], int(max_new_tokens))
        except ChatfedError:
            found, hidden = [], ""
        shown = [gr.update(value=label_of(word.word, word.probability), visible=True) for word in found]
        unused = [gr.update(visible=False)] * (SUGGESTIONS - len(found))
        return [*shown, *unused, gr.update(value=hidden, visible=bool(hidden))]

    def _out_of_view(self, turns: list[Turn], draft: str, max_new_tokens: int) -> str:
        """A sentence on messages that the next reply will be written without; empty when it sees all."""
        from chatfed.view import in_view

        asked = turns if turns and turns[-1].role == "user" else [*turns, Turn("user", draft)]
        seen, whole = in_view(self.chat, latest(asked, self.chat.context), max_new_tokens)
        window = f"its window is {self.chat.context:,} tokens"
        if not whole:
            return f"The model sees only the end of the last message: {window}, and a part of it is for the reply."
        hidden = len(asked) - seen
        if not hidden:
            return ""
        said = "the first message" if hidden == 1 else f"the first {hidden:,} messages"
        return f"The model no longer sees {said} of this conversation: {window}, and a part of it is for the reply."

    def claim(self, request: gr.Request) -> None:
        """Holds the session for a reply to come. Raises a sentence for the page while another one is written."""
        if not self.generations.claim(session_of(request)):
            raise gr.Error(WRITING, duration=4, print_exception=False)

    def _be_idle(self, request: gr.Request) -> None:
        if not self.generations.idle(session_of(request)):
            raise gr.Error(WRITING, duration=4, print_exception=False)


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


def seed_of(text: str | None) -> int | None:
    """The seed that was typed, or none. Raises InvalidValue for what is no whole number."""
    typed = (text or "").strip()
    if not typed:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", typed):
        raise InvalidValue(f"The seed is {typed[:30]!r}: give a whole number, or leave it empty.", param="seed")
    return int(typed)


def session_of(request: gr.Request | None) -> str:
    """The browser session that a call comes from."""
    return str(getattr(request, "session_hash", None) or "")


def check_draft(draft: str) -> None:
    """Raises a sentence for the page where there is no message, or one that is too long."""
    if not draft.strip():
        raise gr.Error("Type a message first.", duration=4, print_exception=False)
    _check_length(draft)


def _check_length(text: str) -> None:
    """Raises a sentence for the page: a text that is too long stays in its field, whole."""
    if len(text) > LONGEST_MESSAGE:
        said = f"The message has {len(text):,} characters; give at most {LONGEST_MESSAGE:,}."
        raise gr.Error(said, print_exception=False)


def _index(index: int | tuple[int, int] | list[int]) -> int:
    return int(index if isinstance(index, int) else index[0])


def _until_user(history: History, index: int) -> History:
    """`history` up to the last user message at or before `index`."""
    kept = list(history[: index + 1])
    while kept and kept[-1]["role"] != "user":
        kept.pop()
    return kept
