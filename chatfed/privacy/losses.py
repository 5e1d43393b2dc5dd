"""Epsilon of Poisson-sampled Gaussian steps by privacy loss distributions, never below the truth at any delta.

Knows no budgets and no claims. A step is dominated, for adding or removing one example, by the pair of N(0, s^2) and
(1 - q) N(0, s^2) + q N(1, s^2), each of the two against the other (Zhu, Dong and Wang 2022); under composition either
direction may be the worse (Lebeda et al. 2024), so both are composed. For each:

1. *Discretise.* The loss is moved to a grid. What lies between two points goes to both in shares that keep its mass
   under either distribution, so the new pair dominates the old one (Doroshenko, Ghazi, Kamath, Kumar and Manurangsi
   2022, "connect the dots"). Every share is an integral with a positive integrand, by Gauss and Legendre: no
   difference of near-equal numbers, so a tail of 1e-300 has its digits as well.
2. *Tilt.* Masses are multiplied with e^(lambda loss) and scaled to 1, which commutes with composition (the Esscher
   transform behind saddle points: Alghamdi et al. 2022). With lambda near the saddle point of the wanted delta the
   composed mass lies where epsilon is.
3. *Compose* by FFT. What wraps around adds mass, so it errs upwards; rounding errors, tails beyond the window and what
   was cut off are bounded and added. They are small against the *tilted* tail, so they stay small at any delta; without
   the tilt they would drown a delta of 1e-12.

delta(epsilon) = M e^(-lambda epsilon) E[g(Y - epsilon)], g(t) = e^(-lambda t) (1 - e^(-t)) above 0, Y the tilted sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating[Any]]
Steps = tuple[float, float, int]
"""noise_multiplier, sampling_rate, how many."""

_CLOSE = 1e-4  # of epsilon: what the grid may add
_PASSES = 3  # at most
_STEP = 1e-3  # relative, in which a slope is taken
_LEAST_EPSILON = 1e-12  # for which a grid is chosen
_LOG_TAIL = 46.0  # -log of the tilted mass that may lie beyond the window
_CUT = 9.0  # -log of the share of delta that may be cut off in all steps together
_MOST_POINTS = 1 << 20
_LEFT = 2 * math.exp(-_CUT)  # -log of the share of delta that is not cut off, a little more
_SUM_ERROR = 1e-9  # relative, of sums over the grid
_MASS_ERROR = 1e-12  # relative, of a step's masses: quadrature and elementary functions
_UNIT, _LEAST = 2.0**-52, 2.0**-1074
_NARROW = 0.1  # of the widest panel: few nodes are enough
_PANELS = 1 << 15  # of nodes at a time
_NODES = {few: np.polynomial.legendre.leggauss(few) for few in (6, 16)}


def pld_epsilon(history: Sequence[Steps], delta: float) -> float:
    """Upper bound on epsilon of all steps together, for adding or removing one example; infinite where it finds none.

    Every noise multiplier and rate must be positive, every count 1 or more.
    """
    total = 0.0
    for removed in (True, False):
        losses = [_Loss(noise, rate, count, removed, _reach(history, delta)) for noise, rate, count in history]
        tilt, bound = _tilt(losses, delta)
        if bound > total:  # a direction whose Renyi bound is lower is not the worse one
            total = max(total, min(bound, _refined(losses, tilt, bound, math.log(delta) - _LEFT)))
    return total


def _refined(losses: Sequence[_Loss], tilt: float, bound: float, log_delta: float) -> float:
    """Epsilon on a grid that fits it: the first is chosen for `bound`, the next for what was found."""
    aim, best = _Aim(bound, tilt), math.inf  # every pass gives a bound
    for _ in range(_PASSES):
        composed = _composed(losses, tilt, aim)
        found = _epsilon(composed, log_delta)
        best = min(best, found)
        if found == 0.0 or math.isinf(found):
            break
        slope = (composed.log_delta(found * (1 - _STEP)) - composed.log_delta(found)) / (found * _STEP)
        if found > aim.epsilon / 2 and slope < 2 * aim.slope:
            break
        aim = _Aim(found, max(aim.slope, slope))
    return best


def renyi_epsilon(history: Sequence[Steps], delta: float) -> float:
    """The same by the best order of Renyi DP (Canonne et al. 2020, proposition 12): quick, and some percent larger.

    Outcomes beyond the reach count as delta, which only lowers it.
    """
    both = ([_Loss(*steps, removed, _reach(history, delta)) for steps in history] for removed in (True, False))
    return max(_tilt(losses, delta)[1] for losses in both)


def _reach(history: Sequence[Steps], delta: float) -> float:
    """Standard deviations of noise that all steps stay within, but for a negligible share of delta."""
    from scipy.special import log_ndtr

    aim = math.log(delta) - _CUT - math.log(sum(count for _, _, count in history))
    low, high = 0.0, math.sqrt(-2 * aim)
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if log_ndtr(-middle) <= aim else (middle, high)
    return high


@dataclass(frozen=True)
class _Loss:
    """The privacy loss of one step in one direction, as a function of what is seen."""

    noise: float
    rate: float
    count: int
    removed: bool  # the example is in the first data set; otherwise it is in the second one
    reach: float

    @property
    def span(self) -> tuple[float, float]:
        """Outcomes that are looked at; in the rest, loss is rounded up to infinity or to that of the span's end."""
        return -self.reach * self.noise, self.reach * self.noise + 1.0

    def of(self, x: Vector) -> Vector:
        return self._ratio(x) if self.removed else -self._ratio(x)

    def _ratio(self, x: Vector) -> Vector:
        """Log of the mixture's density over the noise's."""
        z = (2 * x - 1) / (2 * self.noise**2)
        if self.rate == 1:
            return z
        far = np.maximum(z, 30.0)
        beyond = far + math.log(self.rate) + np.log1p((1 - self.rate) / self.rate * np.exp(-far))
        near: Vector = np.log1p(self.rate * np.expm1(np.minimum(z, 30.0)))
        found: Vector = np.where(z < 30.0, near, beyond)
        return found

    def outcomes(self, losses: Vector) -> Vector:
        """Where the loss is so large; all must lie inside the loss's range."""
        ratio = losses if self.removed else -losses
        z = ratio
        if self.rate < 1:
            far = np.maximum(ratio, 30.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                near = np.log1p(np.expm1(np.minimum(ratio, 30.0)) / self.rate)
            z = np.where(ratio < 30.0, near, far - math.log(self.rate) + np.log1p((self.rate - 1) * np.exp(-far)))
        found: Vector = self.noise**2 * z + 0.5
        return found

    def log_density(self, x: Vector) -> Vector:
        """Of the outcome where the first data set is the true one."""
        plain = -((x / self.noise) ** 2) / 2 - math.log(self.noise * math.sqrt(2 * math.pi))
        return plain + self._ratio(x) if self.removed else plain

    @property
    def widest(self) -> float:
        """A panel on which 16 nodes give all digits."""
        return 0.2 * (self.noise if self.rate == 1 else min(self.noise, self.noise**2))

    def panels(self) -> Vector:
        low, high = self.span
        return np.linspace(low, high, 2 + math.ceil((high - low) / self.widest))

    def log_moments(self, tilts: Vector) -> Vector:
        """Log E[e^(tilt loss)] of one step, without what is cut off."""
        cuts, (at, weight) = self.panels(), _NODES[16]
        half = np.diff(cuts)[:, None] / 2
        x = cuts[:-1, None] + half * (1 + at)
        log_mass, loss = (np.log(half * weight) + self.log_density(x)).ravel(), self.of(x).ravel()
        return np.array([_log_sum(log_mass + tilt * loss) for tilt in tilts])

    @property
    def log_cut(self) -> float:
        """Log of the mass beyond either end of the span, at most."""
        from scipy.special import log_ndtr

        return float(log_ndtr(-self.reach))


def _log_sum(logs: NDArray[Any]) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))


