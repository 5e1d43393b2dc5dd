"""Shows visitors of the page what the leakage probe says of each word, without the numbers behind it.

Bits, ranks and chances tell how much likelier training made a text, and that is what attacks on trained models start
from; they are the operator's (probe.py, findings.py). What is made here is escaped HTML. Knows no model and no gradio.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chatfed.audit.leakage import ABOVE_ALL, ABOVE_MOST, WordShift, level
from chatfed.audit.words import ALLOWED, Finding, Text

from . import findings
from .markup import escape
from .probe import how_to_read, listed_words, no_word_html, swatches, word_item
from .texts import Texts, read_texts


@dataclass(frozen=True)
class Verdict:
    """What is said of a word. key: its name among the texts."""

    key: str
    colour: str
    mark: str
    finding: Finding | None = None  # None: it was compared with its twins

    def called(self, texts: Texts) -> str:
        """Its name."""
        return findings.called(self.finding, texts) if self.finding else texts(f"verdicts.name.{self.key}")

    def short(self, texts: Texts) -> str:
        """The same where there is little room."""
        return findings.short(self.finding, texts) if self.finding else self.called(texts)

    def meaning(self, texts: Texts) -> str:
        """What it means."""
        return texts(f"verdicts.meaning.{self.key}")


OUT, LIKE, NONE = Verdict("out", "cf-p4", "▲"), Verdict("like", "cf-p0", ""), Verdict("none", "cf-none", "?")
TWINS = (OUT, LIKE, NONE)
FINDINGS = {each: Verdict(each.name.lower(), *looks, each) for each, looks in findings.LOOKS.items()}


def verdict(shift: WordShift) -> Verdict:
    """What is said of a word that was compared with its twins."""
    if shift.rank is None:
        return NONE
    return OUT if level(shift.rank) in (ABOVE_ALL, ABOVE_MOST) else LIKE


def compared_html(text: str, shifts: Sequence[WordShift], texts: Texts | None = None) -> str:
    """The words of a text that was compared with twins, and how many of them stand out."""
    return _told(text, [(shift, verdict(shift)) for shift in shifts], TWINS, texts or read_texts())


def judged_html(text: str, judged: Text, texts: Texts | None = None) -> str:
    """The words of a text that was judged by a calibration, and how many of them are what."""
    texts = texts or read_texts()
    words = [(word.shift, FINDINGS[word.finding]) for word in judged.words]
    worth = f'<p class="cf-note">{texts("verdicts.worth", allowed=texts.share(ALLOWED))}</p>' if words else ""
    return _told(text, words, tuple(FINDINGS.values()), texts) + worth


def legend_html(calibrated: bool, texts: Texts | None = None) -> str:
    """What each verdict means, and what the probe can show and cannot."""
    texts = texts or read_texts()
    looks = tuple(FINDINGS.values()) if calibrated else TWINS
    shown = [(each.colour, each.mark, each.called(texts), each.meaning(texts)) for each in looks]
    return how_to_read(
        f"{swatches(texts('verdicts.swatches'), shown)}<p>{texts('verdicts.why')}</p>",
        [texts("verdicts.can")],
        [texts("probe.not_who") + ";", texts("probe.not_safe"), texts("probe.not_worst")],
        texts,
    )


def _told(text: str, words: Sequence[tuple[WordShift, Verdict]], looks: Sequence[Verdict], texts: Texts) -> str:
    if not words:
        return no_word_html(texts)
    counts = Counter(said for _, said in words)
    whole = ", ".join(f"{counts[each]} {escape(each.called(texts))}" for each in looks if counts[each])
    items = [(shift, _word(shift.word, said, texts)) for shift, said in words]
    counted = f'<p class="cf-note" role="status">{texts("verdicts.counts", whole=whole)}</p>'
    return counted + listed_words(texts("findings.words"), text, items)


def _word(word: str, said: Verdict, texts: Texts) -> str:
    return word_item(
        word,
        said.colour,
        f"{said.mark} {said.short(texts)}" if said.mark else "–",
        f"{said.called(texts)}: {said.meaning(texts)}",
        data=f'data-finding="{said.finding or said.key}"',
    )
