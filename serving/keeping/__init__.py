"""Conversations that a visitor keeps: in the browser, never here.

The page's own script writes them to a store of the browser's (store.js), opens one of them on the page (page.js) and
shows which there are (element.js); file.js makes one file of them and the settings, and reads it. The server is sent
the conversation that is open, as ever, and no other. What is here: the script as it goes into the page, and its ties to
gradio's parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ..calls import LONGEST_TEXT, MOST_MESSAGES
from ..markup import escape

if TYPE_CHECKING:
    from ..conversation import Conversation
    from ..texts import Texts

FOLDER = Path(__file__).parent
PARTS = ("store", "file", "page", "element")  # one scope, in this order


def script() -> str:
    """The script, as an element for the page's head."""
    parts = "\n".join((FOLDER / f"{part}.js").read_text(encoding="utf-8") for part in PARTS)
    return f'<script>(() => {{ "use strict";\n{parts}\n}})();</script>'


def keeping_bar(texts: Texts, settings: Mapping[str, tuple[float, float]], longest_system: int, system: bool) -> None:
    """The mark whether a conversation is temporary, and the list of those that are kept. Call it above the chat.

    settings: the least and the most of each slider, by its name in the file. longest_system: characters of a system
    prompt; system: whether the model takes one.
    """
    limits: dict[str, Any] = {"messages": MOST_MESSAGES, "characters": LONGEST_TEXT, "settings": dict(settings)}
    limits |= {"system_prompt": longest_system, "takes_system": system}
    given = {"texts": texts.section("keeping"), "limits": limits}
    data = " ".join(f'data-{key}="{escape(json.dumps(value, allow_nan=False))}"' for key, value in given.items())
    gr.HTML(f"<chatfed-keeping {data}></chatfed-keeping>", elem_id="keeping")


def wire_keeping(
    talk: Conversation, chatbot: gr.Chatbot, message: gr.Textbox, settings: list[Any], strip: dict[str, Any]
) -> None:
    """Ties the script to the conversation: what is seen, opened and, after a reload, opened again; and to the settings.

    settings: in the order of file.js. strip: the call that follows whatever changes the conversation.
    """
    page: Any = gr.context.Context.root_block
    both: Any = [chatbot, message]
    chatbot.change(None, chatbot, None, js="history => { window.chatfedKeeping.saw(history); }")
    opener = gr.Button(visible="hidden", elem_id="keeping-open")
    free = opener.click(talk.check_idle, None, None, show_progress="hidden", api_visibility="private")
    free.success(None, both, both, js="window.chatfedKeeping.take").success(**strip)
    gr.Button(visible="hidden", elem_id="keeping-settings").click(
        None, settings, settings, js="window.chatfedKeeping.settings"
    )
    page.load(None, both, both, js="window.chatfedKeeping.restore").then(**strip)


FRESH = "() => { window.chatfedKeeping.fresh(); }"