def _total_moment(losses: Sequence[_Loss], tilts: Vector) -> Vector:
    total: Vector = np.sum([loss.count * loss.log_moments(tilts) for loss in losses], axis=0)
    return total


def _tilt(losses: Sequence[_Loss], delta: float) -> tuple[float, float]:
    """The tilt of least epsilon by Renyi divergence (of order 1 + tilt), and that epsilon."""

    def bound(logs: Vector) -> Vector:
        tilts = np.exp(logs)
        moments = _total_moment(losses, tilts)
        rest = _SUM_ERROR + _LEFT - math.log(delta) - np.log1p(tilts) - tilts * np.log1p(1 / tilts)
        found: Vector = (moments + rest) / tilts
        return found

    centre, width = 2.5, 20.0
    for _ in range(5):
        logs = centre + width * np.linspace(-1, 1, 17)
        found = bound(logs)
        centre, width = float(logs[int(np.argmin(found))]), width / 6
    return math.exp(centre), max(0.0, float(found.min()))


@dataclass(frozen=True)
class _Aim:
    """About where the answer is: a grid's cell of width h adds steps * h^2 (1 + slope) / 8 to epsilon there."""

    epsilon: float
    slope: float  # -d log delta / d epsilon


@dataclass(frozen=True)
class _Grid:
    """Losses are whole multiples of `width`; masses are multiplied with e^(tilt loss)."""

    width: float
    tilt: float


