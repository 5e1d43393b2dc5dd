"""What a synthetic copy of dialogues gives away: singling out, linking, inferring, recognising, each beside a control.

A rate of success on the dialogues that were learned from says little: a copy teaches what is so in general, too. So
each attack is tried alike on dialogues that nobody learned from, and what counts is how much better it does (Giomi et
al. 2023, arXiv 2211.10459). One client's dialogues are alike, so intervals take clients as independent, no dialogues.
Takes words as numbers; knows no text, no model and no run.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from chatfed.audit.leakage import AuditError
from chatfed.types import IntVector

ATTACKS = 5  # singling out, linking, inferring, recognising, and values word for word
CHANCE = 0.05  # that any of them is found to succeed on a copy that knows nobody
EACH = CHANCE / ATTACKS  # of one attack, one-sided (Bonferroni)
LEVEL = 1 - 2 * EACH  # of each interval: EACH beyond either end
RAREST = 6  # words of a dialogue that a predicate is made of
NEIGHBOURS = 5
LEAD = 3  # words before a value, at most, that an attacker looks for in the copy
_BELIEF = 2.0  # as so many sightings a word's share in all text counts, after any word

Words = Sequence[IntVector]
"""Of each dialogue its words in order, as numbers from 0."""


@dataclass(frozen=True)
class Rate:
    """So many of so many attacks that succeed, with Wilson's interval at LEVEL of as many independent ones.

    design: how many times the variance of independent attacks theirs is; 1 at least.
    """

    hits: int
    of: int
    design: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.of or not self.of or not self.design >= 1:
            raise AuditError(f"{self.hits} of {self.of} is no rate: try an attack once at least")

    @classmethod
    def by_client(cls, hits: NDArray[np.int64], of: NDArray[np.float64]) -> Rate:
        """Of each client's attacks, [clients] each: clients are independent, their own attacks are not.

        The ratio estimator's variance, c / (c - 1) sum (hits - rate of)^2 (Cochran 1977, section 11.8 of clusters drawn
        alike), over n rate (1 - rate), and Student's t for few clients (Korn and Graubard 1998, Survey Methodology
        24:193). One client alone says nothing: its attacks count as one.
        """
        hits, of = hits[of > 0], of[of > 0]
        total, tried = int(hits.sum()), round(of.sum())
        rate = total / max(tried, 1)
        return cls(total, tried, _design(hits - rate * of, tried * rate * (1 - rate), tried))

    @property
    def middle(self) -> float:
        """The interval's middle (Wilson 1927), of n = of / design: (n rate + z^2 / 2) / (n + z^2)."""
        hits, of = self.hits / self.design, self.of / self.design
        return (hits + _Z**2 / 2) / (of + _Z**2)

    @property
    def half(self) -> float:
        """Half its width: z / (n + z^2) sqrt(n rate (1 - rate) + z^2 / 4)."""
        hits, of = self.hits / self.design, self.of / self.design
        return _Z / (of + _Z**2) * math.sqrt(hits * (of - hits) / of + _Z**2 / 4)

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        low, high = max(0.0, self.middle - self.half), min(1.0, self.middle + self.half)
        told = {"hits": self.hits, "of": self.of, "share": self.hits / self.of, "low": low, "high": high}
        return {**told, "design": self.design}


_Z = float(stats.norm.ppf((1 + LEVEL) / 2))


def _design(beyond: NDArray[np.float64], alone: float, tried: int) -> float:
    """Of hits beyond what is expected of each client, float64[clients], over their variance `alone`; 1 at least."""
    few = len(beyond)
    if few < 2:
        return float(max(tried, 1))
    spread = few / (few - 1) * float(beyond @ beyond)
    wider = (float(stats.t.ppf((1 + LEVEL) / 2, few - 1)) / _Z) ** 2
    return max(1.0, spread / alone if alone else 1.0) * wider


@dataclass(frozen=True)
class Risk:
    """How much better an attack does on what was learned from than on what was not."""

    attack: str
    main: Rate  # on dialogues that were learned from
    control: Rate  # on others
    naive: Rate  # on the first, by whoever has public text in place of the copy

    @classmethod
    def of(cls, attack: str, main: Rate, control: Rate, naive: Rate) -> Risk:
        """With the larger design effect of both sides for both: one that has no hit shows none of its own."""
        design = max(main.design, control.design)
        return cls(attack, replace(main, design=design), replace(control, design=design), naive)

    @property
    def value(self) -> float:
        """(main - control) / (1 - control), of the intervals' middles (Giomi et al. 2023, equation 2)."""
        return (self.main.middle - self.control.middle) / (1 - self.control.middle)

    @property
    def half(self) -> float:
        """Half the width of its interval at LEVEL, to first order in both rates."""
        left = 1 - self.control.middle
        return math.hypot(self.main.half / left, (1 - self.main.middle) / left**2 * self.control.half)

    @property
    def low(self) -> float:
        """The lower end of its interval; below 0 where the control does better."""
        return self.value - self.half

    @property
    def weak(self) -> bool:
        """Whether the attack does no better than the naive one, so that it says nothing of the copy."""
        return self.main.middle - self.main.half <= self.naive.middle

    @property
    def found(self) -> bool:
        """Whether it does better than on the others, and better than naively."""
        return self.low > 0 and not self.weak

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rates = {name: getattr(self, name).to_json() for name in ("main", "control", "naive")}
        return {
            "attack": self.attack, **rates, "risk": self.value, "low": self.low, "high": self.value + self.half,
            "weak": self.weak, "found": self.found,
        }  # fmt: skip


