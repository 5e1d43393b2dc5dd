"""The tab that asks a server for the next word and does not show it the text, and what crossed the wire for that.

The browser has no cipher: it sends the text to the process that serves this page, on the same machine, and that one
encrypts it, holds the key in its memory and opens the answers. So the tab is there only where no other machine reaches
the page. Knows gradio and how the tab is wired; who asks is in encrypted_questions.py.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.types import ChatfedError

from .chat_tab import focus_again
from .conversation import check_draft, ready
from .encrypted_questions import WAIT, Caller, NoAnswer, Word, address_of, read_half
from .failures import log_failure, sentence_of, warn
from .markup import escape

if TYPE_CHECKING:
    from .texts import Texts

WORDS = 3
START, MIDDLE = 8, 16  # bytes of a message that are shown: of its beginning, and of its middle
MOST_SHOWN = 12  # messages of one text


@dataclass(frozen=True)
class Crossing:
    """A message that went over the wire. kind: "keys", "question" or "answer"."""

    kind: str
    size: int  # bytes
    start: bytes
    middle: bytes
    seconds: float  # from the question until this was there; 0 for what was sent

    @classmethod
    def of(cls, kind: str, content: bytes, seconds: float) -> Crossing:
        """What is shown of a message."""
        half = len(content) // 2
        return cls(kind, len(content), content[:START], content[half : half + MIDDLE], seconds)


class Asking:
    """Who asks one server, for all pages of this process: one key, made at the first question and never written."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self._folder, self._host, self._port = folder, host, port
        self._caller: Caller | None = None
        self._turn = threading.Lock()

    @classmethod
    def to(cls, at: str, folder: Path) -> Asking:
        """at: HOST:PORT; folder: the asker's half, or the run's that has it.

        Raises InvalidValue, BadHalf, TensealMissing: before a page is served.
        """
        from chatfed.encrypted.cipher import seal

        seal()
        read_half(folder)
        return cls(folder, *address_of(at))

    @property
    def where(self) -> str:
        """The server's address."""
        return f"{self._host}:{self._port}"

    def words(self, text: str, crossed: list[Crossing]) -> Iterator[Word]:
        """The likeliest next words, one after another; what crossed is put into the list.

        Raises MalformedCiphertext naming the server, NoAnswer.
        """

        def seen(*message: Any) -> None:
            crossed.append(Crossing.of(*message))

        with self._held():
            caller = self._opened(seen)
            found = caller.words(text, WORDS)
        while True:
            with self._held():
                caller.seen = seen
                word = next(found, None)
            if word is None:
                return
            yield word

    @contextmanager
    def _held(self) -> Iterator[None]:
        """One question at a time, over one connection. Raises NoAnswer where those before it take too long."""
        if not self._turn.acquire(timeout=WAIT):
            raise NoAnswer("Other questions of this page still wait for their answers.")
        try:
            yield
        except ChatfedError:
            if self._caller is not None:
                self._caller.connection.close()
            raise
        finally:
            self._turn.release()

    def _opened(self, seen: Any) -> Caller:
        if self._caller is None:
            self._caller = Caller.open(self._folder, self._host, self._port, seen)
        return self._caller


class EncryptedWord:
    """What the tab does."""

    def __init__(self, asking: Asking, texts: Texts) -> None:
        self._asking, self._texts = asking, texts

    def ask(self, draft: str) -> Iterator[tuple[Any, Any]]:
        """(text field, what was found): words as they come. A text that is none stops here with a sentence."""
        check_draft(draft, self._texts)
        found, crossed, note = list[Word](), list[Crossing](), self._texts("encrypted.waiting")
        yield gr.update(submit_btn=False), found_html(found, crossed, note, self._texts)
        try:
            for word in self._asking.words(draft, crossed):
                found.append(word)
                yield gr.skip(), found_html(found, crossed, note, self._texts)
            note = self._texts("encrypted.done", count=sum(each.kind == "question" for each in crossed))
        except ChatfedError as error:
            note = sentence_of(error, self._texts)
            warn(note)
        except Exception as error:  # whatever it is, the field must take the next text
            note = self._texts("encrypted.failed")
            log_failure(logging.getLogger(__name__), "An encrypted question could not be asked", error)
            warn(note)
        yield ready(self._texts("encrypted.ask")), found_html(found, crossed, note, self._texts)


def found_html(found: Sequence[Word], crossed: Sequence[Crossing], note: str, texts: Texts) -> str:
    """Words, then a table of what crossed the wire, as escaped HTML."""
    said = f'<p class="cf-note" role="status">{escape(note)}</p>'
    words = "".join(
        f'<li class="cf-word cf-p0"><b>{escape(each.word)}</b>'
        f"<small>{texts.share(each.probability, 1)}</small></li>"
        for each in found
    )
    if words:
        named = escape(texts("encrypted.words"))
        said += f'<ul class="cf-words" id="encrypted-words" aria-label="{named}">{words}</ul>'
    return said + (_table(crossed, texts) if crossed else "")


def _table(crossed: Sequence[Crossing], texts: Texts) -> str:
    heads = "".join(
        f'<th scope="col"{kind}>{escape(texts(f"encrypted.{key}"))}</th>'
        for key, kind in (("message", ""), ("bytes", ' class="n"'), ("seconds", ' class="n"'), ("hex", ""))
    )
    rows = "".join(_row(each, texts) for each in crossed[:MOST_SHOWN])
    left = len(crossed) - MOST_SHOWN
    more = f'<p class="cf-note">{escape(texts("encrypted.more", count=left))}</p>' if left > 0 else ""
    title = escape(texts("encrypted.crossed"))
    return (
        f'<h3 class="cf-wire">{title}</h3><div class="cf-scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table class="cf-table" id="encrypted-wire"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        + more
    )


def _row(each: Crossing, texts: Texts) -> str:
    seconds = texts.figures(f"{each.seconds:.2f}") if each.seconds else ""
    return (
        f'<tr><th scope="row">{escape(texts(f"encrypted.{each.kind}"))}</th><td class="n">{texts.said(each.size)}</td>'
        f'<td class="n">{seconds}</td><td><code>{each.start.hex(" ")} … {each.middle.hex(" ")} …</code></td></tr>'
    )


def build_encrypted(asking: Asking, texts: Texts) -> None:
    """Lays the tab out and wires it. Call it inside a gr.Tab."""
    does = EncryptedWord(asking, texts)
    gr.HTML(f'<p class="cf-note">{escape(texts("encrypted.how", where=asking.where))}</p>')
    text = gr.Textbox(
        label=texts("encrypted.text"),
        placeholder=texts("encrypted.type"),
        elem_id="encrypted-text",
        lines=1,
        max_lines=6,
        submit_btn=texts("encrypted.ask"),
        stop_btn=False,
        interactive=True,
    )
    found = gr.HTML("", elem_id="encrypted-found")
    gr.HTML(f'<p class="cf-note">{escape(texts("encrypted.limits"))}</p>')
    asked = text.submit(
        does.ask,
        text,
        [text, found],
        show_progress="hidden",
        api_visibility="private",
        concurrency_limit=1,
        concurrency_id="encrypted",
    )
    asked.then(None, js=focus_again("encrypted-text"))
