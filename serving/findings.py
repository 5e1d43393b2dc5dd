"""Shows what is found of each word of a text, where the probe was calibrated.

What it makes are coloured words, a table and a legend, as escaped HTML. Knows findings and colours; knows no model and
no gradio. By what rules a word is judged stands in the legend.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chatfed.audit.kinds import FEWEST_CLIENTS, PUBLIC_BITS
from chatfed.audit.leakage import WordShift
from chatfed.audit.words import CONFIDENCE, NULL_WORDS, RAISED_BITS, SUSPICIOUS, Calibration, Finding, Judged, Text

from .markup import escape
from .probe import (
    bits_cells,
    bits_heads,
    how_to_read,
    listed_words,
    moved,
    no_word_html,
    shift_in_words,
    swatches,
    table,
    tokens_of,
    word_item,
)
from .texts import Texts, read_texts

# Each finding has a colour and a mark for eyes that see no colours. The first whose rule holds counts.
LOOKS = {
    Finding.LEAKED: ("cf-p4", "▲▲"),
    Finding.SUSPICIOUS: ("cf-p3", "▲"),
    Finding.PUBLIC: ("cf-p0", "○"),
    Finding.UNJUDGED: ("cf-none", "?"),
    Finding.MANY: ("cf-m1", "●"),
    Finding.UNMOVED: ("cf-p0", ""),
}


def called(finding: Finding, texts: Texts) -> str:
    """A finding's name, such as "learned by many"."""
    return texts(f"findings.name.{finding.name.lower()}")


def short(finding: Finding, texts: Texts) -> str:
    """The same where there is little room."""
    key = f"findings.short.{finding.name.lower()}"
    return texts(key) if key in texts.sentences else called(finding, texts)


def meaning(finding: Finding, texts: Texts | None = None) -> str:
    """A finding's rule in words."""
    texts = texts or read_texts()
    chances, raised = int(2**PUBLIC_BITS), int(2**RAISED_BITS)
    key = f"findings.rule.{finding.name.lower()}"
    return texts(key, suspicious=texts.share(SUSPICIOUS), chances=chances, times=raised)


def account(word: Judged, texts: Texts | None = None) -> str:
    """What is found of a word, as a person says it."""
    texts = texts or read_texts()
    said = {"name": called(word.finding, texts), "rule": meaning(word.finding, texts)}
    if word.p_value is None:
        return texts("findings.account", **said)
    return texts("findings.account_chance", **said, chance=chance(word.p_value, texts))


def chance(p_value: float, texts: Texts | None = None) -> str:
    """A p-value as one in so many.

    >>> chance(0.5), chance(0.0004)
    ('1 in 2', '1 in 2,500')
    """
    texts = texts or read_texts()
    return texts("findings.chance", number=texts.figures(f"{1 / p_value:,.0f}"))


def words_html(text: str, words: Sequence[Judged], texts: Texts | None = None) -> str:
    """The words in their order, each on the colour of what is found of it, with a mark and its name below."""
    texts = texts or read_texts()
    return listed_words(texts("findings.words"), text, [(word.shift, _word(word, texts)) for word in words])


def _word(word: Judged, texts: Texts) -> str:
    colour, mark = LOOKS[word.finding]
    return word_item(
        word.shift.word,
        colour,
        f"{mark} {short(word.finding, texts)}" if mark else "–",
        f"{account(word, texts)}. {shift_in_words(word.shift, texts)}",
        f"{tokens_of(word.shift, texts)}.",
        f'data-shift="{word.shift.shift:.2f}" data-finding="{word.finding}"',
    )


def table_html(words: Sequence[Judged], texts: Texts | None = None) -> str:
    """One row a word: finding, chance, shift and log-probabilities in bits, rank before and after, tokens."""
    texts = texts or read_texts()
    heads = ((texts("findings.found"), False), (texts("findings.chance_head"), True), *bits_heads(texts))
    return table(texts("findings.table"), heads, [_row(word, texts) for word in words], texts)


def _row(word: Judged, texts: Texts) -> tuple[WordShift, Sequence[str]]:
    by_chance = "–" if word.p_value is None else chance(word.p_value, texts)
    return word.shift, (called(word.finding, texts), by_chance, *bits_cells(word.shift, texts))


def summary_html(text: Text, calibration: Calibration, texts: Texts | None = None) -> str:
    """How many words are leaked, how many of these are false at most, what else there is, and the total shift."""
    texts = texts or read_texts()
    if not text.words:
        return no_word_html(texts)
    counts = Counter(word.finding for word in text.words)
    found = [each for each in LOOKS if counts[each] and each is not Finding.LEAKED]
    others = ", ".join(f"{counts[each]} {called(each, texts)}" for each in found)
    rest = " " + texts.counted("findings.rest", len(text.words), others=others) if others else ""
    whole = moved([word.shift for word in text.words], texts)
    return f'<p class="cf-note" role="status">{_leaked(text, calibration, texts)}{rest} {whole}</p>'


def _leaked(text: Text, calibration: Calibration, texts: Texts) -> str:
    """The finding, and what it is worth."""
    allowed = texts.share(text.allowed)
    if not text.tested:
        return texts("findings.untested")
    if not calibration.level(text.allowed):
        return texts("findings.nothing_at", allowed=allowed, least=texts.share(calibration.least_allowed, 1))
    named = [escape(word.shift.word) for word in text.words if word.finding is Finding.LEAKED]
    shown = ", ".join(f"<strong>{name}</strong>" for name in named[:5]) + (" …" if len(named) > 5 else "")
    said = texts.counted("findings.leaked", text.tested, found=text.found, named=f" ({shown})" if named else "")
    if not text.found:
        return f"{said} {texts('findings.none_leaked', allowed=allowed)}"
    few = texts("findings.few_some", count=text.most_false) if text.most_false else texts("findings.few_none")
    return f"{said} {texts('findings.confident', confidence=texts.share(CONFIDENCE), few=few, allowed=allowed)}"


def legend_html(calibration: Calibration, texts: Texts | None = None) -> str:
    """What the colours mean, by what rules, what the probe can show and what it cannot."""
    texts = texts or read_texts()
    looks = [(colour, mark, called(name, texts), meaning(name, texts)) for name, (colour, mark) in LOOKS.items()]
    rules = (
        f"<p>{texts('findings.how', clients=calibration.clients, fewest=FEWEST_CLIENTS)}</p>"
        f"<p>{texts('findings.slider', confidence=texts.share(CONFIDENCE))}</p>"
    )
    return how_to_read(
        swatches(texts("findings.swatches"), looks) + rules,
        [texts("findings.can_secret"), texts("probe.bits_of_words")],
        [
            texts("probe.not_who") + texts("findings.not_who_else"),
            texts("findings.not_several"),
            texts("probe.not_safe"),
            texts("findings.not_few", words=NULL_WORDS),
            texts("probe.not_worst"),
        ],
        texts,
    )
