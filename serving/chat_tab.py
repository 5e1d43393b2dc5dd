"""The chat tab: a conversation that streams, stops, retries, undoes and edits, with next words under the input.

Knows how the tab is laid out and wired; what each part does is in conversation.py. Messages are shown as the text they
are, never as markdown or HTML: a reply could otherwise make the browser fetch a picture from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from .alternatives import (
    Alternatives,
    alternatives_button,
    alternatives_panel,
    not_for_visitors,
    wire_alternatives,
)
from .conversation import LONGEST_MESSAGE, RETRY_TEMPERATURE, SUGGESTIONS, Conversation, add_word
from .keeping import FRESH, keeping_bar, wire_keeping
from .markup import escape
from .system_prompt import LONGEST, takes_one

if TYPE_CHECKING:
    from chatfed import Chat

    from .texts import Texts

EXAMPLES = (
    "my laptop will not start",
    "I forgot my password, what can I do?",
    "How do I ask for a day of leave?",
    "the printer on my floor is broken",
)
LONGEST_REPLY = 4000  # tokens, where the model has room for more
SLIDERS = {"temperature": (0, 1.5), "top_p": (0.05, 1), "repetition_penalty": (1, 2)}  # least and most of each

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


def build_chat(chat: Chat, examples: Sequence[str], texts: Texts, operator: bool = False) -> ChatParts:
    """Lays the chat tab out and wires it. Call it inside a gr.Tab.

    operator: with how likely each word of a reply was, and each next word is.
    """
    talk = Conversation(chat, texts, operator)
    keeping_bar(texts, SLIDERS | {"longest_reply": (1, most_tokens(chat.context))}, LONGEST, takes_one(chat))
    chatbot = gr.Chatbot(
        label=texts("chat.label"),
        show_label=False,
        elem_id="conversation",
        height="min(52vh, 560px)",
        buttons=["copy", "copy_all"],
        editable="user",
        render_markdown=False,
        feedback_options=None,
        allow_tags=False,
        group_consecutive_messages=False,
        placeholder=texts("chat.placeholder"),
        examples=[{"text": example} for example in examples],
    )
    message = gr.Textbox(
        label=texts("chat.message"),
        placeholder=texts("chat.type"),
        elem_id="message",
        lines=1,
        max_lines=6,
        submit_btn=texts("chat.send"),
        stop_btn=False,
        autofocus=True,
        interactive=True,
    )
    with gr.Row(elem_classes="cf-strip", elem_id="suggestions"):
        buttons = [gr.Button(visible=False, size="sm", min_width=60) for _ in range(SUGGESTIONS)]
    if chat.offered is not None:
        gr.HTML(f'<p class="cf-note">{escape(texts("chat.limited"))}</p>', elem_id="suggestions-limited")
    view = gr.HTML(visible=False, elem_id="view", elem_classes="cf-note")
    held = gr.HTML(visible=False, elem_id="held")
    hold = hold_field(texts)
    with gr.Row(elem_classes="cf-actions"):
        probe_reply = gr.Button(texts("chat.probe_reply"), size="sm", min_width=60)
        probe_draft = gr.Button(texts("chat.probe_draft"), size="sm", min_width=60)
        clear = gr.Button(texts("chat.new"), size="sm", min_width=60)
        look = alternatives_button(texts) if operator else None
    panel = alternatives_panel() if operator else None
    settings = generation_settings(
        chat.context,
        texts("settings.temperature_chat", retry=RETRY_TEMPERATURE),
        texts("settings.seed_chat"),
        texts,
        system := system_field(chat, texts),
    )
    longest = settings[3]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    at_once: dict[str, Any] = {"concurrency_limit": None, **quiet}  # in the queue, or no error's sentence is shown
    strip: dict[str, Any] = {
        "fn": talk.suggest,
        "inputs": [message, chatbot, longest, system, hold],
        "outputs": [*buttons, view],
        **quiet,
    }
    strip |= {"concurrency_limit": 2, "concurrency_id": "suggest"}
    answer: dict[str, Any] = {
        "fn": talk.respond,
        "inputs": [chatbot, *settings, system, hold],
        "outputs": [chatbot, message],
    }
    answer |= quiet | GENERATE
    anew = answer | {"fn": talk.respond_anew}
    taken = [message, chatbot]  # what every way to a reply sets before it

    sent = message.submit(talk.take, [message, chatbot, hold], taken, **at_once)
    sent.success(**answer).then(**strip).then(None, js=FOCUS_AGAIN)
    sent.success(None, js=FOCUS_AGAIN)
    chatbot.example_select(talk.take_example, chatbot, taken, **at_once).success(**answer).then(**strip)
    chatbot.retry(talk.retry, chatbot, taken, **at_once).success(**anew).then(**strip)
    chatbot.edit(talk.edit, chatbot, taken, **at_once).success(**answer).then(**strip)
    message.stop(talk.stop, None, None, **at_once)
    chatbot.undo(talk.undo, chatbot, [message, chatbot], **at_once).success(**strip).then(None, js=FOCUS)
    cleared = clear.click(talk.clear, None, [message, chatbot], **at_once)
    cleared.success(None, js=FRESH).then(**strip).then(None, js=FOCUS)
    message.input(**strip, js=DEBOUNCE, trigger_mode="always_last")
    shown: dict[str, Any] = {"fn": talk.held, "inputs": [message, chatbot, hold, system], "outputs": held, **at_once}
    message.change(**shown, js=DEBOUNCE, trigger_mode="always_last")
    hold.change(**shown).then(**strip)
    for button in buttons:
        button.click(add_word, [message, button], message, **at_once).then(**strip).then(None, js=FOCUS)
    if look and panel:
        wire_alternatives(Alternatives(talk), look, panel, (chatbot, message, longest, system), answer)
    else:
        not_for_visitors(texts)
    page: Any = gr.context.Context.root_block
    wire_keeping(talk, chatbot, message, [*settings, system], strip)
    page.unload(talk.leave)
    return ChatParts(talk, chatbot, message, probe_reply, probe_draft)


def hold_field(texts: Texts) -> gr.Radio:
    """What becomes of what names people in a message: off, mark, mask or refuse."""
    return gr.Radio(
        choices=[(texts(f"held.{mode}"), mode) for mode in ("off", "mark", "mask", "refuse")],
        value="mark",
        label=texts("held.label"),
        info=texts("held.info"),
        elem_id="hold",
    )


def system_field(chat: Chat, texts: Texts) -> gr.Textbox:
    """What the model is told before the conversation; closed where its template has no place for it. Not drawn yet."""
    taken = takes_one(chat)
    return gr.Textbox(
        "",
        label=texts("system.label"),
        placeholder=texts("system.empty") if taken else "",
        info=texts("system.info" if taken else "system.no_place"),
        elem_id="system-prompt",
        lines=1,
        max_lines=6,
        max_length=LONGEST,
        interactive=taken,
        render=False,
    )


def most_tokens(context: int) -> int:
    """The longest reply that may be asked for: what a model has room for after any conversation."""
    return max(1, min(LONGEST_REPLY, context // 2))


def _slider(name: str, value: float, label: str, info: str) -> gr.Slider:
    return gr.Slider(*SLIDERS[name], value, step=0.05, label=label, info=info)


def generation_settings(
    context: int, of_temperature: str, of_seed: str, texts: Texts, system: gr.Textbox | None = None
) -> list[Any]:
    """Temperature, top-p, repetition penalty, longest reply and seed, folded away; with what two of them say here.

    system: a field that is drawn above them.
    """
    with gr.Accordion(texts("settings.title"), open=False):
        if system:
            system.render()  # type: ignore[no-untyped-call]
        with gr.Row():
            temperature = _slider("temperature", 0.0, texts("settings.temperature"), of_temperature)
            top_p = _slider("top_p", 0.9, texts("settings.top_p"), texts("settings.top_p_info"))
        with gr.Row():
            penalty = _slider("repetition_penalty", 1.0, texts("settings.penalty"), texts("settings.penalty_info"))
            most = most_tokens(context)
            longest = gr.Slider(1, most, min(80, most), step=1, label=texts("settings.longest"))
        seed = gr.Textbox(  # a gr.Number that is empty becomes 0 when it is shown
            "",
            label=texts("settings.seed"),
            placeholder=texts("settings.seed_empty"),
            info=of_seed,
            max_lines=1,
        )
    return [temperature, top_p, penalty, longest, seed]
