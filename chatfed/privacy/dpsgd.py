"""DP-SGD (Abadi et al. 2016): Poisson sample, clip each dialogue, add Gaussian noise, step. Keeps no accounts.

Steps plug into Opacus: `DialogueOptimizer` is a `DPOptimizer` whose clipping works on dialogues and whose noise comes
from `lattice`, exact. What is spent is for `accounting` and `ledger`; charge the ledger before calling `train_private`.

Each dialogue's gradient is computed alone. In a batch it would depend on the others: by their padding (0 times infinity
is not a number, and what is not finite is dropped) and by rounding, which differs between shapes. With honest weights
that is nothing; a server that chooses the weights can make one dialogue decide about many others, and then the
clipped sum moves by more than `clip_norm`. For the same reason nothing is drawn at random while gradients are computed
(`steady`): a base's dropout is off. `dialogues_at_once` > 1 takes many in the one pass of `clipping`, quicker
for large models and short dialogues: for local training, or a server that is trusted with the weights.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from chatfed.privacy.clipping import (
    STYLES,
    Bounds,
    ClippingError,
    ClipRule,
    DialogueGradients,
    Gradient,
    Loss,
    clip_factor,
    steady,
)
from chatfed.privacy.lattice import noised
from chatfed.privacy.noise import poisson_sample, system_random
from chatfed.types import Entropy, FloatVector, IntVector, InvalidValue

__all__ = [
    "DPSGDConfig",
    "DialogueOptimizer",
    "Examples",
    "clipped_gradients",
    "gradients",
    "noisy_mean",
    "poisson_sample",
    "train_private",
]


@dataclass(frozen=True)
class DPSGDConfig:
    """What one client's private training does; every number is public and none is computed from its data."""

    clip_norm: float  # L2, per dialogue, over all trained parameters together
    noise_multiplier: float  # noise std of the sum / clip_norm; 0: no noise and no guarantee (reference runs)
    sampling_rate: float  # probability that a dialogue is in a step's sample
    expected_batch_size: float  # dialogues; a public constant that the noisy sum is divided by
    steps: int
    learning_rate: float
    dialogues_at_once: int = 1  # more only where no attacker chose the weights: see the module's first lines
    rows_at_once: int = 16  # rows of one long dialogue in one pass: memory only
    clipping: str = "flat"  # or "per_layer" or "automatic": see `ClipRule`
    gamma: float = 0.01  # automatic clipping only

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, good in (
                ("clip_norm", 0 < self.clip_norm < math.inf),
                ("noise_multiplier", 0 <= self.noise_multiplier < math.inf),
                ("sampling_rate", 0 <= self.sampling_rate <= 1),
                ("expected_batch_size", 0 < self.expected_batch_size < math.inf),
                ("steps", self.steps >= 0),
                ("learning_rate", 0 <= self.learning_rate < math.inf),
                ("dialogues_at_once", self.dialogues_at_once >= 1),
                ("rows_at_once", self.rows_at_once >= 1),
                ("clipping", self.clipping in STYLES),
                ("gamma", 0 < self.gamma < math.inf),
            )
            if not good
        ]
        if wrong:
            given = ", ".join(f"{name} = {getattr(self, name)}" for name in wrong)
            raise InvalidValue(f"private training cannot run with {given}: out of range", param=wrong[0])

    @property
    def rule(self) -> ClipRule:
        """How dialogues are clipped."""
        return ClipRule(self.clip_norm, self.clipping, self.gamma)


class Examples(Protocol):
    """A client's dialogues as rows of tensors."""

    def __len__(self) -> int:
        """How many dialogues."""
        ...

    def rows(self, indices: IntVector) -> tuple[dict[str, Tensor], Tensor]:
        """(batch, owner): tensors whose first dimension is rows, and int64[rows], each row's position in `indices`."""
        ...


class DialogueOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus' optimiser with whole dialogues clipped and noise from cryptographic bits.

    The wrapped optimiser is plain SGD unless another over `gradients.parameters` is given.
    `step()` ends with p.grad = (sum of clipped dialogue gradients + N(0, (noise_multiplier * clip_norm)^2))
    / expected_batch_size; SGD then does p -= learning_rate * p.grad. Copy a p.grad to keep it: with
    `dialogues_at_once` > 1 its memory is the next sum's, which has no noise yet.
    """

    def __init__(
        self,
        gradients: DialogueGradients,
        config: DPSGDConfig,
        entropy: Entropy,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        super().__init__(
            optimizer or torch.optim.SGD(gradients.parameters, lr=config.learning_rate),
            noise_multiplier=config.noise_multiplier,
            max_grad_norm=config.clip_norm,
            expected_batch_size=config.expected_batch_size,  # a float here; Opacus only divides by it
            loss_reduction="mean",
        )
        self.gradients = gradients
        self.rule = config.rule
        self.entropy = entropy
        # The clipped sum. In float32 each of n additions may round by what an earlier one decided, n^2 in all.
        single = config.dialogues_at_once > 1 or gradients.device.type == "mps"  # Apple's has no float64
        dtype = torch.float32 if single else torch.float64
        self.total = torch.zeros(gradients.size, dtype=dtype, device=gradients.device)  # float[size]
        self._empty = True  # the sum, which zero_grad then need not walk through

    def add(self, loss: Loss, batch: dict[str, Tensor], bounds: Bounds, rows_at_once: int) -> None:
        """Adds the clipped gradients of the dialogues at rows [first, last) of `batch` to `total`."""
        self._empty = False
        if len(bounds) == 1:
            self.gradients.add_alone(loss, batch, bounds[0][1], rows_at_once, self.rule, self.total)
        else:
            self.gradients.add_batch(loss, batch, bounds, self.rule, self.total)

    def clip_and_accumulate(self) -> None:
        """Nothing is left to do: `add` has clipped each dialogue already."""

    def add_noise(self) -> None:
        """p.grad = (clipped sum + noise) / expected_batch_size; Opacus' own generator (torch.normal) is not used."""
        self._empty = False  # and a float32 sum's place is taken by the mean
        if self.noise_multiplier > 0.0:
            made = noised(
                self.total.cpu().numpy(),
                self.max_grad_norm,
                self.noise_multiplier,
                self.entropy,
                divisor=self.expected_batch_size,
            )
            noisy = torch.from_numpy(made).to(self.total.device)
        else:
            noisy = self.total.div_(self.expected_batch_size).float()
        for p, start in self.gradients.layout.items():
            p.grad = noisy[start : start + p.numel()].view_as(p)

    def scale_grad(self) -> None:
        """Nothing is left to do: `add_noise` has divided already, which spares a walk."""

    @property
    def accumulated_iterations(self) -> int:
        """Always 1: parts of a batch are added, never averaged; Opacus' accountants multiply the rate by it."""
        return 1

    def pre_step(self, closure: object = None) -> bool:
        """Noise and scaling; an empty sample comes here too, with a sum of zero."""
        self.add_noise()
        return True

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the sum and every p.grad."""
        if not self._empty:
            self.total.zero_()
            self._empty = True
        for p in self.gradients.parameters:
            p.grad = None


def train_private(
    module: nn.Module,
    examples: Examples,
    loss: Loss,
    config: DPSGDConfig,
    entropy: Entropy = system_random,
    optimizer: torch.optim.Optimizer | None = None,
    by_hand: Gradient | None = None,
) -> None:
    """Trains the requires_grad parameters of `module` in place by `config.steps` steps of DP-SGD.

    `optimizer`, over the trained parameters, takes the place of plain SGD at `config.learning_rate`; `by_hand`, for the
    same loss, that of autograd wherever a dialogue's gradient is computed alone.
    Each step: Poisson sample of dialogues, p -= learning_rate * (sum of clipped gradients + N(0, (sigma C)^2)) /
    expected_batch_size (Abadi et al. 2016, algorithm 1, with the expected batch size). An empty sample still takes a
    step of noise alone. A dialogue whose gradient is not finite adds nothing. Parameters without requires_grad are left
    alone. `loss` gives float[rows]. When done, or on an error, the module carries no hook and no attribute of ours.
    Raises ClippingError for a model in which a dialogue has no gradient of its own.

    Guarantee: with `dialogues_at_once` 1 the clipped sum of a step moves by at most clip_norm in L2, but for the
    rounding of its float64 additions, when one dialogue is added or removed, whatever the weights are. So the trained
    parameters are as private as `Mechanism(noise_multiplier, sampling_rate, steps)`. More at once: where no attacker
    chose the weights.
    """
    with steady(module), contextlib.closing(DialogueGradients(module, by_hand)) as gradients:
        optimizer = DialogueOptimizer(gradients, config, entropy, optimizer)
        for _ in range(config.steps):
            _step(optimizer, gradients, examples, loss, config, entropy)
        optimizer.original_optimizer.zero_grad()  # the sum goes with `optimizer`


def gradients(
    module: nn.Module,
    examples: Examples,
    loss: Loss,
    config: DPSGDConfig,
    entropy: Entropy = system_random,
    by_hand: Gradient | None = None,
    coordinates: int | None = None,
) -> Iterator[FloatVector]:
    """The gradient of each dialogue of a Poisson sample, not clipped: float32[d], parameters by name.

    One after the other, each computed alone, in memory that the next one takes: the caller measures, clips, rounds and
    noises. One that is not finite comes as it is. `by_hand`, for the same loss, takes the place of autograd; where it
    writes coordinates of the parameters, not their numbers, `coordinates` is how many. Raises ClippingError as
    `train_private` does.

    Guarantee: each is a function of the weights and of that dialogue alone, also in its rounding.
    """
    with steady(module), contextlib.closing(DialogueGradients(module, by_hand, coordinates)) as made:
        for index in poisson_sample(len(examples), config.sampling_rate, entropy):
            yield _flat(made, examples, loss, config, index)


def noisy_mean(
    found: Iterable[FloatVector], dimension: int, config: DPSGDConfig, entropy: Entropy = system_random
) -> FloatVector:
    """One step's direction from gradients float32[d] as they come: clipped flat, summed, noised, over the batch.

    What `train_private` makes of a sample, where gradients are not a module's own (Abadi et al. 2016, algorithm 1).
    """
    total = np.zeros(dimension)
    for gradient in found:
        factor = clip_factor(torch.from_numpy(gradient), config.clip_norm)
        if factor > 0.0:  # of one that is not finite it is 0
            total += np.float32(factor) * gradient
    if not config.noise_multiplier:
        mean: FloatVector = (total / config.expected_batch_size).astype(np.float32)
        return mean
    return noised(total, config.clip_norm, config.noise_multiplier, entropy, divisor=config.expected_batch_size)


def _flat(made: DialogueGradients, examples: Examples, loss: Loss, config: DPSGDConfig, index: int) -> FloatVector:
    batch, bounds = _by_dialogue(*examples.rows(np.array([index])), 1)
    found: FloatVector = made.flat(loss, batch, bounds[0][1] if bounds else 0, config.rows_at_once).cpu().numpy()
    return found


def clipped_gradients(
    module: nn.Module,
    examples: Examples,
    loss: Loss,
    config: DPSGDConfig,
    entropy: Entropy = system_random,
    by_hand: Gradient | None = None,
) -> Iterator[dict[str, Tensor]]:
    """What `train_private` adds up in a step, before noise: the clipped gradient of each dialogue of a Poisson sample.

    By parameter name, float32, one dialogue after the other, each computed alone. The caller rounds, adds and noises
    them. A dialogue whose gradient is not finite gives zeros. Raises ClippingError as `train_private` does.

    Guarantee: each is a function of the weights and of that dialogue alone, and no longer than clip_norm in L2 over all
    parameters together, whatever the weights are.
    """
    with steady(module), contextlib.closing(DialogueGradients(module, by_hand)) as made:
        for index in poisson_sample(len(examples), config.sampling_rate, entropy):
            batch, bounds = _by_dialogue(*examples.rows(np.array([index])), 1)
            one = torch.zeros(made.size, device=made.device)
            for _, rows in bounds:
                made.add_alone(loss, batch, rows, config.rows_at_once, config.rule, one)
            yield {name: one[made.layout[p] :][: p.numel()].view_as(p) for name, p in made.named.items()}


def _step(
    optimizer: DialogueOptimizer,
    gradients: DialogueGradients,
    examples: Examples,
    loss: Loss,
    config: DPSGDConfig,
    entropy: Entropy,
) -> None:
    optimizer.zero_grad()
    picked = poisson_sample(len(examples), config.sampling_rate, entropy)
    if config.dialogues_at_once > 1:  # alone, autograd itself is used
        _prove(gradients, loss, examples, picked)
    for start in range(0, len(picked), config.dialogues_at_once):
        group = picked[start : start + config.dialogues_at_once]
        batch, bounds = _by_dialogue(*examples.rows(group), len(group))
        if bounds:
            optimizer.add(loss, batch, bounds, config.rows_at_once)
    optimizer.step()


def _by_dialogue(
    batch: dict[str, Tensor], owner: Tensor, dialogues: int
) -> tuple[dict[str, Tensor], list[tuple[int, int]]]:
    """Rows put in order of their owner, and each owner's [first, last) rows; owners without a row are left out."""
    rows = len(owner)
    for key, value in batch.items():
        if value.shape[:1] != (rows,):
            raise ClippingError(f"batch entry {key} has shape {list(value.shape)} for {rows} owners of rows")
    if rows and (int(owner.min()) < 0 or int(owner.max()) >= dialogues):
        raise ClippingError(f"row owners must lie in 0..{dialogues - 1}")
    order = torch.argsort(owner, stable=True)
    ends = np.cumsum(np.bincount(owner.cpu().numpy(), minlength=dialogues))
    starts = np.concatenate([[0], ends[:-1]])
    bounds = [(int(s), int(e)) for s, e in zip(starts, ends, strict=True) if e > s]
    return {key: value[order] for key, value in batch.items()}, bounds