@dataclass(frozen=True)
class _Discrete:
    """One step's tilted losses on a grid."""

    first: int  # place of masses[0]: its loss over the grid's width
    masses: Vector  # scaled to a sum of 1
    log_scale: float  # of what they were divided by


@dataclass(frozen=True)
class _Composed:
    """The tilted sum of all steps' losses on a window, and bounds on what it lacks."""

    losses: Vector  # ascending
    masses: Vector
    noise: float  # by which any one mass may be too small
    tails: float  # mass outside the window
    log_scale: float
    tilt: float

    def log_delta(self, epsilon: float) -> float:
        """At most; falls with epsilon."""
        above = np.maximum(self.losses - epsilon, 0.0)
        weight = -np.exp(-self.tilt * above) * np.expm1(-above)
        found = float(weight @ self.masses) + self.noise * float(weight.sum()) + self.tails
        return math.log(max(found, _LEAST)) + self.log_scale - self.tilt * epsilon


def _epsilon(composed: _Composed, log_delta: float) -> float:
    """The least epsilon with at most that delta, by bisection; infinite when the window holds none."""
    low, high = 0.0, max(0.0, float(composed.losses[-1]))
    if composed.log_delta(high) > log_delta:
        return math.inf
    if composed.log_delta(low) <= log_delta:
        return low
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if composed.log_delta(middle) <= log_delta else (middle, high)
    return high


def _composed(losses: Sequence[_Loss], tilt: float, aim: _Aim) -> _Composed:
    """All steps together, on a grid on which epsilon is off by a share of _CLOSE, or as fine as there is room for."""
    steps = sum(loss.count for loss in losses)
    (low, down), (high, up) = _window(losses, tilt)
    widest = max(high - low, *(float(np.ptp(loss.of(np.array(loss.span)))) for loss in losses))
    fine = math.sqrt(8 * _CLOSE * max(aim.epsilon, _LEAST_EPSILON) / (steps * (1 + aim.slope)))
    grid = _Grid(max(fine, widest / _MOST_POINTS), tilt)
    first = math.floor(low / grid.width)
    size = _good_size(math.ceil(high / grid.width) - first + 2)
    parts = [(_discretised(loss, grid), loss.count) for loss in losses]
    masses, noise = _convolved(parts, first, size)
    tails = _beyond(parts, grid, -down, first) + _beyond(parts, grid, up, first + size)
    scale = sum(count * part.log_scale for part, count in parts)
    error = steps * (_MASS_ERROR + 4 * _UNIT * tilt * widest) + _SUM_ERROR
    return _Composed(grid.width * (first + np.arange(size)), masses, noise, tails, scale + error, tilt)


