"""How a vector is hidden in a sum, and how the sum is opened: a module for each scheme, with the functions of `Scheme`.

The steps around them, and whatever is signed, checked against floors, stored or erased, are in `client` and `server`
and the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping

from chatfed.secagg.messages import MASKS, THRESHOLD_HE, Parameters
from chatfed.secagg.schemes import masks, threshold_he
from chatfed.secagg.schemes.face import Dealt, Running, Scheme

__all__ = ["SCHEMES", "Dealt", "Running", "Scheme", "scheme_of"]

SCHEMES: Mapping[str, Scheme] = {MASKS: masks, THRESHOLD_HE: threshold_he}


def scheme_of(parameters: Parameters) -> Scheme:
    """The scheme that the parameters name."""
    return SCHEMES[parameters.scheme]
