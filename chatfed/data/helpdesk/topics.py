"""Reads the topic sheets: domains, problems, openings, questions, steps. Knows no clients and draws nothing.

A sheet is plain text, a line an item, continued by lines that begin with blanks:

    # domain (public|house)     a public domain is also spoken of in the public part
    == problem
    u what a user says first
    q the desk asks => the user answers
    s a step, good for anyone
    h a step of the house, with in-house names
    x the user asks on => the desk answers           y the same, of the house
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chatfed.data.helpdesk.grammar import Slots, Template, mentions, parse, slot_names

Pair = tuple[Template, Template]


@dataclass(frozen=True)
class Problem:
    """One problem of a domain, as templates."""

    domain: str
    title: str
    public: bool
    openings: tuple[Template, ...]
    questions: tuple[Pair, ...]
    steps: tuple[Template, ...]
    house_steps: tuple[Template, ...]
    followups: tuple[Pair, ...]


def read_sheets(sheets: Iterable[str]) -> list[Problem]:
    """Problems of all sheets, in order. Raises ValueError naming the item that cannot be read."""
    return [problem for sheet in sheets for problem in _read_sheet(sheet)]


def sheet_items(sheet: str) -> list[str]:
    """Items of a sheet, their continued lines joined."""
    items: list[str] = []
    for line in sheet.splitlines():
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        elif line.strip():
            items.append(line.strip())
    return items


def _read_sheet(sheet: str) -> list[Problem]:
    problems: list[Problem] = []
    domain, public = "", False
    title, collected = "", list[tuple[str, str]]()

    def close() -> None:
        if title:
            problems.append(_problem(domain, title, public, collected))

    for item in sheet_items(sheet):
        mark, _, rest = item.partition(" ")
        if mark == "#":
            close()
            title, collected = "", []
            domain, _, audience = rest.partition(" ")
            public = audience == "public"
        elif mark == "==":
            close()
            title, collected = rest, []
        elif mark in "uqshxy" and title:
            collected.append((mark, rest))
        else:
            raise ValueError(f"cannot read the item {item!r}")
    close()
    return problems


def _problem(domain: str, title: str, public: bool, collected: Sequence[tuple[str, str]]) -> Problem:
    def single(mark: str) -> tuple[Template, ...]:
        return tuple(parse(text) for kind, text in collected if kind == mark)

    def pairs(marks: str) -> tuple[Pair, ...]:
        return tuple(_pair(text) for kind, text in collected if kind in marks)

    problem = Problem(domain, title, public, single("u"), pairs("q"), single("s"), single("h"), pairs("xy"))
    if not problem.openings or not (problem.steps or problem.house_steps):
        raise ValueError(f"problem {title!r} of {domain!r} lacks openings or steps")
    return problem


def _pair(text: str) -> Pair:
    first, arrow, second = text.partition(" => ")
    if not arrow:
        raise ValueError(f"no => in {text!r}")
    return parse(first), parse(second)


def for_public(problem: Problem, slots: Slots) -> Problem:
    """The problem without what only the house says: facts, house steps, in-house names."""

    def shown(template: Template) -> bool:
        return slot_names(template) <= slots.keys() and not mentions(template, slots)

    def shown_pairs(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return tuple(pair for pair in pairs if shown(pair[0]) and shown(pair[1]))

    return Problem(
        problem.domain,
        problem.title,
        problem.public,
        tuple(filter(shown, problem.openings)),
        shown_pairs(problem.questions),
        tuple(filter(shown, problem.steps)),
        (),
        shown_pairs(problem.followups),
    )
