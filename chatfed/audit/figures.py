"""Figures as a reader meets them: rounded, with their unit, and a dash for what is missing. Knows no run."""

from __future__ import annotations

import math
from typing import Any

MISSING = "–"


def above(epsilon: float) -> str:
    """Two decimals, rounded up: a claim is never printed smaller than it is.

    >>> above(7.981), above(8.0)
    ('7.99', '8.00')
    """
    return f"{math.ceil(round(epsilon * 100, 9)) / 100:.2f}"


def finite(value: Any) -> float | None:
    """The value as a float, or None when it cannot be counted with: JSON also holds NaN and endless integers."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300
    return float(value) if number else None


def as_sentence(words: str) -> str:
    """`words` with a capital letter in front and a full stop behind."""
    return f"{words[:1].upper()}{words[1:]}."


def plain(value: Any) -> str:
    """Any JSON value in a few characters."""
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.4g}".replace("e-0", "e-")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def decimal(value: float | None) -> str:
    """A perplexity."""
    return MISSING if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.1f}"


def bits(value: float | None, signed: bool = False) -> str:
    """Bits per byte, of which a hundredth matters.

    >>> bits(2.4), bits(-0.0412, signed=True)
    ('2.400', '−0.041')
    """
    return MISSING if value is None else (f"{value:+.3f}" if signed else f"{value:.3f}").replace("-", "−")


def points(value: float, signed: bool = True) -> str:
    """A difference of shares, in points of a hundred."""
    return f"{100 * value:{'+' if signed else ''}.1f} points".replace("-", "−")


def percent(share: float) -> str:
    """A share in whole hundredths.

    >>> percent(0.567), percent(-0.021), percent(-0.001)
    ('57%', '−2%', '0%')
    """
    return f"{round(share, 2) + 0.0:.0%}".replace("-", "−")


def count(value: Any) -> str:
    """A whole number with thousands apart."""
    number = finite(value)
    return MISSING if number is None else f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def size(octets: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000:
            return f"{octets:,.0f} {unit}" if unit == "B" else f"{octets:,.1f} {unit}"
        octets /= 1000
    return f"{octets:,.1f} TB"
