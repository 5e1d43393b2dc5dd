"""The tab that asks the public base and the private model the same, and shows their answers side by side.

Whoever starts the page on this machine alone sees a third model there, where the run left one: trained without noise.

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
from .comparison import COUNTED, Answers, answers, cards_html, sides
from .conversation import (
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
from .failures import log_failure, sentence_of, warn
from .run_folder import RunFolder

if TYPE_CHECKING:
    from chatfed import Chat, Generation

HOUSE_EXAMPLES = (
    "How do I ask for a day of leave?",
    "I lost my badge, what do I do now?",
    "Where do I reset my password?",
)


class Comparison:
    """What the tab does. A visitor's session is the chat's: one reply or one comparison at a time."""

    def __init__(self, base: Chat, chat: Chat, run: RunFolder, talk: Conversation, bare: Chat | None = None) -> None:
        self._models = (base, chat) if bare is None else (base, chat, bare)
        self._sides = sides(run, bare is not None, talk.texts)
        self._talk = talk

    def said(self, key: str, **values: object) -> str:
        """A text that speaks of all models together, by how many they are."""
        return self._talk.texts(f"compare.{key}.{COUNTED[len(self._models)]}", **values)

    def cards(self, said: Answers = (), note: str = "", over: bool = False) -> str:
        """The cards; before anything was asked, without `said`."""
        return cards_html(self._sides, said, note, over, self._talk.texts)

    def ask(self, draft: str, request: gr.Request) -> tuple[Any, str]:
        """Holds the session for the answers, which others may go before: (prompt field, cards).

        An empty prompt, one that is too long, or a reply under way stops here with a sentence.
        """
        check_draft(draft, self._talk.texts)
        self._talk.claim(request)
        return busy(self._talk.texts, value=draft.strip()), self.cards(note=self.said("waiting"))

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
        """Writes the answers, a few words at a time: (prompt field, cards)."""
        prompt = (prompt or "").strip()[:LONGEST_MESSAGE]
        if not prompt:  # it was taken out of its field meanwhile
            self._talk.generations.release(session_of(request))
            yield ready(self.said("ask")), self.cards()
            return
        said: Answers = ()
        note, over, shown = "", False, 0.0
        try:
            with self._talk.generations.running(session_of(request)) as stop:
                drawn = seed_of(seed, self._talk.texts)
                one_for_all = secrets.randbits(31) if drawn is None else drawn
                settings = settings_of(temperature, top_p, repetition_penalty, max_new_tokens, one_for_all)
                for said in answers(self._models, prompt, settings, stop):
                    if time.monotonic() - shown >= FRAME:
                        shown = time.monotonic()
                        yield gr.skip(), self.cards(said, self.said("waiting"))
                over = not stop.is_set()
                note = self._how(settings) if over else self._talk.texts("compare.stopped")
        except ChatfedError as error:
            note = sentence_of(error, self._talk.texts)
            warn(note)
        except Exception as error:  # whatever it is, the field must take the next prompt
            note = self._talk.texts("chat.failed")
            log_failure(logging.getLogger(__name__), "Answers to compare could not be written", error)
            warn(note)
        yield ready(self.said("ask")), self.cards(said, note, over)

    def _how(self, settings: Generation) -> str:
        if not settings.temperature:
            return self.said("greedy")
        return self.said("drawn", temperature=settings.temperature, seed=str(settings.seed))


def build_compare(
    chat: Chat,
    base: Chat | None,
    run: RunFolder,
    talk: Conversation,
    examples: Sequence[str],
    bare: Chat | None = None,
) -> None:
    """Lays the tab out and wires it; without a base it says why there is nothing to compare.

    bare: the model without a guarantee, where this page may show it.
    """
    texts = talk.texts
    if base is None:
        nothing = f'<div class="cf-card cf-warn cf-prose"><p>{texts("compare.nothing")}</p></div>'
        gr.HTML(nothing, elem_id="compare-nothing")
        return
    comparison = Comparison(base, chat, run, talk, bare)
    gr.HTML(f'<p class="cf-note">{comparison.said("note")}</p>')
    prompt = gr.Textbox(
        label=comparison.said("prompt"),
        placeholder=texts("compare.placeholder"),
        elem_id="compare-prompt",
        lines=1,
        max_lines=6,
        submit_btn=comparison.said("ask"),
        stop_btn=False,
        interactive=True,
    )
    with gr.Row(elem_classes="cf-strip", elem_id="compare-examples"):
        buttons = [gr.Button(example, size="sm", min_width=60) for example in examples]
    cards = gr.HTML(comparison.cards(), elem_id="compare-answers")
    settings = generation_settings(
        chat.context,
        texts("settings.temperature_compare"),
        comparison.said("seed"),
        texts,
    )
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    at_once: dict[str, Any] = {"concurrency_limit": None, **quiet}
    # A comparison holds one of the places of the chat's replies, for as long as all its answers: they go in turns.
    answer: dict[str, Any] = {"fn": comparison.compare, "inputs": [prompt, *settings], "outputs": [prompt, cards]}
    answer |= quiet | GENERATE
    asked = [prompt.submit(comparison.ask, prompt, [prompt, cards], **at_once)]
    asked += [button.click(comparison.ask, button, [prompt, cards], **at_once) for button in buttons]
    for each in asked:
        each.success(**answer).then(None, js=focus_again("compare-prompt"))
        each.success(None, js=focus_again("compare-prompt"))
    prompt.stop(talk.stop, None, None, **at_once)
