"""Everyday conversations of the public part: reads the scenes, plays one. Knows no help desk and no client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from chatfed.data.helpdesk.content.everyday import SCENES
from chatfed.data.helpdesk.conversation import Talk
from chatfed.data.helpdesk.everyday_words import SLOTS
from chatfed.data.helpdesk.grammar import Slots, Template, parse
from chatfed.data.helpdesk.slots import public_slots
from chatfed.data.helpdesk.style import Style, draw_style, plain_speech
from chatfed.data.helpdesk.topics import sheet_items

# What a scene keeps to once it is named.
STICKY = frozenset(
    "animal city country day7 drink first firm food hobby job kin last object paper place price ref street subject tel"
    " time vehicle wear weather who".split()
)


@dataclass(frozen=True)
class Scene:
    """Turns of one everyday conversation, the user's first and every other."""

    title: str
    turns: tuple[Template, ...]


def read_scenes(text: str = SCENES) -> list[Scene]:
    """The scenes in order. Raises ValueError when a scene's turns do not alternate, user first, answer last."""
    collected: list[tuple[str, list[tuple[str, str]]]] = []
    for item in sheet_items(text):
        mark, _, rest = item.partition(" ")
        if mark == "==":
            collected.append((rest, []))
        else:
            collected[-1][1].append((mark, rest))
    for title, turns in collected:
        if not turns or [mark for mark, _ in turns] != ["u", "a"] * (len(turns) // 2):
            raise ValueError(f"the turns of {title!r} do not alternate")
    return [Scene(title, tuple(parse(line) for _, line in turns)) for title, turns in collected]


def everyday_slots() -> Slots:
    """The public slots and those of everyday talk."""
    return {**public_slots(), **{name: parse(text) for name, text in SLOTS.items()}}


def everyday_talk(rng: Random, slots: Slots, scenes: Sequence[Scene]) -> Talk:
    """One scene, or up to four in a row, between a user and an answer that each have a way of writing."""
    answers: Style = draw_style(rng) if rng.random() < 0.3 else plain_speech(rng)
    talk = Talk(rng, slots, draw_style(rng), answers=answers, sticky=STICKY)
    for scene in rng.choices(scenes, k=rng.choices((1, 2, 3, 4), (75, 17, 5, 3))[0]):
        turns = scene.turns
        if len(turns) > 2 and rng.random() < 0.2:
            turns = turns[:2]
        for user, answer in zip(turns[::2], turns[1::2], strict=True):
            talk.user(talk.text(user))
            talk.desk(talk.text(answer))
    return talk
