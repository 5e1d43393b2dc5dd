"""Lets a writer and the desk talk a problem through. Knows templates and styles, not files or counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from chatfed.data.helpdesk import phrases
from chatfed.data.helpdesk.grammar import Slots, Source, Template, expand, parse
from chatfed.data.helpdesk.persona import Persona, Registry, draw_value
from chatfed.data.helpdesk.style import Style, as_client_writes, contract, tidy
from chatfed.data.helpdesk.topics import Pair, Problem
from chatfed.types import Span, Turn

# Slots that a dialogue keeps to once they are named: an answer speaks of the town that was asked about.
_STICKY = frozenset("town building room project team date month amount code model printq when".split())
_FIRST_MARK = 0xE000  # a fact travels through styling as one private-use character
_MARKS = re.compile("([\ue000-\uf8ff])")
_PHRASES: dict[str, Template] = {name: parse(text) for name, text in vars(phrases).items() if isinstance(text, str)
                                 and name.isupper()}  # fmt: skip
_SMALL_TALK = tuple((parse(a), parse(b)) for a, b in phrases.SMALL_TALK)
_HOUSE_SMALL_TALK = tuple((parse(a), parse(b)) for a, b in phrases.HOUSE_SMALL_TALK)
_UNKNOWN = tuple((parse(a), parse(b)) for a, b in phrases.UNKNOWN)
_HOUSE_UNKNOWN = tuple((parse(a), parse(b)) for a, b in phrases.HOUSE_UNKNOWN)


@dataclass(frozen=True)
class Pace:
    """How long a problem is talked about: probabilities, and the words after which it goes straight to its end."""

    asks: float  # the desk asks before it answers
    fails: float  # advice does not help, each time
    escalates: float  # what failed becomes a ticket
    follows: float  # the user asks on
    stumps: float  # the user asks what the desk does not know
    most_words: int


PUBLIC_PACE, HOUSE_PACE = Pace(0.4, 0.42, 0.2, 0.5, 0.08, 95), Pace(0.5, 0.38, 0.3, 0.42, 0.1, 90)
# Of each of several problems: mostly asked and answered. A new problem and its answer, at any place of a talk, are what
# is to be learned; whatever fits any problem would be learned instead.
BRISK = Pace(0.25, 0.22, 0.08, 0.3, 0.08, 60)
PAUSES = 0.35  # between two problems the user thanks and waits


@dataclass(frozen=True)
class SpokenFact:
    """A fact in a turn of the dialogue under way."""

    turn: int
    span: Span
    kind: str
    value: str = field(repr=False)


@dataclass
class Talk:
    """A dialogue under way. `persona` is None in the public part, where no fact may be spoken."""

    rng: Random
    slots: Slots
    style: Style
    persona: Persona | None = None
    registry: Registry | None = None
    answers: Style | None = None  # how the desk writes, when it is not the desk of the house or of the public
    sticky: frozenset[str] = _STICKY
    turns: list[Turn] = field(default_factory=list)
    facts: list[SpokenFact] = field(default_factory=list)
    words: int = 0  # since the present problem was opened
    _ticket: str = ""
    _marks: list[tuple[str, str]] = field(default_factory=list)
    _named: dict[str, str] = field(default_factory=dict)  # sticky slot -> what earlier turns called it
    _naming: dict[str, str] = field(default_factory=dict)  # the same of the turn under way
    _source: Source = field(init=False)

    def __post_init__(self) -> None:
        self._source = Source(self.slots, self.sticky & self.slots.keys(), self._mark, self._recall)

    @property
    def house(self) -> bool:
        """Whether a house's client talks, and not the public."""
        return self.persona is not None

    def next_problem(self) -> None:
        """What one problem named, its ticket too, is not the next one's."""
        self._ticket, self.words = "", 0
        self._named.clear()

    def phrase(self, name: str) -> str:
        """One reading of a phrase; in the house, one that has its own HOUSE_ form uses it as often as the plain one."""
        if not self.house and f"PUBLIC_{name}" in _PHRASES:
            name = f"PUBLIC_{name}"
        elif self.house and f"HOUSE_{name}" in _PHRASES and self.rng.random() < 0.6:
            name = f"HOUSE_{name}"
        return self.text(_PHRASES[name])

    def text(self, template: Template) -> str:
        """A reading of a template, drawn, with facts that earlier turns named."""
        return expand(template, self.rng, self._source)

    def _recall(self, name: str, draw: Callable[[], str]) -> str:
        """What an earlier turn called it, once a turn and mostly; else a new reading, kept for later turns."""
        if name in self._named and name not in self._naming and self.rng.random() < 0.8:
            value = self._named[name]
        else:
            value = draw()
        self._naming.setdefault(name, value)
        return value

    def _mark(self, kind: str) -> str:
        self._marks.append((kind, self._value(kind)))
        return chr(_FIRST_MARK + len(self._marks) - 1)

    def _value(self, kind: str) -> str:
        if self.persona is None or self.registry is None:
            raise ValueError(f"the public part asked for a private {kind}")
        if kind != "ticket":
            return self.rng.choice(self.persona.facts[kind])
        while not self._ticket:
            ticket = draw_value("ticket", self.rng)
            self._ticket = ticket if self.registry.claim(ticket) else ""
        return self._ticket

    def user(self, *sentences: str) -> None:
        """The user says these sentences, in their way of writing."""
        text = tidy(_joined(sentences))
        self._add("user", as_client_writes(text, self.style, self.rng))

    def desk(self, *sentences: str) -> None:
        """The desk says these sentences, in the answers' way of writing where they have one."""
        text = tidy(_joined(sentences))
        if self.answers is not None:
            self._add("assistant", as_client_writes(text, self.answers, self.rng))
        else:
            self._add("assistant", contract(text, 0.4, self.rng))

    def _add(self, role: str, marked: str) -> None:
        """Appends the turn, its marks replaced by their facts."""
        content = ""
        for piece in _MARKS.split(marked) if self._marks else [marked]:
            if _MARKS.match(piece):
                kind, value = self._marks[ord(piece) - _FIRST_MARK]
                span = Span(len(content), len(content) + len(value))
                self.facts.append(SpokenFact(len(self.turns), span, kind, value))
                piece = value
            content += piece
        self._marks.clear()
        self._named = {**self._naming, **self._named}
        self._naming.clear()
        self.words += content.count(" ") + 1
        self.turns.append(Turn(role, content))


