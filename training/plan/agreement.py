"""What server and clients hold each other to in every round: each derives it from its own copy of the recipe."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Codec, coefficients
from .recipe import FederationSection, Recipe
from .sums import Sums


@dataclass(frozen=True)
class Agreement:
    """The part of a plan that rounds follow."""

    digest: bytes  # 32 bytes, of the whole recipe
    schedule: FederationSection
    sums: Sums
    cells: int  # of the vectors that are summed; 0: as many as the model has trained weights

    def size(self, cohort: int, weights: int) -> tuple[int, int]:
        """Participants and coordinates of a sum whose invitation carries so many weights."""
        return cohort, self.cells or weights

    @property
    def moving_clip_norm(self) -> bool:
        """Whether the clip norm follows a quantile, and comes with each invitation."""
        return bool(self.sums.codec.privacy.clip_quantile)


def agree(recipe: Recipe, noise_multiplier: float, digest: bytes = b"") -> Agreement:
    """What a recipe, its cohort settled, and the clients' noise multiplier make of every round.

    digest: of the recipe that this one was made of, where it is not its own.
    """
    codec = Codec(recipe.privacy, recipe.secagg, coefficients(recipe.federation), noise_multiplier)
    return Agreement(digest or recipe.digest(), recipe.federation, Sums(recipe.secagg, codec), 0)
