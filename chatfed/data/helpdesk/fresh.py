"""More dialogues of the same clients, and of new ones: what an audit compares with, since nobody learned from them.

A client's generator goes on where the corpus stopped, so its fresh dialogues have the same person, style and matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk.content import SHEETS
from chatfed.data.helpdesk.corpus import HelpdeskCorpus, _client_dialogues, _names
from chatfed.data.helpdesk.persona import Registry
from chatfed.data.helpdesk.slots import house_slots
from chatfed.data.helpdesk.topics import read_sheets
from chatfed.types import ClientId

SPARE = 4  # more than asked for, in place of what the public part says as well


@dataclass(frozen=True)
class Fresh:
    """Dialogues that are in no part of a corpus, client by client."""

    same: list[Dialogue]  # of the clients that train
    new: list[Dialogue]  # of clients that the corpus lacks, drawn as those were


Begin = Callable[[ClientId, int, int], Iterator[Dialogue]]
"""All dialogues of a client that has so many at least and at most."""


def fresh(corpus: HelpdeskCorpus, seed: int, each: int, new_clients: int) -> Fresh:
    """`each` more dialogues of every client that trains, and as many of so many new clients.

    The corpus is made again on the way, all but its public part. Raises ValueError where it is not what this version
    generates from the seed.
    """
    problems, slots, registry, seen = read_sheets(SHEETS), house_slots(), Registry(), set[str]()

    def begin(name: ClientId, low: int, high: int) -> Iterator[Dialogue]:
        between = low + each + SPARE, high + each + SPARE  # so much more, whatever the client's own number is
        return (made for made, _ in _client_dialogues(seed, name, between, problems, slots, registry, seen))

    training = _resumed(corpus.private, begin, 20, 60)
    _resumed(corpus.held_out, begin, 25, 40)
    new = [begin(name, 20, 60) for name in _names("control", new_clients)]
    public = {dialogue.messages for dialogue in corpus.public}

    def of(clients: Sequence[Iterator[Dialogue]]) -> list[Dialogue]:
        unsaid = ((made for made in client if made.messages not in public) for client in clients)
        return [made for client in unsaid for made in islice(client, each)]

    return Fresh(of(training), of(new))


def _resumed(part: Sequence[Dialogue], begin: Begin, low: int, high: int) -> list[Iterator[Dialogue]]:
    """Each client's generator behind what the corpus has of it."""
    clients = []
    for name, mine in groupby(part, lambda dialogue: dialogue.client_id):
        client, held = begin(ClientId(str(name)), low, high), list(mine)
        if list(islice(client, len(held))) != held:
            raise ValueError(f"another version generated the dialogues of {name}")
        clients.append(client)
    return clients
