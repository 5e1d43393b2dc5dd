"""What is learned of a model, as one vector of coordinates: each matrix along some directions of its inputs, or whole.

A matrix W of the base becomes W + C P': P float32[inputs, r] are the leading right singular vectors of W itself, so
everybody who has the base has them, and C float32[outputs, r] is learned from 0. That is a low-rank adapter whose first
matrix is frozen (Sun et al. 2024, FFA-LoRA, section 3: what is noised once stays linear in what is learned), begun as
Meng et al. 2024 (PiSSA, section 3) begin theirs, and merged into W. Fewer coordinates are less to noise, mask and send.
Knows no training, no noise and no protocol.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.parameters import read_flat, trainable, write_flat
from chatfed.types import FloatVector

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_GRID = 2.0**-14  # directions are rounded to it: libraries that differ in the last digits agree on them


@dataclass(frozen=True, eq=False)
class _Part:
    """One trained parameter and its coordinates."""

    parameter: nn.Parameter
    base: Tensor  # as it was
    directions: Tensor | None  # float32[inputs, r]; None: every number is a coordinate
    numbers: slice  # in the flat vector of all trained numbers
    coordinates: slice

    def of(self, change: Tensor) -> Tensor:
        """The coordinates of a change, or of a gradient, of the parameter's shape: flat."""
        inside = change if self.directions is None else change @ self.directions
        return inside.reshape(-1)

    def change(self, coordinates: Tensor) -> Tensor:
        """What coordinates, flat, do to the parameter."""
        if self.directions is None:
            return coordinates.view_as(self.base)
        return coordinates.view(len(self.base), -1) @ self.directions.t()


class Subspace:
    """The trainable parameters of a module, in the order of their names, as coordinates float32[d].

    share: of the directions of each matrix's inputs, above 0 and below 1; 0: everything that is trainable, its numbers
    themselves. whole: globs over names of matrices of which every number is a coordinate all the same. With directions,
    all coordinates are 0 at the base, those of parameters that are no matrix too.
    """

    def __init__(self, module: nn.Module, share: float = 0.0, whole: Sequence[str] = ()) -> None:
        self.module, self.share = module, share
        self._parts: list[_Part] = []
        self._loaded: FloatVector | None = None  # what the parameters were set to last, where that stays as it is
        self._written = list[int]()  # their versions then
        numbers = coordinates = 0
        trained = trainable(module)
        self._trained = [p for _, p in trained]  # found once: a module is long to walk through
        for name, p in trained if share else ():
            as_it_is = any(fnmatchcase(name, glob) for glob in whole)
            directions = None if as_it_is else _directions(p, share)
            here = p.numel() if directions is None else len(p) * directions.shape[1]
            ends = numbers + p.numel(), coordinates + here
            places = slice(numbers, ends[0]), slice(coordinates, ends[1])
            base = p.detach()
            p.data = base.clone()  # what moves is the copy: a base that is mapped stays the file's, for all processes
            self._parts.append(_Part(p, base, directions, *places))
            numbers, coordinates = ends
        self.start: FloatVector = np.zeros(coordinates, np.float32) if share else read_flat(self._trained)  # the base's

    @property
    def dimension(self) -> int:
        """d, the number of coordinates."""
        return len(self.start)

    @property
    def directions(self) -> dict[nn.Parameter, Tensor]:
        """Of each matrix that has some: float32[inputs, r]."""
        return {part.parameter: part.directions for part in self._parts if part.directions is not None}

    def digest(self) -> bytes:
        """SHA-256 of all directions: who has others learns something else."""
        digest = hashlib.sha256()
        for part in self._parts:
            if part.directions is not None:
                digest.update(part.directions.cpu().numpy().tobytes())
        return digest.digest()

    def load(self, coordinates: FloatVector) -> None:
        """Sets the module's trainable parameters. Raises ValueError when d differs.

        Nothing where they were set to this very array last, it cannot be written to, and nothing has moved them since.
        """
        if self._loaded is coordinates and self._written == self._versions():
            return
        self._loaded = None
        self._set(coordinates)
        if not coordinates.flags.writeable:
            self._loaded, self._written = coordinates, self._versions()

    def _versions(self) -> list[int]:
        """How often each trained parameter was written to, as torch counts it."""
        return [p._version for p in self._trained]

    def _set(self, coordinates: FloatVector) -> None:
        import torch

        if not self.share:
            return write_flat(self._trained, coordinates)
        if coordinates.shape != self.start.shape:
            raise ValueError(f"expected float32[{self.dimension}], got shape {coordinates.shape}")
        with torch.no_grad():
            for part in self._parts:
                mine = torch.from_numpy(np.array(coordinates[part.coordinates], np.float32)).to(part.base.device)
                part.parameter.copy_(part.base + part.change(mine))

    def moved(self, coordinates: FloatVector) -> FloatVector:
        """How far the module has moved from `coordinates`, along the directions: float32[d]."""
        import torch

        if not self.share:
            return read_flat(self._trained) - coordinates
        with torch.no_grad():
            parts = [part.of(part.parameter - part.base).cpu().numpy() for part in self._parts]
        found: FloatVector = np.concatenate(parts) - coordinates
        return found

    def of_gradient(self, gradient: FloatVector) -> FloatVector:
        """The gradient of all trainable numbers, flat, in coordinates: float32[d]; without directions the same array.

        By the chain rule it is G P for a matrix's gradient G.
        """
        import torch

        if not self.share:
            return gradient
        whole = torch.from_numpy(gradient)
        found = np.empty(self.dimension, np.float32)
        into = torch.from_numpy(found)
        for part in self._parts:
            mine = whole[part.numbers].view_as(part.base).to(part.base.device)
            into[part.coordinates] = part.of(mine).cpu()
        return found


def _directions(parameter: nn.Parameter, share: float) -> torch.Tensor | None:
    """The leading right singular vectors of a matrix, by its Gram matrix in float64: float32[inputs, r]."""
    import torch

    if parameter.dim() != 2:
        return None
    inputs = parameter.shape[1]
    rank = math.ceil(share * inputs)
    if rank >= inputs:
        return None
    exact = parameter.detach().cpu().double().numpy()
    _, vectors = np.linalg.eigh(exact.T @ exact)
    leading = vectors[:, : -rank - 1 : -1]
    largest = np.take_along_axis(leading, np.abs(leading).argmax(0)[None], 0)
    rounded = np.rint(leading * np.sign(largest) / _GRID) * _GRID  # a vector's sign is anybody's choice
    return torch.from_numpy(rounded.astype(np.float32)).to(parameter.device)
