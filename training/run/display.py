"""What a person watches while a run goes on: one line a round, and a bar with the time left. Decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from chatfed.audit.figures import MISSING, above, bits

from ..parties.session import Step

DOING = {
    Step.SESSION: "clients learn",
    Step.ADVERTS: "keys are shared",
    Step.SHARES: "masked updates come in",
    Step.SURVIVORS: "clients agree on who is in the sum",
    Step.CERTIFICATE: "the sum is unmasked",
    Step.COMMITTED: "the round is closed",
    Step.START: "members take up the model that has learned what was counted",
}
SECONDS_BETWEEN_LINES = 20  # where there is no terminal to draw a bar on
WEIGHT = {
    Step.SESSION: 0.9,
    Step.ADVERTS: 0.02,
    Step.SHARES: 0.05,
    Step.SURVIVORS: 0.01,
    Step.CERTIFICATE: 0.01,
    Step.COMMITTED: 0.01,
    Step.START: 0.0,
}


class Display:
    """Sentences on the console, and a bar where the console is a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False)

    def say(self, sentence: str) -> None:
        """Prints a sentence, unless nothing but errors is to be said."""
        self.console.print(sentence, markup=False, soft_wrap=True)

    @contextmanager
    def phase(self, title: str) -> Iterator[Callable[[float, str], None]]:
        """A bar for one phase, or now and then a line: the callback takes the share done and what to say."""
        with self._bar() as bar:
            task = bar.add_task(title, total=1.0)
            spoke = time.monotonic()

            def update(done: float, text: str) -> None:
                nonlocal spoke
                bar.update(task, completed=done, description=text)
                if not self.console.is_terminal and time.monotonic() - spoke > SECONDS_BETWEEN_LINES:
                    spoke = time.monotonic()
                    self.say(f"{done:.0%} of {title}: {text}")

            yield update

    @contextmanager
    def rounds(self, total: int, finished: int) -> Iterator[RoundBar]:
        """A bar over the rounds of a run, of which some are finished."""
        with self._bar() as bar:
            yield RoundBar(bar, total, finished)

    def round_line(self, row: dict[str, Any], of: int, target: float, base: float, left: str = "") -> None:
        """What a finished round gave, and how long the others take."""
        spent = f"epsilon at most {above(row['epsilon_max'])} of {target:g}" if target else "no noise, no epsilon"
        shares = f"next word right {_share(row['top1'])} (top 3: {_share(row['top3'])})"
        measured = f"held-out bits per byte {bits(row['bits_per_byte'])}{_within(row)} (base {bits(base)}), {shares}"
        who = f"{row['survivors']} of {row['cohort']} clients"
        self.say(f"Round {row['round']} of {of}: {who}, {spent}, {measured}, {row['seconds']:.0f} s{left}")

    def _bar(self) -> Progress:
        """Transient; where the console is no terminal it draws nothing."""
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )


def _within(row: dict[str, Any]) -> str:
    """How far noise may have moved the bits; empty where there is none in them."""
    return f" ± {bits(row['bits_within'])}" if "bits_within" in row else ""


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1%}"


class RoundBar:
    """Progress through the rounds, clients counted, and the time left as the rounds so far tell it."""

    def __init__(self, bar: Progress, total: int, finished: int) -> None:
        self.bar, self.total, self.done, self.first = bar, total, finished, finished
        self.started = time.monotonic()
        self.task = bar.add_task(f"round {finished + 1} of {total}", total=float(total), completed=finished)

    def reply(self, step: Step, count: int, of: int) -> None:
        """A client answered at `step`."""
        before = sum(weight for other, weight in WEIGHT.items() if other < step)
        at = self.done + before + WEIGHT[step] * count / max(1, of)
        text = f"round {self.done + 1} of {self.total}: {DOING[step]}, {count} of {of}{self.left(at)}"
        self.bar.update(self.task, completed=at, description=text)

    def finish(self) -> str:
        """A round is measured. Returns how long the others take, as the end of a sentence."""
        self.done += 1
        self.bar.update(self.task, completed=float(self.done))
        return self.left(self.done)

    def left(self, at: float) -> str:
        """About how long the rest takes, once a tenth of a round tells."""
        if at - self.first < 0.1 or at >= self.total:
            return ""
        seconds = (time.monotonic() - self.started) / (at - self.first) * (self.total - at)
        return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"
