"""Gaussian noise and Poisson samples from cryptographic bits. Knows nothing of gradients, models or budgets.

No generator of `torch` or `numpy.random` is used here: whoever can predict the noise can subtract it.

Floating point. Mironov (CCS 2012) showed that the low bits of textbook floating-point noise tell which noiseless values
are possible. `gaussian` uses the defence of Holohan & Braghin (ESORICS 2021, section 5): each number is the sum of
2n = 4 independent Gaussians divided by sqrt(2n) = 2, made in float64 from eight 53-bit uniforms, and only then rounded
to float32. An attacker who wants to test one candidate must search the preimages of a sum of four samples instead of
inverting one. What it does not cover: it raises the cost of the attack (the paper counts operations; there is no proof
of exact differential privacy in floating point), it says nothing about timing, and each uniform still has 53 bits, so
no single Gaussian is beyond 8.6 standard deviations (probability 1e-17, far below any delta used here).
"""

from __future__ import annotations

import math
import ssl

import numpy as np
import torch
from numpy.typing import NDArray

from chatfed.types import ChatfedError, Entropy, IntVector

_BLOCK = 1 << 13  # coordinates made at a time: all temporaries of a block stay in the processor's cache
_SUMMANDS = 4  # 2n of Holohan & Braghin


def system_random(size: int) -> bytes:
    """`size` bytes of the AES-256 CTR_DRBG (NIST SP 800-90A) that OpenSSL seeds from the operating system.

    As unpredictable as `os.urandom`, reseeded after a fork, and 18 times faster (0.23 against 4.1 ns a byte).
    """
    return ssl.RAND_bytes(size)


def gaussian(size: int, std: float, entropy: Entropy = system_random) -> torch.Tensor:
    """Independent N(0, std^2) numbers, float32[size], from cryptographic bits; float64 inside.

    Box & Muller (1958) on 53-bit uniforms, four Gaussians to a number (see the module's first lines).
    Raises ChatfedError when `std` is negative or not finite or `size` is negative.

    >>> noise = gaussian(100_000, std=2.0)
    >>> noise.dtype, 1.9 < float(noise.std()) < 2.1
    (torch.float32, True)
    """
    if size < 0 or not math.isfinite(std) or std < 0:
        raise ChatfedError(f"noise of size {size} and standard deviation {std}: both must be finite and not negative")
    noise = torch.empty(size, dtype=torch.float32)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        noise[start:stop] = _block(stop - start, std, entropy)
    return noise


def _block(size: int, std: float, entropy: Entropy) -> torch.Tensor:
    """float64[size]: every number sums cosines (or sines) of four different Box-Muller pairs."""
    pairs = (size + 1) // 2  # four pairs give one number from their cosines and one from their sines
    uniforms = _uniforms(2 * _SUMMANDS * pairs, entropy).view(2, _SUMMANDS, pairs)
    radius = uniforms[0].log_().mul_(-2.0).sqrt_()
    angle = uniforms[1].mul_(2.0 * math.pi)
    numbers = torch.empty(2, pairs, dtype=torch.float64)
    torch.sum(radius * torch.cos(angle), 0, out=numbers[0])
    torch.sum(radius * torch.sin(angle), 0, out=numbers[1])
    return numbers.mul_(std / math.sqrt(_SUMMANDS)).view(-1)[:size]


def _uniforms(count: int, entropy: Entropy) -> torch.Tensor:
    """float64[count] on the 2^53 midpoints (k + 1/2) / 2^53, so never 0 and never above 1."""
    words = random_words(count, entropy)
    words >>= np.uint64(11)
    # below 2^63 the signed reading is the same number, and signed integers convert several times faster
    midpoints = words.view(np.int64).astype(np.float64)
    midpoints += 0.5
    midpoints *= 2.0**-53
    return torch.from_numpy(midpoints)


def random_words(count: int, entropy: Entropy) -> NDArray[np.uint64]:
    """uint64[count] from 8 * count bytes of `entropy`, little-endian. Raises ChatfedError where it gives fewer."""
    return np.frombuffer(bytearray(random_bytes(8 * count, entropy)), dtype="<u8").astype(np.uint64, copy=False)


def random_bytes(size: int, entropy: Entropy) -> bytes:
    """`size` bytes, or a ChatfedError: an entropy source that falls short must not pass for one that does not."""
    raw = entropy(size)
    if len(raw) != size:
        raise ChatfedError(f"the entropy source gave {len(raw)} bytes where {size} were asked for")
    return raw


def poisson_sample(n: int, rate: float, entropy: Entropy = system_random) -> IntVector:
    """Indices of a Poisson sample: each of 0..n-1 is in by itself with probability `rate`; int64, ascending.

    A 64-bit cryptographic integer is compared with floor(rate * 2^64); the true probability is never above `rate`, so
    accounting with `rate` is on the safe side. Rate 1 takes everyone, rate 0 no one.
    Raises ChatfedError when `rate` is outside [0, 1] or `n` is negative.

    >>> poisson_sample(5, 1.0)
    array([0, 1, 2, 3, 4])
    >>> len(poisson_sample(5, 0.0))
    0
    """
    if n < 0 or not 0.0 <= rate <= 1.0:
        raise ChatfedError(f"a Poisson sample of {n} at rate {rate}: the rate must lie in [0, 1] and n not below 0")
    if rate == 1.0:
        return np.arange(n, dtype=np.int64)
    bound = math.floor(math.ldexp(rate, 64))  # exact: rate is a double below 1
    return np.flatnonzero(random_words(n, entropy) < np.uint64(bound)).astype(np.int64)