_proved: weakref.WeakKeyDictionary[nn.Module, frozenset[str]] = weakref.WeakKeyDictionary()


def _prove(gradients: DialogueGradients, loss: Loss, examples: Examples, picked: IntVector) -> None:
    module, trained = gradients._module, frozenset(gradients.named)
    if _proved.get(module) == trained or not len(picked):
        return
    both, bounds = _by_dialogue(*examples.rows(picked[:2]), len(picked[:2]))
    if not bounds:
        return
    rows, cut = bounds[-1][1], bounds[0][1]
    gradients.backward(loss, both, rows)
    fast = gradients.gradient(0, cut, torch.empty(gradients.size, device=gradients.device))
    alone = {key: value[:cut] for key, value in both.items()}
    slow = torch.cat([g.flatten() for g in gradients.alone(loss, alone, cut, cut)])
    _refuse_difference(gradients, fast, slow)
    if len(bounds) == 2 and bool(torch.isfinite(fast).all()):
        _proved[module] = trained


def _refuse_difference(gradients: DialogueGradients, fast: Tensor, slow: Tensor) -> None:
    tolerance = 1e-3 if gradients.exact_dtype else 5e-2
    floor = 1e-6 * float(slow.norm())
    for name, p in gradients.named.items():
        part = slice(gradients.layout[p], gradients.layout[p] + p.numel())
        if float((fast[part] - slow[part]).norm()) > tolerance * float(slow[part].norm()) + floor:
            raise ClippingError(
                f"parameter {name}: a dialogue's gradient depends on the others of its batch, or the parameter is "
                "used outside its own layer: this model cannot be clipped"
            )
