"""`python -m training.filter_learning`: makes what the entity filter learned, in chatfed/conversation/learned.

From the generated help desk, with people who have none of the names, streets, towns and illnesses of its clients, and
from sentences of filter_phrases.py; in whole numbers and from seeds, so that the files are the same everywhere. No
client's data, and no text from elsewhere.
"""

from __future__ import annotations

import argparse
import json
import re
import string
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from chatfed.conversation.forms import HouseForms
from chatfed.conversation.tagger import LEARNED
from chatfed.conversation.tagger_learning import Example, learn, vocabulary_of
from chatfed.data.helpdesk import everyday_words, words
from chatfed.data.helpdesk.content import SHEETS
from chatfed.data.helpdesk.conversation import Talk, talk_through
from chatfed.data.helpdesk.everyday import everyday_slots, read_scenes
from chatfed.data.helpdesk.grammar import parse
from chatfed.data.helpdesk.persona import Persona, Registry, draw_value
from chatfed.data.helpdesk.slots import HOUSE, house_slots
from chatfed.data.helpdesk.style import draw_style
from chatfed.data.helpdesk.topics import read_sheets
from chatfed.types import ClientId

from . import filter_phrases as phrases
from .durable import write_atomically
from .filter_english import ENGLISH_GRAMMAR, ENGLISH_SENTENCES
from .filter_german import GERMAN_GRAMMAR, GERMAN_SENTENCES
from .filter_grammar import Grammar
from .filter_people import ENGLISH_PEOPLE, GERMAN_PEOPLE, Draw, People, made_up

SEED = 2101  # no corpus that is measured has it
TALKS, EVERYDAY = 700, 450
LISTED = {"en": 3000, "de": 4000}  # messages of listed sentences
GRAMMATICAL = {"en": 6500, "de": 9000}  # of a grammar's
PASSES, HIDDEN = 3, 0.5
LOWER, UPPER = 0.4, 0.02  # shares of messages in one case
FOREIGN = (0.0, 0.08, 0.5)  # of a message's words, that are made up: text of other matters is mostly of unknown words
_ENDS = "ing ed ly tion ness able er s ment ity al ous en ung lich keit ig isch te e ern".split()

KIND = {"name": "name", "mate": "name", "first": "name", "last": "name",
        "address": "address", "street": "address", "amstreet": "address",
        "password": "password", "medical": "health", "health": "health"}  # fmt: skip


class _Anybody(Mapping[str, tuple[str, ...]]):
    """Facts of a persona, drawn anew whenever one is asked for."""

    def __init__(self, rng: Random) -> None:
        self._rng, self._held = rng, dict[str, str]()

    def __getitem__(self, kind: str) -> tuple[str, ...]:
        if kind in ("mate", "first", "last", "street"):
            return (self._draw(kind),)
        return (self._held.setdefault(kind, self._draw(kind)),)

    def _draw(self, kind: str) -> str:
        rng = self._rng
        if kind == "street":
            return str(rng.choice(everyday_words.STREETS))
        if kind == "child":
            return f"{ENGLISH_PEOPLE.draw('first', rng)}, born {rng.choice(words.DATES)} {rng.randrange(2006, 2026)}"
        if kind in KIND:
            return ENGLISH_PEOPLE.draw(kind, rng)
        return draw_value(kind, rng)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def house_examples(seed: int, talks: int, everyday: int) -> Iterator[Example]:
    """Messages of the help desk and of everyday talk, by people whom no corpus has."""
    rng = Random(seed)  # noqa: S311  # made-up text
    problems = read_sheets(SHEETS)
    slots = {**house_slots(), "mate": parse("@mate")}
    wide = {**everyday_slots(), **{name: parse(f"@{name}") for name in ("first", "last", "street")}}
    scenes = read_scenes()
    for number in range(talks + everyday):
        persona = Persona(ClientId("nobody"), _Anybody(rng))  # type: ignore[arg-type]  # reads like a dict
        read = slots if number < talks else wide
        talk = Talk(rng, read, draw_style(rng), persona, Registry(), sticky=frozenset())
        if number < talks:
            talk_through(talk, [rng.choice(problems)])
        else:
            for user, desk in zip(*[iter(rng.choice(scenes).turns)] * 2, strict=True):
                talk.user(talk.text(user))
                talk.desk(talk.text(desk))
        for at, turn in enumerate(talk.turns):
            facts = [(fact.span.start, fact.span.end, fact.kind, fact.value) for fact in talk.facts if fact.turn == at]
            yield Example(turn.content, tuple(_joined(turn.content, facts)))


