"""Shows how far training moved each word of a text, beside its twins.

What it makes are coloured words, a table and a legend, as escaped HTML. Knows ranks and colours; knows no model and no
gradio. What a rank means, and what it does not, stands in the legend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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

from .markup import escape, region
from .texts import Texts, read_texts

# Each level has a name among the texts, a colour, and a mark for eyes that see no colours.
LOOKS = {
    ABOVE_ALL: ("above_all", "cf-p4", "▲▲"),
    ABOVE_MOST: ("above_most", "cf-p3", "▲"),
    LIKE_TWINS: ("like", "cf-p0", ""),
    BELOW_MOST: ("below_most", "cf-m1", "▼"),
    BELOW_ALL: ("below_all", "cf-m3", "▼▼"),
    UNJUDGED: ("unjudged", "cf-none", ""),
}

EXPECTED = -3.0  # bits: what the public model gives one chance in eight or more is said to be expected

Head = tuple[str, bool]  # of a column: its name, and whether it holds numbers


def called(name: str, texts: Texts) -> str:
    """A level's name, such as "more than all twins"."""
    return texts(f"twins.level.{LOOKS[name][0]}")


def meaning(name: str, texts: Texts | None = None) -> str:
    """How many words of a text have the level by chance, or why a word has none."""
    texts = texts or read_texts()
    return texts(f"twins.chance.{LOOKS[name][0]}", least=LEAST_TWINS, longest=LONGEST_WORD, most=MOST_WORDS)


def among_twins(shift: WordShift, texts: Texts | None = None) -> str:
    """A word's rank as a person says it."""
    texts, rank = texts or read_texts(), shift.rank
    if rank is None:
        return texts("twins.expected" if shift.reference_log_prob > EXPECTED else "twins.too_few")
    ties = rank.twins - rank.below - rank.above
    as_much = texts("twins.as_much", count=ties) if ties else ""
    return texts("twins.moved_more", below=rank.below, twins=rank.twins) + as_much


def signed(bits: float, texts: Texts | None = None) -> str:
    """+1.2 or −1.2, with a true minus sign."""
    rounded = round(bits, 1)
    said = f"+{rounded:.1f}" if rounded > 0 else f"−{-rounded:.1f}" if rounded < 0 else "0.0"
    return (texts or read_texts()).figures(said)


def times(shift: float, texts: Texts | None = None) -> str:
    """A shift in bits as a factor in words."""
    texts = texts or read_texts()
    if abs(shift) < 0.1:
        return texts("probe.times_same")
    factor = 2 ** min(abs(shift), 40.0)
    amount = texts.figures(f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}")
    return texts("probe.times_more" if shift > 0 else "probe.times_less", factor=amount)


def shift_in_words(shift: WordShift, texts: Texts) -> str:
    """A shift in bits and as a factor."""
    return texts("probe.bits", bits=signed(shift.shift, texts), times=times(shift.shift, texts))


def moved(shifts: Sequence[WordShift], texts: Texts) -> str:
    """A sentence on how far training moved all words together."""
    whole = summarise(shifts)
    return texts("probe.moved", total=signed(whole.total, texts), mean=signed(whole.mean, texts))


def no_word_html(texts: Texts) -> str:
    """Said of a text without a word."""
    return f'<p class="cf-note">{texts("probe.no_word")}</p>'


def words_html(text: str, shifts: Sequence[WordShift], texts: Texts | None = None) -> str:
    """The words in their order, each on the colour of its rank with a mark below.

    The whole account of a word is there on hover and focus.
    """
    texts = texts or read_texts()
    return listed_words(texts("twins.words"), text, [(shift, _word(shift, texts)) for shift in shifts])


def listed_words(name: str, text: str, words: Sequence[tuple[WordShift, str]]) -> str:
    """Words as list items, with a break where the text has one. words: each with its item."""
    items: list[str] = []
    end = 0
    for shift, item in words:
        if "\n" in text[end : shift.span.start]:
            items.append('<li class="cf-break" aria-hidden="true"></li>')
        end = shift.span.end
        items.append(item)
    return _list_of_words(name, "".join(items))


