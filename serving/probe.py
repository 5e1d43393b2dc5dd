"""Shows how far training moved each word of a text: coloured words, a table and a legend, as escaped HTML.

Knows scores and colours; knows no model and no gradio. What a shift means, and what it does not, stands in LEGEND.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from chatfed.audit.leakage import LEVELS, WordShift, summarise
from chatfed.types import WordScore

# One colour for each level of the fixed scale in bits: a colour means the same in every text and every model.
COLOURS = ("cf-p4", "cf-p3", "cf-p2", "cf-p1", "cf-p0", "cf-m1", "cf-m2", "cf-m3")
SCALE = tuple((edge, colour, name) for (edge, name), colour in zip(LEVELS, COLOURS, strict=True))


def colour_class(shift: float) -> str:
    """The colour of a shift in bits: the first step of SCALE whose edge it reaches. Not a number counts as no shift."""
    return next((colour for edge, colour, _ in SCALE if shift >= edge), "cf-p0")


def escape(text: str) -> str:
    """Text for HTML content, with the characters of template languages escaped as well."""
    return html.escape(text, quote=True).translate({ord("{"): "&#123;", ord("}"): "&#125;", ord("$"): "&#36;"})


def signed(bits: float) -> str:
    """+1.2 or −1.2, with a true minus sign."""
    rounded = round(bits, 1)
    return f"+{rounded:.1f}" if rounded > 0 else f"−{-rounded:.1f}" if rounded < 0 else "0.0"


def times(shift: float) -> str:
    """A shift in bits as a factor in words."""
    if abs(shift) < 0.1:
        return "about as expected as in the public model"
    factor = 2 ** min(abs(shift), 40.0)
    amount = f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"
    return f"{amount} times as likely as in the public model" if shift > 0 else f"{amount} times less likely than in it"


def words_html(text: str, shifts: Sequence[WordShift]) -> str:
    """The words in their order, each on its colour with its shift below and the whole account on hover and focus."""
    items: list[str] = []
    end = 0
    for shift in shifts:
        if "\n" in text[end : shift.span.start]:
            items.append('<li class="cf-break" aria-hidden="true"></li>')
        end = shift.span.end
        items.append(_word(shift))
    return _list_of_words("The words of the text, coloured by shift in bits", "".join(items))


def plain_words_html(scores: Sequence[WordScore]) -> str:
    """The words without colours, for a model that has no reference to compare with."""
    items = "".join(
        f'<li><span class="cf-word cf-p0"><b>{escape(s.word)}</b>'
        f'<small dir="ltr">{signed(s.log_prob)}</small></span></li>'
        for s in scores
    )
    return _list_of_words("The words of the text with their log-probabilities in bits", items)


def _list_of_words(name: str, items: str) -> str:
    """A list of words that runs as the text does: from right to left when its first letter is of such a script."""
    return f'<ol class="cf-words" dir="auto" aria-label="{name}">{items}</ol>'


def table_html(shifts: Sequence[WordShift]) -> str:
    """One row a word: shift and log-probabilities in bits, rank before and after, tokens."""
    rows = "".join(
        f"<tr><th scope='row' dir='auto'>{escape(s.word)}</th><td class='n'>{signed(s.shift)}</td>"
        f"<td class='n'>{signed(s.served_log_prob)}</td><td class='n'>{signed(s.reference_log_prob)}</td>"
        f"<td class='n'>{s.reference_rank:,} → {s.served_rank:,}</td><td class='n'>{s.tokens}</td></tr>"
        for s in shifts
    )
    heads = ("Shift, bits", "Served, bits", "Public, bits", "Rank, public → served", "Tokens")
    return _table("Each word's log-probability in both models", heads, rows)


def plain_table_html(scores: Sequence[WordScore]) -> str:
    """The table for a model without a reference."""
    rows = "".join(
        f"<tr><th scope='row' dir='auto'>{escape(s.word)}</th><td class='n'>{signed(s.log_prob)}</td>"
        f"<td class='n'>{s.rank:,}</td><td class='n'>{s.tokens}</td></tr>"
        for s in scores
    )
    return _table("Each word's log-probability", ("Served, bits", "Rank", "Tokens"), rows)


def summary_html(shifts: Sequence[WordShift]) -> str:
    """The text in one sentence: total and mean shift, and the word that moved most."""
    if not shifts:
        return '<p class="cf-note">There is no word in this text. Type some and probe again.</p>'
    whole = summarise(shifts)
    count = "1 word" if whole.words == 1 else f"{whole.words} words"
    sentence = (
        f"Training moved this text by <strong>{signed(whole.total)} bits</strong> over {count} "
        f"(<strong>{signed(whole.mean)}</strong> a word)."
    )
    top = whole.highest
    if top is not None and top.shift >= 1.0:
        sentence += f" The word that moved up most is <strong>{escape(top.word)}</strong> ({signed(top.shift)} bits)."
    return f'<p class="cf-note">{sentence}</p>'


NO_REFERENCE = (
    '<div class="cf-card cf-warn cf-prose"><p>This model is served without its public reference, so there is no shift '
    "to show: below are the served model's own log-probabilities, without colours. Give the public base model with "
    "<code>--reference</code>.</p></div>"
)


def legend_html() -> str:
    """What the colours mean, what the probe can show and what it cannot."""
    uppers = [math.inf, *(edge for edge, _, _ in SCALE)]
    steps = [(_range(edge, upper), colour, name) for (edge, colour, name), upper in zip(SCALE, uppers, strict=False)]
    swatches = "".join(
        f'<li class="{colour}">{span}: {html.escape(name)}</li>' for span, colour, name in reversed(steps)
    )
    return (
        '<div class="cf-prose cf-card"><h2>How to read it</h2>'
        "<p>A shift is the served model's log-probability of the word minus that of the public reference, in bits: "
        "+1 doubles the probability, −1 halves it. The scale is the same for every text.</p>"
        f'<ul class="cf-swatches" aria-label="Colour scale in bits">{swatches}</ul>'
        "<h3>It can show</h3><ul>"
        "<li>which words of a text you already have in mind the training made more or less expected;</li>"
        "<li>that a rare word, a name or a number stands out among words that moved little.</li></ul>"
        "<h3>It cannot show</h3><ul>"
        "<li>that somebody wrote the word: what many people say moves up as well: learning is for that;</li>"
        "<li>that a text is safe: no colour proves nothing about other texts or other ways to ask the model;</li>"
        "<li>how large the leak may be at worst: the guarantee on the Privacy tab bounds that, the probe does not.</li>"
        "</ul><p>Bits are summed over a word's tokens, so long rare words have room for larger shifts: the table "
        "shows the tokens.</p></div>"
    )


def _range(lower: float, upper: float) -> str:
    """A step of the scale in bits."""
    least, most = (signed(edge).removesuffix(".0") for edge in (lower, upper))
    if upper == math.inf:
        return f"{least} and more"
    return f"below {most}" if lower == -math.inf else f"{least} to {most}"


def _word(shift: WordShift) -> str:
    account = f"{signed(shift.shift)} bits: {times(shift.shift)}"
    detail = f"Rank {shift.reference_rank:,} → {shift.served_rank:,}. {_tokens(shift.tokens)}."
    return (
        f'<li><span class="cf-word {colour_class(shift.shift)}" tabindex="0" role="img" data-shift="{shift.shift:.2f}" '
        f'aria-label="{escape(shift.word)}, {account}"><b>{escape(shift.word)}</b>'
        f'<small aria-hidden="true" dir="ltr">{signed(shift.shift)}</small>'
        f'<span class="cf-tip" dir="ltr">{account}. {detail}</span></span></li>'
    )


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count} tokens"


def _table(caption: str, heads: Sequence[str], rows: str) -> str:
    columns = "".join(f"<th scope='col' class='n'>{html.escape(head)}</th>" for head in heads)
    return (
        f'<div class="cf-scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        '<table class="cf-table">'
        f'<caption class="cf-hidden">{html.escape(caption)}</caption>'
        f"<thead><tr><th scope='col'>Word</th>{columns}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
