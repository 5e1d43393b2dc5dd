"""How one client writes: length, greetings, case, contractions, typing slips. Works on text, knows no topics."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True)
class Style:
    """Probabilities, each in [0, 1], of one client's habits."""

    greets: float
    introduces: float
    adds_context: float
    chats: float
    signs: float
    contracts: float
    lower_case: float
    drops_full_stop: float
    slips: float  # per word
    thanks: float


FORMAL_PUBLIC = Style(0.25, 0.0, 0.45, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9)

_KINDS = {
    "terse": Style(0.15, 0.05, 0.3, 0.05, 0.03, 0.9, 0.5, 0.9, 0.015, 0.5),
    "chatty": Style(0.8, 0.2, 0.95, 0.75, 0.15, 0.8, 0.1, 0.2, 0.012, 1.0),
    "formal": Style(0.9, 0.4, 0.7, 0.15, 0.55, 0.1, 0.0, 0.0, 0.003, 1.0),
    "hasty": Style(0.3, 0.1, 0.7, 0.3, 0.02, 0.95, 0.8, 0.8, 0.06, 0.7),
    "plain": Style(0.5, 0.15, 0.6, 0.2, 0.1, 0.5, 0.05, 0.3, 0.01, 0.9),
}

_CONTRACTIONS = {
    "I am": "I'm", "I have": "I've", "I will": "I'll", "it is": "it's", "that is": "that's", "do not": "don't",
    "does not": "doesn't", "did not": "didn't", "cannot": "can't", "can not": "can't", "will not": "won't",
    "is not": "isn't", "are not": "aren't", "we are": "we're", "we have": "we've", "you are": "you're",
    "you will": "you'll", "what is": "what's", "would not": "wouldn't", "could not": "couldn't", "has not": "hasn't",
    "there is": "there's", "was not": "wasn't", "I would": "I'd", "where is": "where's", "have not": "haven't",
    "should not": "shouldn't", "they are": "they're", "let us": "let's",
}  # fmt: skip
_CONTRACTIBLE = re.compile(r"(?<!can )(?<!do )\b(" + "|".join(_CONTRACTIONS) + r")\b(?= (?!to\b)\w)", re.IGNORECASE)
_CLIPPED = {phrase.lower(): short for phrase, short in _CONTRACTIONS.items()}
_LETTERS = re.compile(r"[A-Za-z]{4,}")
_SENTENCE = re.compile(r"(^|[.!?]\s+)([a-z])")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeioAEIO](?!ne\b|nce\b|u))")
_SPACES = re.compile(r" {2,}")
_BEFORE_STOP = re.compile(r" +([,.?!;:])")
_LONE_I = re.compile(r"\bi\b(?!\.)")


def plain_speech(rng: Random) -> Style:
    """Correct writing that contracts more or less; it asks for no name and no in-house matter."""
    return Style(0.25, 0.0, 0.45, 0.0, 0.0, rng.choice((0.0, 0.4, 0.9)), 0.0, 0.0, 0.0, 0.9)


def draw_public_style(rng: Random) -> Style:
    """How somebody without a name writes to a public help desk: mostly correctly, else as any client might."""
    if rng.random() < 0.5:
        return FORMAL_PUBLIC
    return replace(draw_style(rng), introduces=0.0, signs=0.0)


def draw_style(rng: Random) -> Style:
    """One client's habits: a kind of writer, with its own slip rate and case."""
    kind = _KINDS[rng.choice(tuple(_KINDS))]
    always_lower = rng.random() < kind.lower_case
    values = {**vars(kind), "slips": kind.slips * rng.uniform(0.3, 1.8), "lower_case": 1.0 if always_lower else 0.02}
    return Style(**values)


def tidy(text: str) -> str:
    """Sentences begin with capitals, `a` before a vowel becomes `an`, spaces are single."""
    text = _BEFORE_STOP.sub(r"\1", _SPACES.sub(" ", text)).strip(" ,")
    text = text.replace("?.", "?").replace("..", ".").replace("!.", "!").replace(",.", ".").replace("?,", "?")
    text = _LONE_I.sub("I", _ARTICLE.sub(r"\1n ", text))
    return _SENTENCE.sub(lambda match: match[1] + match[2].upper(), text)


def contract(text: str, rate: float, rng: Random) -> str:
    """`do not` becomes `don't`, each with probability `rate`."""

    def shorten(match: re.Match[str]) -> str:
        if rng.random() >= rate:
            return match[0]
        short = _CLIPPED[match[0].lower()]
        return short[0].upper() + short[1:] if match[0][0].isupper() else short

    return _CONTRACTIBLE.sub(shorten, text) if rate else text


def slip(text: str, rate: float, rng: Random) -> str:
    """Mistypes words of four letters and more, each with probability `rate`."""

    def mistype(match: re.Match[str]) -> str:
        word = match[0]
        if rng.random() >= rate:
            return word
        at = rng.randrange(1, len(word) - 1)
        way = rng.random()
        if way < 0.4:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return word[:at] + word[at + 1 :] if way < 0.75 else word[:at] + word[at] + word[at:]

    return _LETTERS.sub(mistype, text) if rate else text


def as_client_writes(text: str, style: Style, rng: Random) -> str:
    """The client's own surface form of a tidy text."""
    text = slip(contract(text, style.contracts, rng), style.slips, rng)
    if rng.random() < style.lower_case:
        text = text.lower()
    if text.endswith(".") and rng.random() < style.drops_full_stop:
        text = text[:-1]
    return text
