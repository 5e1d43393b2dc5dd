"""What of a conversation is held back from the model, as the visitor chose, and how the page shows it.

It runs in the process that serves the page: what is held back stays there, and the model and what it writes never have
it. Forms and the tagger alone find it, so that nothing is loaded and a keystroke costs a millisecond. Knows no gradio.
"""

from __future__ import annotations

import hashlib
import html
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from chatfed.conversation.entities import Entity
from chatfed.conversation.filter import LANGUAGES, Filter, Filtered, FilterSettings, Mode
from chatfed.conversation.placeholders import Placeholders
from chatfed.types import Turn

from .texts import FIRST, Texts

REMEMBERED = 2048  # messages


class Remembering(Filter):
    """Knows where it found what in the last messages: a conversation grows, and is looked at with every keystroke.

    It keeps places and kinds, under digests that a key of this process makes; no word of a message.
    """

    def __init__(self, settings: FilterSettings) -> None:
        super().__init__(settings)
        self._key, self._lock = secrets.token_bytes(32), threading.Lock()
        self._found: OrderedDict[bytes, list[Entity]] = OrderedDict()

    def find(self, text: str) -> list[Entity]:
        """As Filter.find, from what is known where the same text was looked at."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()
        with self._lock:
            known = self._found.get(digest)
        found = super().find(text) if known is None else known
        with self._lock:
            self._found[digest] = found
            self._found.move_to_end(digest)
            if len(self._found) > REMEMBERED:
                self._found.popitem(last=False)
        return list(found)


@cache
def filter_of(language: str, mode: Mode) -> Filter:
    """The filter of a language, where there is one; else the English one."""
    spoken = language if language in LANGUAGES else FIRST
    return Remembering(FilterSettings(mode, spoken, presidio=False))


def mode_of(chosen: str | None) -> Mode:
    """The mode that the page's choice says; what a page cannot have sent is the strictest."""
    return Mode(chosen) if chosen in tuple(Mode) else Mode.OFF if chosen is None else Mode.REFUSE


@dataclass
class Held:
    """A conversation as the model may see it, and what brings a reply's words back."""

    turns: list[Turn] = field(repr=False)
    system: str | None = field(repr=False)
    placeholders: Placeholders = field(default_factory=Placeholders, repr=False)

    def restore(self, reply: str) -> str:
        """The reply, with the words in place of their placeholders."""
        return self.placeholders.restore(reply) if len(self.placeholders) else reply


def held_back(mode: Mode, turns: Sequence[Turn], system: str | None, language: str) -> Held:
    """What the model may see of a conversation. Raises HeldBack in the mode refuse where it names anything.

    From the first message on, each time: the same words then have the same placeholders without anything being kept.
    """
    if mode in (Mode.OFF, Mode.MARK):
        return Held(list(turns), system)
    held = Held([], system)
    before = [system] if system else []
    made = filter_of(language, mode).apply_all([*before, *(turn.content for turn in turns)], held.placeholders)
    held.system = made[0].said if system else system
    held.turns = [replace(turn, content=each.said) for turn, each in zip(turns, made[len(before) :], strict=True)]
    return held


def shown(mode: Mode, earlier: Sequence[Turn], draft: str, texts: Texts, system: str | None = None) -> str:
    """HTML for below the field: what of the draft is held back, and folded away what it stands for; "" for nothing.

    Without a draft, the same of the last message that was sent. system: what the model is told before, whose
    placeholders are numbered first.
    """
    if mode is Mode.OFF:
        return ""
    said, before = [turn.content for turn in earlier], [system] if system else []
    if sent := not draft.strip():
        last = max((at for at, turn in enumerate(earlier) if turn.role == "user"), default=-1)
        if last < 0:
            return ""
        said, draft = said[:last], said[last]
    looking = Mode.MASK if mode is Mode.MASK else Mode.MARK  # what is refused is shown before it is
    placeholders = Placeholders()
    message = filter_of(texts.language, looking).apply_all([*before, *said, draft], placeholders)[-1]
    if not message.found:
        return ""
    return _panel(mode, message, draft, sent, texts)


def _panel(mode: Mode, message: Filtered, draft: str, sent: bool, texts: Texts) -> str:
    counts = ", ".join(
        f"{texts.said(count)} {texts.named('held.kind', kind)}" for kind, count in _counted(message.found)
    )
    head = texts(f"held.{mode}_{'sent' if sent else 'draft'}", counts=counts)
    said = _masked(message) if message.masked else _marked(draft, message.found, texts)
    words = _words(message, draft, texts)
    details = f"<details><summary>{_plain(texts('held.reveal'))}</summary><ul>{words}</ul></details>"
    body = f"<blockquote dir='auto'>{said}</blockquote>" if mode is not Mode.MARK or not sent else ""
    return f"<div class='cf-held cf-held-{mode}' role='status'><p>{_plain(head)}</p>{body}{details}</div>"


def _counted(found: Sequence[Entity]) -> list[tuple[str, int]]:
    return sorted(Counter(entity.kind for entity in found).items())


def _masked(message: Filtered) -> str:
    """The message as it is said, its placeholders set apart."""
    pieces, at = [], 0
    assert message.masked is not None
    for span, _, _ in message.masked.places:
        pieces += [_plain(message.said[at : span.start]), f"<mark>{_plain(message.said[span.start : span.end])}</mark>"]
        at = span.end
    return "".join([*pieces, _plain(message.said[at:])])


def _marked(draft: str, found: Sequence[Entity], texts: Texts) -> str:
    """The message as it was typed, with what names anything set apart."""
    pieces, at = [], 0
    for entity in found:
        span, kind = entity.span, texts.named("held.kind", entity.kind)
        pieces.append(_plain(draft[at : span.start]))
        pieces.append(f"<mark title='{_plain(kind)}'>{_plain(draft[span.start : span.end])}</mark>")
        at = span.end
    return "".join([*pieces, _plain(draft[at:])])


def _words(message: Filtered, draft: str, texts: Texts) -> str:
    """A list of what is held back: the placeholder or the kind, and the words."""
    if message.masked:
        pairs = [
            (message.said[now.start : now.end], draft[was.start : was.end]) for now, was, _ in message.masked.places
        ]
    else:
        named = [(texts.named("held.kind", each.kind), each.span) for each in message.found]
        pairs = [(kind, draft[span.start : span.end]) for kind, span in named]
    return "".join(f"<li><b>{_plain(name)}</b> <bdi>{_plain(words)}</bdi></li>" for name, words in dict.fromkeys(pairs))


def _plain(text: str) -> str:
    return html.escape(text)
