"""The page: header and four tabs over one shared model. Knows how it is laid out; knows no server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gradio as gr

from .chat_tab import EXAMPLES, build_chat
from .compare_tab import HOUSE_EXAMPLES, build_compare
from .privacy_tab import facts_html, plots_html, privacy_html
from .probe_tab import build_probe
from .run_folder import RunFolder
from .theme import header

if TYPE_CHECKING:
    from chatfed import Chat


def build_page(
    chat: Chat, reference: Chat | None, run: RunFolder, tab: str = "chat", examples: Sequence[str] = ()
) -> gr.Blocks:
    """The whole page, opened on `tab` ("chat", "compare", "probe" or "privacy"); without examples, with our own."""
    page = gr.Blocks(title="chatfed", analytics_enabled=False)
    with page:
        gr.HTML(header(run.privacy, run.no_claim))
        with gr.Tabs(selected=tab) as tabs:
            with gr.Tab("Chat", id="chat"):
                parts = build_chat(chat, examples or EXAMPLES)
            with gr.Tab("Compare", id="compare"):
                build_compare(chat, reference, run, parts.talk, examples[:3] or HOUSE_EXAMPLES)
            with gr.Tab("Leakage probe", id="probe"):
                build_probe(chat, reference, parts, tabs)
            with gr.Tab("Privacy", id="privacy"):
                gr.HTML(privacy_html(run), elem_id="privacy")
                gr.HTML(plots_html(run), elem_id="privacy-plot")
                gr.HTML(facts_html(run), elem_id="facts")
    return page
