"""The page: header and four tabs over one shared model; a fifth where a server of encrypted answers is named.

Knows how it is laid out; knows no server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from .audit_beside import audit_of
from .chat_tab import EXAMPLES, build_chat
from .compare_tab import HOUSE_EXAMPLES, build_compare
from .downloads import downloads
from .encrypted_tab import Asking, build_encrypted
from .log_tab import build_log
from .privacy_audit import audit_html, downloads_html
from .privacy_budget import budget_html, rounds_html
from .privacy_run import facts_html
from .privacy_tab import privacy_html
from .probe_tab import build_probe
from .run_folder import RunFolder
from .texts import Texts, read_texts
from .theme import header

if TYPE_CHECKING:
    from chatfed import Chat


def build_page(
    chat: Chat,
    reference: Chat | None,
    run: RunFolder,
    tab: str = "chat",
    examples: Sequence[str] = (),
    operator: bool = False,
    bare: Chat | None = None,
    texts: Texts | None = None,
    log: Path | None = None,
    encrypted: Asking | None = None,
) -> gr.Blocks:
    """The whole page, opened on `tab` ("chat", "compare", "probe" or "privacy"); without examples, with our own.

    operator: with what is the operator's alone. bare: the run's model without a guarantee, to compare with. log: the
    folder of a log of one's own, where whoever opens the page is its owner. encrypted: who asks a server for words and
    does not show it the text.
    """
    texts = texts or read_texts()
    page = gr.Blocks(title="chatfed", analytics_enabled=False)
    with page:
        gr.HTML(header(run.privacy, run.no_claim, texts))
        with gr.Tabs(selected=tab) as tabs:
            with gr.Tab(texts("tabs.chat"), id="chat"):
                parts = build_chat(chat, examples or EXAMPLES, texts, operator)
            if log is not None:
                with gr.Tab(texts("tabs.log"), id="log"):
                    build_log(log, parts.chatbot, texts)
            with gr.Tab(texts("tabs.compare"), id="compare"):
                build_compare(chat, reference, run, parts.talk, examples[:3] or HOUSE_EXAMPLES, bare)
            with gr.Tab(texts("tabs.probe"), id="probe"):
                build_probe(chat, reference, parts, tabs, operator)
            if encrypted is not None:
                with gr.Tab(texts("tabs.encrypted"), id="encrypted"):
                    build_encrypted(encrypted, texts)
            with gr.Tab(texts("tabs.privacy"), id="privacy"):
                _quoted(texts)
                gr.HTML(privacy_html(run, texts), elem_id="privacy")
                gr.HTML(rounds_html(run, texts), elem_id="privacy-plot")
                gr.HTML(budget_html(run.privacy, texts), elem_id="privacy-budget")
                gr.HTML(audit_html(audit_of(run), run.privacy, texts), elem_id="privacy-audit")
                gr.HTML(facts_html(run, texts), elem_id="facts")
                gr.HTML(downloads_html(downloads(run), texts), elem_id="privacy-files")
    return page


def _quoted(texts: Texts) -> None:
    """Says in the page's language that what is quoted out of files is in English; on the English page nothing."""
    if note := texts("page.quoted"):
        gr.HTML(f'<p class="cf-note">{note}</p>')
