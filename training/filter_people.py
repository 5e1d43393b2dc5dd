"""Who and what the filter's taggers learn from: names, addresses, illnesses, passwords, and words that name nobody.

Drawn, of none of the help desk's clients, and nobody's.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from chatfed.data.helpdesk import everyday_words, words

from . import filter_phrases as phrases
from .filter_grammar import (
    english_illness,
    german_illness,
    german_street,
    german_street_with_preposition,
    german_surname,
)

Draw = Callable[[Random], str]
DOUBLE = 0.05  # share of names that are two with a hyphen
_ONSETS = "b br ch d dr f fl g gl gr h j k kl kr l m n p pr qu r s sch sh sk sl st str t th tr v w y z".split()
_VOWELS = "a e i o u ai au ea ee ei ie oo ou".split()
_CODAS = ["", "", *"l ld ll m n nd ng nn r rd rk rn rt s ss st t ck".split()]


def made_up(rng: Random, syllables: int) -> str:
    """A word that no language has, mostly."""
    pick = rng.choice
    return "".join(
        pick(_ONSETS) + pick(_VOWELS) + (pick(_CODAS) if rng.random() < 0.6 else "") for _ in range(syllables)
    )


@dataclass(frozen=True)
class People:
    """Draws what is marked. first, last: names; none of the help desk's clients'."""

    first: Sequence[str]
    last: Draw
    illness: Draw
    others: Mapping[str, Draw]  # kind: what draws it

    def draw(self, kind: str, rng: Random) -> str:
        """A value of the kind."""
        if kind in ("first", "mate", "last"):
            return "-".join(self._one(kind, rng) for _ in range(2 if rng.random() < DOUBLE else 1))
        if kind == "name":
            middle = f" {rng.choice(string.ascii_uppercase)}." if rng.random() < 0.03 else ""
            return f"{self.draw('first', rng)}{middle} {self.draw('last', rng)}"
        if kind == "health":
            return self.illness(rng)
        if kind == "medical":
            return f"{self.illness(rng)} {self.others['dates'](rng)}"
        if kind == "password":
            return _password(rng, self.last(rng))
        return self.others[kind](rng)

    def _one(self, kind: str, rng: Random) -> str:
        if kind == "last":
            return made_up(rng, rng.choice((2, 2, 3))).capitalize() if rng.random() < 0.3 else self.last(rng)
        return made_up(rng, rng.choice((1, 2, 2, 3))).capitalize() if rng.random() < 0.4 else rng.choice(self.first)


def _password(rng: Random, name: str) -> str:
    pick, number = rng.choice, str(rng.randrange(1, 10000))
    way = rng.random()
    if way < 0.4:
        return f"{made_up(rng, 2).capitalize()}{pick('!#*?+-_$')}{made_up(rng, 2).capitalize()}{number}"
    if way < 0.6:
        return f"{name}{number}{pick(['', '!', '#'])}"
    if way < 0.8:
        return "".join(pick(string.ascii_letters + string.digits + "!#*?+-_$") for _ in range(rng.randrange(8, 15)))
    return f"{made_up(rng, 2)}-{made_up(rng, 2)}-{number}"


def _english_address(rng: Random) -> str:
    street = rng.choice(everyday_words.STREETS)
    if rng.random() < 0.5:
        street = f"{made_up(rng, 2).capitalize()} {street.split()[-1]}"
    town = rng.choice(everyday_words.PLACES) if rng.random() < 0.6 else made_up(rng, 2).capitalize()
    return f"{rng.randrange(1, 400)} {street}{f', {town}' if rng.random() < 0.7 else ''}"


def _english_dates(rng: Random) -> str:
    return f"from {rng.choice(words.DATES)} until {rng.choice(words.DATES)}"


def _german_address(rng: Random, street: Callable[[Random, Sequence[str], str], str] = german_street) -> str:
    town = f", {rng.randrange(10000, 99999)} {_german_town(rng)}" if rng.random() < 0.4 else ""
    return f"{street(rng, phrases.STRASSEN, made_up(rng, 2))}{town}"


def _german_address_with_preposition(rng: Random) -> str:
    return _german_address(rng, german_street_with_preposition)


def _german_town(rng: Random) -> str:
    ends = ("burg", "stadt", "heim", "dorf", "ingen", "bach", "hausen", "au", "")
    return rng.choice(phrases.STAEDTE) if rng.random() < 0.5 else made_up(rng, 1).capitalize() + rng.choice(ends)


def _english_town(rng: Random) -> str:
    return rng.choice(everyday_words.PLACES) if rng.random() < 0.6 else made_up(rng, 2).capitalize()


def _brand(rng: Random) -> str:
    return " ".join(made_up(rng, rng.choice((1, 2, 3))).capitalize() for _ in range(rng.choice((1, 1, 1, 2))))


def _new(ends: Sequence[str], capital: bool = False, before: str = "") -> Draw:
    """Draws words that no list has and that name nobody: what is unknown is no name by that."""

    def draw(rng: Random) -> str:
        made = before + made_up(rng, rng.choice((1, 1, 2, 3))) + rng.choice(ends)
        return made.capitalize() if capital else made

    return draw


def _not_measured(illness: Callable[[Random, Sequence[str], str], str], listed: Sequence[str]) -> Draw:
    """Draws illnesses, none of the help desk's clients'."""

    def draw(rng: Random) -> str:
        while (made := illness(rng, listed, made_up(rng, rng.choice((1, 2, 2, 3))))) in words.ILLNESSES:
            pass
        return made

    return draw


def _german_dates(rng: Random) -> str:
    day, month = rng.randrange(1, 29), rng.randrange(1, 13)
    return f"vom {day}.{month}. bis {rng.randrange(1, 29)}.{month % 12 + 1}."


def _phone(rng: Random) -> str:
    return f"0{rng.randrange(20, 900)} {rng.randrange(10**5, 10**8)}"


ENGLISH_PEOPLE = People(
    everyday_words.FIRST_NAMES,
    lambda rng: rng.choice(everyday_words.SURNAMES),
    _not_measured(english_illness, phrases.ILLNESSES),
    {"address": _english_address, "phone": _phone, "dates": _english_dates, "town": _english_town, "brand": _brand,
     "newnoun": _new(("", "", "er", "tion", "ness", "ment", "ity", "ing", "ist", "age", "ship", "et", "le", "ance")),
     "newverb": _new(("", "ify", "ise", "ate", "en")),
     "newadj": _new(("al", "ous", "y", "ive", "able", "ed", "ic", "ful"))},
)  # fmt: skip
GERMAN_PEOPLE = People(
    (*phrases.VORNAMEN, *everyday_words.FIRST_NAMES),
    lambda rng: rng.choice(phrases.NACHNAMEN) if rng.random() < 0.5 else german_surname(rng),
    _not_measured(german_illness, phrases.KRANKHEITEN),
    {"address": _german_address, "amstreet": _german_address_with_preposition, "phone": _phone,
     "dates": _german_dates, "town": _german_town, "brand": _brand,
     "newm": _new(("er", "", "el", "en", "ling", "ist", "ismus", "or"), capital=True),
     "newf": _new(("ung", "e", "heit", "keit", "schaft", "tion", "ität", "ik", "ie"), capital=True),
     "newdone": _new(("t", "t", "en", "iert"), before="ge"),
     "newadj": _new(("ig", "lich", "isch", "bar", "los", "voll"))},
)  # fmt: skip
