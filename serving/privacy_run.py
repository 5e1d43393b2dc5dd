"""Says what the run was: what it learned, how many took part, how long it took, as HTML for the Privacy tab.

Knows summary.json by its keys. What should be a number and is none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chatfed.audit.comparison import LEVEL, NOISE, SAYS, UNKNOWN, UNLIKE
from chatfed.audit.figures import MISSING, bits, finite, points

from .markup import escape, region
from .run_folder import RunFolder
from .texts import Texts, read_texts

MEASURES = ("bits", "top1", "top3", "perplexity")
MODELS = ("before", "after", "reference")
BITS = "bits_per_byte"


def facts_html(run: RunFolder, texts: Texts | None = None) -> str:
    """The run in figures: what it learned, how many took part, how long it took."""
    texts, summary = texts or read_texts(), run.summary
    if run.no_claim or summary is None:
        return f'<p class="cf-note">{texts("run.not_shown" if run.no_claim else "run.no_summary")}</p>'
    keys = {"trainable": "trainable_parameters"}
    figures = [
        (texts(f"run.{name}"), _count(summary.get(keys.get(name, name)), texts))
        for name in ("clients", "rounds", "parameters", "trainable")
    ]
    cards = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in figures if value)
    return (
        f'<div class="cf-prose"><h2>{texts("run.heading")}</h2><dl class="cf-figures">{cards}</dl></div>'
        f"{_learning(summary, texts)}{_seconds(summary.get('seconds'), texts)}"
    )


def _count(value: Any, texts: Texts) -> str:
    number = finite(value)
    return "" if number is None else texts.figures(f"{number:,.0f}")


def _learning(summary: Mapping[str, Any], texts: Texts) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{texts(f'run.{name}')}</th>{_scores(scores, texts)}</tr>"
        for name, scores in ((name, summary.get(name)) for name in MODELS)
        if isinstance(scores, Mapping)
    )
    if not rows:
        return ""
    heads = "".join(f"<th scope='col' class='n'>{texts(f'run.{each}')}</th>" for each in MEASURES)
    head = f'<thead><tr><th scope="col">{texts("run.model")}</th>{heads}</tr></thead>'
    table = f'<table class="cf-table" id="learning">{head}<tbody>{rows}</tbody></table>'
    return (
        f'<div class="cf-prose"><p id="verdict">{escape(verdict(summary, texts))}</p>'
        f"<p>{texts('run.held_out')}</p></div>{region(texts('run.figures'), table)}"
    )


def _scores(scores: Mapping[str, Any], texts: Texts) -> str:
    shown = [
        _score(scores.get("bits_per_byte"), 3, texts),
        *(_share(scores.get(key), texts) for key in ("top1", "top3")),
        _score(scores.get("perplexity"), 1, texts),
    ]
    return "".join(f"<td class='n'>{each}</td>" for each in shown)


def verdict(summary: Mapping[str, Any], texts: Texts) -> str:
    """Whether the run learned and what that rests on: `chatfed.audit.comparison.sentence` in the page's language.

    Empty where summary.json holds no comparison.
    """
    comparison = summary.get("comparison")
    found = comparison.get("verdict") if isinstance(comparison, Mapping) else None
    if not isinstance(comparison, Mapping) or not isinstance(found, str) or found not in SAYS:
        return ""
    said = texts(f"run.verdict.{found.replace(' ', '_')}")
    values: dict[str, str] = {}
    shows: dict[str, Callable[[float], str]] = {
        "bits": lambda value: texts.figures(bits(value)),
        "next": lambda value: texts.share(value, 1),
        "three": lambda value: texts.share(value, 1),
    }
    for (name, show), key in zip(shows.items(), (BITS, "top1", "top3"), strict=True):
        values |= {name: _pair(summary, key, show), f"{name}_within": _within(comparison, key, texts)}
    return texts("run.measured", verdict=said, **values) + _how(comparison, found, texts)


def _pair(summary: Mapping[str, Any], key: str, show: Callable[[float], str]) -> str:
    both = [summary.get(when) for when in ("before", "after")]
    values = (finite(scores.get(key)) if isinstance(scores, Mapping) else None for scores in both)
    return " → ".join(MISSING if value is None else show(value) for value in values)


def _within(comparison: Mapping[str, Any], key: str, texts: Texts) -> str:
    found = comparison.get(key)
    low, high = (finite(found.get(end)) for end in ("low", "high")) if isinstance(found, Mapping) else (None, None)
    if low is None or high is None:
        return ""
    return texts("run.within", low=_change(low, key, texts), high=_change(high, key, texts))


def _change(value: float, key: str, texts: Texts) -> str:
    if key == BITS:
        return texts.figures(bits(value, True))
    return texts("run.points", number=texts.figures(points(value).partition(" ")[0]))


def _how(comparison: Mapping[str, Any], found: str, texts: Texts) -> str:
    groups, over, level = finite(comparison.get("groups")), comparison.get("over"), texts.share(LEVEL)
    if over == NOISE and found != UNKNOWN:
        return texts("run.by_noise", level=level)
    if found in (UNKNOWN, UNLIKE) or groups is None or over not in ("clients", "dialogues"):
        return ""
    return texts(f"run.over_{over}", level=level, groups=f"{groups:.0f}")


def _score(value: Any, digits: int, texts: Texts) -> str:
    number = finite(value)
    return MISSING if number is None else texts.figures(f"{number:,.{digits}f}")


def _share(value: Any, texts: Texts) -> str:
    number = finite(value)
    return MISSING if number is None else texts.figures(f"{100 * number:.1f} %")


def _seconds(seconds: Any, texts: Texts) -> str:
    if not isinstance(seconds, Mapping):
        return ""
    known = ((str(name).replace("_", " "), finite(value)) for name, value in seconds.items())
    parts = [
        f"{escape(texts.named('phase', name))} {texts.figures(f'{value:,.0f}')} s"
        for name, value in known
        if value is not None
    ]
    return f'<p class="cf-note">{texts("run.time", parts=", ".join(parts))}</p>' if parts else ""
