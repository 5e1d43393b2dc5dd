"""Sentences of a small grammar, and the illnesses, addresses and names of which there are too many to list.

Knows no tagger: gives text in which what is to be marked stands in braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

_SYMBOL = re.compile(r"\{(\w+)\}")
_JOINED = re.compile(r"~(\w)")
_VOWEL = re.compile(r"\b([Aa]) (?=[aeiou])")
DEEPEST = 12  # symbols inside symbols


def _readings(text: str) -> tuple[str, ...]:
    return tuple(reading for reading in text.replace("\n", "").split("|") if reading)


@dataclass(frozen=True)
class Grammar:
    """Sentences, and the readings of the symbols in them."""

    sentences: Sequence[str]
    symbols: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, sentences: str, symbols: Mapping[str, str]) -> Grammar:
        """From texts whose readings bars part."""
        return cls(_readings(sentences), {name: _readings(text) for name, text in symbols.items()})

    def draw(self, rng: Random) -> str:
        """A sentence, in which symbols of other grammars are left in their braces."""
        text = rng.choice(self.sentences)
        for _ in range(DEEPEST):
            made = _SYMBOL.sub(lambda match: self._reading(match, rng), text)
            if made == text:
                break
            text = made
        text = _JOINED.sub(lambda match: match[1].lower(), text)
        return _VOWEL.sub(r"\1n ", text)

    def _reading(self, match: re.Match[str], rng: Random) -> str:
        of = self.symbols.get(match[1])
        return rng.choice(of) if of else match[0]


def _words(text: str) -> list[str]:
    return text.split()


_SITES = _words("""
    heart lung liver stomach skin nerve muscle joint tendon eye ear nose throat tooth jaw neck elbow finger
    ankle foot toe leg arm rib skull brain blood vein artery prostate breast bladder pelvis sinus lymph gum nail
""")
_TROUBLES = _words("""
    surgery operation infection disease failure cancer injury pain fracture transplant disorder therapy
    treatment inflammation condition tumour ulcer cramps bleeding biopsy removal replacement syndrome allergy
    attack implant weakness damage
""")
_HURT = _words("""
    broken fractured sprained torn twisted dislocated bruised swollen infected inflamed pinched frozen burst
""")
_ENDINGS = _words("""
    itis osis algia opathy aemia oma ectomy ism plasty iasis uria plegia phobia rrhoea ysm tension
""")
_STELLEN = _words("""
    Herz Lungen Leber Magen Darm Haut Nerven Muskel Gelenk Sehnen Augen Ohren Nasen Hals Zahn Kiefer Nacken
    Ellbogen Fuß Zehen Bein Arm Rippen Schädel Hirn Blut Venen Prostata Brust Blasen Nieren Becken Lymph
    Schulter Hüft Rücken Gallen Milz Gefäß
""")
_LEIDEN = _words("""
    operation entzündung schwäche schmerzen infektion erkrankung leiden krebs verletzung bruch riss insuffizienz
    transplantation störung krämpfe blutung lähmung allergie geschwür steine tumor verschluss vergrößerung
    prellung fehler verengung zerrung senkung therapie versagen zyste
""")
_ENDUNGEN = _words("""
    itis ose algie opathie om ismus iasis plegie phobie ämie ektomie entzündung sucht syndrom ie
""")
_HEADS = _words("""
    Alt Brand Brun Dorn Eber Fried Grün Hag Hasel Hohen Kalten Kirch Kreuz Laub Linden Mecht Nieder Ober Reich
    Rosen Rot Sand Schell Stein Stock Tann Wald Wein Weiß Wind Ziegel Zorn Gruben Esch Lauf Pfann Bod Ritt Haf
""")
_TAILS = _words("""
    mann berger meier hofer bacher er ner ke el stein hauer macher wald feld huber ling egger ig ler inger bauer
    mayr kamp horst busch brink winkel ler sen rich
""")


def english_illness(rng: Random, listed: Sequence[str], made_up: str) -> str:
    """An illness that is listed, put together, or a made-up word with an illness's ending."""
    way, pick = rng.random(), rng.choice
    if way < 0.45:
        return pick(listed)
    if way < 0.65:
        return f"{pick(_SITES)} {pick(_TROUBLES)}"
    if way < 0.75:
        return f"a {pick(_HURT)} {pick(_SITES)}"
    bare = made_up + pick(_ENDINGS) if way < 0.95 else made_up
    return pick(("", "", "", "a ", "chronic ", "severe ")) + bare


def german_illness(rng: Random, listed: Sequence[str], made_up: str) -> str:
    """The same in German, where it is mostly one word."""
    way, pick = rng.random(), rng.choice
    if way < 0.35:
        return pick(listed)
    if way < 0.7:
        return pick(("", "", "", "", "", "", "", "einer ")) + pick(_STELLEN) + pick(_LEIDEN)
    return (made_up + pick(_ENDUNGEN)).capitalize()


def german_surname(rng: Random) -> str:
    """Put together as many are."""
    return rng.choice(_HEADS) + rng.choice(_TAILS)


_STREETS = "straße straße weg weg allee gasse str. platz ring damm ufer steig".split()
_BEFORE = ("am", "an der", "im", "auf der", "hinter dem", "zum", "unter den")
_KINDS = "alt neu groß klein lang hoh ober unter grün weiß krumm schön".split()


def german_street(rng: Random, heads: Sequence[str], made_up: str) -> str:
    """A street with its number: Lindenweg 3, Neue Lindenstraße 3, Bonner Straße 3."""
    head, ends = (rng.choice(heads) if rng.random() < 0.6 else made_up.capitalize()), rng.choice(_STREETS)
    way = rng.random()
    street = f"{head}er {ends.capitalize()}" if way < 0.15 else head + ends
    if way > 0.85:
        street = f"{rng.choice(_KINDS).capitalize()}{rng.choice(('er', 'e'))} {street}"
    return f"{street} {rng.randrange(1, 200)}{rng.choice(('', '', '', 'a', ' b'))}"


def german_street_with_preposition(rng: Random, heads: Sequence[str], made_up: str) -> str:
    """A street whose name begins with a preposition: Am Hohen Ufer 3."""
    before = rng.choice(_BEFORE)
    middle = f" {rng.choice(_KINDS).capitalize()}en" if rng.random() < 0.5 else ""
    return f"{before}{middle} {german_street(rng, heads, made_up)}"
