"""How likely the model found each token of a reply, what else it might have said there, and how to go on from that.

A reply is read anew, as the model would have read it back, so it may be any message of the conversation, also one that
was written long ago. Probabilities are the model's own, before temperature and top-p. They tell an attacker whether a
text was learned from: the page shows them to its operator alone. Knows `chatfed.Chat` and gradio's events; what happens
in the browser is in alternatives.js.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.model.tokenizer import MARKER, TURN_END, encode_dialogue, turn_end_ids
from chatfed.model.windows import latest_that_fit
from chatfed.types import InvalidValue, Turn

from .conversation import Conversation, busy
from .failures import sentence_of, stopped
from .markup import escape
from .messages import History, from_page, texts_of, turns_of

if TYPE_CHECKING:
    from chatfed import Chat
    from chatfed.generation import TokenScore

    from .texts import Texts

SHOWN = 5  # alternatives at a place
MOST_TOKENS = 1000  # of a reply that are shown; a message of more has its end left out
SCRIPT = Path(__file__).with_name("alternatives.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Place:
    """A token of a reply, and the likeliest ones there."""

    said: TokenScore
    top: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Scored:
    """A reply, token by token; the last place is where it ended, unless it was cut."""

    ids: tuple[int, ...]
    places: tuple[Place, ...]
    ends: frozenset[int]  # tokens that end a message
    markers: frozenset[int]  # and tokens that a person cannot write


def scored(chat: Chat, before: Sequence[Turn], reply: Turn, longest: int) -> Scored:
    """A reply as the model reads it after the turns before it, of which so many count as leave room for `longest`.

    Raises InvalidValue where there are none, or where the reply alone does not fit the model's context.
    """
    if not before:
        raise InvalidValue("Nothing stands before the reply; give the messages that it answers.", param="before")
    ids = reply_ids(chat, before, reply)[: MOST_TOKENS + 1]
    room = chat.context - max(min(longest, chat.context // 2), len(ids))
    if room < 1:
        raise InvalidValue(f"The reply has more tokens than the model's window of {chat.context:,} holds.")
    prompt = latest_that_fit(chat.tokenizer, before, room)
    found = chat.score_ids([*prompt, *ids], top=SHOWN)[len(prompt) :]
    places = tuple(Place(said, top) for said, top in found if said is not None)
    ends = frozenset(turn_end_ids(chat.tokenizer))
    return Scored(tuple(ids), places, ends, ends | frozenset(chat.tokenizer.all_special_ids))


def reply_ids(chat: Chat, before: Sequence[Turn], reply: Turn) -> list[int]:
    """Token ids of a reply's words as the template writes them after a user's message, and of what ends it, if any."""
    asked = next((turn for turn in reversed(before) if turn.role == "user"), Turn("user", "Hello"))
    encoded = encode_dialogue(chat.tokenizer, [asked, reply])
    inside = [at for at in range(len(encoded.ids)) if encoded.turns[at] == 1]
    words = [at for at in inside if encoded.kinds[at] not in (MARKER, TURN_END)]
    if not words:
        return []
    after = [at for at in inside if at > words[-1] and encoded.kinds[at] == TURN_END][:1]
    return [int(encoded.ids[at]) for at in [*range(words[0], words[-1] + 1), *after]]


def opening_of(chat: Chat, history: History, message: int, chosen: str) -> list[int]:
    """The ids that a new reply begins with in place of `message`; `chosen` are ids as the browser sent them.

    All but the last are those of the message as it stands; none where it is another conversation by now.
    """
    ids = [int(each) for each in chosen.split() if each.isdecimal() and len(each) < 10]
    if not 0 < message < len(history) or history[message]["role"] != "assistant" or not ids:
        return []
    stands = reply_ids(chat, turns_of(history[:message]), Turn("assistant", from_page(history[message]["content"])))
    return ids if ids[-1] < len(chat.tokenizer) and ids[:-1] == stands[: len(ids) - 1] else []


def place_at(found: Scored, reply: str, character: int) -> int:
    """Which token holds this character of the reply."""
    pieces = [place.said.data for place in found.places]
    text = reply.strip()
    lead = max(0, b"".join(pieces).find(text.encode()))  # a space that the template puts before it
    wanted = lead + len(reply[: max(0, character)].lstrip().encode())
    end = 0
    for at, piece in enumerate(pieces):
        end += len(piece)
        if wanted < end:
            return at
    return max(0, len(pieces) - 1)


def panel_html(found: Scored, message: int, chosen: int, texts: Texts) -> str:
    """The reply's tokens as buttons; what may stand at each place is in the panel's data, for its script."""
    tokens = "".join(_token(found, at, at == chosen, texts) for at in range(len(found.places)))
    data = {
        "message": message,
        "chosen": chosen,
        "ids": list(found.ids),
        "places": [[_choice(found, at, each, texts) for each in place.top] for at, place in enumerate(found.places)],
        "said": [_choice(found, at, place.said, texts) for at, place in enumerate(found.places)],
        "texts": {key: texts(f"alternatives.{key}") for key in ("among", "beyond", "go_on", "as_said")},
    }
    packed = escape(json.dumps(data, allow_nan=False, ensure_ascii=False))
    said = {
        key: escape(texts(f"alternatives.{key}")) for key in ("title", "close", "close_name", "how", "reply", "top")
    }
    return (
        f'<section class="cf-card cf-alternatives" aria-labelledby="alternatives-name" data-alternatives="{packed}">'
        f'<div class="cf-panel-head"><h2 id="alternatives-name">{said["title"]}</h2>'
        f'<button type="button" class="cf-close" aria-label="{said["close_name"]}">{said["close"]}</button></div>'
        f'<p class="cf-note">{said["how"]}</p>'
        f'<div class="cf-tokens" role="toolbar" aria-label="{said["reply"]}" dir="auto">{tokens}</div>'
        '<p class="cf-note cf-said" role="status"></p>'
        f'<ol class="cf-choices" aria-label="{said["top"]}"></ol></section>'
    )


def _token(found: Scored, at: int, chosen: bool, texts: Texts) -> str:
    said = found.places[at].said
    marker = said.token in found.markers
    text = _marker(found, said.token, texts) if marker else said.text
    level = sum(said.log_prob < math.log(bound) for bound in (0.5, 0.1, 0.01))
    name = escape(f"{text.strip() or texts('alternatives.space')}, {share(said.log_prob, texts)}")
    kind = f"cf-token cf-u{level}" + (" cf-end" if marker else "")
    return (
        f'<button type="button" class="{kind}" data-at="{at}" aria-pressed="{str(chosen).lower()}" '
        f'tabindex="{0 if chosen else -1}" aria-label="{name}">{escape(text)}</button>'
    )


def _choice(found: Scored, at: int, score: TokenScore, texts: Texts) -> list[Any]:
    """[token, its text for people, its probability, whether one can go on from it]."""
    marker = score.token in found.markers
    text = _marker(found, score.token, texts) if marker else _shown(score.text, at, texts)
    return [score.token, text, share(score.log_prob, texts), not marker]


def _marker(found: Scored, token: int, texts: Texts) -> str:
    return texts("alternatives.end" if token in found.ends else "alternatives.marker")


def _shown(text: str, at: int, texts: Texts) -> str:
    """A token for people: three dots before what goes on with a word, and names for what cannot be seen."""
    if not text.strip():
        return texts("alternatives.line" if "\n" in text else "alternatives.space")
    joins = at > 0 and text[0].isalnum()
    return ("…" if joins else "") + text.strip()


def share(log_prob: float, texts: Texts) -> str:
    """A probability for people, from nats: two figures."""
    percent = 100 * math.exp(min(0.0, log_prob))
    if percent < 0.1:
        return texts.figures("< 0.1 %")
    return texts.figures(f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %")


FOCUS_PANEL = "() => document.querySelector('#alternatives .cf-token[tabindex=\"0\"]')?.focus()"


class Alternatives:
    """What the panel does with a click. Holds the shared model and who is being written to."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk

    def last(self, history: History, longest: float, system: str | None = None) -> str:
        """The last reply, word by word, at its first word."""
        history = texts_of(history)
        replies = [at for at, message in enumerate(history) if message["role"] == "assistant"]
        if not replies:
            raise stopped(self._talk.texts("alternatives.no_reply"), 4)
        return self._panel(history, replies[-1], longest, system, 0)

    def clicked(self, history: History, longest: float, data: gr.SelectData, system: str | None = None) -> str:
        """The message that was clicked, at the token that holds the character which was."""
        message, character = _pair(data.index)
        history = texts_of(history)
        if not 0 < message < len(history) or history[message]["role"] != "assistant":
            return ""
        return self._panel(history, message, longest, system, character)

    def choose(self, history: History, data: gr.SelectData, request: gr.Request) -> tuple[Any, History, str]:
        """Holds the session for the reply that begins as chosen: (input field, conversation before it, its opening)."""
        message, _ = _pair(data.index)
        history = texts_of(history)
        opening = opening_of(self._talk.chat, history, message, str(data.value or ""))
        if not opening:
            raise stopped(self._talk.texts("alternatives.changed"), 6)
        self._talk.claim(request)
        return busy(self._talk.texts), history[:message], " ".join(map(str, opening))

    def _panel(self, history: History, message: int, longest: float, system: str | None, character: int) -> str:
        *before, reply = turns_of(history[: message + 1])
        try:
            found = scored(self._talk.chat, self._talk.told(system, before), reply, int(longest))
        except InvalidValue as error:
            raise stopped(sentence_of(error, self._talk.texts), 6) from None
        if not found.places:
            return ""
        return panel_html(found, message, place_at(found, reply.content, character), self._talk.texts)


