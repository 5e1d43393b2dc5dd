"""How the page looks: one theme, one style sheet, one header. Knows no model; fetches nothing from anywhere."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.audit.bounds import MODERATE, NONE, STRONG, WEAK, strength
from chatfed.audit.figures import above, finite

if TYPE_CHECKING:
    import gradio as gr

SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
SYSTEM_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]


def make_theme() -> gr.themes.Base:
    """Teal on slate with fonts the system already has. Text on every button keeps a contrast of 4.5 or more."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=SYSTEM_FONTS,
        font_mono=SYSTEM_MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_background_fill="white",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_500",
        input_border_color_focus="*primary_700",
        input_border_color_focus_dark="*primary_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        button_secondary_text_color="*neutral_800",
        button_secondary_text_color_dark="*neutral_100",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        slider_color="*primary_700",
        slider_color_dark="*primary_400",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*primary_950",
        border_color_primary="*neutral_300",
        border_color_primary_dark="*neutral_700",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )


def badge(privacy: Mapping[str, Any] | None, no_claim: str = "") -> tuple[str, str]:
    """The header's badge as (text, explanation): epsilon with its unit, or that nothing is claimed, and why."""
    if privacy is None:
        return "no privacy claim", f"No claim: {no_claim or 'there is no privacy.json in the run folder'}."
    epsilon = finite_epsilon(privacy)
    if epsilon is None:
        return "no privacy claim", "The model was trained without noise, or its privacy.json states no epsilon."
    delta = privacy.get("delta")
    unit = unit_noun(str(privacy.get("unit", "unit")))
    warnings = "".join(f" {each}." for each in sentences(privacy.get("warnings")))
    return (
        f"ε = {above(epsilon)} per {unit}",
        f"Differential privacy, δ = {format_small(delta)}: {strength_of(privacy)}.{warnings} More on the Privacy tab.",
    )


def strength_of(privacy: Mapping[str, Any]) -> str:
    """The claim's strength in a word: the weaker of what privacy.json says and what epsilon and delta say alone."""
    epsilon, delta = finite_epsilon(privacy), finite(privacy.get("delta"))
    if epsilon is None or delta is None:
        return NONE
    words = (STRONG, MODERATE, WEAK, NONE)
    said, alone = privacy.get("strength"), strength(epsilon, delta)
    return max(alone, said if said in words else alone, key=words.index)


def sentences(value: Any) -> list[str]:
    """A list of texts from JSON, whatever else may stand there."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []


def finite_epsilon(privacy: Mapping[str, Any]) -> float | None:
    """The epsilon that privacy.json claims, or None when it claims none: no number, infinite, or no noise."""
    epsilon = finite(privacy.get("epsilon"))
    return None if epsilon is None or epsilon < 0 or privacy.get("noise") == "none" else epsilon


def unit_noun(unit: str) -> str:
    """A reader's word for the unit of privacy: the unit "example" is one dialogue."""
    return {"example": "dialogue"}.get(unit, unit)


def format_small(value: Any) -> str:
    """A small number as people write it: 1e-05 becomes 1e-5."""
    number = finite(value)
    if number is None:
        return "unknown"
    mantissa, _, exponent = f"{number:g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def header(privacy: Mapping[str, Any] | None, no_claim: str = "") -> str:
    """The page's head: name, one line, badge. HTML."""
    text, explanation = badge(privacy, no_claim)
    word = "" if privacy is None or text.startswith("no ") else strength_of(privacy)
    kind = "cf-badge" if word in (STRONG, MODERATE) else "cf-badge-none"
    strength_badge = f'<span class="{kind}" id="strength-badge">{word} guarantee</span>' if word else ""
    return (
        '<header class="cf-header"><div class="cf-brand">'
        '<svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true" focusable="false">'
        '<rect width="32" height="32" rx="8" fill="#0f766e"/>'
        '<path d="M8 10h16v10h-9l-4 4v-4H8z" fill="none" stroke="#fff" stroke-width="2" stroke-linejoin="round"/>'
        '<circle cx="13" cy="15" r="1.5" fill="#fff"/><circle cx="19" cy="15" r="1.5" fill="#fff"/></svg>'
        "<div><h1>chatfed</h1><p>A chat model trained together, privately.</p></div></div>"
        f'<div class="cf-badges"><span class="{kind}" id="epsilon-badge" title="{html.escape(explanation)}">'
        f"{html.escape(text)}</span>{strength_badge}</div></header>"
    )


HEAD = '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'

CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