def _joined(text: str, facts: Sequence[tuple[int, int, str, str]]) -> Iterator[tuple[int, int, str]]:
    """What is marked: of a child its name, and a first and a last name as one; a street with its number."""
    last: tuple[int, int, str] | None = None
    for start, end, kind, value in facts:
        if kind == "child":
            start, end, kind = start, start + len(value.partition(",")[0]), "name"
        if kind not in KIND:
            continue
        if kind == "street":
            number = text[:start].rstrip().rpartition(" ")[2]
            start = start - len(number) - 1 if number.isdigit() else start
        if last and last[2] == "name" == KIND[kind] and text[last[1] : start] == " ":
            last = last[0], end, "name"
            continue
        if last:
            yield last
        last = start, end, KIND[kind]
    if last:
        yield last


def sentences(draw: Draw, people: People, seed: int, count: int) -> Iterator[Example]:
    """Readings of sentences that are drawn, one to three in a message."""
    rng = Random(seed)  # noqa: S311  # made-up text
    for _ in range(count):
        text, marked = "", list[tuple[int, int, str]]()
        for _ in range(rng.choice((1, 1, 2, 3))):
            template = draw(rng)
            text += rng.choice((" ", ". ", ", ")) if text else ""
            begins = len(text)
            for literal, kind, _, _ in string.Formatter().parse(template):
                text += literal
                if kind:
                    value = people.draw(kind, rng)
                    if kind == "dates" and marked and marked[-1][1] == len(text) - 1:  # of an illness they are a part
                        marked[-1] = marked[-1][0], len(text) + len(value), marked[-1][2]
                    elif kind in KIND:
                        marked.append((len(text), len(text) + len(value), KIND[kind]))
                    text += value
            if rng.random() < 0.6:
                text = text[:begins] + text[begins : begins + 1].upper() + text[begins + 1 :]
        yield Example(text + rng.choice(("", ".", "!", "?")), tuple(marked))


def roughened(example: Example, rng: Random) -> Example:
    """Some messages in one case, and words that are made up: what is new is no name by being new."""
    text, marked = "", []
    at, share = 0, rng.choice(FOREIGN)
    for start, end, kind in (*example.marked, (len(example.text), len(example.text), "")):
        text += "".join(_foreign(piece, rng, share) for piece in _split(example.text[at:start]))
        if kind:
            marked.append((len(text), len(text) + end - start, kind))
        text += example.text[start:end]
        at = end
    way = rng.random()
    cased = text.lower() if way < LOWER else text.upper() if way < LOWER + UPPER else text
    return Example(cased if len(cased) == len(text) else text, tuple(marked))


def _split(text: str) -> list[str]:
    return text.replace(" ", "\0 \0").split("\0")


def _foreign(piece: str, rng: Random, share: float) -> str:
    mark = piece[-1:] if piece[-1:] in ".,!?;:" else ""
    bare = piece.removesuffix(mark)
    if len(bare) < 4 or not bare.isalpha() or rng.random() >= share:
        return piece
    word = made_up(rng, rng.choice((1, 1, 2, 2, 3))) + (rng.choice(_ENDS) if rng.random() < 0.6 else "")
    return (word.capitalize() if bare[0].isupper() or rng.random() < 0.1 else word) + mark


