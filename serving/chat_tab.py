"""The chat tab: a conversation that streams, stops, retries, undoes and edits, with next words under the input.

Knows how the tab is laid out and wired; what each part does is in conversation.py. Messages are shown as the text they
are, never as markdown or HTML: a reply could otherwise make the browser fetch a picture from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from .conversation import LONGEST_MESSAGE, RETRY_TEMPERATURE, SUGGESTIONS, Conversation, add_word

if TYPE_CHECKING:
    from chatfed import Chat

EXAMPLES = (
    "my laptop will not start",
    "I forgot my password, what can I do?",
    "How do I ask for a day of leave?",
    "the printer on my floor is broken",
)
LONGEST_REPLY = 4000  # tokens, where the model has room for more

# Waits until typing pauses, then sends what stands in the field by then: typing costs two calls a burst, not one a key.
DEBOUNCE = f"""async (draft, ...rest) => {{
  await new Promise(done => setTimeout(done, 150));
  const field = document.querySelector('#message textarea');
  return [(field ? field.value : draft).slice({-LONGEST_MESSAGE}), ...rest];
}}"""
GENERATE: dict[str, Any] = {"concurrency_limit": 4, "concurrency_id": "generate"}  # calls that write, of all visitors


def focus(field: str) -> str:
    """A script that puts the cursor at the end of the field with this id."""
    return f"""() => {{ const field = document.querySelector('#{field} textarea');
      if (field) {{ field.focus(); field.setSelectionRange(field.value.length, field.value.length); }} }}"""


def focus_again(field: str) -> str:
    """As `focus`, where nothing has it: the field's buttons leave the page when pressed, and it would go with them."""
    return f"() => {{ if (!document.activeElement || document.activeElement === document.body) ({focus(field)})(); }}"


FOCUS, FOCUS_AGAIN = focus("message"), focus_again("message")


@dataclass(frozen=True)
class ChatParts:
    """The pieces of the chat tab that other tabs use."""

    talk: Conversation
    chatbot: gr.Chatbot
    message: gr.Textbox
    probe_reply: gr.Button
    probe_draft: gr.Button


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
        submit_btn="Send",
        stop_btn=False,
        autofocus=True,
        interactive=True,
    )
    with gr.Row(elem_classes="cf-strip", elem_id="suggestions"):
        buttons = [gr.Button(visible=False, size="sm", min_width=60) for _ in range(SUGGESTIONS)]
    view = gr.HTML(visible=False, elem_id="view", elem_classes="cf-note")
    with gr.Row(elem_classes="cf-actions"):
        probe_reply = gr.Button("Probe last reply", size="sm", min_width=60)
        probe_draft = gr.Button("Probe my text", size="sm", min_width=60)
        clear = gr.Button("New conversation", size="sm", min_width=60)
    settings = generation_settings(
        chat.context,
        f"0: always the likeliest word; Retry then draws at {RETRY_TEMPERATURE}.",
        "A whole number: the same draws again.",
    )
    longest = settings[3]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    at_once: dict[str, Any] = {"concurrency_limit": None, **quiet}  # in the queue, or no error's sentence is shown
    strip: dict[str, Any] = {
        "fn": talk.suggest,
        "inputs": [message, chatbot, longest],
        "outputs": [*buttons, view],
        **quiet,
    }
    strip |= {"concurrency_limit": 2, "concurrency_id": "suggest"}
    answer: dict[str, Any] = {"fn": talk.respond, "inputs": [chatbot, *settings], "outputs": [chatbot, message]}
    answer |= quiet | GENERATE
    anew = answer | {"fn": talk.respond_anew}
    held = [message, chatbot]  # what every way to a reply sets before it

    sent = message.submit(talk.take, [message, chatbot], held, **at_once)
    sent.success(**answer).then(**strip).then(None, js=FOCUS_AGAIN)
    sent.success(None, js=FOCUS_AGAIN)
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
    return ChatParts(talk, chatbot, message, probe_reply, probe_draft)


def generation_settings(context: int, of_temperature: str, of_seed: str) -> list[Any]:
    """Temperature, top-p, repetition penalty, longest reply and seed, folded away; with what two of them say here."""
    with gr.Accordion("Generation settings", open=False):
        with gr.Row():
            temperature = gr.Slider(0, 1.5, 0.0, step=0.05, label="Temperature", info=of_temperature)
            top_p = gr.Slider(
                0.05, 1, 0.9, step=0.05, label="Top-p", info="Draws among the likeliest up to this share."
            )
        with gr.Row():
            penalty = gr.Slider(1, 2, 1.0, step=0.05, label="Repetition penalty", info="1 is none.")
            most = max(1, min(LONGEST_REPLY, context // 2))  # what a model has room for after any conversation
            longest = gr.Slider(1, most, min(80, most), step=1, label="Longest reply, in tokens")
        seed = gr.Textbox(  # a gr.Number that is empty becomes 0 when it is shown
            "",
            label="Seed",
            placeholder="other draws each time",
            info=of_seed,
            max_lines=1,
        )
    return [temperature, top_p, penalty, longest, seed]
