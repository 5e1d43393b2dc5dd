"""Draws rooms on floors as SVG, with an arrow from each room to those that it knows.

Knows where a room stands on the page and no import. Plain shapes and the system's font, light or dark as the reader's
browser is; nothing is fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Box:
    """Where a room stands, in points from the drawing's left upper corner, and what is said of it."""

    left: int
    top: int
    width: int
    says: str

    @property
    def bottom(self) -> int:
        """Its lower edge."""
        return self.top + HEIGHT

    @property
    def right(self) -> int:
        """Its right edge."""
        return self.left + self.width

    @property
    def centre(self) -> int:
        """Its middle, from the left."""
        return self.left + self.width // 2


HEIGHT, GAP, TOP, WIDTH = 50, 38, 18, 1168
STRAIGHT = 45  # two boxes that share so much of their width have a straight arrow
ROWS = ("programs", "audits", "run", "engines", "sides", "plan", "ground", "page", "face", "drawing", "rooms", "types")


def _row(name: str) -> int:
    return TOP + ROWS.index(name) * (HEIGHT + GAP)


BOXES = {  # where one box stands over another the arrow runs straight down, so no other box stands between the two
    "training": Box(110, _row("programs"), 910, "programs: one job each, from the command line"),
    "training.audits": Box(110, _row("audits"), 910, "what attackers get of a finished run"),
    "training.run": Box(110, _row("run"), 910, "what stays on disk and is shown"),
    "training.engines": Box(110, _row("engines"), 530, "who carries the bytes"),
    "training.private_vocabulary": Box(660, _row("engines"), 290, "words that many use, and nobody learns who"),
    "training.parties": Box(110, _row("sides"), 480, "who takes part, what they say and keep"),
    "training.base": Box(630, _row("sides"), 285, "what is learned from and with"),
    "training.plan": Box(110, _row("plan"), 330, "what was agreed and what follows from it"),
    "training.durable": Box(503, _row("ground"), 128, "whole files"),
    "training.workers": Box(642, _row("ground"), 124, "processes"),
    "serving": Box(1035, _row("page"), 115, "the page"),
    "chatfed": Box(945, _row("face"), 205, "Chat, the command"),
    "chatfed.generation": Box(1020, _row("drawing"), 130, "replies, many at once"),
    "chatfed.privacy": Box(110, _row("rooms"), 125, "clip, noise, account"),
    "chatfed.secagg": Box(250, _row("rooms"), 125, "sums under masks"),
    "chatfed.audit": Box(390, _row("rooms"), 125, "what leaks"),
    "chatfed.data": Box(735, _row("rooms"), 130, "dialogues"),
    "chatfed.model": Box(880, _row("rooms"), 130, "models, tokens"),
    "chatfed.encrypted": Box(1025, _row("rooms"), 125, "ciphertexts"),
    "chatfed.conversation": Box(530, _row("rooms"), 140, "filter, log, copies"),
    "chatfed.types": Box(110, _row("types"), 1040, "values that rooms share, and names loaded late"),
}

STYLE = """
  text { font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2933 }
  text { text-anchor: middle }
  .says { font-size: 12px; fill: #52606d }
  .floor { font-size: 12px; fill: #52606d; text-anchor: start }
  .page { fill: #ffffff } .box { fill: #eef2f7; stroke: #7b8794 } .library { fill: #e3f1ea }
  .arrow { stroke: #7b8794; stroke-width: 1.4; fill: none } .head { fill: #7b8794 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb } .says, .floor { fill: #9aa5b1 }
    .page { fill: #0d1117 } .box { fill: #1c2733; stroke: #7b8794 } .library { fill: #17322a }
  }
"""


def reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Rooms that a room knows, itself or through others. The graph has no circle."""
    return set(graph[start]).union(*(reached(graph, each) for each in graph[start]))


def direct(graph: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Arrows without those that others imply: a room that knows a room may know whatever that one knows."""
    arrows = []
    for room, targets in sorted(graph.items()):
        implied: set[str] = set().union(*(reached(graph, each) for each in targets))
        arrows += [(room, target) for target in sorted(targets - implied)]
    return arrows


def _ports(arrows: list[tuple[str, str]], end: int) -> dict[tuple[str, str], int]:
    """Where each arrow meets its box, from the left: amid what two boxes share, or at the other's side."""
    places: dict[tuple[str, str], int] = {}
    taken: Counter[tuple[str, bool]] = Counter()
    apart = sorted(arrows, key=lambda arrow: -abs(BOXES[arrow[0]].centre - BOXES[arrow[1]].centre))
    for arrow in apart:  # what leads furthest leaves nearest to the corner: fewer cross
        box, other = BOXES[arrow[end]], BOXES[arrow[1 - end]]
        low, high = max(box.left, other.left), min(box.right, other.right)
        if high - low >= STRAIGHT:
            places[arrow] = (low + high) // 2
            continue
        side = (arrow[end], other.centre < box.centre)
        inwards = 20 + 28 * taken[side]
        places[arrow] = box.left + inwards if side[1] else box.right - inwards
        taken[side] += 1
    return places


def _lines(arrows: list[tuple[str, str]]) -> Iterator[str]:
    starts, ends = _ports(arrows, 0), _ports(arrows, 1)
    for arrow in arrows:
        top, bottom = BOXES[arrow[0]].bottom, BOXES[arrow[1]].top - 2
        title = escape(f"{arrow[0]} knows {arrow[1]}")
        yield f'  <path class="arrow" marker-end="url(#head)" d="M{starts[arrow]} {top}L{ends[arrow]} {bottom}">'
        yield f"    <title>{title}</title></path>"


def _boxes(rooms: Mapping[str, set[str]]) -> Iterator[str]:
    for room in sorted(rooms):
        box = BOXES[room]
        kind = "box library" if room.startswith("chatfed") else "box"
        yield f'  <rect class="{kind}" x="{box.left}" y="{box.top}" width="{box.width}" height="{HEIGHT}" rx="6"/>'
        yield f'  <text x="{box.centre}" y="{box.top + 21}">{escape(room)}</text>'
        yield f'  <text class="says" x="{box.centre}" y="{box.top + 39}">{escape(box.says)}</text>'


def drawing(rooms: Mapping[str, set[str]]) -> str:
    """The rooms of a graph without circles as the text of an SVG file."""
    height = _row(ROWS[-1]) + HEIGHT + TOP
    floors = [f'  <text class="floor" x="18" y="{_row(row) + 29}">{row}</text>' for row in ROWS]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "  <title>The rooms of chatfed, and who knows whom</title>",
            f"  <style>{STYLE}  </style>",
            '  <marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
            '    <path class="head" d="M0 0L8 4L0 8z"/>',
            "  </marker>",
            f'  <rect class="page" width="{WIDTH}" height="{height}" rx="8"/>',
            *floors,
            *_lines(direct(rooms)),
            *_boxes(rooms),
            "</svg>\n",
        ]
    )
