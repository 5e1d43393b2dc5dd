"""The tab that asks the public base and the private model the same, and shows both answers side by side.

Knows gradio and how the tab is wired; what is asked and shown is in comparison.py.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.types import ChatfedError

from .chat_tab import GENERATE, focus_again, generation_settings
from .comparison import NOTHING_TO_COMPARE, Pair, answers, cards_html, sides
from .conversation import (
    FAILED,
    FRAME,
    LONGEST_MESSAGE,
    Conversation,
    busy,
    check_draft,
    ready,
    seed_of,
    session_of,
    settings_of,
)
from .run_folder import RunFolder

if TYPE_CHECKING:
    from chatfed import Chat, Generation

HOUSE_EXAMPLES = (
    "How do I ask for a day of leave?",
    "I lost my badge, what do I do now?",
    "Where do I reset my password?",
)
ASK = "Ask both"
WAITING = "Both are asked …"


class Comparison:
    """What the tab does. A visitor's session is the chat's: one reply or one comparison at a time."""

    def __init__(self, base: Chat, chat: Chat, run: RunFolder, talk: Conversation) -> None:
        self._models = (base, chat)
        self._sides = sides(run)
        self._talk = talk

    def start(self) -> str:
        """Both cards, before anything was asked."""
        return cards_html(self._sides)

    def ask(self, draft: str, request: gr.Request) -> tuple[Any, str]:
        """Holds the session for both answers, which others may go before: (prompt field, cards).

        An empty prompt, one that is too long, or a reply under way stops here with a sentence.
        """
        check_draft(draft)
        self._talk.claim(request)
        return busy(value=draft.strip()), cards_html(self._sides, note=WAITING)

    def compare(
        self,
        prompt: str,
        temperature: float,
        top_p: float,
        repetition_penalty: float,
        max_new_tokens: float,
        seed: str | None,
        request: gr.Request,
    ) -> Iterator[tuple[Any, Any]]:
        """Writes both answers, a few words at a time: (prompt field, cards)."""
        prompt = (prompt or "").strip()[:LONGEST_MESSAGE]
        if not prompt:  # it was taken out of its field meanwhile
            self._talk.generations.release(session_of(request))
            yield ready(ASK), self.start()
            return
        said: Pair = ("", "")
        note, over, shown = "", False, 0.0
        try:
            with self._talk.generations.running(session_of(request)) as stop:
                drawn = seed_of(seed)
                one_for_both = secrets.randbits(31) if drawn is None else drawn
                settings = settings_of(temperature, top_p, repetition_penalty, max_new_tokens, one_for_both)
                for said in answers(self._models, prompt, settings, stop):
                    if time.monotonic() - shown >= FRAME:
                        shown = time.monotonic()
                        yield gr.skip(), cards_html(self._sides, said, WAITING)
                note, over = ("Stopped.", False) if stop.is_set() else (_how(settings), True)
        except ChatfedError as error:
            note = str(error)
            gr.Warning(note)
        except Exception:  # whatever it is, the field must take the next prompt
            note = FAILED
            logging.getLogger(__name__).exception("Two answers could not be written")
            gr.Warning(note)
        yield ready(ASK), cards_html(self._sides, said, note, over)


def _how(settings: Generation) -> str:
    if not settings.temperature:
        return "Both at temperature 0: always the likeliest word."
    return f"Both at temperature {settings.temperature:g}, with seed {settings.seed}."


def build_compare(chat: Chat, base: Chat | None, run: RunFolder, talk: Conversation, examples: Sequence[str]) -> None:
    """Lays the tab out and wires it; without a base it says why there is nothing to compare."""
    if base is None:
        gr.HTML(NOTHING_TO_COMPARE, elem_id="compare-nothing")
        return
    comparison = Comparison(base, chat, run, talk)
    gr.HTML(
        '<p class="cf-note">What did training on dialogues teach? Both models are asked the same, with the same '
        "settings and draws; neither knows what was said on the Chat tab.</p>"
    )
    prompt = gr.Textbox(
        label="One prompt for both",
        placeholder="Type a question, or take an example",
        elem_id="compare-prompt",
        lines=1,
        max_lines=6,
        submit_btn=ASK,
        stop_btn=False,
        interactive=True,
    )
    with gr.Row(elem_classes="cf-strip", elem_id="compare-examples"):
        buttons = [gr.Button(example, size="sm", min_width=60) for example in examples]
    cards = gr.HTML(comparison.start(), elem_id="compare-answers")
    settings = generation_settings(
        chat.context, "0: always the likeliest word.", "A whole number: the same draws again, for both."
    )
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    at_once: dict[str, Any] = {"concurrency_limit": None, **quiet}
    # A comparison holds one of the places of the chat's replies, for as long as two: its answers are written in turns.
    answer: dict[str, Any] = {"fn": comparison.compare, "inputs": [prompt, *settings], "outputs": [prompt, cards]}
    answer |= quiet | GENERATE
    asked = [prompt.submit(comparison.ask, prompt, [prompt, cards], **at_once)]
    asked += [button.click(comparison.ask, button, [prompt, cards], **at_once) for button in buttons]
    for each in asked:
        each.success(**answer).then(None, js=focus_again("compare-prompt"))
        each.success(None, js=focus_again("compare-prompt"))
    prompt.stop(talk.stop, None, None, **at_once)
