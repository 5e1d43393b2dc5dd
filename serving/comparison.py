"""One prompt to two or three models: their answers as they are written, side by side, as escaped HTML.

All are asked the same, with the same settings and draws, and with nothing said before. Knows `chatfed.Chat` and what
a claim is called; knows no gradio.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from chatfed.audit.figures import finite
from chatfed.audit.tiers import NONE
from chatfed.types import Turn

from .markup import escape
from .messages import latest
from .run_folder import RunFolder
from .texts import Texts, read_texts
from .theme import badge, strength_of

if TYPE_CHECKING:
    from chatfed import Chat, Generation

Answers = tuple[str, ...]  # of the base, of the trained model and, where it is served, of the one without a guarantee

COUNTED = {2: "two", 3: "three"}  # how the texts say how many models there are


@dataclass(frozen=True)
class Side:
    """One of the models, as a visitor is told of it."""

    kind: str  # of its card
    name: str
    source: str  # a sentence: what it learned from
    warning: str = ""


def sides(run: RunFolder, bare: bool = False, texts: Texts | None = None) -> tuple[Side, ...]:
    """The base and the trained model; what the latter learned from, at which price, as far as privacy.json says so.

    bare: and the model that the run left beside them without a guarantee.
    """
    texts, privacy = texts or read_texts(), run.privacy or {}
    charged = finite(privacy.get("clients_charged", privacy.get("clients")))
    private = run.privacy is not None and strength_of(privacy) != NONE
    price = badge(run.privacy, run.no_claim, texts)[0]
    own = texts("compare.source_own", price=price)
    both = (
        Side("cf-base", texts("compare.base"), texts("compare.base_source")),
        Side(
            "cf-trained",
            texts("compare.private" if private else "compare.trained"),
            own if charged is None else texts("compare.source", clients=round(charged), price=price),
        ),
    )
    if not bare or run.bare is None:
        return both
    source = texts(f"compare.bare_source.{run.bare.how.replace('-', '_')}")
    return (*both, Side("cf-bare", texts("compare.bare"), source, texts("compare.bare_warning")))


def answers(models: Sequence[Chat], prompt: str, settings: Generation, stop: threading.Event) -> Iterator[Answers]:
    """The answers so far, again and again, a piece of each in turns: the processor is never asked for two at once.

    Ends, and all models with it, when the stop flag is up.
    """
    asked = [Turn("user", prompt)]
    with ExitStack() as ends:
        streams = [ends.enter_context(closing(each.stream(latest(asked, each.context), settings))) for each in models]
        said = [""] * len(models)
        rounds = zip_longest(*streams, fillvalue="")
        while not stop.is_set() and (pieces := next(rounds, None)) is not None:
            said = [text + piece for text, piece in zip(said, pieces, strict=True)]
            yield tuple(said)


def cards_html(
    of: Sequence[Side], said: Answers = (), note: str = "", over: bool = False, texts: Texts | None = None
) -> str:
    """An answer in a card each, with a sentence above; it also says where all are the same once they are over."""
    texts = texts or read_texts()
    shown = [text.strip() or (texts("compare.nothing_said") if over else "") for text in said or [""] * len(of)]
    if over and len(set(shown)) == 1:
        note += " " + texts("compare.same")
    cards = "".join(_card(*each) for each in zip(of, shown, strict=True))
    return f'<p class="cf-note" role="status">{escape(note)}</p><div class="cf-pair">{cards}</div>'


def _card(side: Side, text: str) -> str:
    warning = f'<p class="cf-note cf-warning">{escape(side.warning)}</p>' if side.warning else ""
    return (
        f'<section class="cf-card {side.kind}" aria-labelledby="{side.kind}-name">'
        f'<h2 id="{side.kind}-name">{escape(side.name)}</h2><p class="cf-note">{escape(side.source)}</p>{warning}'
        f'<p class="cf-answer" dir="auto">{escape(text)}</p></section>'
    )
