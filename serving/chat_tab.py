"""The chat tab: a conversation that streams, stops, retries, undoes and edits, with next words under the input.

Knows `chatfed.Chat` and gradio; knows no run folder. Messages are shown as the text they are, never as markdown or
HTML: a reply could otherwise make the browser fetch a picture from elsewhere.
"""

from __future__ import annotations

import html
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.types import ChatfedError, Turn
from serving.generations import Generations

if TYPE_CHECKING:
    from chatfed import Chat

EXAMPLES = (
    "my laptop will not start",
    "I forgot my password, what can I do?",
    "How do I ask for a day of leave?",
    "the printer on my floor is broken",
)
SUGGESTIONS = 4
LONGEST_MESSAGE = 4000  # characters
FRAME = 0.05  # seconds between two updates of the page while a reply is written
CHARACTERS_A_TOKEN = 16  # as many as any token holds, but for runs of one character
RETRY_TEMPERATURE = 0.7  # of a retry when the setting is 0, which would give the same words again
NOTHING_SAID = "(The model ended its reply without a word. Press Retry or say it in other words.)"
FAILED = "The reply could not be written. The server's output says why; the generation settings may be the cause."
WRITING = "The last reply is still being written. Press Stop first."

# Waits until typing pauses, then sends what stands in the field by then: typing costs two calls a burst, not one a key.
DEBOUNCE = """async (draft, history) => {
  await new Promise(done => setTimeout(done, 150));
  const field = document.querySelector('#message textarea');
  return [field ? field.value : draft, history];
}"""
FOCUS = """() => { const field = document.querySelector('#message textarea');
  if (field) { field.focus(); field.setSelectionRange(field.value.length, field.value.length); } }"""

History = list[dict[str, Any]]


@dataclass(frozen=True)
class ChatParts:
    """The pieces of the chat tab that other tabs use."""

    chatbot: gr.Chatbot
    message: gr.Textbox
    probe_reply: gr.Button
    probe_draft: gr.Button


def text_of(content: Any) -> str:
    """The text of a message's content, which gradio gives as a string, a block or a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return str(content.get("text") or "")
    if isinstance(content, Sequence):
        return "".join(text_of(block) for block in content)
    return ""


def to_page(text: str) -> str:
    """`text` as a message for gr.Chatbot, which reads HTML even with markdown off: what could open a tag is escaped.

    Only that, so that copying or editing a message shows the text itself in all but such cases.
    """

    def literal(seen: re.Match[str]) -> str:
        return "&amp;" + seen[0][1:] if html.unescape(seen[0]) != seen[0] else seen[0]

    text = re.sub(r"&#?\w+;?", literal, text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def from_page(content: Any) -> str:
    """The text of a message as the page holds it; undoes `to_page`."""
    return html.unescape(text_of(content))


def turns_of(history: History) -> list[Turn]:
    """A conversation as the page holds it, as the turns that a Chat reads. Empty messages are left out."""
    turns = [Turn(str(message["role"]), from_page(message["content"])) for message in history]
    return [turn for turn in turns if turn.content.strip()]


def texts_of(history: History) -> History:
    """A conversation as roles and texts alone: nothing else that a browser sent goes back to a page."""
    return [{"role": str(m["role"]), "content": to_page(from_page(m["content"]))} for m in history]


def latest(turns: Sequence[Turn], context: int) -> list[Turn]:
    """Of a conversation of any length what a model with room for `context` tokens may see: the rest is never encoded.

    A message takes one token at least, and a token holds few characters. It begins with a user's message.
    """
    room = context * CHARACTERS_A_TOKEN
    kept: list[Turn] = [Turn(turn.role, turn.content[-room:]) for turn in turns[-1:]]
    for turn in reversed(turns[-context:-1]):
        room -= len(kept[0].content)
        if len(turn.content) > room:
            break
        kept.insert(0, turn)
    while len(kept) > 1 and kept[0].role == "assistant":
        kept.pop(0)
    return kept


def label_of(word: str, probability: float) -> str:
    """What stands on the button of a suggested word."""
    return f"{word}  {percent(probability)}"


def add_word(draft: str, label: str) -> str:
    """`draft` with a button's word: in place of the half word that it ends in, and with a space to go on."""
    word = label.rpartition("  ")[0]
    half = "" if not draft or draft[-1].isspace() else draft.split()[-1]
    return f"{draft[: len(draft) - len(half)]}{word} "


