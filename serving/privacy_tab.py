"""Says what is claimed about the served model and what the run was: words, figures and a plot, as HTML.

Knows the files of a run folder by their keys; knows no model. It claims nothing that privacy.json does not. A file may
hold anything: every text of it is escaped, and what should be a number and is none is left out.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from chatfed.audit.bounds import NONE, SCALE, WEAK, factor_in_words, guess_in_words, said_of_several
from chatfed.audit.figures import above, as_sentence, finite

from .run_folder import RunFolder
from .theme import finite_epsilon, format_small, sentences, strength_of, unit_noun

_LABELS = {
    "epsilon": "ε (epsilon)",
    "delta": "δ (delta)",
    "unit": "Unit: what is protected",
    "adjacency": "Adjacency: how two data sets may differ",
    "accountant": "Accountant",
    "sampling": "Sampling assumed",
    "noise": "Noise",
    "holds_against": "Holds against",
    "rounds": "Rounds charged",
    "assumptions": "It assumes",
    "excludes": "It does not cover",
    "per_round": "ε after each round",
    "clients_charged": "Clients charged",
    "noise_multiplier": "Noise multiplier",
    "model_sha256": "SHA-256 of the weights",
}

_SHOWN_ABOVE = ("person", "person_note", "scale", "warnings")


def privacy_html(run: RunFolder) -> str:
    """The guarantee, in words and then every field of privacy.json; or that there is none."""
    if run.privacy is None:
        heading, why = "No claim", "This model's run folder holds no <code>privacy.json</code>"
        if run.no_claim:
            heading = f"No claim: {html.escape(run.no_claim)}"
            why = "The <code>privacy.json</code> beside this model does not hold the SHA-256 of its weights"
        return (
            f'<div class="cf-card cf-warn cf-prose"><h2>{heading}</h2><p>{why}, so nothing is claimed about what it '
            "may reveal of its training text. Treat it as a model trained without protection.</p></div>"
        )
    statement = f'<div class="cf-prose"><h2>The guarantee</h2>{_statement(run.privacy)}</div>'
    return f"{statement}{_person(run.privacy)}{_fields(run.privacy)}"


def facts_html(run: RunFolder) -> str:
    """The run in figures: what it learned, how many took part, how long it took."""
    if run.no_claim:
        return '<p class="cf-note">The figures beside this model are not shown: its privacy.json is not of it.</p>'
    if run.summary is None:
        return '<p class="cf-note">This run folder holds no summary.json, so there are no figures to show.</p>'
    summary = run.summary
    figures = [
        ("Clients", _number(summary.get("clients"))),
        ("Rounds", _number(summary.get("rounds"))),
        ("Parameters", _number(summary.get("parameters"))),
        ("of these trained privately", _number(summary.get("trainable_parameters"))),
    ]
    cards = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in figures if value)
    return (
        f'<div class="cf-prose"><h2>The run</h2><dl class="cf-figures">{cards}</dl></div>'
        f"{_learning(summary)}{_seconds(summary.get('seconds'))}"
    )


def plots_html(run: RunFolder) -> str:
    """Epsilon after each round, as a plot; empty when the run folder has no metrics."""
    keys = ("round", "epsilon_max", "epsilon_mean")
    rows = [{key: finite(row.get(key)) for key in keys} for row in run.metrics]
    spent = [row for row in rows if row["epsilon_max"] is not None]
    if not spent or run.privacy is None:
        return ""
    from chatfed.audit.plots import epsilon_plot

    last = spent[-1]["epsilon_max"] or 0.0
    return (
        '<div class="cf-prose"><h2>ε spent, round by round</h2>'
        f"<p>The client that took part most had spent ε = {above(last)} after round {len(run.metrics)}.</p></div>"
        f'<div class="cf-plot cf-card">{epsilon_plot(spent)}</div>'
    )


def _statement(privacy: Mapping[str, Any]) -> str:
    epsilon, delta = finite_epsilon(privacy), privacy.get("delta")
    if epsilon is None:
        return (
            '<div class="cf-card cf-warn"><p><strong>No finite guarantee.</strong> The model was trained without '
            "noise, or its privacy.json states no epsilon. Treat it as a model trained without protection.</p></div>"
        )
    unit = html.escape(unit_noun(str(privacy.get("unit", "unit"))))
    part = "was in a client's training data"
    if unit.endswith("client"):
        part = "took part with its dialogues or with its noise alone"
    against, word = privacy.get("holds_against"), strength_of(privacy)
    who = f" It holds against: {html.escape(_text(against))}." if against else ""
    tiles = [
        (f"ε per {unit}", f'<span id="epsilon-value">{above(epsilon)}</span>'),
        ("δ", format_small(delta)),
        ("strength", f'<span id="strength-value">{word}</span>'),
        ("largest change in any outcome's probability", f"× {factor_in_words(epsilon)}, plus δ"),
        ("best an attacker's even guess can become", _best_guess(epsilon, delta)),
    ]
    figures = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in tiles)
    says = (
        f"<p>Depending on whether any one {unit} {part}, the probability of any outcome of training "
        f"changes at most by the factor e<sup>ε</sup> = {factor_in_words(epsilon)}, plus "
        f"δ = {format_small(delta)}.{who} Smaller ε is stronger. These are limits for the worst case, proved and not "
        "measured; what attacks achieve in practice is usually far less.</p>"
    )
    if word == NONE:
        says = "<p><strong>The bound says nothing.</strong> Treat it as a model trained without protection.</p>"
    return (
        f'<dl class="cf-figures">{figures}</dl>{_warnings(privacy, word)}{says}'
        f'<p class="cf-note">The words: {html.escape(_text(privacy.get("scale") or SCALE))}.</p>'
    )


def _warnings(privacy: Mapping[str, Any], word: str) -> str:
    said = sentences(privacy.get("warnings"))
    if not said and word in (WEAK, NONE):
        said = [f"this is a guarantee of strength {word!r}"]
    return "".join(f'<p class="cf-card cf-warn">Warning: {html.escape(each)}.</p>' for each in said)


def _best_guess(epsilon: float, delta: Any) -> str:
    share = finite(delta)
    return "unknown" if share is None else guess_in_words(epsilon, share)


def _person(privacy: Mapping[str, Any]) -> str:
    """What the guarantee is for several dialogues of one person together; empty where privacy.json has none of it."""
    rows = privacy.get("person")
    kept = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list | tuple) else []
    if not kept:
        return ""
    body = "".join(
        f"<tr><th scope='row'>{html.escape(_text(row.get('who')))}</th>"
        f"<td class='n'>{_number(row.get('dialogues'))}</td><td>{html.escape(said_of_several(row))}</td></tr>"
        for row in kept
    )
    return (
        '<div class="cf-prose"><h2>What it means for one person</h2><p>The figures above are for one '
        f"{html.escape(unit_noun(str(privacy.get('unit', 'unit'))))}. A person who has several dialogues is protected "
        "less; for all of them together, at the same δ:</p></div>"
        '<div class="cf-scroll" tabindex="0" role="region" aria-label="What it means for one person">'
        '<table class="cf-table" id="person"><thead><tr><th scope="col">Whose</th>'
        f'<th scope="col" class="n">Dialogues</th><th scope="col">Guarantee</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<p class="cf-note">{html.escape(as_sentence(_text(privacy.get("person_note"))))}</p>'
    )


def _fields(privacy: Mapping[str, Any]) -> str:
    known = [key for key in _LABELS if key in privacy]
    others = [key for key in privacy if key not in _LABELS and key not in _SHOWN_ABOVE]
    rows = "".join(
        f"<tr><th scope='row'>{_LABELS.get(key, html.escape(key.replace('_', ' ').capitalize()))}</th>"
        f"<td>{_value(key, privacy[key])}</td></tr>"
        for key in [*known, *others]
    )
    return (
        '<div class="cf-scroll" tabindex="0" role="region" aria-label="Every field of privacy.json">'
        f'<table class="cf-table" id="guarantee"><tbody>{rows}</tbody></table></div>'
    )


def _value(key: str, value: Any) -> str:
    if key == "unit":
        return html.escape(f"one {unit_noun(str(value))}")
    if key == "per_round" and isinstance(value, Sequence) and not isinstance(value, str):
        return html.escape(_text(value)) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = "".join(f"<li>{html.escape(_text(item))}</li>" for item in value)
        return f'<ul style="margin:0;padding-left:1.1em;list-style:disc">{items}</ul>' if items else "none"
    return html.escape(_text(value))


def _text(value: Any) -> str:
    """Any JSON value for a reader."""
    if value is None:
        return "not stated"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(item) for item in value)
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else format_small(value)
    return str(value)


def _number(value: Any) -> str:
    return "" if finite(value) is None else _plain(value)


def _learning(summary: Mapping[str, Any]) -> str:
    names = {
        "before": "Before (public model)",
        "after": "After private training",
        "reference": "Same run without noise",
    }
    rows = ""
    for key, name in names.items():
        scores = summary.get(key)
        if isinstance(scores, Mapping):
            rows += (
                f"<tr><th scope='row'>{name}</th><td class='n'>{_score(scores.get('bits_per_byte'), 3)}</td>"
                f"<td class='n'>{_share(scores.get('top1'))}</td><td class='n'>{_share(scores.get('top3'))}</td>"
                f"<td class='n'>{_score(scores.get('perplexity'), 1)}</td></tr>"
            )
    if not rows:
        return ""
    return (
        f'<div class="cf-prose"><p id="verdict">{html.escape(_verdict(summary))}</p>'
        "<p>On dialogues held out from training. Bits per byte and perplexity per word: lower is better. Accuracy: "
        "how often the next word was the first, or among the first three, of the model's guesses.</p></div>"
        '<div class="cf-scroll" tabindex="0" role="region" aria-label="Held-out figures">'
        '<table class="cf-table" id="learning"><thead><tr><th scope="col">Model</th>'
        "<th scope='col' class='n'>Bits per byte</th><th scope='col' class='n'>Top 1</th>"
        "<th scope='col' class='n'>Top 3</th><th scope='col' class='n'>Perplexity</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _verdict(summary: Mapping[str, Any]) -> str:
    """What the run's own comparison says; empty where it holds none."""
    from chatfed.audit.comparison import sentence

    return sentence(summary)


def _score(value: Any, digits: int) -> str:
    number = finite(value)
    return "–" if number is None else f"{number:,.{digits}f}"


def _share(value: Any) -> str:
    number = finite(value)
    return "–" if number is None else f"{100 * number:.1f} %"


def _seconds(seconds: Any) -> str:
    if not isinstance(seconds, Mapping) or not seconds:
        return ""
    parts = ", ".join(
        f"{html.escape(str(name).replace('_', ' '))} {value:,.0f} s"
        for name, value in ((name, finite(value)) for name, value in seconds.items())
        if value is not None
    )
    return f'<p class="cf-note">Time by phase: {parts}.</p>' if parts else ""
