"""The tab of one's own log: keep the open conversation, search what was kept, see what a server would have seen.

Opt-in twice: the tab is there where `chatfed serve --log` names a log, and a conversation goes into it by a button. The
server of the page holds the owner's side, key and words among it; so whoever serves the page to others has no such tab.
Knows gradio; what is kept and found is chatfed.conversation's.
"""

from __future__ import annotations

import html
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from chatfed.types import ChatfedError

from .conversation import session_of
from .failures import log_failure, sentence_of, warn
from .messages import History, turns_of

if TYPE_CHECKING:
    from chatfed.conversation.log_messages import Kept
    from chatfed.conversation.log_owner import Log

    from .texts import Texts

PASSPHRASE = "CHATFED_LOG_PASSPHRASE"  # noqa: S105  # the name of a variable
MOST_SHOWN = 50
LONGEST_SHOWN = 600  # characters of a message
_SESSIONS = 100  # of which it is remembered what they kept


class OwnLog:
    """One log for the page: opened for each step, so that the command may use it in between."""

    def __init__(self, folder: Path, texts: Texts) -> None:
        """Raises NoLog, WrongLogKey, DamagedLog, StaleLog, LogBusy."""
        self._folder, self.texts = folder, texts
        self._one = threading.Lock()
        self._kept: dict[str, tuple[str, list[tuple[str, str]]]] = {}  # by session: conversation, messages in the log
        from chatfed.conversation.log_server import Seen

        self.seen = Seen()
        with self._opened():
            pass

    def _opened(self) -> AbstractContextManager[Log]:
        from chatfed.conversation.log_owner import open_log

        return open_log(self._folder, passphrase=os.environ.get(PASSPHRASE))

    def keep(self, history: History, request: gr.Request) -> tuple[str, str]:
        """Puts what is new of the open conversation into the log: (what was done, what a server saw)."""
        said = [(turn.role, turn.content) for turn in turns_of(history) if turn.content]
        return self._step(lambda log: self._keep(log, said, session_of(request)))

    def _keep(self, log: Log, said: list[tuple[str, str]], session: str) -> str:
        from chatfed.conversation.log_messages import Message

        now = int(time.time())
        name, kept = self._kept.get(session, ("", []))
        if not kept or said[: len(kept)] != kept:
            name, kept = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)), []
        if len(said) > len(kept):
            log.append([Message(role, text, name, now) for role, text in said[len(kept) :]])
            self._kept[session] = (name, said)
            while len(self._kept) > _SESSIONS:
                self._kept.pop(next(iter(self._kept)))
        return _note(self.texts.counted("log.kept", len(said) - len(kept), all=len(log)))

    def search(self, words: str) -> tuple[str, str]:
        """Looks for messages that hold all the words: (what was found, what a server saw)."""
        return self._step(lambda log: self._search(log, words or ""))

    def _search(self, log: Log, words: str) -> str:
        found = log.search(words)
        head = _note(self.texts.counted("log.found", len(found.messages)))
        asked = _note(self.texts("log.asked", entries=found.entries, bodies=found.bodies) if found.entries
                      else self.texts("log.waiting"))  # fmt: skip
        if found.told_apart:
            asked += _note(self.texts("log.told_apart", count=found.told_apart))
        return head + "".join(map(self._row, found.messages[:MOST_SHOWN])) + asked

    def _row(self, kept: Kept) -> str:
        said = kept.message
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(said.time)) if said.time else ""
        text = said.text[:LONGEST_SHOWN] + ("…" if len(said.text) > LONGEST_SHOWN else "")
        about = f"{kept.number} · {self.texts.named('log.role', said.role)} · {when}"
        return (
            f'<div class="cf-card"><small class="cf-note">{html.escape(about)}</small>'
            f'<p dir="auto" style="margin:4px 0 0;white-space:pre-wrap;overflow-wrap:anywhere">{html.escape(text)}</p>'
            "</div>"
        )

    def _step(self, work: Callable[[Log], str]) -> tuple[str, str]:
        with self._one:
            try:
                with self._opened() as log:
                    log.server.seen = self.seen
                    done = work(log)
            except ChatfedError as error:
                said = sentence_of(error, self.texts)
                warn(said)
                done = _note(said)
            except Exception as error:  # whatever it is, the tab must take the next step
                log_failure(logging.getLogger(__name__), "The log could not be used", error)
                warn(self.texts("chat.failed"))
                done = _note(self.texts("chat.failed"))
            return done, self.seen_html()

    def seen_html(self) -> str:
        """What a curious server of the log's other part would have seen since the page was started."""
        seen = self.seen
        volumes = ", ".join(f"{size} × {often}" for size, often in sorted(seen.searches.items())) or "–"
        sizes = ", ".join(f"{size:,} × {often}" for size, often in sorted(seen.sizes.items())) or "–"
        rows = (
            ("kept_count", str(seen.appended)), ("sizes", self.texts.figures(sizes)), ("batches", str(seen.batches)),
            ("searches", str(sum(seen.searches.values()))), ("repeated", str(seen.repeated)),
            ("volumes", volumes), ("fetched", str(seen.bodies)), ("words", self.texts("log.none")),
        )  # fmt: skip
        cells = "".join(
            f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in ((self.texts.named("log.seen", key), value) for key, value in rows)
        )
        title = html.escape(self.texts("log.seen_title"))
        return (
            f'<div class="cf-prose"><h2>{title}</h2><p>{html.escape(self.texts("log.seen_what"))}</p></div>'
            f'<div class="cf-scroll" tabindex="0" role="region" aria-label="{title}">'
            f'<table class="cf-table"><tbody>{cells}</tbody></table></div>'
        )


def build_log(folder: Path, chatbot: gr.Chatbot, texts: Texts) -> None:
    """Lays the tab out and wires it. Call it inside a gr.Tab. Raises as OwnLog does."""
    log = OwnLog(folder, texts)
    gr.HTML(
        f'<div class="cf-prose"><p>{html.escape(texts("log.what"))}</p><p>{html.escape(texts("log.where"))}</p></div>',
        elem_id="log-what",
    )
    keep = gr.Button(texts("log.keep"), size="sm", elem_id="log-keep")
    done = gr.HTML(elem_id="log-done")
    words = gr.Textbox(
        label=texts("log.search"),
        placeholder=texts("log.example"),
        submit_btn=texts("log.go"),
        max_lines=1,
        max_length=1000,
        elem_id="log-words",
        interactive=True,
    )
    found = gr.HTML(elem_id="log-found")
    seen = gr.HTML(log.seen_html(), elem_id="log-seen")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 1}
    keep.click(log.keep, chatbot, [done, seen], **quiet)
    words.submit(log.search, words, [found, seen], **quiet)


def _note(text: str) -> str:
    return f'<p class="cf-note" role="status">{html.escape(text)}</p>'
