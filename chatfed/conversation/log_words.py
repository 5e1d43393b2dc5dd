"""The words that a message can be found by. Pure.

Words are runs of letters, digits and marks, alike in any case and width (NFKC, casefold). Scripts that put no space
between words (Han, kana, Hangul, Thai, Lao, Khmer, Burmese) give each sign and each two that stand side by side: who
looks for several signs finds the messages in which every two of them stand so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

from .log_errors import BadMessage

LONGEST_WORD = 64  # signs of a word that count
LONGEST_TEXT = 1 << 20  # bytes of a message in UTF-8
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
)
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff"
    "\u200c\u200d"
)
_SIGN = rf"(?:(?![{_UNSPACED}])(?:[^\W_]|[{_MARKS}]))"  # Python's \w has no vowel signs
_RUN = re.compile(rf"[{_UNSPACED}]+|{_SIGN}+(?:'{_SIGN}+)*")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, each once, in alphabetical order.

    >>> words_of("The printer’s jam: the PRINTER, ﬁnally. 打印机")
    ('finally', 'jam', 'printer', "printer's", 'the', '印', '印机', '打', '打印', '机')
    """
    return tuple(sorted(set(_words(text))))


def asked_words(text: str) -> tuple[str, ...]:
    """The words that a search looks for: of unspaced scripts the pairs alone where there are any. Raises BadMessage."""
    check_text(text, "what is searched for")
    found = set(_words(text))
    found -= {sign for pair in found if len(pair) == 2 and _IS_UNSPACED.match(pair) for sign in pair}
    if not found:
        raise BadMessage("There is no word in what is searched for: give one of letters or digits.", param="words")
    return tuple(sorted(found))


def check_text(text: str, what: str) -> None:
    """Raises BadMessage for what is empty, too long, or no text."""
    if not isinstance(text, str) or not text:
        raise BadMessage(f"The text of {what} is empty: give one.", param=what)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        said = f"The text of {what} has bytes that are not UTF-8, or half of a surrogate pair: give UTF-8."
        raise BadMessage(said, param=what) from None
    if size > LONGEST_TEXT:
        said = f"The text of {what} has {size:,} bytes, more than the {LONGEST_TEXT:,} of a message: cut it up."
        raise BadMessage(said, param=what)


def _words(text: str) -> Iterator[str]:
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    for run in _RUN.findall(unicodedata.normalize("NFKC", plain)):
        if _IS_UNSPACED.match(run):
            yield from run
            yield from map("".join, pairwise(run))
        else:
            yield run[:LONGEST_WORD]