def _pair(index: Any) -> tuple[int, int]:
    """A message and a place in it, as the panel's script sends them."""
    first, second = index if isinstance(index, list | tuple) and len(index) == 2 else (index, 0)
    return int(first), int(second)


def alternatives_button(texts: Texts) -> gr.Button:
    """Opens the last reply, word by word."""
    return gr.Button(texts("alternatives.title"), size="sm", min_width=60, elem_id="alternatives-open")


def not_for_visitors(texts: Texts) -> None:
    """Says in their place why they are not shown."""
    with gr.Accordion(texts("alternatives.title"), open=False, elem_id="alternatives-none"):
        gr.HTML(f'<p class="cf-note">{escape(texts("alternatives.visitors"))}</p>')


def alternatives_panel() -> gr.HTML:
    """Where a reply is shown word by word; empty until somebody asks."""
    return gr.HTML("", elem_id="alternatives", js_on_load=SCRIPT)


def wire_alternatives(
    alternatives: Alternatives,
    look: gr.Button,
    panel: gr.HTML,
    chat: tuple[gr.Chatbot, gr.Textbox, gr.Slider, gr.Textbox],  # conversation, message, longest reply, system prompt
    answer: dict[str, Any],  # how a reply is written: the call's own arguments
) -> None:
    """Wires the panel: the button and a click in the conversation open it, a choice in it writes the reply anew."""
    chatbot, message, longest, system = chat
    opening = gr.Textbox("", visible="hidden", elem_id="opening")
    seen = [chatbot, longest, system]
    scores: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "suggest"}
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    look.click(alternatives.last, seen, panel, **scores, **quiet).success(None, js=FOCUS_PANEL)
    panel.click(alternatives.clicked, seen, panel, **scores, **quiet)
    chosen = panel.select(alternatives.choose, chatbot, [message, chatbot, opening], concurrency_limit=None, **quiet)
    written = chosen.success(**answer | {"inputs": [*answer["inputs"], opening]})
    written.success(alternatives.last, seen, panel, **scores, **quiet).success(None, js=FOCUS_PANEL)
