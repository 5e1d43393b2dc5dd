"""Shows how far training moved each word of a text, beside its twins.

What it makes are coloured words, a table and a legend, as escaped HTML. Knows ranks and colours; knows no model and no
gradio. What a rank means, and what it does not, stands in the legend.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from chatfed.audit.leakage import (
    ABOVE_ALL,
    ABOVE_MOST,
    BELOW_ALL,
    BELOW_MOST,
    LIKE_TWINS,
    UNJUDGED,
    UNUSUAL,
    WordShift,
    level,
    summarise,
)
from chatfed.audit.twins import LEAST_TWINS, LONGEST_WORD, MOST_WORDS, TWINS
from chatfed.types import WordScore

# Each level has a colour, a mark for eyes that see no colours, and what it takes by chance of words nobody wrote.
LOOKS = {
    ABOVE_ALL: ("cf-p4", "▲▲", "at most 1 word in 100"),
    ABOVE_MOST: ("cf-p3", "▲", "at most 1 word in 20, with the one above"),
    LIKE_TWINS: ("cf-p0", "", "most words"),
    BELOW_MOST: ("cf-m1", "▼", "at most 1 word in 20, with the one below"),
    BELOW_ALL: ("cf-m3", "▼▼", "at most 1 word in 100"),
    UNJUDGED: (
        "cf-none",
        "",
        f"fewer than {LEAST_TWINS} twins, over {LONGEST_WORD} tokens, or past word {MOST_WORDS}, "
        "sooner where words have many tokens",
    ),
}

EXPECTED = -3.0  # bits: what the public model gives one chance in eight or more is said to be expected


def among_twins(shift: WordShift) -> str:
    """A word's rank as a person says it."""
    rank = shift.rank
    if rank is None:
        expected = shift.reference_log_prob > EXPECTED
        return "not compared: " + ("the public model expected it already" if expected else "too few twins for it")
    ties = rank.twins - rank.below - rank.above
    return f"moved more than {rank.below} of {rank.twins} twins" + (f", as much as {ties}" if ties else "")


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
    """The words in their order, each on the colour of its rank with a mark below.

    The whole account of a word is there on hover and focus.
    """
    items: list[str] = []
    end = 0
    for shift in shifts:
        if "\n" in text[end : shift.span.start]:
            items.append('<li class="cf-break" aria-hidden="true"></li>')
        end = shift.span.end
        items.append(_word(shift))
    label = "The words of the text, coloured by how many of their twins they moved more than"
    return _list_of_words(label, "".join(items))


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
    """One row a word: rank among twins, shift and log-probabilities in bits, rank before and after, tokens."""
    rows = "".join(
        f"<tr><th scope='row' dir='auto'>{escape(s.word)}</th><td class='n'>{_of_twins(s)}</td><td>{level(s.rank)}</td>"
        f"<td class='n'>{signed(s.shift)}</td>"
        f"<td class='n'>{signed(s.served_log_prob)}</td><td class='n'>{signed(s.reference_log_prob)}</td>"
        f"<td class='n'>{s.reference_rank:,} → {s.served_rank:,}</td><td class='n'>{s.tokens}</td></tr>"
        for s in shifts
    )
    heads = (
        *("Moved more than", "In words", "Shift, bits", "Served, bits", "Public, bits"),
        *("Place, public → served", "Tokens"),
    )
    return _table("Each word among its twins, and its log-probability in both models", heads, rows)


def plain_table_html(scores: Sequence[WordScore]) -> str:
    """The table for a model without a reference."""
    rows = "".join(
        f"<tr><th scope='row' dir='auto'>{escape(s.word)}</th><td class='n'>{signed(s.log_prob)}</td>"
        f"<td class='n'>{s.rank:,}</td><td class='n'>{s.tokens}</td></tr>"
        for s in scores
    )
    return _table("Each word's log-probability", ("Served, bits", "Rank", "Tokens"), rows)


