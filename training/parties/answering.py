"""Several clients' answers at once, so that what they write reaches the disk together. Knows no message."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Sequence
from typing import Protocol

from chatfed.types import ChatfedError, ClientId

from ..durable import DiskError

Steps = Generator[None, None, bytes]
"""A client on its way to an answer: it yields where what it wrote must be on the disk before it goes on."""


class Refused(ChatfedError):
    """A client that does not take part in a round, and why."""

    code = "client_refused"
    mend = "ask for what the client's own settings allow"


class Records(Protocol):
    """Where clients write: `Store` or `Homes`."""

    def commit(self) -> None:
        """All that was written is on the disk when this returns. Raises DiskError."""

    def remembering(
        self, clients: Iterable[ClientId] = (), names: Sequence[str] = ()
    ) -> contextlib.AbstractContextManager[None]:
        """Reads each record once in the meantime, and of some clients those of some names at once."""

    def discard(self) -> None:
        """Forgets what was written since the last commit."""


def answers(
    asked: Sequence[Steps], records: Records, clients: Sequence[ClientId] = (), names: Sequence[str] = ()
) -> list[bytes | ChatfedError]:
    """Each one's answer, or why it gives none.

    They go on side by side from one commit to the next, and none of their answers is there before the last. clients,
    names: whose records, and which, are read together first. Raises DiskError where a commit failed, for all of them.
    """
    with records.remembering(clients, names):
        return _answers(asked, records)


def _answers(asked: Sequence[Steps], records: Records) -> list[bytes | ChatfedError]:
    given: dict[int, bytes | ChatfedError] = {}
    going = dict(enumerate(asked))
    try:
        while going:
            for at, steps in list(going.items()):
                try:
                    next(steps)
                    continue
                except StopIteration as done:
                    given[at] = done.value
                except DiskError:
                    raise
                except ChatfedError as error:
                    given[at] = error
                del going[at]
            records.commit()
    except BaseException:
        records.discard()
        raise
    return [given[at] for at in range(len(asked))]
