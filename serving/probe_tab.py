"""The leakage-probe tab: takes a text, asks both models, shows the words.

Where the run was audited, words are judged by what the audit left beside the model; else beside their twins. Knows
gradio and `chatfed.Chat`; what is drawn is in findings.py and probe.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.audit.leakage import word_shifts
from chatfed.audit.twins import MOST_WORDS
from chatfed.audit.words import ALLOWED, judge
from chatfed.types import ChatfedError, Turn

from . import findings, probe, probe_verdicts
from .calibration import MISSING, Found, find_calibration
from .chat_tab import ChatParts
from .conversation import LONGEST_MESSAGE
from .failures import sentence_of, stopped
from .markup import quoted
from .messages import History, last_of, latest, turns_of
from .texts import Texts, read_texts

if TYPE_CHECKING:
    from chatfed import Chat
    from chatfed.audit.words import Calibration

EVERY = 0.5  # seconds between two words about how far it is


Shown = tuple[str, str]  # words and summary, table: both HTML


def probe_text(
    chat: Chat,
    reference: Chat | None,
    text: str,
    role: str,
    history: Sequence[Turn] = (),
    operator: bool = True,
    texts: Texts | None = None,
) -> Iterator[Shown]:
    """The text probed as it stands after `history`: how far it is, now and then, and at last the whole.

    operator: with numbers; else verdicts alone, and nothing where there is no reference to give one by.
    Raises ChatfedError when models cannot be compared, or where the chat template takes no such message there.
    """
    texts = texts or read_texts()
    if reference is None and not operator:
        yield probe.no_reference_html(texts, "verdicts.no_reference"), ""
        return
    if reference is None:
        scores = chat.word_log_probs(text, role, history)
        words, table = probe.plain_words_html(scores, texts), probe.plain_table_html(scores, texts)
        yield (probe.no_reference_html(texts) + words, table) if scores else (probe.no_word_html(texts), "")
        return
    from chatfed.audit.twins import compare_with_twins

    count, shifts, shown = len(text.split()), [], time.monotonic()
    for shift in compare_with_twins(chat, reference, text, role, history):
        shifts.append(shift)
        if time.monotonic() - shown >= EVERY:
            shown = time.monotonic()
            yield probe.progress_html(len(shifts), count, texts), ""
    if not operator:
        yield probe_verdicts.compared_html(text, shifts, texts), ""
    elif not shifts:
        yield probe.no_word_html(texts), ""
    else:
        words = probe.summary_html(shifts, texts) + probe.words_html(text, shifts, texts)
        yield words, probe.table_html(shifts, texts)


def judge_text(
    chat: Chat,
    reference: Chat,
    calibration: Calibration,
    text: str,
    role: str,
    history: Sequence[Turn] = (),
    allowed: float = ALLOWED,
    operator: bool = True,
    texts: Texts | None = None,
) -> Shown:
    """The text judged as it stands after `history`. allowed: probability of a find where nothing leaked.

    operator: with numbers, and `allowed` as asked; else verdicts alone, at ALLOWED.
    Raises ChatfedError as `probe_text`, and for an `allowed` that is no probability.
    """
    asked = (text, role, history)
    shifts = word_shifts(chat.word_log_probs(*asked), reference.word_log_probs(*asked))
    judged = judge(calibration, shifts, role, allowed if operator else ALLOWED)
    if not operator:
        return probe_verdicts.judged_html(text, judged, texts), ""
    summary = findings.summary_html(judged, calibration, texts)
    if not shifts:
        return summary, ""
    return summary + findings.words_html(text, judged.words, texts), findings.table_html(judged.words, texts)


def said_before(history: History, role: str, text: str) -> list[Turn]:
    """The conversation before the latest message of `role` with this text; the whole of it when there is none."""
    turns = turns_of(history)
    at = next((i for i in reversed(range(len(turns))) if turns[i] == Turn(role, text)), len(turns))
    return turns[:at]


def build_probe(chat: Chat, reference: Chat | None, parts: ChatParts, tabs: gr.Tabs, operator: bool = False) -> None:
    """Lays the probe tab out and wires it, and the chat tab's buttons that bring a text here.

    operator: with the numbers behind each verdict, and a slider for the false alarms.
    """
    texts, found = parts.talk.texts, find_calibration(chat, reference)
    if found.calibration:
        found.calibration.level(ALLOWED)  # works out what all texts need, not while somebody waits

    def show(
        text: str, role: str, history: History, with_history: bool, percent: float = 100 * ALLOWED
    ) -> Iterator[Shown]:
        if len(text) > LONGEST_MESSAGE:
            raise stopped(texts("probe.too_long", count=len(text), most=LONGEST_MESSAGE))
        try:
            before = latest(said_before(history, role, text), chat.context) if with_history else []
            if reference is not None and (calibration := found.calibration) is not None:
                judged = judge_text(chat, reference, calibration, text, role, before, percent / 100, operator, texts)
                shown = iter([judged])
            else:
                shown = probe_text(chat, reference, text, role, before, operator, texts)
            for words, table in shown:
                yield words + _read_as(role, len(before), texts), table
        except ChatfedError as error:
            raise stopped(sentence_of(error, texts)) from None

    gr.HTML(_introduction(reference is not None, found, operator, texts))
    text = gr.Textbox(
        label=texts("probe.text"),
        placeholder=texts("probe.placeholder"),
        elem_id="probe-text",
        lines=3,
        max_lines=10,
    )
    with gr.Row():
        roles = [(texts(f"probe.role_{each}"), each) for each in ("user", "assistant")]
        role = gr.Radio(roles, value="user", label=texts("probe.role"), elem_id="probe-role", scale=3, min_width=280)
        go = gr.Button(texts("probe.go"), variant="primary", elem_id="probe-go", scale=1, min_width=120)
    after = gr.Checkbox(
        True,
        label=texts("probe.after"),
        info=texts("probe.after_info"),
        elem_id="probe-after",
    )
    allowed = _slider(texts) if found.calibration and operator else None
    words = gr.HTML(elem_id="probe-words")
    table = gr.HTML(elem_id="probe-table")
    gr.HTML(_legend(found, operator, texts))

    inputs = [text, role, parts.chatbot, after, *([allowed] if allowed else [])]
    call: dict[str, Any] = {"fn": show, "inputs": inputs, "outputs": [words, table]}
    call |= {"show_progress": "minimal", "api_visibility": "private", "concurrency_limit": 2, "concurrency_id": "probe"}
    go.click(**call)
    if allowed:
        allowed.change(**call, trigger_mode="always_last")
    sources = (
        (parts.probe_reply, "assistant", texts("alternatives.no_reply")),
        (parts.probe_draft, "user", texts("probe.no_draft")),
    )
    for button, said_by, missing in sources:

        def bring(
            draft: str, history: History, said_by: str = said_by, missing: str = missing
        ) -> tuple[str, str, gr.Tabs]:
            found = (draft.strip() if said_by == "user" else "") or last_of(history, said_by)
            if not found:
                raise stopped(missing, 5)
            return found, said_by, gr.Tabs(selected="probe")

        button.click(
            bring, [parts.message, parts.chatbot], [text, role, tabs], show_progress="hidden", api_visibility="private"
        ).success(**call)


def _read_as(role: str, before: int, texts: Texts) -> str:
    """What an expectation rests on: the same words have others as somebody else's, or after other words."""
    said_by = texts(f"probe.role_{role}")
    said = (
        texts.counted("probe.read_after", before, role=said_by) if before else texts("probe.read_alone", role=said_by)
    )
    return f'<p class="cf-note">{said}</p>'