def summary_html(shifts: Sequence[WordShift]) -> str:
    """The text in two sentences: words above their twins beside what chance gives, and the total shift."""
    if not shifts:
        return '<p class="cf-note">There is no word in this text. Type some and probe again.</p>'
    whole = summarise(shifts)
    moved = f"Training moved the whole text by {signed(whole.total)} bits ({signed(whole.mean)} a word)."
    compared = [each for each in shifts if each.rank is not None]
    if not compared:
        why = "the public model expected them already, or no other words of their form are as likely there"
        return f'<p class="cf-note">No word could be compared with twins: {why}. {moved}</p>'
    high = [each for each in compared if level(each.rank) in (ABOVE_ALL, ABOVE_MOST)]
    named = ", ".join(f"<strong>{escape(each.word)}</strong>" for each in high[:5]) + (" …" if len(high) > 5 else "")
    sentence = (
        f"<strong>{len(high)} of {_words(len(compared))}</strong> compared moved more than nearly all or all of their "
        f"twins{f' ({named})' if high else ''}; by chance about {UNUSUAL * len(compared):.1f} would."
    )
    left = len(shifts) - len(compared)
    if left:
        sentence += f" {_words(left)} could not be compared."
    return f'<p class="cf-note">{sentence} {moved}</p>'


def progress_html(done: int, words: int) -> str:
    """How far the comparison is, while it runs."""
    return f'<p class="cf-note" role="status">Compared {done} of {_words(words)} with their twins …</p>'


NO_REFERENCE = (
    '<div class="cf-card cf-warn cf-prose"><p>This model is served without its public reference, so there is no shift '
    "to show: below are the served model's own log-probabilities, without colours. Give the public base model with "
    "<code>--reference</code>.</p></div>"
)


def legend_html() -> str:
    """What the colours mean, what the probe can show and what it cannot."""
    swatches = "".join(
        f'<li class="{colour}">{mark} {html.escape(name)} <small>({html.escape(chance)})</small></li>'
        for name, (colour, mark, chance) in LOOKS.items()
    )
    return (
        '<div class="cf-prose cf-card"><h2>How to read it</h2>'
        "<p>Training moves whole kinds of words: codes because codes are said, names because names are, also those "
        f"that nobody ever wrote. So each word is compared with up to {TWINS} <em>twins</em>: other words of the same "
        "form (a code with codes, a number with numbers, a capitalised word with such words) that the public model "
        "found about as likely at the same place. “Moved more than 61 of 100 twins” means that training raised the "
        "word more than it raised 61 of them: nothing unusual. A code is also compared with twins that differ in its "
        "digits only, a long word with twins that begin as it does, and the lower rank counts. The same text has the "
        "same twins each time.</p>"
        f'<ul class="cf-swatches" aria-label="Colours, marks, and how many words they take by chance">{swatches}</ul>'
        "<h3>It can show</h3><ul>"
        "<li>that a name, a number or a code moved more than others like it, which a memorised secret does;</li>"
        "<li>which words of a text you already have in mind training made more or less expected, in bits (+1 doubles "
        "the probability, −1 halves it; summed over the word's tokens): see the table.</li></ul>"
        "<h3>It cannot show</h3><ul>"
        "<li>that somebody wrote the word: what many people say stands above its twins as well, and more often than by "
        "chance, since learning is for that;</li>"
        "<li>that a coloured word is a leak: of a hundred words that nobody wrote a few are coloured by chance;</li>"
        "<li>that a text is safe: no colour proves nothing about other texts or other ways to ask the model;</li>"
        "<li>anything about a word that cannot be compared: it has too few twins, often because the public model "
        "expected it already;</li>"
        "<li>how large the leak may be at worst: the guarantee on the Privacy tab bounds that, the probe does not.</li>"
        "</ul></div>"
    )


def _word(shift: WordShift) -> str:
    colour, mark, _ = LOOKS[level(shift.rank)]
    account = f"{among_twins(shift)}: {level(shift.rank)}" if shift.rank else among_twins(shift)
    bits = f"{signed(shift.shift)} bits: {times(shift.shift)}"
    detail = f"Place {shift.reference_rank:,} → {shift.served_rank:,} of all tokens. {_tokens(shift.tokens)}."
    return (
        f'<li><span class="cf-word {colour}" tabindex="0" role="img" data-shift="{shift.shift:.2f}" '
        f'aria-label="{escape(shift.word)}, {account}. {bits}"><b>{escape(shift.word)}</b>'
        f'<small aria-hidden="true" dir="ltr">{f"{mark} {_of_twins(shift)}".strip()}</small>'
        f'<span class="cf-tip" dir="ltr">{account[0].upper()}{account[1:]}. {bits}. {detail}</span></span></li>'
    )


def _of_twins(shift: WordShift) -> str:
    """The rank in the fewest signs."""
    return "–" if shift.rank is None else f"{shift.rank.below} of {shift.rank.twins}"


def _words(count: int) -> str:
    return "1 word" if count == 1 else f"{count} words"


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