def bags(texts: Words, vocabulary: int) -> sparse.csr_array:
    """Which words each dialogue has: float64[dialogues, vocabulary] of 0 and 1."""
    sets = [np.unique(words) for words in texts]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in sets])]).astype(np.int64)
    columns = np.concatenate([np.empty(0, np.int64), *sets])
    return sparse.csr_array((np.ones(len(columns)), columns, starts), shape=(len(sets), vocabulary))


@dataclass(frozen=True, eq=False)
class People:
    """Dialogues that are attacked, and whose they are."""

    texts: Words = field(repr=False)
    asked: Words = field(repr=False)  # the users' words alone
    answered: Words = field(repr=False)  # and the assistant's
    owners: IntVector  # int64[n], numbers from 0 without a gap

    def rate(self, hits: NDArray[np.bool_]) -> Rate:
        """Of an attack on each dialogue: bool[n]."""
        return rate_of(hits, self.owners)


def rate_of(hits: NDArray[np.bool_], owners: IntVector) -> Rate:
    """Of attacks, bool[n], on so many clients' own, int64[n]. Raises AuditError where there is none."""
    size = int(owners.max(initial=-1)) + 1
    return Rate.by_client(np.bincount(owners[hits], minlength=size), np.bincount(owners, minlength=size).astype(float))


# --- singling out: which combination of words is the one of a client, among those that are looked at


def predicates(
    copy: Words, public: Words, vocabulary: int, tries: int, random: np.random.Generator, *, naive: bool = False
) -> NDArray[np.int64]:
    """Pairs of words, int64[k, 2], of the RAREST of a dialogue; naive: of two dialogues. k: `tries` at most.

    Pairs that a public dialogue has are left out, and a pair is there once.
    """
    often = np.bincount(np.concatenate([np.unique(words) for words in copy]), minlength=vocabulary)
    rarest = [(own := np.unique(words))[np.argsort(often[own], kind="stable")[:RAREST]] for words in copy]
    known = _Found(bags(public, vocabulary))
    drawn: dict[tuple[int, int], None] = {}
    for _ in range(20 * tries):
        if len(drawn) == tries:
            break
        both = [rarest[at] for at in random.integers(len(rarest), size=2)]
        pair = _pair(both[0], both[1] if naive else both[0], random)
        if pair and pair not in drawn and not len(known.rows(pair)):
            drawn[pair] = None
    return np.array(list(drawn), np.int64).reshape(-1, 2)


def _pair(first: IntVector, second: IntVector, random: np.random.Generator) -> tuple[int, int] | None:
    if not len(first) or not len(second):
        return None
    one, other = int(random.choice(first)), int(random.choice(second))
    return (min(one, other), max(one, other)) if one != other else None


def singled_out(pairs: NDArray[np.int64], people: People, vocabulary: int) -> Rate:
    """How many pairs of words exactly one of these clients has in one of its dialogues.

    Given the pairs, chance is in which clients are looked at, and each hit is the client's that has it: so pairs that
    share a word or stand in one dialogue are no more than the clients that have them. Beside Poisson's variance.
    """
    found = _Found(bags(people.texts, vocabulary))
    whose = [np.unique(people.owners[found.rows((int(a), int(b)))]) for a, b in pairs]
    clients = int(people.owners.max()) + 1
    hits = np.bincount([int(each[0]) for each in whose if len(each) == 1], minlength=clients)
    return Rate(int(hits.sum()), len(pairs), _design(hits - hits.mean(), float(hits.sum()), len(pairs)))


class _Found:
    """Which rows of bags have two words."""

    def __init__(self, rows: sparse.csr_array) -> None:
        self._columns = rows.tocsc()

    def rows(self, pair: tuple[int, int]) -> IntVector:
        ends, at = self._columns.indptr, self._columns.indices
        one, other = (at[ends[word] : ends[word + 1]] for word in pair)
        return np.intersect1d(one, other, assume_unique=True)


# --- linking: whose question belongs to which answer


def linked(copy: People, people: People, vocabulary: int, neighbours: int = NEIGHBOURS) -> Rate:
    """How many dialogues' questions and answers have a nearest dialogue of the copy in common.

    By the cosine of words weighed by how rare they are in the copy; among the `neighbours` nearest of each half.
    """
    halves = [
        _nearest(_weighed(mine, theirs, vocabulary), neighbours)
        for mine, theirs in ((people.asked, copy.asked), (people.answered, copy.answered))
    ]
    return people.rate(np.array([bool(set(a) & set(b)) for a, b in zip(*halves, strict=True)], np.bool_))


