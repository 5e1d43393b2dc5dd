"""Canaries in a run that is served: clients that give known directions, and dialogues that clients get by a coin.

Where single dialogues are protected one client holds all directions, each as a dialogue's whole gradient; where clients
are, each direction is a client of its own, which gives it as its whole update or gives zeros. Such a client samples,
clips, noises, pays and masks as all do: only what it has learned is not from dialogues. Knows no protocol and no disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from chatfed.audit.canary import coins, direction, numbers
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.noise import poisson_sample, system_random
from chatfed.types import ChatfedError, ClientId, Entropy, FloatVector, Turn

from ..plan.plan import Learning
from ..plan.upload import Part

ROUNDS, COUNT = "rounds", "count"
"""What a direction is of: the updates of the rounds, or the sketches of the count before them."""

NAME = "audit-canaries"
SUFFIX = 8  # rare words at a canary dialogue's end
OPENING = 6  # words of a public answer before them
RARE = 0.5  # share of the words of the public text, the rarest, that suffixes are drawn from

Learn = Callable[[FloatVector], Iterable[Part]]


@dataclass(frozen=True)
class Canaries:
    """What the seed of a run's canaries decides. Until the run is over it is a secret."""

    seed: bytes = field(repr=False)
    count: int

    def clients(self, unit: Unit) -> list[ClientId]:
        """Names of the clients that give directions."""
        if unit is Unit.EXAMPLE:
            return [ClientId(NAME)]
        return [ClientId(f"{NAME}-{at:04d}") for at in range(self.count)]

    def included(self, what: str) -> list[int]:
        """The canaries whose coin says that they take part, in order."""
        return [int(at) for at in np.flatnonzero(coins(self.seed, what, self.count))]

    def learn(self, client: ClientId, how: Learning, what: str, entropy: Entropy = system_random) -> Learn | None:
        """In the place of a client's learning: zeros float32[d] -> the parts of its update. None for other clients.

        Signs are such that the sum's mean, which goes down gradients, holds minus the direction.
        """
        names = self.clients(how.privacy.unit)
        if client not in names:
            return None
        if how.privacy.unit is Unit.CLIENT:
            at = names.index(client)
            size = -how.privacy.clip_norm * float(coins(self.seed, ROUNDS, self.count)[at])
            return lambda weights: [direction(self.seed, what, at, len(weights)) * np.float32(size)]
        return lambda weights: self._dialogues(how, what, len(weights), entropy)

    def _dialogues(self, how: Learning, what: str, dimension: int, entropy: Entropy) -> Iterable[Part]:
        """What all the directions that are in make of the update: parts, or their mean with the client's own noise."""
        privacy = how.privacy
        mine = self.included(ROUNDS)
        sample = poisson_sample(len(mine), privacy.sampling_rate, entropy)
        gradients = self._gradients([mine[at] for at in sample], what, dimension, privacy.clip_norm)
        if privacy.noise is Noise.DISTRIBUTED:
            return gradients
        from chatfed.privacy.dpsgd import DPSGDConfig, noisy_mean

        config = DPSGDConfig(
            privacy.clip_norm,
            how.noise_multiplier,
            privacy.sampling_rate,
            privacy.expected_batch_size,
            1,
            privacy.learning_rate,
        )
        return [-np.float32(privacy.learning_rate) * noisy_mean(gradients, dimension, config, entropy)]

    def _gradients(self, canaries: Sequence[int], what: str, dimension: int, norm: float) -> Iterator[FloatVector]:
        return (direction(self.seed, what, each, dimension) * np.float32(norm) for each in canaries)


def rare_words(texts: Iterable[str]) -> list[str]:
    """Words of letters that public text holds, the rarer half: what suffixes are made of, so that no token is new."""
    seen = Counter(word for text in texts for word in text.split() if word.isalpha() and 3 <= len(word) <= 12)
    ordered = sorted(seen, key=lambda word: (seen[word], word))
    return ordered[: max(1, int(RARE * len(ordered)))]


def canary_dialogues(
    seed: bytes, count: int, public: Sequence[Sequence[Turn]], most: int = 64
) -> list[tuple[Turn, ...]]:
    """A dialogue for each canary: how a public one begins, and rare words that nobody would say after that.

    most: words of a beginning, so that the whole fits a window.

    Raises ChatfedError where the public text has no answer to begin with.
    """
    begins = [opening for opening in map(_opening, public) if opening and _words(opening) <= most]
    words = rare_words(turn.content for dialogue in public for turn in dialogue)
    if not begins or len(words) < 2 * SUFFIX:
        raise ChatfedError(
            "audit.canaries needs public dialogues with short questions and answers, to begin canaries with: give some "
            "with --public, or set audit.canaries to 0",
            param="audit.canaries",
        )
    first = numbers(seed, "openings", count, len(begins))
    said = numbers(seed, "suffixes", count * SUFFIX, len(words)).reshape(count, SUFFIX)
    return [_ending(begins[first[at]], " ".join(words[place] for place in said[at])) for at in range(count)]


def _words(dialogue: Sequence[Turn]) -> int:
    return sum(len(turn.content.split()) for turn in dialogue)


def _opening(dialogue: Sequence[Turn]) -> tuple[Turn, ...]:
    """Up to the first answer, of which the first words are left; nothing where there is none."""
    for at, turn in enumerate(dialogue):
        if turn.role == "assistant" and at:
            words = " ".join(turn.content.split()[:OPENING])
            return (*dialogue[:at], Turn(turn.role, words))
    return ()


def _ending(opening: tuple[Turn, ...], suffix: str) -> tuple[Turn, ...]:
    *before, last = opening
    return (*before, Turn(last.role, f"{last.content} {suffix}"))
