"""All parties in one process: everybody's message goes to everybody, until all are done. Knows no cipher.

Whoever carries the bytes between machines does the same with sockets; parties would not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

T = TypeVar("T")


def lockstep(
    talks: Mapping[str, Generator[bytes, Mapping[str, bytes], T]], heard: Callable[[str, int], None] | None = None
) -> dict[str, T]:
    """Each party's result, by name. heard: told sender and bytes of each message."""
    results: dict[str, T] = {}
    sent = {name: next(talk) for name, talk in talks.items()}
    while sent:
        for name, message in sent.items():
            if heard:
                heard(name, len(message))
        answered: dict[str, bytes] = {}
        for name, talk in talks.items():
            try:
                answered[name] = talk.send(sent)
            except StopIteration as done:
                results[name] = done.value
        sent = answered
    return results
