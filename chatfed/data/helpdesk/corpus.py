"""Generates the default corpus: public text, private clients, held-out clients. Deterministic from its seed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk.content import SHEETS
from chatfed.data.helpdesk.conversation import SpokenFact, Talk, small_talk, talk_through
from chatfed.data.helpdesk.everyday import everyday_slots, everyday_talk, read_scenes
from chatfed.data.helpdesk.grammar import Slots
from chatfed.data.helpdesk.persona import Registry, draw_persona
from chatfed.data.helpdesk.slots import house_slots, public_slots
from chatfed.data.helpdesk.style import draw_public_style, draw_style
from chatfed.data.helpdesk.topics import Problem, for_public, read_sheets
from chatfed.types import ClientId, Span, Turn

CLIENTS = 400
"""Clients of the generated help desk that train, unless told otherwise."""

HELD_OUT_CLIENTS = 30
PUBLIC_DIALOGUES = 4700
EVERYDAY_SHARE = 0.35  # of the public dialogues; they are shorter than those with the desk: a fifth of the words
TOPIC_ALPHA = 0.35  # Dirichlet over domains, per client: small is skewed
SMALL_TALK_SHARE = 0.03
# Of the talks with the desk, those of several problems in a row; else a model takes whatever comes late for a goodbye.
SEVERAL_SHARE, HOUSE_SEVERAL_SHARE = 0.45, 0.15
SEVERAL = {2: 3, 3: 3, 4: 3, 5: 2, 6: 2}  # how many problems: how often
HOUSE_SEVERAL = {2: 7, 3: 4, 4: 2, 5: 1, 6: 1}  # shorter: every word of the clients' is paid for in each round
FREQUENT = {  # what every help desk hears most: how often, against 1 for others
    "laptop will not start": 3.0,
    "forgotten password": 2.0,
    "printer does not print": 2.0,
    "vpn does not connect": 2.0,
    "mail not arriving": 2.0,
}
_WORD = re.compile(r"\w[\w'-]*")


@dataclass(frozen=True)
class PrivateFact:
    """A private value where it stands: `part[dialogue].messages[turn].content[span.start:span.end] == value`."""

    client_id: ClientId
    dialogue: int  # of the part that the client's dialogues are in: `private`, or `held_out`
    turn: int
    span: Span
    kind: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class HelpdeskCorpus:
    """`public` names no client; `held_out` is like `private`, of clients that `private` lacks."""

    public: list[Dialogue]
    private: list[Dialogue]
    held_out: list[Dialogue]
    facts: list[PrivateFact]  # of `private`
    held_out_facts: list[PrivateFact]


def generate(
    seed: int = 1,
    clients: int = CLIENTS,
    held_out_clients: int = HELD_OUT_CLIENTS,
    public_dialogues: int = PUBLIC_DIALOGUES,
) -> HelpdeskCorpus:
    """The corpus of a seed. A client of a seed is the same however many clients come after it."""
    problems, slots = read_sheets(SHEETS), house_slots()
    registry, seen = Registry(), set[str]()

    def part(prefix: str, count: int, between: tuple[int, int]) -> tuple[list[Dialogue], list[PrivateFact]]:
        dialogues: list[Dialogue] = []
        facts: list[PrivateFact] = []
        for name in _names(prefix, count):
            for dialogue, spoken in _client_dialogues(seed, name, between, problems, slots, registry, seen):
                at = len(dialogues)
                facts.extend(PrivateFact(name, at, each.turn, each.span, each.kind, each.value) for each in spoken)
                dialogues.append(dialogue)
        return dialogues, facts

    private, facts = part("client", clients, (20, 60))
    held_out, held_out_facts = part("held-out", held_out_clients, (25, 40))
    return HelpdeskCorpus(_public(seed, public_dialogues, problems, seen), private, held_out, facts, held_out_facts)


def generate_for(clients: int, seed: int = 1) -> HelpdeskCorpus:
    """The corpus of a house of so many clients; of a small one the other parts are smaller too."""
    held_out, public = max(3, clients // 5), 20 * clients
    return generate(seed, clients, min(held_out, HELD_OUT_CLIENTS), min(public, PUBLIC_DIALOGUES))


def _names(prefix: str, count: int) -> list[ClientId]:
    return [ClientId(f"{prefix}-{number:03d}") for number in range(1, count + 1)]


def _public(seed: int, count: int, problems: Sequence[Problem], seen: set[str]) -> list[Dialogue]:
    rng = Random(f"{seed}/public")  # noqa: S311  # a corpus that is made up
    slots, wide, scenes = public_slots(), everyday_slots(), read_scenes()
    shown = [for_public(problem, slots) for problem in problems if problem.public]
    usual = [FREQUENT.get(problem.title, 1.0) ** 2 for problem in shown]  # few domains: what is usual, more so

    def draw() -> Talk:
        if rng.random() < EVERYDAY_SHARE:
            return everyday_talk(rng, wide, scenes)
        talk = Talk(rng, slots, draw_public_style(rng))
        _speak(talk, shown, usual, SEVERAL_SHARE, SEVERAL)
        return talk

    return [Dialogue(tuple(talk.turns)) for talk in _distinct(draw, count, seen)]


def _speak(
    talk: Talk, problems: Sequence[Problem], weights: Sequence[float], several: float, counts: Mapping[int, int]
) -> None:
    """Small talk, or problems talked through: one, or with probability `several` more, of which none comes twice.

    counts: how many problems are several, and how often.
    """
    rng = talk.rng
    if rng.random() < SMALL_TALK_SHARE:
        small_talk(talk)
        return
    count = rng.choices(list(counts), list(counts.values()))[0] if rng.random() < several else 1
    chosen: list[Problem] = []
    left = list(weights)
    for _ in range(min(count, len(problems))):
        at = rng.choices(range(len(problems)), left)[0]
        chosen.append(problems[at])
        left[at] = 0.0
    talk_through(talk, chosen)


def _distinct(draw: Callable[[], Talk], count: int, seen: set[str]) -> Iterator[Talk]:
    """`count` talks, none of them, but for case and blanks, among `seen`, where they are then too.

    What is public or held out and a client's as well would be learned without noise, or measured after it was learned.
    """
    for _ in range(count):
        talk = draw()
        while (key := _plainly(talk)) in seen:
            talk = draw()
        seen.add(key)
        yield talk


def _plainly(talk: Talk) -> str:
    return "\n".join(" ".join([turn.role, *turn.content.casefold().split()]) for turn in talk.turns)


def _client_dialogues(
    seed: int,
    name: ClientId,
    between: tuple[int, int],
    problems: Sequence[Problem],
    slots: Slots,
    registry: Registry,
    seen: set[str],
) -> Iterator[tuple[Dialogue, list[SpokenFact]]]:
    rng = Random(f"{seed}/{name}")  # noqa: S311  # a corpus that is made up
    persona, style = draw_persona(name, rng, registry), draw_style(rng)
    topics = _topic_weights(problems, rng)
    low, high = between
    count = low + int((high - low + 1) * rng.random() ** 1.7)  # more clients with few dialogues than with many

    def draw() -> Talk:
        talk = Talk(rng, slots, style, persona, registry)
        _speak(talk, problems, topics, HOUSE_SEVERAL_SHARE, HOUSE_SEVERAL)
        return talk

    for talk in _distinct(draw, count, seen):
        yield Dialogue(tuple(talk.turns), name), talk.facts


def _topic_weights(problems: Sequence[Problem], rng: Random) -> list[float]:
    domains = sorted({problem.domain for problem in problems})
    weight = {domain: rng.gammavariate(TOPIC_ALPHA, 1.0) + 1e-3 for domain in domains}
    return [weight[problem.domain] * FREQUENT.get(problem.title, 1.0) * rng.uniform(0.2, 1.0) for problem in problems]


DIALOGUES, FACTS = ("public", "private", "held_out"), ("facts", "held_out_facts")  # files and parts


def write(corpus: HelpdeskCorpus, folder: str | Path) -> None:
    """Writes each part into a file NAME.jsonl of the folder, whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in DIALOGUES:
        _write_lines(folder / f"{name}.jsonl", map(_dialogue_json, getattr(corpus, name)))
    for name in FACTS:
        _write_lines(folder / f"{name}.jsonl", map(_fact_json, getattr(corpus, name)))


