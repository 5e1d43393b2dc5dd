"""The style sheet: no other host, and colours on which words are read."""

from __future__ import annotations

import re

import pytest

from serving.theme import CSS


def test_the_style_sheet_names_no_other_host() -> None:
    assert not re.search(r"https?:|@import|url\(", CSS)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_every_word_colour_is_readable(dark: bool) -> None:
    prefix = r"\.dark " if dark else r"(?<!dark )"
    found = dict(re.findall(prefix + r"\.(cf-[pm]\d) \{ background: (#[0-9a-f]{6})", CSS))
    assert set(found) == {"cf-p4", "cf-p3", "cf-p0", "cf-m1", "cf-m3"}
    for name, background in found.items():
        text = "#ffffff" if name == "cf-p4" else "#f1f5f9" if dark else "#0f172a"
        assert contrast(text, background) >= 4.5, (name, background)
