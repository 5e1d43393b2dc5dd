"""The leakage-probe tab: takes a text, asks both models, shows the words.

Knows gradio and `chatfed.Chat`; what is drawn is in probe.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.types import ChatfedError
from serving import probe
from serving.chat_tab import ChatParts
from serving.conversation import LONGEST_MESSAGE
from serving.messages import History, last_of

if TYPE_CHECKING:
    from chatfed import Chat

ROLES = [("a user's message", "user"), ("an assistant's reply", "assistant")]


def probe_text(chat: Chat, reference: Chat | None, text: str, role: str) -> tuple[str, str]:
    """The text probed: (words and summary, table), both HTML. Raises ChatfedError when models cannot be compared."""
    served = chat.word_log_probs(text, role)
    if not served:
        return probe.summary_html([]), ""
    if reference is None:
        return probe.NO_REFERENCE + probe.plain_words_html(served), probe.plain_table_html(served)
    from chatfed.audit.leakage import word_shifts

    shifts = word_shifts(served, reference.word_log_probs(text, role))
    return probe.summary_html(shifts) + probe.words_html(text, shifts), probe.table_html(shifts)


def build_probe(chat: Chat, reference: Chat | None, parts: ChatParts, tabs: gr.Tabs) -> None:
    """Lays the probe tab out and wires it, and the chat tab's buttons that bring a text here."""

    def show(text: str, role: str) -> tuple[str, str]:
        if len(text) > LONGEST_MESSAGE:
            raise gr.Error(
                f"The text has {len(text):,} characters; give at most {LONGEST_MESSAGE:,}.", print_exception=False
            )
        try:
            return probe_text(chat, reference, text, role)
        except ChatfedError as error:
            raise gr.Error(str(error), print_exception=False) from None

    gr.HTML(
        '<p class="cf-note">How much did training change what the model expects here? Each word is coloured by how far '
        "the served model has moved from the public model that training began with, in bits.</p>"
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
    words = gr.HTML(elem_id="probe-words")
    table = gr.HTML(elem_id="probe-table")
    gr.HTML(probe.legend_html())

    call: dict[str, Any] = {"fn": show, "inputs": [text, role], "outputs": [words, table]}
    go.click(**call, show_progress="minimal", api_visibility="private")
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
        ).success(**call, show_progress="minimal", api_visibility="private")
