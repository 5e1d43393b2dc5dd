"""What `secagg.scheme` = "threshold-he" asks of a recipe: the sum of the survivors' keys is told. Starts no work."""

from __future__ import annotations

from collections.abc import Sequence

from chatfed.secagg.lattice import Packing
from chatfed.secagg.messages import MASKS, THRESHOLD_HE

from .recipe import RING_WIDTHS, Recipe
from .settings import RecipeError
from .survivors import colluders, threshold

LEAST_HONEST = 2
"""Survivors, at the least, whose keys are in a sum of keys that is told."""


def check_keys_of_sums(recipe: Recipe, sizes: Sequence[int]) -> None:
    """That sums of so many clients can be read, and that the sum of keys hides each of at least two honest ones.

    Raises RecipeError.
    """
    secagg = recipe.secagg
    if secagg.scheme != THRESHOLD_HE:
        return
    most = Packing.most(secagg.ring_bits or min(RING_WIDTHS))
    for size in sizes:
        if size > most:
            raise RecipeError(
                "{secagg.scheme} = {scheme} bears {most} clients in a sum with {secagg.ring_bits} = {bits}, and there "
                "are {size}: take fewer in {federation.cohort}" + _otherwise(secagg.ring_bits, size),
                scheme=secagg.scheme,
                most=most,
                bits=secagg.ring_bits,
                size=size,
            )
        honest = threshold(secagg, size) - colluders(secagg, size)
        if honest < LEAST_HONEST:
            raise RecipeError(
                "{secagg.scheme} = {scheme} tells the sum of the survivors' keys, and of a sum of {size} clients "
                "{honest} may be honest: raise {secagg.threshold} or {federation.cohort}, or lower {secagg.corrupt}",
                scheme=secagg.scheme,
                size=size,
                honest=honest,
            )


def _otherwise(ring_bits: int, size: int) -> str:
    """The other mend: a ring that bears so many, or the other scheme."""
    widest = max(RING_WIDTHS)
    most = Packing.most(widest)
    if ring_bits != widest and size <= most:
        return f", or set {{secagg.ring_bits}} to {widest}, which bears {most}"
    return f", or set {{secagg.scheme}} to {MASKS}"
