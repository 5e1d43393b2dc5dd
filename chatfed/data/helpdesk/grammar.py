"""Expands phrase templates with nested alternatives. Knows nothing of help desks, clients or dialogues.

`{a|b {c|d}|}` picks one alternative, `<slot>` expands a named template, `@kind` asks the caller for a fact.
Plain words that have safe synonyms (the table below) vary by themselves, so that content stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

SYNONYMS: Mapping[str, Sequence[str]] = {
    "make sure": ("make sure", "check", "confirm"),
    "make sure that": ("make sure that", "check that", "confirm that", "see that"),
    "press and hold": ("press and hold", "hold down", "hold", "keep pressing"),
    "switch off": ("switch off", "turn off"),
    "restart": ("restart", "reboot", "restart"),
    "and then": ("and then", "and after that", "and", "then"),
    "click": ("click", "select", "choose", "press", "pick"),
    "go to": ("go to", "open", "head to", "bring up"),
    "try again": ("try again", "have another go", "give it another try", "try once more", "retry"),
    "tell me": ("tell me", "let me know"),
    "usually": ("usually", "normally", "most often", "as a rule", "generally", "in most cases"),
    "a few minutes": ("a few minutes", "five minutes", "a couple of minutes", "several minutes", "ten minutes"),
    "right away": ("right away", "at once", "immediately", "straight away", "without delay"),
    "sign in": ("sign in", "log in", "log on", "sign in"),
    "because": ("because", "since", "because"),
    "a problem": ("a problem", "an issue", "a difficulty", "some trouble"),
    "the problem": ("the problem", "the issue", "the trouble", "the fault"),
    "this morning": ("this morning", "today", "earlier today", "this afternoon", "this week"),
    "i cannot": ("I cannot", "I am unable to", "I am not able to"),
    "you need to": ("you need to", "you have to", "you must", "you should", "you will have to"),
    "it takes": ("it takes", "that takes", "this takes", "it needs"),
    "contact": ("contact", "get in touch with", "write to", "speak to", "get hold of"),
    "broken": ("broken", "faulty", "defective", "damaged"),
    "again": ("again", "once more", "again"),
    "nothing happens": ("nothing happens", "there is no reaction", "nothing at all happens", "it just sits there"),
    "it should": ("it should", "it ought to", "that should", "this should", "with luck it will", "it will probably"),
    "quickly": ("quickly", "fast", "in no time"),
    "for example": ("for example", "for instance", "say"),
    "as soon as": ("as soon as", "once", "the moment", "when"),
    "so that": ("so that", "so"),
    "let me check": ("let me check", "let me look", "I will check", "one moment while I look", "let me see"),
    "do i need": ("do I need", "will I need", "would I need"),
    "how do i": ("how do I", "how can I", "what is the way to", "how should I", "what do I do to", "how would I"),
    "where do i": ("where do I", "where can I", "in which place do I", "where should I"),
    "what do i need to do": ("what do I need to do", "what should I do", "what are the steps", "how do I proceed"),
    "colleague": ("colleague", "team mate", "co-worker", "colleague"),
    "every time": ("every time", "each time"),
}
_WORD = re.compile(
    r"(?<![\w'-])(" + "|".join(sorted(map(re.escape, SYNONYMS), key=len, reverse=True)) + r")(?![\w'-])", re.IGNORECASE
)
_TOKEN = re.compile(r"[{}|]|<\w+>|@\w+|[^{}|<@]+|@")

Recall = Callable[[str, Callable[[], str]], str]
Slots = Mapping[str, "Template"]


@dataclass(frozen=True)
class _Choice:
    options: tuple[Template, ...]


@dataclass(frozen=True)
class _Slot:
    name: str


@dataclass(frozen=True)
class _Fact:
    kind: str


Node = str | _Choice | _Slot | _Fact
Template = tuple[Node, ...]


def parse(text: str) -> Template:
    """Template of `text`. Raises ValueError naming the text when its braces do not match."""
    tokens = _TOKEN.findall(text)
    template, rest = _sequence(tokens, 0, depth=0)
    if rest != len(tokens) or "".join(tokens) != text:
        raise ValueError(f"unbalanced template: {text!r}")
    return template


def _sequence(tokens: Sequence[str], at: int, depth: int) -> tuple[Template, int]:
    nodes: list[Node] = []
    while at < len(tokens) and not (depth and tokens[at] in "|}"):
        piece = tokens[at]
        at += 1
        if piece == "{":
            choice, at = _alternatives(tokens, at, depth + 1)
            nodes.append(choice)
        elif piece[0] == "<":
            nodes.append(_Slot(piece[1:-1]))
        elif piece[0] == "@" and len(piece) > 1:
            nodes.append(_Fact(piece[1:]))
        elif piece in "|}":
            raise ValueError(f"unbalanced template: {''.join(tokens)!r}")
        else:
            nodes.extend(_with_synonyms(piece))
    return tuple(nodes), at


def _alternatives(tokens: Sequence[str], at: int, depth: int) -> tuple[_Choice, int]:
    options: list[Template] = []
    while at < len(tokens):
        option, at = _sequence(tokens, at, depth)
        options.append(option)
        if at < len(tokens) and tokens[at] == "}":
            return _Choice(tuple(options)), at + 1
        at += 1
    raise ValueError(f"unbalanced template: {''.join(tokens)!r}")


def _with_synonyms(text: str) -> list[Node]:
    nodes: list[Node] = []
    for piece in _WORD.split(text):
        synonyms = SYNONYMS.get(piece.lower())
        if synonyms is None:
            nodes.append(piece)
        else:
            nodes.append(_Choice(tuple(_plain(option) for option in synonyms)))
    return [node for node in nodes if node != ""]


def _plain(text: str) -> Template:
    """Like `parse`, without synonyms of synonyms."""
    return tuple(_Slot(token[1:-1]) if token[0] == "<" else token for token in _TOKEN.findall(text))


def mentions(template: Template, slots: Slots) -> bool:
    """True when an expansion of the template may ask for a fact."""
    for node in template:
        if isinstance(node, _Fact):
            return True
        if isinstance(node, _Slot) and mentions(slots[node.name], slots):
            return True
        if isinstance(node, _Choice) and any(mentions(option, slots) for option in node.options):
            return True
    return False


def slot_names(template: Template) -> set[str]:
    """Names of the slots that the template itself refers to."""
    names: set[str] = set()
    for node in template:
        if isinstance(node, _Slot):
            names.add(node.name)
        elif isinstance(node, _Choice):
            names.update(*(slot_names(option) for option in node.options))
    return names


@dataclass(frozen=True)
class Source:
    """What a speaker brings to a template: `fact(kind)`, and `recall(name, draw)` for the slots named in `sticky`."""

    slots: Slots
    sticky: Collection[str]
    fact: Callable[[str], str]
    recall: Recall


def expand(template: Template, rng: Random, source: Source) -> str:
    """One surface form of the template."""
    pieces: list[str] = []
    stack: list[Node] = list(reversed(template))
    draw, slots, sticky = rng.random, source.slots, source.sticky
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif isinstance(node, _Choice):
            stack.extend(reversed(node.options[int(draw() * len(node.options))]))
        elif isinstance(node, _Fact):
            pieces.append(source.fact(node.kind))
        elif node.name in sticky:
            pieces.append(source.recall(node.name, partial(expand, slots[node.name], rng, source)))
        else:
            stack.extend(reversed(slots[node.name]))
    return "".join(pieces)