def _joined(sentences: Sequence[str]) -> str:
    """Sentences set one after the other, each with its stop."""
    whole = [text.strip() for text in sentences if text.strip()]
    return " ".join(text if text[-1] in ".?!,:" else text + "." for text in whole)


def talk_through(talk: Talk, problems: Sequence[Problem]) -> None:
    """One problem or several in a row, with thanks and goodbye after the last.

    Of each: perhaps a question, an answer; it works, or a second try, or a ticket.
    """
    pace = BRISK if len(problems) > 1 else HOUSE_PACE if talk.house else PUBLIC_PACE
    for problem in problems[:-1]:
        _solve(talk, problem, pace)
        if talk.rng.random() < PAUSES:
            talk.user(_maybe(talk, "WORKED", 0.3), talk.phrase("THANKS"))
            talk.desk(talk.phrase("MORE"))
        talk.next_problem()
    worked = _solve(talk, problems[-1], pace)
    if worked is not None:
        _close(talk, problems[-1], worked)
    elif not talk.house and talk.rng.random() < 0.5:
        talk.user(talk.phrase("THANKS"))
        talk.desk(talk.phrase("CLOSING"))


def _solve(talk: Talk, problem: Problem, pace: Pace) -> bool | None:
    """From the opening to the last answer. Returns whether the user said that it works; None: it became a ticket."""
    rng, first = talk.rng, not talk.turns
    _open(talk, problem) if first else _go_on(talk, problem)
    if first and talk.house and rng.random() < 0.08:
        talk.desk(talk.phrase("VERIFY"))
        talk.user(talk.phrase("VERIFIED"))
    if problem.questions and rng.random() < pace.asks:
        question, answer = rng.choice(problem.questions)
        talk.desk(_maybe(talk, "ACKNOWLEDGE", 0.35), talk.phrase("ONE_MORE_QUESTION") + talk.text(question))
        talk.user(talk.text(answer))
    left = _ordered_steps(talk, problem)
    talk.desk(_maybe(talk, "ACKNOWLEDGE", 0.4), *_advice(talk, left))
    return _react(talk, problem, left, pace)


def small_talk(talk: Talk) -> None:
    """Hello, who are you, goodbye."""
    pairs = _SMALL_TALK + (_HOUSE_SMALL_TALK * 3 if talk.house else ())
    for user, desk in talk.rng.sample(pairs, k=1 + (talk.rng.random() < 0.4)):
        talk.user(talk.text(user))
        talk.desk(talk.text(desk))


def _maybe(talk: Talk, name: str, probability: float) -> str:
    return talk.phrase(name) if talk.rng.random() < probability else ""


def _open(talk: Talk, problem: Problem) -> None:
    style = talk.style
    greeting = _maybe(talk, "GREETING", style.greets)
    introduction = _maybe(talk, "INTRODUCTION", style.introduces)
    feeling = _maybe(talk, "FEELING", style.chats * 0.5)
    context = talk.text(talk.slots["context"]) if talk.rng.random() < style.adds_context else ""
    filler = _maybe(talk, "FILLER", style.chats * 0.5)
    ask = talk.text(talk.slots["ask"]) if talk.rng.random() < 0.3 else ""
    signature = _maybe(talk, "SIGNATURE", style.signs * 0.5)
    opening = talk.text(talk.rng.choice(problem.openings))
    lead = ", ".join(text for text in (greeting, feeling) if text)
    parts = [
        f"{lead}, {introduction}" if lead and introduction else lead or introduction,
        opening,
        context,
        filler,
        ask,
    ]
    if len(parts[0].split()) < 4 and parts[0]:
        parts[:2] = [f"{parts[0]}, {opening}"]
    talk.user(*parts, signature)


