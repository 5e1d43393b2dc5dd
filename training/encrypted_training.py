"""`chatfed he train-demo`: parties train a small network together that nobody can read before the end.

A research demonstration, after POSEIDON (Sav et al. 2020): all parties run in this process, on messages of the
generated help desk, and the same training in clear stands beside it. The cipher is in chatfed.encrypted.collective.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from chatfed.command_line import application, examples, exit_code
from chatfed.data.helpdesk.content import SHEETS
from chatfed.data.helpdesk.conversation import Talk, talk_through
from chatfed.data.helpdesk.slots import public_slots
from chatfed.data.helpdesk.style import draw_public_style
from chatfed.data.helpdesk.topics import Problem, for_public, read_sheets
from chatfed.encrypted.collective import network
from chatfed.encrypted.collective.lockstep import lockstep
from chatfed.encrypted.collective.network import Batch, Weights
from chatfed.encrypted.collective.parameters import Parameters
from chatfed.encrypted.collective.party import Party
from chatfed.types import Entropy

EPILOG = examples(
    ("chatfed he train-demo --steps 1", "one step: keys, two layers, three refreshes, the opening"),
    ("chatfed he train-demo --parties 5 --hidden 4", ""),
)
DESKS = (  # classes: domains of the help desk's sheets
    ("devices", ("hardware", "printers")),
    ("lines", ("phones", "vpn")),
    ("access", ("passwords",)),
    ("programs", ("software", "email")),
)
FEATURES, RATE = 64, 1.0
HELD_OUT, VOCABULARY_TEXTS = 400, 2000  # messages
BEYOND = "refreshes hid less than docs/encrypted.md says; other parties, hidden units or seeds train with smaller ones"
SECONDS_BETWEEN = 5.0  # of two lines that say how far it is

app = application()
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Messages:
    """First messages of generated dialogues, as features float64[n, 64], with their desks as ones in float64[n, 4]."""

    features: Matrix = field(repr=False)
    classes: Matrix = field(repr=False)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Some of them."""
        return Batch(self.features[rows], self.classes[rows])


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a training under encryption, and of the same in clear."""

    opened: Weights
    clear: Weights
    largest: float  # magnitude of any number in clear that is encrypted otherwise
    sent: int  # bytes of one party's messages in the last step
    keys_sent: int  # and for the keys
    step_seconds: tuple[float, ...]  # processor time of all parties together
    keys_seconds: float

    @property
    def difference(self) -> float:
        """The largest of any weight."""
        pairs = ((self.opened.first, self.clear.first), (self.opened.second, self.clear.second))
        return max(float(np.abs(one - other).max()) for one, other in pairs)


def texts(seed: str, count: int) -> tuple[list[str], list[int]]:
    """Generated first messages to a help desk, and the number of each one's desk. The same for a seed."""
    rng, slots = Random(seed), public_slots()  # noqa: S311, a corpus that is made up
    shown = [for_public(each, slots) for each in read_sheets(SHEETS) if each.public]
    desks = [[each for each in shown if each.domain in domains] for _, domains in DESKS]
    labels = [rng.randrange(len(DESKS)) for _ in range(count)]
    return [_message(rng, slots, rng.choice(desks[label])) for label in labels], labels


@cache
def vocabulary() -> dict[str, int]:
    """The words that tell desks apart best in messages that are nobody's, each with its place."""
    said, labels = texts("public", VOCABULARY_TEXTS)
    often: dict[str, Matrix] = {}
    for text, label in zip(said, labels, strict=True):
        for word in _words(text):
            often.setdefault(word, np.zeros(len(DESKS)))[label] += 1
    # how often one desk's messages have the word, less all others' together
    spread = {word: float(2 * counts.max() - counts.sum()) for word, counts in often.items()}
    best = sorted(spread, key=lambda word: (-spread[word], word))[: FEATURES - 1]
    return {word: place for place, word in enumerate(best)}


def messages(seed: str, count: int) -> Messages:
    """Generated messages as features and desks."""
    said, labels = texts(seed, count)
    return Messages(np.array([features(text) for text in said]), np.eye(len(DESKS))[labels])


def features(text: str) -> Matrix:
    """Which words of the vocabulary a text has, over the root of how many, and a last 1: float64[64]."""
    found, places = np.zeros(FEATURES), vocabulary()
    found[[places[word] for word in _words(text) if word in places]] = 1
    found /= np.sqrt(max(found.sum(), 1))
    found[-1] = 1
    return found


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _message(rng: Random, slots: Any, problem: Problem) -> str:
    talk = Talk(rng, slots, draw_public_style(rng))
    talk_through(talk, [problem])
    return talk.turns[0].content


def first_weights(parameters: Parameters, seed: int) -> Weights:
    """Small random ones; public, for the comparison in clear begins with them too."""
    generator = np.random.default_rng(seed)
    first = generator.normal(0, 0.3, (parameters.hidden, parameters.features))
    return Weights(first, generator.normal(0, 0.15, (parameters.classes, parameters.hidden)))