def _weighed(mine: Words, theirs: Words, vocabulary: int) -> sparse.csr_array:
    """Cosines float64[mine, theirs] of words by inverse document frequency among theirs."""
    other = bags(theirs, vocabulary)
    weights = np.log(1 + len(theirs) / (1 + np.asarray(other.sum(0)).ravel()))
    return _unit(bags(mine, vocabulary) * weights) @ _unit(other * weights).T


def _unit(rows: sparse.sparray) -> sparse.csr_array:
    lengths = np.sqrt(np.asarray((rows * rows).sum(1)).ravel())
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(lengths, 1e-12)) @ rows)


def _nearest(cosines: sparse.csr_array, neighbours: int) -> list[IntVector]:
    """The columns of the largest positive values of each row, of equal ones the first."""
    ends, columns, values = cosines.indptr, cosines.indices, cosines.data
    found = []
    for start, end in pairwise(ends):
        order = np.lexsort((columns[start:end], -values[start:end]))[:neighbours]
        found.append(columns[start:end][order].astype(np.int64))
    return found


# --- inferring: what the copy says where a client said something private


@dataclass(frozen=True)
class Told:
    """A private value in a dialogue, and what whoever attacks knows of it."""

    lead: tuple[int, ...]  # words before it, LEAD at most
    known: IntVector = field(repr=False)  # the dialogue's other words
    value: tuple[int, ...] = field(repr=False)
    owner: int = 0  # a number of whose it is


class Guesser:
    """Guesses a value by what texts say after the same words, in the dialogue that is most like the attacked."""

    def __init__(self, copy: Words, vocabulary: int) -> None:
        self._copy, self._vocabulary = copy, vocabulary
        self._after: defaultdict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for number, words in enumerate(copy):
            listed = words.tolist()
            for at in range(1, len(listed)):
                for lead in range(1, min(LEAD, at) + 1):
                    self._after[tuple(listed[at - lead : at])].append((number, at))

    def rate(self, told: Sequence[Told], *, naive: bool = False) -> Rate:
        """How many values are guessed. naive: what is said oftenest after those words, whatever the dialogue."""
        likeness = None if naive else _weighed([each.known for each in told], self._copy, self._vocabulary).tocsr()
        hits = [self._guess(number, each, likeness) == each.value for number, each in enumerate(told)]
        return rate_of(np.array(hits, np.bool_), np.array([each.owner for each in told], np.int64))

    def _guess(self, number: int, told: Told, likeness: sparse.csr_array | None) -> tuple[int, ...] | None:
        places = next((there for lead in _shorter(told.lead) if (there := self._after.get(lead))), [])
        said = [(where, tuple(self._copy[where][at : at + len(told.value)].tolist())) for where, at in places]
        if not said:
            return None
        if likeness is None:
            return Counter(words for _, words in said).most_common(1)[0][0]
        row = likeness[[number]].toarray()[0]
        return max(said, key=lambda each: float(row[each[0]]))[1]


def _shorter(lead: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    return (lead[at:] for at in range(len(lead)))


# --- recognising: the canary's echo


class Bigrams:
    """How likely text says a word after another: float64, smoothed by the words' own shares.

    (c(v, w) + b p(w)) / (c(v) + b), with p(w) = (c(w) + 1) / (n + vocabulary): what a copy echoes of a dialogue shows
    in it before it shows word for word (Meeus et al. 2025, arXiv 2502.14921, section 3.2).
    """

    def __init__(self, texts: Words, vocabulary: int) -> None:
        self._words = np.bincount(np.concatenate([np.empty(0, np.int64), *texts]), minlength=vocabulary)
        self._pairs = Counter(pair for words in texts for pair in pairwise(words.tolist()))
        self._firsts = Counter(word for words in texts for word in words[:-1].tolist())
        self._all = int(self._words.sum()) + vocabulary

    def mean_log(self, words: IntVector) -> float:
        """The mean log-probability, in nats, of a dialogue's words after the first; 0 of one word."""
        logs = [
            math.log(
                (self._pairs[first, second] + _BELIEF * (self._words[second] + 1) / self._all)
                / (self._firsts[first] + _BELIEF)
            )
            for first, second in pairwise(words.tolist())
        ]
        return sum(logs) / len(logs) if logs else 0.0


def echoes(copy: Words, public: Words, people: People, vocabulary: int) -> NDArray[np.float64]:
    """How much likelier each dialogue is by the copy's pairs of words than by public ones, nats a word: float64[n]."""
    near, far = Bigrams(copy, vocabulary), Bigrams(public, vocabulary)
    return np.array([near.mean_log(words) - far.mean_log(words) for words in people.texts])


# --- phantom hits: values that stand in the copy


def said_verbatim(copy: Words, values: Sequence[tuple[int, ...]]) -> NDArray[np.bool_]:
    """Whether the copy says each value, word for word: bool[values]."""
    wanted: defaultdict[int, set[tuple[int, ...]]] = defaultdict(set)
    for value in values:
        wanted[len(value)].add(value)
    found: set[tuple[int, ...]] = set()
    for words in copy:
        listed = words.tolist()
        for length, those in wanted.items():
            found |= those & {tuple(listed[at : at + length]) for at in range(len(listed) - length + 1)}
    return np.array([value in found for value in values], np.bool_)
