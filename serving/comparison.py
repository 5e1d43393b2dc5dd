"""One prompt to two models: both answers as they are written, side by side, as escaped HTML.

Both are asked the same, with the same settings and draws, and with nothing said before. Knows `chatfed.Chat` and what
a claim is called; knows no gradio.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from chatfed.audit.bounds import NONE
from chatfed.audit.figures import finite
from chatfed.types import Turn

from .messages import latest
from .probe import escape
from .run_folder import RunFolder
from .theme import badge, strength_of

if TYPE_CHECKING:
    from chatfed import Chat, Generation

Pair = tuple[str, str]  # of the base, of the trained model

NOTHING_SAID = "(The model ended its answer without a word.)"
SAME = "Both answers are the same, word for word."
NOTHING_TO_COMPARE = (
    '<div class="cf-card cf-warn cf-prose"><p>There is nothing to compare: this model is served without the public '
    "base that its training began with, which <code>--reference</code> names.</p></div>"
)


@dataclass(frozen=True)
class Side:
    """One of the two models, as a visitor is told of it."""

    name: str
    source: str  # what it learned from


def sides(run: RunFolder) -> tuple[Side, Side]:
    """The base and the trained model; what the latter learned from, at which price, as far as privacy.json says so."""
    privacy = run.privacy or {}
    charged = finite(privacy.get("clients_charged", privacy.get("clients")))
    whose = "dialogues of its own" if charged is None else f"{charged:,.0f} clients' dialogues"
    private = run.privacy is not None and strength_of(privacy) != NONE
    return (
        Side("Public base", "public text only"),
        Side(
            "Private model" if private else "Trained model",
            f"public text and {whose}, {badge(run.privacy, run.no_claim)[0]}",
        ),
    )


def answers(models: Sequence[Chat], prompt: str, settings: Generation, stop: threading.Event) -> Iterator[Pair]:
    """Both answers so far, again and again, a piece of each in turns: the processor is never asked for two at once.

    Ends, and both models with it, when the stop flag is up.
    """
    asked = [Turn("user", prompt)]
    with ExitStack() as ends:
        streams = [ends.enter_context(closing(each.stream(latest(asked, each.context), settings))) for each in models]
        base, trained = "", ""
        rounds = zip_longest(*streams, fillvalue="")
        while not stop.is_set() and (pieces := next(rounds, None)) is not None:
            base, trained = base + pieces[0], trained + pieces[1]
            yield base, trained


def cards_html(of: tuple[Side, Side], said: Pair = ("", ""), note: str = "", over: bool = False) -> str:
    """Both answers in a card each, with a sentence above; it also says where both are the same once they are over."""
    shown = [text.strip() or (NOTHING_SAID if over else "") for text in said]
    if over and shown[0] == shown[1]:
        note += " " + SAME
    cards = "".join(_card(*each) for each in zip(("cf-base", "cf-trained"), of, shown, strict=True))
    return f'<p class="cf-note" role="status">{escape(note)}</p><div class="cf-pair">{cards}</div>'


def _card(kind: str, side: Side, text: str) -> str:
    return (
        f'<section class="cf-card {kind}" aria-labelledby="{kind}-name"><h2 id="{kind}-name">{side.name}</h2>'
        f'<p class="cf-note">Learned from {escape(side.source)}.</p>'
        f'<p class="cf-answer" dir="auto">{escape(text)}</p></section>'
    )