def trained(
    parameters: Parameters,
    data: Sequence[Messages],
    steps: int,
    seed: int,
    entropy: Entropy,
    said: Callable[[str, int, int], None],
) -> Outcome:
    """Trains on each party's messages, in this process: under encryption, and in clear on the same batches."""
    sent = dict.fromkeys(parameters.parties, 0)

    def heard(party: str, size: int) -> None:
        sent[party] += size

    parties = {name: Party(parameters, name) for name in parameters.parties}
    begun = time.process_time()
    lockstep({name: each.agree(entropy) for name, each in parties.items()}, heard)
    keys_seconds, keys_sent = time.process_time() - begun, max(sent.values())
    clear, generator = first_weights(parameters, seed), np.random.default_rng(seed)
    leader = parameters.parties[0]
    encrypted = parties[leader].encrypted(clear, entropy)
    for each in parties.values():
        each.begin(leader, encrypted)
    seconds, largest = list[float](), 0.0
    for done in range(steps):
        said("step", done, steps)
        batches = [each.batch(generator.choice(len(each.features), parameters.examples)) for each in data]
        largest = max(largest, _largest(clear, batches))
        clear = network.step(clear, batches, parameters.step_size)
        sent, begun = dict.fromkeys(parameters.parties, 0), time.process_time()
        talks = zip(parties.items(), batches, strict=True)
        lockstep({name: each.step(batch, entropy) for (name, each), batch in talks}, heard)
        seconds.append(time.process_time() - begun)
    largest = max(largest, float(np.abs(clear.first).max()), float(np.abs(clear.second).max()))
    in_a_step = max(sent.values())
    opened = lockstep({name: each.open(entropy) for name, each in parties.items()})[leader]
    return Outcome(opened, clear, largest, in_a_step, keys_sent, tuple(seconds), keys_seconds)


def _largest(weights: Weights, batches: Sequence[Batch]) -> float:
    """Magnitude of any number that is encrypted in a step, as it enters a refresh and as it leaves it."""
    x, y = (np.stack([getattr(each, name) for each in batches]) for name in ("features", "classes"))
    hidden = x @ weights.first.T  # [parties, examples, hidden]
    squares = hidden**2
    scores = squares @ weights.second.T
    wrong = scores - y
    back = wrong @ weights.second
    terms = squares[..., None, :] * weights.second, wrong[..., None] * weights.second  # of scores, of what goes back
    slopes = 2 * hidden * back
    # gradients enter as sums over parties, an example of each in a slot, and leave as sums over those
    first = (slopes[..., None] * x[..., None, :]).sum(axis=0)
    second = (wrong[..., None] * squares[..., None, :]).sum(axis=0)
    gradients = first, second, first.sum(axis=0), second.sum(axis=0)
    made = (weights.first, weights.second, hidden, squares, scores, wrong, back, slopes, *terms, *gradients)
    return max(float(np.abs(each).max()) for each in made)


def right(weights: Weights, held: Messages) -> float:
    """Share of messages whose desk has the highest score."""
    found = network.scores(weights, held.features).argmax(axis=1)
    return float((found == held.classes.argmax(axis=1)).mean())


def hidden_by_masks(largest: float) -> list[str]:
    """The largest number in words, with a warning where masks are not counted for it."""
    said = f"largest number under encryption: {largest:.1f} (masks are counted for {network.LARGEST:.0f})"
    return [said] if largest <= network.LARGEST else [said, f"WARNING: masks are not counted for that: {BEYOND}"]


def _progress() -> Callable[[str, int, int], None]:
    last = time.monotonic()

    def said(doing: str, done: int, of: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN:
            last = now
            print(f"{doing}: {done:,} of {of:,}", flush=True)

    return said


@app.command("train-demo", epilog=EPILOG)
def train_demo(
    parties: Annotated[int, typer.Option(min=3, max=8, help="How many parties train together.")] = 3,
    hidden: Annotated[int, typer.Option(help="Hidden units: a power of two up to 64.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Steps of gradient descent, seconds each.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of messages and first weights; keys and masks have none.")] = 1,
) -> None:
    """A research demonstration: trains a small network that nobody can read before the end.

    Parties, all in this process, learn from generated messages which desk each is for, under a key that they hold
    together. Says how far the weights are from the same training in clear. Not for data that matters: what it does not
    withstand is in docs/encrypted.md.
    """

    def job() -> None:
        print("\n".join(demonstrate(parties, hidden, steps, seed)))

    raise typer.Exit(exit_code(job))


def demonstrate(parties: int, hidden: int, steps: int, seed: int) -> list[str]:
    """The whole demonstration, with the lines that it ends with."""
    names = tuple(f"party {number}" for number in range(1, parties + 1))
    parameters = Parameters(names, FEATURES, hidden, len(DESKS), RATE, os.urandom(32))
    data = [messages(f"{seed}/{name}", 40 * parameters.examples) for name in names]
    held = messages(f"{seed}/held out", HELD_OUT)
    print(f"{parties} parties, {parameters.examples} messages of each a step: making the keys", flush=True)
    found = trained(parameters, data, steps, seed, os.urandom, _progress())
    begun = first_weights(parameters, seed)
    return [
        f"largest difference of a weight from the same training in clear: {found.difference:.1e}",
        f"right desk of {HELD_OUT} held-out messages: {right(found.opened, held):.1%}, in clear "
        f"{right(found.clear, held):.1%}, before {right(begun, held):.1%}",
        *hidden_by_masks(found.largest),
        f"processor seconds of all parties: {found.keys_seconds:.2f} for the keys, "
        f"{float(np.median(found.step_seconds)):.2f} a step",
        f"bytes that a party sends: {found.keys_sent:,} for the keys, {found.sent:,} a step",
    ]
