"""What is said of an error: to the visitor in the page's language, to the log without its text.

That text may hold what somebody said, or a server of others chose. The only way to a toast: gradio draws those as HTML.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from chatfed.types import ChatfedError, InvalidValue

from .markup import escape

if TYPE_CHECKING:
    import gradio as gr

    from .texts import Texts


class NotTaken(InvalidValue):
    """The page does not take what a visitor set; its sentence is in the visitor's language already."""

    code = "setting_not_taken"
    mend = "set what the sentence names"


def sentence_of(error: ChatfedError, texts: Texts) -> str:
    """A sentence for the page: the error's own on the English one, else what its code means, with that beside it."""
    if isinstance(error, NotTaken):
        return str(error)
    key = f"error.{error.code}"
    return texts(key if key in texts.sentences else "error.other", why=error)


def warn(sentence: str) -> None:
    """Shows a sentence for a while beside the page, as the plain text it is."""
    import gradio as gr

    gr.Warning(escape(sentence))


def stopped(sentence: str, seconds: float | None = 10) -> gr.Error:
    """An error that ends a call and shows its sentence, as plain text. seconds: how long; None: until closed."""
    import gradio as gr

    return gr.Error(escape(sentence), duration=seconds, print_exception=False)


def log_failure(logger: logging.Logger, what: str, error: BaseException) -> None:
    """Says what failed, the error's type and the lines that it came through, and no text of it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-4:]))
    logger.error("%s: %s at %s", what, type(error).__name__, where)