def plain_words_html(scores: Sequence[WordScore], texts: Texts | None = None) -> str:
    """The words without colours, for a model that has no reference to compare with."""
    texts = texts or read_texts()
    items = "".join(
        f'<li><span class="cf-word cf-p0"><b>{escape(s.word)}</b>'
        f'<small dir="ltr">{signed(s.log_prob, texts)}</small></span></li>'
        for s in scores
    )
    return _list_of_words(texts("twins.plain_words"), items)


def _list_of_words(name: str, items: str) -> str:
    """A list of words that runs as the text does: from right to left when its first letter is of such a script."""
    return f'<ol class="cf-words" dir="auto" aria-label="{escape(name)}">{items}</ol>'


def table_html(shifts: Sequence[WordShift], texts: Texts | None = None) -> str:
    """One row a word: rank among twins, shift and log-probabilities in bits, rank before and after, tokens."""
    texts = texts or read_texts()
    heads = ((texts("twins.more_than"), True), (texts("twins.in_words"), False), *bits_heads(texts))
    rows = [(shift, (_of_twins(shift, texts), called(level(shift.rank), texts), *bits_cells(shift, texts)))
            for shift in shifts]  # fmt: skip
    return table(texts("twins.table"), heads, rows, texts)


def bits_heads(texts: Texts) -> tuple[Head, ...]:
    """The columns of `bits_cells`."""
    keys = ("shift_bits", "served_bits", "public_bits", "place", "token_count")
    return tuple((texts(f"probe.{key}"), True) for key in keys)


def bits_cells(shift: WordShift, texts: Texts) -> tuple[str, ...]:
    """Shift and log-probabilities in bits, rank before and after, tokens."""
    return (
        *(signed(bits, texts) for bits in (shift.shift, shift.served_log_prob, shift.reference_log_prob)),
        *(f"{texts.said(shift.reference_rank)} → {texts.said(shift.served_rank)}", str(shift.tokens)),
    )


def plain_table_html(scores: Sequence[WordScore], texts: Texts | None = None) -> str:
    """The table for a model without a reference."""
    texts = texts or read_texts()
    rows = ((score, (signed(score.log_prob, texts), texts.said(score.rank), str(score.tokens))) for score in scores)
    heads = tuple((texts(f"probe.{key}"), True) for key in ("served_bits", "rank", "token_count"))
    return table(texts("twins.plain_table"), heads, rows, texts)


def summary_html(shifts: Sequence[WordShift], texts: Texts | None = None) -> str:
    """The text in two sentences: words above their twins beside what chance gives, and the total shift."""
    texts = texts or read_texts()
    if not shifts:
        return no_word_html(texts)
    compared = [each for each in shifts if each.rank is not None]
    if not compared:
        return f'<p class="cf-note">{texts("twins.none_compared")} {moved(shifts, texts)}</p>'
    high = [each for each in compared if level(each.rank) in (ABOVE_ALL, ABOVE_MOST)]
    named = ", ".join(f"<strong>{escape(each.word)}</strong>" for each in high[:5]) + (" …" if len(high) > 5 else "")
    sentence = texts.counted(
        "twins.high",
        len(compared),
        high=len(high),
        named=f" ({named})" if high else "",
        chance=texts.figures(f"{UNUSUAL * len(compared):.1f}"),
    )
    left = len(shifts) - len(compared)
    if left:
        sentence += " " + texts.counted("twins.left", left)
    return f'<p class="cf-note">{sentence} {moved(shifts, texts)}</p>'


def progress_html(done: int, words: int, texts: Texts | None = None) -> str:
    """How far the comparison is, while it runs."""
    return f'<p class="cf-note" role="status">{(texts or read_texts()).counted("twins.progress", words, done=done)}</p>'


def no_reference_html(texts: Texts, key: str = "probe.no_reference") -> str:
    """Why words are not compared."""
    return f'<div class="cf-card cf-warn cf-prose"><p>{texts(key)}</p></div>'