def last_of(history: History, role: str) -> str:
    """The latest message of `role`, or nothing."""
    return next((turn.content for turn in reversed(turns_of(history)) if turn.role == role), "")


def _busy(**more: Any) -> Any:
    """The input field while a reply is waited for or written."""
    return gr.update(submit_btn=False, stop_btn="Stop", **more)


def _ready() -> Any:
    """The input field once a reply is over."""
    return gr.update(submit_btn="Send", stop_btn=False)


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
        if not draft.strip():
            raise gr.Error("Type a message first.", duration=4, print_exception=False)
        if len(draft) > LONGEST_MESSAGE:
            said = f"The message has {len(draft):,} characters; give at most {LONGEST_MESSAGE:,}."
            raise gr.Error(said, print_exception=False)
        self._claim(request)
        return _busy(value=""), [*texts_of(history), {"role": "user", "content": to_page(draft.strip())}]

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
        seed: float | None,
        request: gr.Request,
    ) -> Iterator[tuple[Any, Any]]:
        """Writes the reply to the last message, a few words at a time: (conversation, input field)."""
        from chatfed import Generation

        history = texts_of(history)
        if not history or history[-1]["role"] != "user":
            self.generations.release(session_of(request))
            yield gr.skip(), _ready()
            return
        reply, silent = "", NOTHING_SAID
        try:
            with self.generations.running(session_of(request)) as stop:
                yield gr.skip(), _busy()
                settings = Generation(
                    max_new_tokens=int(max_new_tokens),
                    temperature=float(temperature),
                    top_p=float(top_p),
                    repetition_penalty=float(repetition_penalty),
                    seed=None if seed is None else int(seed),
                )
                for reply in self._write(turns_of(history), settings, stop):
                    yield [*history, {"role": "assistant", "content": to_page(reply)}], gr.skip()
        except ChatfedError as error:
            silent = f"({error})"
            gr.Warning(str(error))
        except Exception:  # whatever it is, the field must take the next message
            silent = f"({FAILED})"
            logging.getLogger(__name__).exception("A reply could not be written")
            gr.Warning(FAILED)
        yield [*history, {"role": "assistant", "content": to_page(reply.strip() or silent)}], _ready()

    def respond_anew(
        self,
        history: History,
        temperature: float,
        top_p: float,
        repetition_penalty: float,
        max_new_tokens: float,
        seed: float | None,
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
        self._claim(request)
        return _busy(), _until_user(texts_of(history), _index(data.index))

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
        self._claim(request)
        return _busy(), [*texts_of(history[:index]), {"role": "user", "content": to_page(new)}]

    def clear(self, request: gr.Request) -> tuple[str, History]:
        """An empty conversation."""
        self._be_idle(request)
        return "", []

    def suggest(self, draft: str, history: History) -> list[Any]:
        """The next words for the draft, one update a button."""
        try:
            before = latest(turns_of(history), self.chat.context)
            found = self.chat.suggest(draft[-LONGEST_MESSAGE:], SUGGESTIONS, before)
        except ChatfedError:
            found = []
        shown = [gr.update(value=label_of(word.word, word.probability), visible=True) for word in found]
        return shown + [gr.update(visible=False)] * (SUGGESTIONS - len(found))

    def _claim(self, request: gr.Request) -> None:
        if not self.generations.claim(session_of(request)):
            raise gr.Error(WRITING, duration=4, print_exception=False)

    def _be_idle(self, request: gr.Request) -> None:
        if not self.generations.idle(session_of(request)):
            raise gr.Error(WRITING, duration=4, print_exception=False)


def percent(probability: float) -> str:
    """A probability for a button: whole percents, or that it is below one."""
    return f"{100 * probability:.0f} %" if probability >= 0.01 else "< 1 %"


def session_of(request: gr.Request | None) -> str:
    """The browser session that a call comes from."""
    return str(getattr(request, "session_hash", None) or "")


def _index(index: int | tuple[int, int] | list[int]) -> int:
    return int(index if isinstance(index, int) else index[0])


def _until_user(history: History, index: int) -> History:
    """`history` up to the last user message at or before `index`."""
    kept = list(history[: index + 1])
    while kept and kept[-1]["role"] != "user":
        kept.pop()
    return kept


def build_chat(chat: Chat, examples: Sequence[str]) -> ChatParts:
    """Lays the chat tab out and wires it. Call it inside a gr.Tab."""
    talk = Conversation(chat)
    chatbot = gr.Chatbot(
        label="Conversation",
        show_label=False,
        elem_id="conversation",
        height="min(52vh, 560px)",
        buttons=["copy", "copy_all"],
        editable="user",
        render_markdown=False,
        feedback_options=None,
        allow_tags=False,
        group_consecutive_messages=False,
        placeholder="Ask something, or start from an example.",
        examples=[{"text": example} for example in examples],
    )
    message = gr.Textbox(
        label="Your message",
        placeholder="Type a message",
        elem_id="message",
        lines=1,
        max_lines=6,
        max_length=LONGEST_MESSAGE,
        submit_btn="Send",
        stop_btn=False,
        autofocus=True,
        interactive=True,
    )
    with gr.Row(elem_classes="cf-strip", elem_id="suggestions"):
        buttons = [gr.Button(visible=False, size="sm", min_width=60) for _ in range(SUGGESTIONS)]
    with gr.Row(elem_classes="cf-actions"):
        probe_reply = gr.Button("Probe last reply", size="sm", min_width=60)
        probe_draft = gr.Button("Probe my text", size="sm", min_width=60)
        clear = gr.Button("New conversation", size="sm", min_width=60)
    settings = _settings()

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    at_once: dict[str, Any] = {"concurrency_limit": None, **quiet}  # in the queue, or no error's sentence is shown
    strip: dict[str, Any] = {"fn": talk.suggest, "inputs": [message, chatbot], "outputs": buttons, **quiet}
    strip |= {"concurrency_limit": 2, "concurrency_id": "suggest"}
    answer: dict[str, Any] = {"fn": talk.respond, "inputs": [chatbot, *settings], "outputs": [chatbot, message]}
    answer |= quiet | {"concurrency_limit": 4, "concurrency_id": "generate"}
    anew = answer | {"fn": talk.respond_anew}
    held = [message, chatbot]  # what every way to a reply sets before it

    message.submit(talk.take, [message, chatbot], held, **at_once).success(**answer).then(**strip)
    chatbot.example_select(talk.take_example, chatbot, held, **at_once).success(**answer).then(**strip)
    chatbot.retry(talk.retry, chatbot, held, **at_once).success(**anew).then(**strip)
    chatbot.edit(talk.edit, chatbot, held, **at_once).success(**answer).then(**strip)
    message.stop(talk.stop, None, None, **at_once)
    chatbot.undo(talk.undo, chatbot, [message, chatbot], **at_once).success(**strip).then(None, js=FOCUS)
    clear.click(talk.clear, None, [message, chatbot], **at_once).success(**strip).then(None, js=FOCUS)
    message.input(**strip, js=DEBOUNCE, trigger_mode="always_last")
    for button in buttons:
        button.click(add_word, [message, button], message, **at_once).then(**strip).then(None, js=FOCUS)
    page: Any = gr.context.Context.root_block
    page.load(**strip)
    page.unload(talk.leave)
    return ChatParts(chatbot, message, probe_reply, probe_draft)


def _settings() -> list[Any]:
    with gr.Accordion("Generation settings", open=False):
        with gr.Row():
            temperature = gr.Slider(
                0,
                1.5,
                0.0,
                step=0.05,
                label="Temperature",
                info=f"0: always the likeliest word; Retry then draws at {RETRY_TEMPERATURE}.",
            )
            top_p = gr.Slider(
                0.05, 1, 0.9, step=0.05, label="Top-p", info="Draws among the likeliest up to this share."
            )
        with gr.Row():
            penalty = gr.Slider(1, 2, 1.0, step=0.05, label="Repetition penalty", info="1 is none.")
            longest = gr.Slider(1, 400, 80, step=1, label="Longest reply, in tokens")
        seed = gr.Number(
            None, precision=0, label="Seed", info="Of the draws. Empty: other ones each time. A number: the same again."
        )
    return [temperature, top_p, penalty, longest, seed]
