"""How a reply is drawn: the settings, each checked when they are made. Knows no model."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from chatfed.types import InvalidValue


@dataclass(frozen=True)
class Generation:
    """How to draw a reply. Raises InvalidValue that names a setting which makes no sense, and what it may be."""

    max_new_tokens: int = 80
    temperature: float = 0.0  # 0 takes the likeliest token each time
    top_p: float = 0.9  # smallest set of tokens with this much probability (Holtzman et al. 2020, section 3.1)
    # 1: none; else the logits of tokens in the reply so far are divided by it (Keskar et al. 2019, section 4.1)
    repetition_penalty: float = 1.0
    stop: str | Sequence[str] = ()  # the reply ends before any of these; kept as a tuple
    seed: int | None = None  # same seed, same reply; None draws a fresh one

    def __post_init__(self) -> None:
        checked = {
            "max_new_tokens": _whole("max_new_tokens", self.max_new_tokens, 1, 2**63, "1 or more"),
            "temperature": _number("temperature", self.temperature, 0, sys.float_info.max, "0 (greedy) or more"),
            "top_p": _number("top_p", self.top_p, math.nextafter(0, 1), 1, "above 0, up to 1"),
            "repetition_penalty": _number(
                "repetition_penalty", self.repetition_penalty, 0.01, 100, "from 0.01 to 100 (1: none)"
            ),
            "stop": _stops(self.stop),
        }
        if self.seed is not None:
            checked["seed"] = _whole("seed", self.seed, -(2**63), 2**64 - 1, "from -2^63 to 2^64 - 1, or none")
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def _whole(name: str, value: object, low: int, high: int, wanted: str) -> int:
    """A whole number, of Python or numpy; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise InvalidValue(f"{name} is {value!r}; give a whole number, {wanted}.", param=name)
    return int(value)


def _number(name: str, value: object, low: float, high: float, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
        raise InvalidValue(f"{name} is {value!r}; give a number, {wanted}.", param=name)
    return float(value)


def _stops(stop: object) -> tuple[str, ...]:
    """One text, or several, as a tuple."""
    texts = (stop,) if isinstance(stop, str) else stop
    if not isinstance(texts, (list, tuple)):
        raise InvalidValue(
            f"stop is {stop!r}; give a text or a list of texts before which the reply ends.", param="stop"
        )
    for text in texts:
        if not isinstance(text, str):
            raise InvalidValue(
                f"stop holds {text!r}, which is no text; give texts before which the reply ends.", param="stop"
            )
        if not text:
            raise InvalidValue(
                "stop has an empty text, before which every reply ends; give texts of a character or more.",
                param="stop",
            )
    return tuple(texts)
