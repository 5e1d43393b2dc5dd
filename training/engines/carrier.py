"""What the server of a run asks of whoever carries its messages. Knows no process and no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from chatfed.types import ClientId

from ..parties.session import Step

OnReply = Callable[[Step, int, int], None]
"""Is told of a step, how many have answered it, and of how many."""


class Carrier(Protocol):
    """An `Exchange` that says how far it came, and why clients gave no answer."""

    refusals: dict[ClientId, str]  # of this round, by those who said why

    def __call__(self, messages: Mapping[ClientId, bytes], /) -> Iterable[tuple[ClientId, bytes]]:
        """As `Exchange`."""

    def watch(self, on_reply: OnReply) -> None:
        """Has every answer told from now on."""


def said_by(refusals: Mapping[ClientId, str]) -> list[str]:
    """Why clients gave no answer, each in words that begin with its name."""
    return [reason if reason.startswith(f"{name}:") else f"{name}: {reason}" for name, reason in refusals.items()]
