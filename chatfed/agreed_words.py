"""Words that suggestions are limited to: those that `chatfed vocabulary` wrote into a run's folder. Knows no model."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from chatfed.types import ChatfedError

FILE, FORMAT = "words.json", "chatfed agreed words 1"


class BadWords(ChatfedError):
    """A run's words.json is not what chatfed vocabulary writes; names the file."""

    code = "bad_agreed_words"
    mend = "write it anew with chatfed vocabulary party, or take it out of the run's folder"


def folded(word: str) -> str:
    """A word as agreed words are written: NFC, case folded.

    >>> folded("Wi-Fi")
    'wi-fi'
    """
    return unicodedata.normalize("NFC", word).casefold()


def read_agreed(folder: Path) -> frozenset[str] | None:
    """The agreed words in a run's folder, None where there is no such file. Raises BadWords."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_bytes())
        words = told["words"] if told["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadWords(f"{path} is not what chatfed vocabulary writes: write it anew or remove it.", param=str(path))
    return frozenset(words)