def read(folder: str | Path) -> HelpdeskCorpus:
    """The corpus that `write` wrote into the folder."""
    lines = {name: _read_lines(Path(folder) / f"{name}.jsonl") for name in (*DIALOGUES, *FACTS)}
    public, private, held_out = ([_dialogue(line) for line in lines[name]] for name in DIALOGUES)
    facts, held_out_facts = ([_fact(line) for line in lines[name]] for name in FACTS)
    return HelpdeskCorpus(public, private, held_out, facts, held_out_facts)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _dialogue(item: dict[str, Any]) -> Dialogue:
    return Dialogue(tuple(Turn(**turn) for turn in item["messages"]), item.get("client_id"))


def _fact(item: dict[str, Any]) -> PrivateFact:
    return PrivateFact(**{**item, "span": Span(**item["span"])})


def _dialogue_json(dialogue: Dialogue) -> dict[str, object]:
    messages = [{"role": turn.role, "content": turn.content} for turn in dialogue.messages]
    owner = {} if dialogue.client_id is None else {"client_id": dialogue.client_id}
    return {**owner, "messages": messages}


def _fact_json(fact: PrivateFact) -> dict[str, object]:
    span = {"start": fact.span.start, "end": fact.span.end}
    return {**vars(fact), "span": span}


def _write_lines(path: Path, objects: Iterable[dict[str, object]]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for item in objects:
                file.write(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class Figures:
    """Counts of one part. `distinct_five_grams` is distinct / total over lower-cased words within single messages."""

    clients: int
    dialogues: int
    messages: int
    words: int
    vocabulary: int
    distinct_five_grams: float


def figures(dialogues: Sequence[Dialogue]) -> Figures:
    """Counts of the dialogues; words are runs of letters, digits, apostrophes and hyphens."""
    seen: set[tuple[str, ...]] = set()
    vocabulary: set[str] = set()
    total = messages = words = 0
    for dialogue in dialogues:
        for turn in dialogue.messages:
            found = _WORD.findall(turn.content.lower())
            vocabulary.update(found)
            grams = list(zip(*(found[at:] for at in range(5)), strict=False))
            seen.update(grams)
            total, messages, words = total + len(grams), messages + 1, words + len(found)
    owners = {dialogue.client_id for dialogue in dialogues} - {None}
    return Figures(len(owners), len(dialogues), messages, words, len(vocabulary), len(seen) / max(1, total))