def _legend(found: Found, operator: bool, texts: Texts) -> str:
    if not operator:
        return probe_verdicts.legend_html(found.calibration is not None, texts)
    return findings.legend_html(found.calibration, texts) if found.calibration else probe.legend_html(texts)


def _introduction(compared: bool, found: Found, operator: bool, texts: Texts) -> str:
    """What the tab asks, and by what it judges."""
    if found.calibration:
        fixed = texts("probe.often_fixed", share=texts.share(ALLOWED))
        by = texts("probe.by_calibration", often=texts("probe.often_slider") if operator else fixed)
    else:
        unusable = texts("probe.not_usable", why=quoted(found.why_not, texts))
        why = texts("probe.not_calibrated") if found.why_not == MISSING else unusable
        by = texts("probe.by_twins", most=MOST_WORDS, why=why)
    none = probe.no_reference_html(texts, "probe.no_reference" if operator else "verdicts.no_reference")
    return f'<p class="cf-note">{texts("probe.question")} {by}</p>{"" if compared else none}'


def _slider(texts: Texts) -> gr.Slider:
    return gr.Slider(
        1,
        50,
        value=100 * ALLOWED,
        step=1,
        label=texts("probe.allowed"),
        info=texts("probe.allowed_info"),
        elem_id="probe-allowed",
    )
