"""The leakage-probe tab: takes a text, asks both models, shows the words.

Knows gradio and `chatfed.Chat`; what is drawn is in probe.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.audit.twins import MOST_WORDS
from chatfed.types import ChatfedError, Turn

from . import probe
from .chat_tab import ChatParts
from .conversation import LONGEST_MESSAGE
from .messages import History, last_of, latest, turns_of

if TYPE_CHECKING:
    from chatfed import Chat

EVERY = 0.5  # seconds between two words about how far it is
ROLES = [("a user's message", "user"), ("an assistant's reply", "assistant")]


Shown = tuple[str, str]  # words and summary, table: both HTML


def probe_text(
    chat: Chat, reference: Chat | None, text: str, role: str, history: Sequence[Turn] = ()
) -> Iterator[Shown]:
    """The text probed as it stands after `history`: how far it is, now and then, and at last the whole.

    Raises ChatfedError when models cannot be compared, or where the chat template takes no such message there.
    """
    if reference is None:
        scores = chat.word_log_probs(text, role, history)
        yield (
            (probe.NO_REFERENCE + probe.plain_words_html(scores), probe.plain_table_html(scores))
            if scores
            else (probe.summary_html([]), "")
        )
        return
    from chatfed.audit.twins import compare_with_twins

    words, shifts, shown = len(text.split()), [], time.monotonic()
    for shift in compare_with_twins(chat, reference, text, role, history):
        shifts.append(shift)
        if time.monotonic() - shown >= EVERY:
            shown = time.monotonic()
            yield probe.progress_html(len(shifts), words), ""
    yield (
        (probe.summary_html(shifts) + probe.words_html(text, shifts), probe.table_html(shifts))
        if shifts
        else (probe.summary_html([]), "")
    )


def said_before(history: History, role: str, text: str) -> list[Turn]:
    """The conversation before the latest message of `role` with this text; the whole of it when there is none."""
    turns = turns_of(history)
    at = next((i for i in reversed(range(len(turns))) if turns[i] == Turn(role, text)), len(turns))
    return turns[:at]


def build_probe(chat: Chat, reference: Chat | None, parts: ChatParts, tabs: gr.Tabs) -> None:
    """Lays the probe tab out and wires it, and the chat tab's buttons that bring a text here."""

    def show(text: str, role: str, history: History, with_history: bool) -> Iterator[Shown]:
        if len(text) > LONGEST_MESSAGE:
            raise gr.Error(
                f"The text has {len(text):,} characters; give at most {LONGEST_MESSAGE:,}.", print_exception=False
            )
        try:
            before = latest(said_before(history, role, text), chat.context) if with_history else []
            yield from probe_text(chat, reference, text, role, before)
        except ChatfedError as error:
            raise gr.Error(str(error), print_exception=False) from None

    gr.HTML(
        '<p class="cf-note">How much did training change what the model expects here? Each word is coloured by how it '
        f"moved beside its twins, other words of its form that the public model found as likely there. The first "
        f"{MOST_WORDS} words of a text are compared, fewer where words have many tokens.</p>"
        + ("" if reference is not None else probe.NO_REFERENCE)
    )
    text = gr.Textbox(
        label="Text to probe",
        placeholder="Type a sentence, or bring one over from the chat",
        elem_id="probe-text",
        lines=3,
        max_lines=10,
    )
    with gr.Row():
        role = gr.Radio(ROLES, value="user", label="Read it as", elem_id="probe-role", scale=3, min_width=280)
        go = gr.Button("Probe", variant="primary", elem_id="probe-go", scale=1, min_width=120)
    after = gr.Checkbox(
        True,
        label="Read it after the conversation on the Chat tab",
        info="What a model expects depends on what was said before.",
        elem_id="probe-after",
    )
    words = gr.HTML(elem_id="probe-words")
    table = gr.HTML(elem_id="probe-table")
    gr.HTML(probe.legend_html())

    call: dict[str, Any] = {"fn": show, "inputs": [text, role, parts.chatbot, after], "outputs": [words, table]}
    call |= {"show_progress": "minimal", "api_visibility": "private", "concurrency_limit": 2, "concurrency_id": "probe"}
    go.click(**call)
    sources = (
        (parts.probe_reply, "assistant", "There is no reply yet. Ask the model something first."),
        (parts.probe_draft, "user", "Type a message, or send one, and it can be probed."),
    )
    for button, said_by, missing in sources:

        def bring(
            draft: str, history: History, said_by: str = said_by, missing: str = missing
        ) -> tuple[str, str, gr.Tabs]:
            found = (draft.strip() if said_by == "user" else "") or last_of(history, said_by)
            if not found:
                raise gr.Error(missing, duration=5, print_exception=False)
            return found, said_by, gr.Tabs(selected="probe")

        button.click(
            bring, [parts.message, parts.chatbot], [text, role, tabs], show_progress="hidden", api_visibility="private"
        ).success(**call)
