"""How the page looks: one theme, one style sheet, one header. Knows no model; fetches nothing from anywhere."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.audit.figures import above, finite
from chatfed.audit.tiers import MODERATE, NONE, STRONG, WEAK, strength

from .run_folder import OF_ANOTHER, SAYS_NO_MODEL
from .texts import Texts, read_texts

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
        button_primary_background_fill_hover_dark="*primary_800",
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


def badge(privacy: Mapping[str, Any] | None, no_claim: str = "", texts: Texts | None = None) -> tuple[str, str]:
    """The header's badge as (text, explanation): epsilon with its unit, or that nothing is claimed, and why."""
    texts = texts or read_texts()
    if privacy is None:
        why = why_no_claim(no_claim, texts)
        return texts("badge.none"), texts("badge.no_claim", why=why) if why else texts("badge.no_file")
    epsilon = finite_epsilon(privacy)
    if epsilon is None:
        return texts("badge.none"), texts("badge.no_epsilon")
    unit = unit_noun(str(privacy.get("unit", "unit")))
    warnings = "".join(f" {each}." for each in sentences(privacy.get("warnings")))
    return (
        texts("badge.epsilon", epsilon=texts.figures(above(epsilon)), unit=texts.named("unit", unit)),
        texts(
            "badge.explained",
            delta=texts.figures(format_small(privacy.get("delta"))),
            strength=texts("strength." + strength_of(privacy)),
            warnings=warnings,
        ),
    )


def why_no_claim(why: str, texts: Texts) -> str:
    """Why a privacy.json says nothing of the model beside it, as run_folder.py found; empty where there is none."""
    keys = {SAYS_NO_MODEL: "privacy.says_no_model", OF_ANOTHER: "privacy.of_another"}
    return texts(keys[why]) if why in keys else why


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


def header(privacy: Mapping[str, Any] | None, no_claim: str = "", texts: Texts | None = None) -> str:
    """The page's head: name, one line, badge. HTML."""
    texts = texts or read_texts()
    text, explanation = badge(privacy, no_claim, texts)
    word = "" if privacy is None or finite_epsilon(privacy) is None else strength_of(privacy)
    strong = texts("badge.strength", strength=texts("strength." + word)) if word else ""
    kind = "cf-badge" if word in (STRONG, MODERATE) else "cf-badge-none"
    strength_badge = f'<span class="{kind}" id="strength-badge">{strong}</span>' if word else ""
    return (
        '<header class="cf-header"><div class="cf-brand">'
        '<svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true" focusable="false">'
        '<rect width="32" height="32" rx="8" fill="#0f766e"/>'
        '<path d="M8 10h16v10h-9l-4 4v-4H8z" fill="none" stroke="#fff" stroke-width="2" stroke-linejoin="round"/>'
        '<circle cx="13" cy="15" r="1.5" fill="#fff"/><circle cx="19" cy="15" r="1.5" fill="#fff"/></svg>'
        f"<div><h1>chatfed</h1><p>{html.escape(texts('page.claim'))}</p></div></div>"
        f'<div class="cf-badges"><span class="{kind}" id="epsilon-badge" title="{html.escape(explanation)}">'
        f"{html.escape(text)}</span>{strength_badge}</div></header>"
    )


# gradio 6.31 calls the chat's examples a list and has no items in it, which a screen reader stumbles over.
GROUPED = """<script>new MutationObserver(() => document.querySelectorAll('.examples[role=list]').forEach(
  examples => examples.setAttribute('role', 'group'))).observe(document, {childList: true, subtree: true});</script>"""
# Its sliders' names, and a few of its buttons', are English in every language.
NAMED = """<script>{{ const names = {names}, rename = () => {{ for (const [begin, name] of Object.entries(names))
  for (const kind of ["aria-label", "title"]) for (const each of document.querySelectorAll(`[${{kind}}^="${{begin}}"]`))
    each.setAttribute(kind, name.replace("{{label}}", each.getAttribute(kind).slice(begin.length))); }};
  const seen = {{childList: true, subtree: true, attributeFilter: ["aria-label", "title"]}};
  new MutationObserver(rename).observe(document, seen);
}}</script>"""
# A toast is its sentence: gradio's word above it is English in every language. page.css does not reach it.
TOASTS = "<style>.toast-title { display: none !important; }</style>"
HEAD = f'<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">{GROUPED}{TOASTS}'



def named_parts(texts: Texts) -> str:
    """A script for the page's head that names gradio's own parts in the page's language; none in English."""
    if texts.language == "en":
        return ""
    names = {f"{part} for ": texts(f"slider.{part.partition(' ')[0]}") for part in ("number input", "range slider")}
    names |= {each: texts(f"part.{key}") for key, each in read_texts().section("part").items()}
    return NAMED.format(names=json.dumps(names, allow_nan=False))


CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