def _window(losses: Sequence[_Loss], tilt: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two ends between which the tilted sum lies but for e^-46 on either side.

    Each comes with the change of tilt that shows it (Chernoff).
    """
    step = 1e-3 * tilt
    three = _total_moment(losses, tilt + step * np.array([-1.0, 0.0, 1.0]))
    deviation = math.sqrt(max((three[0] - 2 * three[1] + three[2]) / step**2, 1e-300))
    changes = np.geomspace(0.1, 32.0, 26) / deviation
    far = [(_total_moment(losses, tilt + sign * changes) - three[1] + _LOG_TAIL) / changes for sign in (-1.0, 1.0)]
    down, up = (int(np.argmin(each)) for each in far)
    return (-float(far[0][down]), float(changes[down])), (float(far[1][up]), float(changes[up]))


def _good_size(least: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(least, real=True))


def _discretised(loss: _Loss, grid: _Grid) -> _Discrete:
    ends = loss.of(np.array(loss.span)) / grid.width
    lowest, highest = math.floor(ends.min()), math.floor(ends.max())
    cuts = _cuts(loss, grid.width * np.arange(lowest + 1, highest + 1))
    cells = np.floor(loss.of((cuts[:-1] + cuts[1:]) / 2) / grid.width).astype(np.int64).clip(lowest, highest)
    scale = float(loss.log_moments(np.array([grid.tilt]))[0])
    masses = np.zeros(highest - lowest + 2)
    narrow = np.diff(cuts) <= _NARROW * loss.widest
    for few, chosen in ((6, np.flatnonzero(narrow)), (16, np.flatnonzero(~narrow))):
        for start in range(0, len(chosen), _PANELS):
            some = chosen[start : start + _PANELS]
            floor, ceiling = _shares(loss, grid, (cuts[some], cuts[some + 1]), cells[some], few, scale)
            masses += np.bincount(cells[some] - lowest, floor, len(masses))
            masses += np.bincount(cells[some] - lowest + 1, ceiling, len(masses))
    bottom = math.ceil(ends.min())  # loss that is cut off below is rounded up to it
    masses[bottom - lowest] += math.exp(loss.log_cut + grid.tilt * bottom * grid.width - scale)
    total = float(masses.sum())
    return _Discrete(lowest, masses / total, scale + math.log(total))


def _cuts(loss: _Loss, points: Vector) -> Vector:
    """Where panels meet: at outcomes whose loss is one of the grid's points, and not too far apart."""
    low, high = loss.span
    inner = loss.outcomes(points)
    return np.unique(np.concatenate([inner[(inner > low) & (inner < high)], loss.panels()]))  # NaN is in no span


def _shares(
    loss: _Loss, grid: _Grid, ends: tuple[Vector, Vector], cells: NDArray[np.int64], few: int, log_scale: float
) -> tuple[Vector, Vector]:
    """The tilted mass of panels, each inside one cell, that goes to the cell's lower and to its upper point.

    A loss L between a and b = a + width goes up with probability (1 - e^(a - L)) / (1 - e^(a - b)), which keeps the sum
    of masses under the one distribution and, e^-L as much, under the other.
    """
    at, weight = _NODES[few]
    half = (ends[1] - ends[0])[:, None] / 2
    x = ends[0][:, None] + half * (1 + at)
    floor = grid.width * cells[:, None]
    up = np.clip(np.expm1(floor - loss.of(x)) / math.expm1(-grid.width), 0.0, 1.0)
    mass = half * weight * np.exp(loss.log_density(x) + grid.tilt * floor - log_scale)
    return (mass * (1 - up)).sum(1), (mass * up).sum(1) * math.exp(grid.tilt * grid.width)


def _convolved(parts: Sequence[tuple[_Discrete, int]], first: int, size: int) -> tuple[Vector, float]:
    """The sum's masses on the window (what lies outside wraps into it), and by how much any may be too small."""
    from scipy.fft import irfft, rfft

    spectrum, start = np.ones(size // 2 + 1, complex), 0
    for part, count in parts:
        spectrum *= rfft(np.bincount(np.arange(len(part.masses)) % size, part.masses, size)) ** count
        start += part.first * count
    composed = np.roll(irfft(spectrum, size), (start - first) % size)
    # A spectrum's relative error (powers) by its own size, an absolute one (FFT) by that of what multiplies it (Young).
    spread = 2 * float(np.abs(spectrum).sum()) / size + max(float(part.masses @ part.masses) for part, _ in parts)
    steps = sum(count for _, count in parts)
    noise = 4 * _UNIT * (math.log2(size) + 8) * (steps * spread + float(np.linalg.norm(composed)))
    return np.maximum(composed, 0.0), noise


def _beyond(parts: Sequence[tuple[_Discrete, int]], grid: _Grid, change: float, end: int) -> float:
    """The tilted mass beyond place `end`, at most: above it for a positive change of tilt, else below (Chernoff)."""
    log_mass = -change * end * grid.width
    for part, count in parts:
        with np.errstate(divide="ignore"):
            logs = np.log(part.masses)
        log_mass += count * _log_sum(logs + change * grid.width * (part.first + np.arange(len(logs))))
    return math.exp(min(0.0, log_mass))
