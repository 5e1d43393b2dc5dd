"""Text as a part of HTML. Knows no page."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .texts import Texts


def escape(text: str) -> str:
    """Text for HTML content and attributes, with the characters of template languages escaped as well."""
    return html.escape(text, quote=True).translate({ord("{"): "&#123;", ord("}"): "&#125;", ord("$"): "&#36;"})


def quoted(said: str, texts: Texts) -> str:
    """What a run's file or the library says, in English, escaped; a page in another language marks it as English."""
    return escape(said) if texts.language == "en" else f'<span lang="en">{escape(said)}</span>'


def region(name: str, table: str) -> str:
    """A table that scrolls by itself where it is wider than the page. name: plain text, for a screen reader."""
    return f'<div class="cf-scroll" tabindex="0" role="region" aria-label="{escape(name)}">{table}</div>'
