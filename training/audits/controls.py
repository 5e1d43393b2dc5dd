"""Which dialogues a membership attack is tried on, and which pairs of groups say something.

Sound controls differ from members in nothing but that nobody learned from them. Of the generated house more can be
drawn: fresh dialogues of the same clients, and new clients. Of other data the held-out dialogues are all there is;
where they are other clients' they seldom pass the blind baseline, and recipes with data.hold_out make sound ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk.fresh import fresh
from chatfed.data.partition import by_client
from chatfed.model.transformer import load_tokenizer
from chatfed.types import ClientId, IntVector

from ..base.corpus import turns_of
from ..base.tokens import TokenTable, write_tokens
from .audited import Audited
from .house import house_of
from .likelihoods import learned_from

MEMBER, HELD_OUT, FRESH, NEW = range(4)
"""Parts that dialogues play: learned from; held out; fresh ones of clients that trained; of clients that never did."""
PARTS = ("learned from", "held out", "fresh ones of clients that trained", "of new clients")

OF_EACH = 3  # dialogues of a client
NEW_CLIENTS = 120  # at least 100: below that no rate of 1 % can be told
MOST = 1_500  # dialogues of a part, whatever the data
SEED = 1


@dataclass(frozen=True, eq=False)
class Group:
    """Some dialogues that play one part."""

    part: int
    table: TokenTable
    dialogues: IntVector  # int64[n], places in the table
    owners: IntVector  # int64[n], whose each is, a number of the whole audit's


@dataclass(frozen=True)
class Pairing:
    """Members and others that are to be told apart."""

    name: str
    level: str  # "dialogue" or "client"
    members: int  # parts
    others: int
    same_clients: bool = False  # labels are exchangeable within each client


@dataclass(frozen=True, eq=False)
class Trial:
    """The dialogues of a membership audit, and what is to be told apart."""

    groups: Sequence[Group]
    pairings: Sequence[Pairing]
    population: int  # the part that ratios are measured against, of clients that no model learned from
    teaching: IntVector  # held-out dialogues that reference models may learn from, of clients that are in no group
    left_out: Sequence[str] = field(default=())  # what could not be tried, in sentences

    @property
    def parts(self) -> IntVector:
        """int64[texts], the part of each in order of the groups."""
        parts = (np.full(len(each.dialogues), each.part, np.int64) for each in self.groups)
        return np.concatenate([np.empty(0, np.int64), *parts])

    @property
    def owners(self) -> IntVector:
        """int64[texts]."""
        return np.concatenate([np.empty(0, np.int64), *(each.owners for each in self.groups)])

    def tokens(self, texts: IntVector) -> tuple[NDArray[np.int32], IntVector]:
        """Token ids of some texts, end to end, and where each begins: int32[tokens], int64[texts + 1]."""
        every = [(group.table, int(dialogue)) for group in self.groups for dialogue in group.dialogues]
        spans = [(table, int(table.starts[at]), int(table.starts[at + 1])) for table, at in (every[t] for t in texts)]
        ids = [np.asarray(table.ids[start:stop]) for table, start, stop in spans]
        return np.concatenate(ids), np.concatenate([[0], np.cumsum([len(each) for each in ids])]).astype(np.int64)


_NAMES = {True: "dialogues, against held-out ones of the same clients", False: "dialogues, against other clients'"}
_OF_THE_HOUSE = (
    Pairing("dialogues, against fresh ones of the same clients", "dialogue", MEMBER, FRESH, True),
    Pairing("clients, by dialogues learned from, against new clients", "client", MEMBER, NEW),
    Pairing("clients, by fresh dialogues, against new clients", "client", FRESH, NEW),
)


def trial_of(run: Audited, scratch: Path) -> Trial:
    """The trial of a run; what is drawn anew is encoded into the folder `scratch`. Raises AuditError."""
    random = np.random.default_rng(SEED)
    numbers: dict[ClientId, int] = {name: number for number, name in enumerate(run.own)}
    members = _some(MEMBER, run.members, run.own, numbers, random, OF_EACH)
    teaching, kept = _held_out(run.others, random)
    held_out = _some(HELD_OUT, run.others, kept, numbers, random, MOST)
    same = bool(set(kept) & set(run.own))
    pairings = [Pairing(_NAMES[same], "dialogue", MEMBER, HELD_OUT, same)]
    if not same and run.others.clients:
        pairings.append(Pairing("clients, by dialogues learned from", "client", MEMBER, HELD_OUT))
    corpus = house_of(run)
    if corpus is None:
        return _judged(run, [members, held_out], pairings, teaching)
    drawn = fresh(corpus, run.plan.recipe.data.seed, OF_EACH, NEW_CLIENTS)
    more = [_encoded(run, scratch, *each, numbers) for each in ((FRESH, drawn.same), (NEW, drawn.new))]
    return _judged(run, [members, held_out, *more], [*_OF_THE_HOUSE, *pairings], teaching)


def _judged(run: Audited, groups: Sequence[Group], pairings: Sequence[Pairing], teaching: IntVector) -> Trial:
    """The trial of what models can be asked for: dialogues without a token that is learned from are left out."""
    train_on = run.plan.learning.train_on
    kept, said = [], []
    for group in groups:
        asked = learned_from(group.table, group.dialogues, train_on)
        if not asked.all():
            said.append(f"Left out: {(~asked).sum():,} dialogues {PARTS[group.part]}, with no word learned from.")
        if asked.any():
            kept.append(replace(group, dialogues=group.dialogues[asked], owners=group.owners[asked]))
        else:
            said.append(f"Not tried, for there are none: dialogues {PARTS[group.part]}.")
    there = {group.part for group in kept}
    population = next((part for part in (NEW, HELD_OUT, FRESH) if part in there), HELD_OUT)
    taught = teaching[learned_from(run.others, teaching, train_on)]
    return Trial(kept, pairings, population, taught, said)


def _held_out(table: TokenTable, random: np.random.Generator) -> tuple[IntVector, Mapping[ClientId, IntVector]]:
    """Half of the held-out clients for reference models to learn from, and the others; by dialogue without names."""
    whose = dict(table.clients) or {ClientId(f"text {at}"): np.array([at]) for at in range(len(table))}
    names = list(whose)
    order = random.permutation(len(names))
    half = {names[at] for at in order[: len(names) // 2]}
    teaching = np.sort(np.concatenate([np.empty(0, np.int64), *(whose[name] for name in half)]))
    return teaching, {name: mine for name, mine in whose.items() if name not in half}


def _some(
    part: int,
    table: TokenTable,
    whose: Mapping[ClientId, IntVector],
    numbers: dict[ClientId, int],
    random: np.random.Generator,
    of_each: int,
) -> Group:
    """Up to `of_each` dialogues of every client, drawn by a fixed seed; MOST in all."""
    names = list(whose)
    chosen = [
        (int(dialogue), numbers.setdefault(names[at], len(numbers)))
        for at in random.permutation(len(names))
        for dialogue in random.permutation(whose[names[at]])[:of_each]
    ]
    kept = sorted(chosen[:MOST], key=lambda each: each[1])
    dialogues, owners = np.array(kept, np.int64).reshape(-1, 2).T
    return Group(part, table, dialogues, owners)


def _encoded(run: Audited, scratch: Path, part: int, drawn: Sequence[Dialogue], numbers: dict[ClientId, int]) -> Group:
    """Dialogues that were drawn anew, as the run encodes its own."""
    tokenizer = load_tokenizer(str(run.folder.path / "model"))
    names = [ClientId(str(dialogue.client_id)) for dialogue in drawn]
    table = write_tokens(scratch / f"part-{part}", tokenizer, turns_of(drawn), by_client(names))
    owners = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
    return Group(part, table, np.arange(len(drawn)), owners)


def client_rows(trial: Trial, pairing: Pairing) -> tuple[IntVector, IntVector]:
    """The texts of a pairing: of members and of others, int64[texts] each, places in the trial.

    Where clients are told apart as many of each client; where both sides are the same clients' only of such as are on
    both.
    """
    sides = [np.flatnonzero(trial.parts == part) for part in (pairing.members, pairing.others)]
    if pairing.same_clients:
        both = np.intersect1d(trial.owners[sides[0]], trial.owners[sides[1]])
        sides = [side[np.isin(trial.owners[side], both)] for side in sides]
    if pairing.level == "dialogue":
        return sides[0], sides[1]
    fewest = min(OF_EACH, *(int(np.bincount(trial.owners[side]).max(initial=1)) for side in sides))
    return _equal(trial.owners, sides[0], fewest), _equal(trial.owners, sides[1], fewest)


def _equal(owners: IntVector, texts: IntVector, of_each: int) -> IntVector:
    """The first `of_each` texts of every client that has so many."""
    mine = [texts[owners[texts] == number] for number in np.unique(owners[texts])]
    return np.array(list(chain.from_iterable(each[:of_each] for each in mine if len(each) >= of_each)), np.int64)
