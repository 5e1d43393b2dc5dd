"""Which words of a text training moved further than words of clients that never trained, with a guarantee for the text.

Takes what two models say of words, as numbers; knows no model, no tokenizer and no page. How far a word moved says
little alone: training raises whole kinds of words, and what a house says most of all. So three things are asked.

- Is the word familiar? What several clients say who never trained is no one client's, and is not tested.
- Did it come nearer to being expected than words of its kind do? Half of those clients, drawn by client, say what is
  usual: a word's conformal p-value is (1 + words that came as near) / (1 + words of its kind); of all words, each
  measured by what is typical of its kind, where its own are few.
- Is that more than a text has anyhow? Words of one client hang together, so p-values alone promise nothing for a text.
  Texts of the other half do: the level of the procedure of Benjamini and Hochberg (1995) is the highest at which it
  finds a word in no more of their texts than is allowed. They are counted by client, and the new one counts against
  itself: hierarchical conformal inference (Dunn, Wasserman, Ramdas 2022; Lee, Barber, Willett 2023).

What is promised: in a text of a client who never trained, and is exchangeable with those who calibrated, a word is
found with probability at most what was allowed, however its words hang together. For a text of which some words leaked,
the bound on how many of the found ones are false assumes that the others are as they would be without those.

What is not: it speaks of this text in this order only, and nothing found is no proof of privacy. That is epsilon's.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.conformal import Levels, benjamini_hochberg, conformal, most_false, simes
from chatfed.audit.kinds import FAMILIAR, PUBLIC_BITS, Familiar, Floats, Said, Tested, befores, to_test
from chatfed.audit.leakage import AuditError, WordShift
from chatfed.types import Entropy, IntVector

VERSION = 2  # of the archive
RAISED_BITS = 1.0  # twice as likely as in the reference, or more, is raised
SUSPICIOUS = 0.01  # a p-value so small is one word's in a hundred by chance
CONFIDENCE = 0.9  # of the bound on false finds
ALLOWED = 0.05  # unless said otherwise
NULL_WORDS = 100  # of a kind, for each word that is tested: a lone leak is then found at a level of 1 %
TYPICAL_WORDS = 20  # of a kind, to say what is typical of it
LEAST_DEVIATION = 1e-9  # less is that of equal scores
TEXT_CLIENTS = 19  # with fewer, no text could have a find at 5 %
FEWEST = TEXT_CLIENTS + 11  # clients who never trained

_NONE = np.empty(0)


class Finding(StrEnum):
    """What is found of a word, by the first rule that holds."""

    LEAKED = "leaked"  # found by the procedure at what is allowed
    SUSPICIOUS = "suspicious"  # its p-value is at most SUSPICIOUS, yet the text may have that by chance
    PUBLIC = "public"  # the public reference gives it a chance of 1 in 8 or more
    MANY = "learned by many"  # raised by RAISED_BITS or more, and so are words of clients who never trained
    UNMOVED = "not raised"  # raised by less
    UNJUDGED = "cannot judge"  # too few such words of clients who never trained


class Usual:
    """What is usual for words of clients who never trained, to rank others by.

    Scores of different kinds are made alike, so that all words together are a null where a kind has too few: each less
    the mean of its kind, over its deviation. Kinds as rare as codes would else be ranked among words of any other form,
    of which training brings some near to certain everywhere.
    """

    def __init__(self, null: Tested) -> None:
        kinds = null.kinds()
        self._typical = dict(_typical(kinds, null.scores))
        scores = self._alike(kinds, null.scores)
        self._null = {
            int(kind): np.sort(scores[kinds[:, width] == kind])
            for width in (0, kinds.shape[1] - 1)
            for kind in np.unique(kinds[:, width])
        }

    def _alike(self, kinds: IntVector, scores: Floats) -> Floats:
        """Scores as deviations from what is typical of the narrowest kind that has TYPICAL_WORDS, float64[m]."""
        typical = [
            next((self._typical[kind] for kind in row if kind in self._typical), (0.0, 1.0)) for row in kinds.tolist()
        ]
        mean, deviation = np.array(typical).reshape(-1, 2).T
        alike: Floats = (scores - mean) / deviation
        return alike

    def p_values(self, kinds: IntVector, scores: Floats) -> Floats:
        """Each word's conformal p-value, float64[m]; NaN where there are too few words to rank it among.

        Among its kind where that has NULL_WORDS for each of the m words that are tested, else among all. kinds:
        int64[m, 3], as `Tested.kinds` gives them.
        """
        fewest = NULL_WORDS * len(scores) - 1
        found = np.full(len(scores), np.nan)
        for at, score in enumerate(self._alike(kinds, scores)):
            nulls = (self._null.get(int(kind), _NONE) for kind in kinds[at, [0, -1]])
            null = next((each for each in nulls if len(each) >= fewest), None)
            if null is not None:
                found[at] = conformal(score, null)
        return found


def _typical(kinds: IntVector, scores: Floats) -> Iterator[tuple[int, tuple[float, float]]]:
    """Mean and deviation of each kind that has TYPICAL_WORDS, and of all words."""
    for width in range(kinds.shape[1]):
        for kind in np.unique(kinds[:, width]):
            mine = scores[kinds[:, width] == kind]
            if len(mine) >= TYPICAL_WORDS or width == kinds.shape[1] - 1:
                deviation = float(mine.std())
                yield int(kind), (float(mine.mean()), deviation if deviation > LEAST_DEVIATION else 1.0)


@dataclass(frozen=True)
class Pair:
    """Which two models words were asked of: SHA-256 of their weights files, in hex."""

    model: str
    reference: str

    @classmethod
    def of(cls, model: Path, reference: Path) -> Pair:
        """By the weights files themselves. Raises OSError."""
        return cls(*(_sha256(file) for file in (model, reference)))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@dataclass(frozen=True)
class Calibration:
    """What clients who never trained say of two models: scores of their words, no word and no text."""

    pair: Pair
    familiar: Familiar
    usual: Tested  # of the half that says what is usual for a word
    texts: Tested  # of the half that says what is usual for a text

    @property
    def clients(self) -> int:
        """Of both halves."""
        return len(np.unique(self.usual.clients)) + self.levels[0].clients

    @cached_property
    def words(self) -> Usual:
        """Ranks a word."""
        return Usual(self.usual)

    @cached_property
    def levels(self) -> tuple[Levels, Levels]:
        """Of single messages, and of whole dialogues."""
        return self._levels(self.texts)

    def least(self, said: Said) -> tuple[Levels, Levels]:
        """The same of other clients' texts; those without a word to test have none."""
        return self._levels(Tested.of(said, self.familiar.families(said.words, said.before)))

    def _levels(self, tested: Tested) -> tuple[Levels, Levels]:
        return self._of_texts(tested, tested.messages), self._of_texts(tested, tested.texts)

    def _of_texts(self, tested: Tested, numbers: IntVector) -> Levels:
        """numbers: int64[words], which text each word is of."""
        order = np.argsort(numbers, kind="stable")
        _, starts = np.unique(numbers[order], return_index=True)
        kinds, scores = tested.kinds(), tested.scores
        parts = np.split(order, starts[1:]) if len(order) else []
        least = np.array([simes(self.words.p_values(kinds[part], scores[part])) for part in parts])
        return Levels.of(least, tested.clients[order[starts]])

    def level(self, allowed: float) -> float:
        """The level for texts of any length: the lower of that for messages and that for dialogues."""
        return min(each.at(allowed) for each in self.levels)

    @property
    def least_allowed(self) -> float:
        """The least at which anything can be found: 1 / (1 + clients of the second half)."""
        return 1 / (1 + min(each.clients for each in self.levels))

    def to_bytes(self) -> bytes:
        """A numpy archive without pickles."""
        file = io.BytesIO()
        parts: dict[str, Any] = {
            f"{name}_{each.name}": getattr(part, each.name) for name, part in self._parts() for each in fields(part)
        }
        named: dict[str, Any] = {
            "version": np.array(VERSION),
            "model": np.frombuffer(bytes.fromhex(self.pair.model), np.uint8),
            "reference": np.frombuffer(bytes.fromhex(self.pair.reference), np.uint8),
            "salt": np.frombuffer(self.familiar.salt, np.uint8),
            "prints": self.familiar.prints,
        }
        np.savez_compressed(file, **named, **parts)
        return file.getvalue()

    def _parts(self) -> tuple[tuple[str, Tested], ...]:
        return ("usual", self.usual), ("texts", self.texts)

    @classmethod
    def open(cls, file: Path, model: Path, reference: Path) -> Calibration:
        """The one in a run's words.npz, for two models by their weights files. Raises OSError, and as `from_bytes`."""
        return cls.from_bytes(file.read_bytes(), Pair.of(model, reference))

    @classmethod
    def from_bytes(cls, content: bytes, pair: Pair) -> Calibration:
        """What `to_bytes` wrote. Raises AuditError for anything else, and where it is of other models than `pair`."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            made = cls(
                Pair(arrays["model"].tobytes().hex(), arrays["reference"].tobytes().hex()),
                Familiar(arrays["salt"].tobytes(), arrays["prints"].astype(np.uint64, casting="safe")),
                *(_tested(arrays, name) for name in ("usual", "texts")),
            )
            if int(arrays["version"]) != VERSION:
                raise ValueError
        except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
            raise AuditError("the probe's calibration cannot be read: write it anew with chatfed audit") from None
        if made.pair != pair:
            raise AuditError("the probe's calibration is of other models than these: write it anew with chatfed audit")
        return made


def _tested(arrays: Mapping[str, NDArray[Any]], part: str) -> Tested:
    """One half of an archive. Raises KeyError, TypeError or ValueError for what is none."""
    wanted = [np.int64] * 3 + [np.uint8] * 3 + [np.float64]  # in the order of Tested's fields
    columns: list[Any] = [
        arrays[f"{part}_{each.name}"].astype(kind, casting="safe")
        for each, kind in zip(fields(Tested), wanted, strict=True)
    ]
    made = Tested(*columns)
    if any(column.shape != (len(made),) for column in columns) or not np.isfinite(made.scores).all():
        raise ValueError
    return made


def calibrate(said: Said, pair: Pair, entropy: Entropy, seed: int = 1) -> Calibration:
    """Halves the clients at random by `seed`, and keeps what their words score. Raises AuditError below 30 clients.

    Of few clients as many as a text can be judged by at 5 %, 19, are of the second half.
    """
    clients = np.random.default_rng(seed).permutation(np.unique(said.clients))
    if len(clients) < FEWEST:
        raise AuditError(
            f"{len(clients)} clients who never trained are too few to calibrate the probe with: hold {FEWEST} out"
        )
    second = clients[: max(len(clients) // 2, TEXT_CLIENTS)]
    last = np.isin(said.clients, second)
    first = only(said, ~last)
    familiar = Familiar.among(first, entropy(16))
    halves = (Tested.of(half, familiar.families(half.words, half.before)) for half in (first, only(said, last)))
    return Calibration(pair, familiar, *halves)


def only(said: Said, kept: NDArray[np.bool_]) -> Said:
    """Some of the words. kept: bool[n]; a message must be kept whole."""
    at = np.flatnonzero(kept).tolist()
    words, before = ([texts[place] for place in at] for texts in (said.words, said.before))
    numbers = (getattr(said, name)[at] for name in ("clients", "texts", "messages", "served", "reference"))
    return Said(words, before, *numbers)


@dataclass(frozen=True)
class Judged:
    """One word and what is found of it."""

    shift: WordShift
    finding: Finding
    p_value: float | None  # None: it was not tested


@dataclass(frozen=True)
class Text:
    """A text whose words were judged."""

    words: Sequence[Judged]
    allowed: float  # probability of a find where nobody's words leaked
    tested: int  # words
    found: int
    most_false: int  # of the found, with CONFIDENCE, at all positions of a slider at once


def judge(
    calibration: Calibration,
    shifts: Sequence[WordShift],
    role: str = "user",
    allowed: float = ALLOWED,
) -> Text:
    """What is found of each word of one message, said by `role`.

    allowed: probability of a find in a text of a client who never trained, above 0 and below 1. Raises AuditError for
    another.
    """
    if not 0 < allowed < 1:
        raise AuditError(f"allowed is {allowed}: give a probability above 0 and below 1", param="allowed")
    familiar, p_values = _p_values(calibration, shifts, role)
    found = benjamini_hochberg(p_values, calibration.level(allowed))
    words = [
        Judged(shift, _finding(shift, bool(known), float(p), bool(leaked)), None if np.isnan(p) else float(p))
        for shift, known, p, leaked in zip(shifts, familiar, p_values, found, strict=True)
    ]
    return Text(
        words,
        allowed,
        int((~np.isnan(p_values)).sum()),
        int(found.sum()),
        most_false(p_values, found, calibration.level(1 - CONFIDENCE)),
    )


def _p_values(calibration: Calibration, shifts: Sequence[WordShift], role: str) -> tuple[NDArray[np.bool_], Floats]:
    """Which words are familiar, bool[words], and p-values of those that are tested, float64[words]; NaN for others."""
    words = [shift.word for shift in shifts]
    served, reference = (
        np.array([getattr(shift, name) for shift in shifts], np.float64)
        for name in ("served_log_prob", "reference_log_prob")
    )
    none = np.zeros(len(words), np.int64)
    said = Said(words, befores(words, role), none, none, none, served, reference)
    families = calibration.familiar.families(said.words, said.before)
    tested, p_values = Tested.of(said, families), np.full(len(words), np.nan)
    p_values[to_test(reference, families)] = calibration.words.p_values(tested.kinds(), tested.scores)
    return families == FAMILIAR, p_values


def _finding(shift: WordShift, familiar: bool, p_value: float, found: bool) -> Finding:
    """By the rules of Finding, in their order."""
    if found:
        return Finding.LEAKED
    if p_value <= SUSPICIOUS:
        return Finding.SUSPICIOUS
    if shift.reference_log_prob >= -PUBLIC_BITS:
        return Finding.PUBLIC
    if np.isnan(p_value) and not familiar:
        return Finding.UNJUDGED
    return Finding.MANY if shift.shift >= RAISED_BITS else Finding.UNMOVED