def _go_on(talk: Talk, problem: Problem) -> None:
    """The next problem of the same dialogue: said with a word that leads over, or without any, as people type."""
    lead = _maybe(talk, "NEXT", 0.55)
    context = talk.text(talk.slots["context"]) if talk.rng.random() < 0.4 * talk.style.adds_context else ""
    ask = talk.text(talk.slots["ask"]) if talk.rng.random() < 0.15 else ""
    talk.user(lead + talk.text(talk.rng.choice(problem.openings)), context, ask)


Step = tuple[bool, Template]  # whether it is something to try, as against house procedure


def _ordered_steps(talk: Talk, problem: Problem) -> list[Step]:
    """Steps left to suggest: the sheet's order with neighbours sometimes swapped, house steps among them."""
    steps = [(True, step) for step in problem.steps]
    if talk.house:
        house = [(False, step) for step in problem.house_steps]
        for step in house if steps else ():
            steps.insert(talk.rng.randrange(0, len(steps) // 2 + 1), step)
        steps = steps or house
    for at in range(len(steps) - 1):
        if talk.rng.random() < 0.3:
            steps[at], steps[at + 1] = steps[at + 1], steps[at]
    return steps


def _advice(talk: Talk, left: list[Step]) -> list[str]:
    """One to three of the steps left, each led in as what it is."""
    said: list[str] = []
    while left and (not said or talk.rng.random() < 0.45 / len(said)):
        to_try, step = left.pop(0)
        if said:
            lead = talk.phrase("OTHERWISE" if to_try else "ALSO")
        else:
            lead = _maybe(talk, "TRY_THIS", 0.3) if to_try else ""
        said.append(lead + talk.text(step))
    return [*said, _maybe(talk, "REPORT", 0.2)]


def _react(talk: Talk, problem: Problem, left: list[Step], pace: Pace) -> bool | None:
    """What the user says to the advice: it fails and goes on, or it works; more questions. Returns as `_solve`."""
    rng = talk.rng
    while left and talk.words < pace.most_words and rng.random() < pace.fails:
        _fail(talk, problem)
        if rng.random() < pace.escalates:
            _escalate(talk)
            return None
        talk.desk(_maybe(talk, "ACKNOWLEDGE_FAILURE", 0.3), *_advice(talk, left))
    worked = False
    followups = rng.sample(problem.followups, k=min(2, len(problem.followups)))
    for pair in followups:
        if talk.words > pace.most_words or rng.random() >= pace.follows:
            break
        _ask_on(talk, pair, "" if worked else _maybe(talk, "WORKED", 0.2 if problem.steps else 0.0))
        worked = True
    if talk.words <= pace.most_words and rng.random() < pace.stumps:
        _stump(talk)
    return worked


def _fail(talk: Talk, problem: Problem) -> None:
    if problem.steps:
        detail = talk.phrase("DETAIL") if talk.house else ""
        talk.user(talk.phrase("FAILED"), detail)
    else:
        talk.user(talk.phrase("REFUSED"))


def _ask_on(talk: Talk, pair: Pair, worked: str) -> None:
    talk.user(worked or _maybe(talk, "THANKS", 0.15), talk.text(pair[0]))
    talk.desk(_maybe(talk, "ACKNOWLEDGE_MORE", 0.15), talk.text(pair[1]))


def _stump(talk: Talk) -> None:
    """A question beside the matter: the desk does not know and says who would."""
    question, place = talk.rng.choice(_HOUSE_UNKNOWN if talk.house else _UNKNOWN)
    talk.user(_maybe(talk, "THANKS", 0.25), talk.text(question))
    talk.desk(talk.phrase("UNSURE"), talk.phrase("ASK_THERE") + talk.text(place))


def _escalate(talk: Talk) -> None:
    talk.desk(talk.phrase("ESCALATE"))
    if talk.house:
        talk.user(talk.phrase("GIVE_PHONE"))
        talk.desk(talk.phrase("PHONE_NOTED"))


def _close(talk: Talk, problem: Problem, worked: bool) -> None:
    if talk.rng.random() < 0.3 and len(talk.turns) > 3:
        return
    success = "" if worked or not problem.steps else _maybe(talk, "WORKED", 0.6)
    talk.user(success, talk.phrase("THANKS"), _maybe(talk, "SIGNATURE", talk.style.signs))
    talk.desk(talk.phrase("CLOSING"))
