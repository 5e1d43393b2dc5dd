"""What a claim of differential privacy rests on, named by enums, and the claim itself. Works no epsilon out.

Every member is a string and is written, compared and printed as one, so files and sentences hold plain words.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from chatfed.privacy.conversions import PrivacyError, check_delta

_Condition = TypeVar("_Condition", bound=StrEnum)


class Protected(StrEnum):
    """Whose presence a claim hides and a budget is charged for, in a claim's words."""

    DIALOGUE = "dialogue"
    CLIENT = "client"
    SIMULATED_CLIENT = "simulated client"  # dialogues dealt to clients that nobody is: a claim must not say "client"


class Unit(StrEnum):
    """What one example of a mechanism is: all that one person is assumed to change. The name that recipes use."""

    EXAMPLE = "example"  # one dialogue
    CLIENT = "client"  # all dialogues of a client, through its one update

    @property
    def protected(self) -> Protected:
        """The unit in a claim's words."""
        return Protected.DIALOGUE if self is Unit.EXAMPLE else Protected.CLIENT


class Adjacency(StrEnum):
    """Which data sets are neighbours: those that a claim says can hardly be told apart."""

    ADD_OR_REMOVE = "add or remove one"
    REPLACE = "replace one"
    ZERO_OUT = "one client's vector, or zeros in its place"

    def sensitivity(self, clip_norm: float) -> float:
        """Most L2 distance between two neighbours' sums of vectors no longer than `clip_norm`, in its unit.

        Twice the norm where one vector gives way to another, which may point the other way; else the norm.

        >>> Adjacency.ADD_OR_REMOVE.sensitivity(0.5), Adjacency.REPLACE.sensitivity(0.5)
        (0.5, 1.0)
        """
        return 2.0 * clip_norm if self is Adjacency.REPLACE else clip_norm


class Trust(StrEnum):
    """Whom a claim holds against, in the words that its `holds_against` begins with."""

    EVERYONE = "everyone"
    SUMS_ONLY = "whoever sees the sums only"
    NO_ONE = "no one"


class Noise(StrEnum):
    """Who adds the noise."""

    LOCAL = "local"  # each client all of it, before anything leaves it
    DISTRIBUTED = "distributed"  # each client a share: only a sum has enough
    NONE = "none"

    @property
    def holds_against(self) -> Trust:
        """The most that noise added so can claim."""
        return {Noise.LOCAL: Trust.EVERYONE, Noise.DISTRIBUTED: Trust.SUMS_ONLY, Noise.NONE: Trust.NO_ONE}[self]


def condition(kind: type[_Condition], word: str) -> _Condition:
    """The member of `kind` that `word` names. Raises PrivacyError for another word.

    >>> condition(Noise, "local") is Noise.LOCAL
    True
    """
    try:
        return kind(word)
    except ValueError:
        known = " or ".join(repr(str(each)) for each in kind)
        raise PrivacyError(f"no {kind.__name__.lower()} {str(word)!r}: take {known}") from None


@dataclass(frozen=True)
class Guarantee:
    """A claim with everything it rests on. With Noise.NONE it says that nothing is claimed: epsilon and delta None.

    Raises PrivacyError when a condition is missing or epsilon is not a finite number in a claim.
    """

    epsilon: float | None
    delta: float | None
    unit: Protected  # what one person may change
    adjacency: Adjacency
    accountant: str
    sampling: str  # the sampler that the accounting assumes and the code runs
    noise: Noise
    holds_against: str  # a Trust, and its conditions in words
    rounds: int
    assumptions: tuple[str, ...]
    excludes: tuple[str, ...]  # what epsilon does not count

    def __post_init__(self) -> None:
        words = ("unit", "adjacency", "accountant", "sampling", "noise", "holds_against")
        missing = [name for name in words if not str(getattr(self, name) or "").strip()]
        missing += [name for name in ("assumptions", "excludes") if not getattr(self, name)]
        if missing:
            raise PrivacyError(f"a guarantee without {', '.join(missing)} says nothing: fill it in")
        for name, kind in (("unit", Protected), ("adjacency", Adjacency), ("noise", Noise)):
            object.__setattr__(self, name, condition(kind, getattr(self, name)))
        if not self.holds_against.startswith(self.noise.holds_against):
            least = f"noise {str(self.noise)!r} holds against {str(self.noise.holds_against)!r}"
            raise PrivacyError(f"{least}: say so first, not {self.holds_against!r}")
        if self.rounds < 0:
            raise PrivacyError(f"a guarantee over {self.rounds} rounds: must be 0 or more")
        if self.noise is Noise.NONE:
            if self.epsilon is not None or self.delta is not None:
                raise PrivacyError("without noise there is no guarantee: epsilon and delta must be None")
            return
        if self.epsilon is None or not math.isfinite(self.epsilon) or self.epsilon < 0:
            raise PrivacyError(
                f"epsilon {self.epsilon} is no claim: it must be a finite number, 0 or more", param="epsilon"
            )
        if self.delta is None:
            raise PrivacyError("a guarantee without delta says nothing: fill it in")
        check_delta(self.delta)

    @classmethod
    def without_noise(
        cls,
        *,
        unit: Protected,
        rounds: int,
        sampling: str = "no private sampling",
        adjacency: Adjacency = Adjacency.ADD_OR_REMOVE,
    ) -> Guarantee:
        """The honest record of a run that adds no noise.

        >>> Guarantee.without_noise(unit=Protected.DIALOGUE, rounds=3).to_json()["epsilon"] is None
        True
        """
        return cls(
            epsilon=None,
            delta=None,
            unit=unit,
            adjacency=adjacency,
            accountant="none",
            sampling=sampling,
            noise=Noise.NONE,
            holds_against=Trust.NO_ONE,
            rounds=rounds,
            assumptions=("none: no noise was added",),
            excludes=("everything",),
        )

    def sentence(self) -> str:
        """The claim in words, every condition in it."""
        if self.epsilon is None:
            return (
                f"No differential privacy is claimed: {self.rounds} {_plural(self.rounds, 'round')} ran without noise, "
                f"so the model may repeat what any {self.unit} said (unit: one {self.unit}; holds against: "
                f"{self.holds_against})."
            )
        return (
            f"({_above(self.epsilon)}, {self.delta:g})-differential privacy for each single {self.unit} "
            f"(epsilon = {_above(self.epsilon)}, delta = {self.delta:g}, unit = one {self.unit}), adjacency: "
            f"{self.adjacency}; sampling: {self.sampling}; noise: {self.noise}; accountant: {self.accountant}; over "
            f"{self.rounds} {_plural(self.rounds, 'round')}; holds against: {self.holds_against}. "
            f"Assumes: {'; '.join(self.assumptions)}. Not covered: {'; '.join(self.excludes)}."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for privacy.json; epsilon and delta are null where nothing is claimed."""
        plain = {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}
        return {**plain, "assumptions": list(self.assumptions), "excludes": list(self.excludes)}


def _above(value: float) -> str:
    """Three decimals, rounded up: a claim is never printed smaller than it is."""
    return f"{math.ceil(value * 1000) / 1000:.3f}"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else word + "s"