def legend_html(texts: Texts | None = None) -> str:
    """What the colours mean, what the probe can show and what it cannot."""
    texts = texts or read_texts()
    looks = [(colour, mark, called(name, texts), meaning(name, texts)) for name, (_, colour, mark) in LOOKS.items()]
    cannot = ("twins.not_wrote", "twins.not_leak", "twins.not_safe", "twins.not_compared", "probe.not_worst")
    return how_to_read(
        f"<p>{texts('twins.how', twins=TWINS)}</p>{swatches(texts('twins.swatches'), looks)}",
        [texts("twins.can_memorised"), texts("probe.bits_of_words")],
        [texts(key) for key in cannot],
        texts,
    )


def swatches(name: str, looks: Iterable[tuple[str, str, str, str]]) -> str:
    """The colours as a list. looks: of each its colour, mark, name and meaning."""
    items = "".join(
        f'<li class="{colour}">{mark} {escape(said)} <small>({escape(meant)})</small></li>'
        for colour, mark, said, meant in looks
    )
    return f'<ul class="cf-swatches" aria-label="{escape(name)}">{items}</ul>'


def how_to_read(inside: str, can: Sequence[str], cannot: Sequence[str], texts: Texts) -> str:
    """A legend: `inside`, which is HTML, then what the probe can show and cannot."""
    lists = "".join(
        f"<h3>{texts(head)}</h3><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
        for head, items in (("probe.can", can), ("probe.cannot", cannot))
    )
    return f'<div class="cf-prose cf-card"><h2>{texts("probe.how")}</h2>{inside}{lists}</div>'


def _word(shift: WordShift, texts: Texts) -> str:
    _, colour, mark = LOOKS[level(shift.rank)]
    account = among_twins(shift, texts) + (f": {called(level(shift.rank), texts)}" if shift.rank else "")
    places = {"before": shift.reference_rank, "after": shift.served_rank}
    return word_item(
        shift.word,
        colour,
        f"{mark} {_of_twins(shift, texts)}".strip(),
        f"{account}. {shift_in_words(shift, texts)}",
        texts("twins.told", **places, tokens=tokens_of(shift, texts)),
        f'data-shift="{shift.shift:.2f}"',
    )


def word_item(word: str, colour: str, below: str, account: str, more: str = "", data: str = "") -> str:
    """A word on its colour with a mark below it; the account of it, and more, on hover and focus.

    data: attributes for scripts and tests, as HTML; the rest is plain text.
    """
    said = escape(account)
    tip = f"{escape(account[0].upper() + account[1:])}.{f' {escape(more)}' if more else ''}"
    return (
        f'<li><span class="cf-word {colour}" tabindex="0" role="img" {data} aria-label="{escape(word)}, {said}">'
        f'<b>{escape(word)}</b><small aria-hidden="true" dir="ltr">{escape(below)}</small>'
        f'<span class="cf-tip" dir="ltr">{tip}</span></span></li>'
    )


def _of_twins(shift: WordShift, texts: Texts) -> str:
    """The rank in the fewest signs."""
    rank = shift.rank
    return "–" if rank is None else texts("twins.of", below=rank.below, twins=rank.twins)


def tokens_of(word: WordShift, texts: Texts) -> str:
    """How many tokens the word takes."""
    return texts.counted("probe.tokens", word.tokens)


def table(
    caption: str, heads: Sequence[Head], rows: Iterable[tuple[WordShift | WordScore, Sequence[str]]], texts: Texts
) -> str:
    """A table with a row a word. Cells are plain text of ours."""
    kinds = [" class='n'" if number else "" for _, number in heads]
    columns = "".join(
        f"<th scope='col'{kind}>{escape(name)}</th>" for kind, (name, _) in zip(kinds, heads, strict=True)
    )
    body = "".join(
        f"<tr><th scope='row' dir='auto'>{escape(word.word)}</th>"
        + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, cells, strict=True))
        + "</tr>"
        for word, cells in rows
    )
    return region(
        caption,
        f'<table class="cf-table"><caption class="cf-hidden">{escape(caption)}</caption>'
        f"<thead><tr><th scope='col'>{texts('probe.word')}</th>{columns}</tr></thead><tbody>{body}</tbody></table>",
    )