def learned_forms() -> HouseForms:
    """The help desk's forms, learned from values that are drawn here, and its lists."""
    rng = Random(SEED)  # noqa: S311  # made-up values
    kinds = ("employee", "ticket", "asset", "bank")
    examples = [(kind, draw_value(kind, rng)) for kind in kinds for _ in range(400)]
    products = sorted({word for text in HOUSE.values() for word in _capitals(text)} - _said_small())
    listed = [(kind, value) for kind, of in (("room", words.ROOMS), ("product", products)) for value in (*of, *of)]
    ordinary = {*products, *words.ROOMS, *words.PROJECTS, *(word for each in words.BUILDINGS for word in each.split())}
    return HouseForms.learn([*examples, *listed], ordinary)


def _capitals(text: str) -> list[str]:
    """Names of products in a slot's reading: what has a capital and five letters or more."""
    found = "".join(letter if letter.isalnum() else " " for letter in text).split()
    days = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
    known = {*words.MONTHS, *days, *words.COLLEAGUES, *words.TOWNS, *words.ROOMS, *words.PROJECTS,
             *(word for each in words.BUILDINGS for word in each.replace("'", " ").split())}  # fmt: skip
    return [word for word in found if len(word) >= 4 and word.isalpha() and word.istitle() and word not in known]


def _said_small() -> set[str]:
    """Words, with a capital, that the help desk says in small letters too: they are words before they are products."""
    said = " ".join(("\n".join(SHEETS), *HOUSE.values()))
    return {word.capitalize() for word in re.findall(r"\b[a-z]+\b", said)}


def english(say: Callable[[str], None]) -> bytes:
    """The English tagger's file."""
    rng = Random(SEED + 1)  # noqa: S311  # made-up text
    grammar = Grammar.read(ENGLISH_SENTENCES, ENGLISH_GRAMMAR)
    base = [*house_examples(SEED, TALKS, EVERYDAY), *_spoken("en", phrases.ENGLISH, grammar, ENGLISH_PEOPLE)]
    return _learned(base, everyday_words.FIRST_NAMES, rng, say)


def german(say: Callable[[str], None]) -> bytes:
    """The German tagger's file."""
    rng = Random(SEED + 2)  # noqa: S311  # made-up text
    base = list(_spoken("de", phrases.GERMAN, Grammar.read(GERMAN_SENTENCES, GERMAN_GRAMMAR), GERMAN_PEOPLE))
    return _learned(base, GERMAN_PEOPLE.first, rng, say)


def _spoken(language: str, listed: Sequence[str], grammar: Grammar, people: People) -> Iterator[Example]:
    yield from sentences(lambda rng: rng.choice(listed), people, SEED, LISTED[language])
    yield from sentences(grammar.draw, people, SEED + 3, GRAMMATICAL[language])


def _learned(base: Sequence[Example], names: Sequence[str], rng: Random, say: Callable[[str], None]) -> bytes:
    vocabulary = vocabulary_of(base, names)
    rough = [roughened(example, rng) for example in base]
    marked = sum(len(example.marked) for example in rough)
    say(f"{len(rough):,} messages, {marked:,} marked, {len(vocabulary.common):,} common words")
    return learn(rough, vocabulary, PASSES, SEED, HIDDEN, say)


def main(arguments: Sequence[str] | None = None) -> int:
    """Learns and writes. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.filter_learning", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=LEARNED, help="folder of the files; the default is the filter's own"
    )
    parser.add_argument("--only", choices=("forms", "en", "de"), help="one of the files")
    options = parser.parse_args(arguments)

    def say(text: str) -> None:
        print(text, flush=True)

    made: dict[str, Callable[[], bytes]] = {
        "forms": lambda: (json.dumps(learned_forms().to_json(), indent=1, allow_nan=False) + "\n").encode(),
        "en": lambda: english(say),
        "de": lambda: german(say),
    }
    for name, make in made.items():
        if options.only in (None, name):
            started = time.process_time()
            path = options.out / f"{name}.{'json' if name == 'forms' else 'npz'}"
            write_atomically(path, make(), 0o644)
            print(f"{path}: {path.stat().st_size:,} bytes, {time.process_time() - started:.0f} s of processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
