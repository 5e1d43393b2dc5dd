"""Writes a run's report: what was learned, what is guaranteed, what it took.

Takes mappings, as the run folder holds them. Knows no model and no training.
A figure that a mapping lacks is shown as missing, never as zero.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.audit.bounds import NONE, SCALE, WEAK, factor_in_words, said_of_several, strength
from chatfed.audit.figures import MISSING, above, count, decimal, duration, finite, plain, size
from chatfed.audit.leakage import AuditError
from chatfed.audit.page import Content, Markup, bar, bullets, document, facts, figures, join, section, tag, tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACCENT = "#010203", "#040506"  # stand for the page's colours in what matplotlib draws

DASHED: dict[str, Any] = {"color": INK, "linewidth": 1.4, "linestyle": (0, (4, 3))}

LABELS = {
    "epsilon": "ε, at most, per unit",
    "delta": "δ",
    "unit": "Unit (what is protected)",
    "adjacency": "Adjacency (neighbouring data)",
    "holds_against": "Holds against",
    "noise": "Who adds noise",
    "clients_charged": "Clients charged",
    "per_round": "ε after each round",
    "epsilon_mean": "ε, mean over clients",
    "strength": "Strength, in a word",
    "scale": "What the words mean",
    "person": "Several dialogues of one person",
    "person_note": "Of these",
    "budget_epsilon": "ε that a client's ledger allows",
    "excludes": "Not covered",
    "sentence": "In one sentence",
    "model_sha256": "SHA-256 of model.safetensors",
}

SHOWN_APART = ("person", "person_note", "scale", "warnings")

SHOWS = (
    "Perplexity per word says between how many equally likely words the model hesitates: lower is better. It is "
    "measured on held-out dialogues that neither training nor pre-training saw. Top-1 and top-3 are the shares "
    "of words that were the model's first guess, or among its first three.",
    "ε bounds what the model can give away about one unit: with that unit in the training data or without it, the "
    "probability of any outcome, such as an attacker's conclusion from the model, changes at most by the factor e^ε, "
    "plus δ. Smaller is stronger.",
    "The figure for ε is an upper bound from an accountant, for the client that spent most; no other client spent "
    "more.",
)

SHOWS_NOT = (
    "It does not show that the model repeats nothing: ε bounds the effect of one unit. What many people said alike is "
    "learned. Where the unit is a dialogue, one person's many dialogues count as many units; where it is a client, so "
    "do one person's clients.",
    "It does not measure attacks. The leakage probe lets one look at single texts, and proves nothing about others.",
    "Perplexity is no measure of whether an answer is true or useful.",
    "Nothing here covers the text used for pre-training and for the tokenizer: it is taken to be public.",
)


def write_report(
    path: str | Path,
    summary: Mapping[str, Any],
    privacy: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
) -> None:
    """Write `report.html`, whole or not at all: one file that needs nothing from anywhere.

    `summary`, `privacy` and `metrics` are summary.json, privacy.json and the rows of metrics.jsonl. All text in them is
    escaped. Raises AuditError when the file cannot be written.
    """
    content = render(summary, privacy, metrics).encode("utf-8")
    target, temporary = Path(path), None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise AuditError(f"{target} cannot be written: {error.strerror}; make room or choose another folder") from None


def render(summary: Mapping[str, Any], privacy: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> str:
    """The report as HTML."""
    before, reference = _perplexity(summary, "before"), _perplexity(summary, "reference")
    return document(
        "chatfed: report of a run",
        tag("h1", "What this run learned, and what it may give away"),
        tag("p", _lead(summary, privacy), css="lead"),
        _tiles(summary, privacy),
        _learned(summary),
        _guarantee(privacy),
        tag(
            "div",
            section("ε spent, round by round", Markup(epsilon_plot(metrics))),
            section("Held-out perplexity per word", Markup(perplexity_plot(metrics, before, reference))),
            css="pair",
        ),
        tag("div", _time(summary), _run(summary, metrics), css="pair"),
        _rounds(metrics),
        _reading(),
        tag("footer", "Written by chatfed. This page loads nothing from anywhere."),
    )


def epsilon_plot(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Inline SVG of epsilon after each round, most and mean over clients, in the colours of the page around it."""
    most, mean = _series(metrics, "epsilon_max"), _series(metrics, "epsilon_mean")
    if not most:
        return "<p>No ε: no noise was added, or no round was run.</p>"

    def draw(axes: Axes) -> None:
        _line(axes, most, "most of any client")
        if mean:
            axes.plot(*zip(*mean, strict=True), label="mean over clients", **DASHED)
        axes.set_ylim(0, 1.12 * max(value for _, value in [*most, *mean]) or 1)
        axes.legend(loc="best", frameon=False)

    label = f"Epsilon spent: {above(most[-1][1])} at most after round {most[-1][0]}"
    return _plot("epsilon", label, draw)


def perplexity_plot(
    metrics: Sequence[Mapping[str, Any]], before: float | None = None, reference: float | None = None
) -> str:
    """Inline SVG of held-out perplexity per word after each round, from the public base on."""
    values = _series(metrics, "perplexity")
    if not values:
        return "<p>No perplexity was measured.</p>"
    points = values if before is None else [(values[0][0] - 1, before), *values]

    def draw(axes: Axes) -> None:
        _line(axes, points, "this run")
        if reference is not None:
            axes.axhline(reference, label="same run without noise", **DASHED)
            axes.legend(loc="upper right", frameon=False)

    return _plot("perplexity", f"Held-out perplexity per word: {values[-1][1]:.1f} after round {values[-1][0]}", draw)


def _line(axes: Axes, points: Sequence[tuple[int, float]], label: str) -> None:
    axes.plot(*zip(*points, strict=True), color=ACCENT, linewidth=2, marker="o", markersize=4, label=label)


def _plot(name: str, label: str, draw: Callable[[Axes], None]) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    look: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 11, **dict.fromkeys(inked, INK)}
    with matplotlib.rc_context(look):
        figure = Figure(figsize=(4.8, 2.9), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.grid(axis="y", color=INK, alpha=0.14, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_alpha(0.4)
        axes.tick_params(length=0)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(drawn.getvalue(), label)


def _themed(svg: str, label: str) -> str:
    """What matplotlib drew as part of a page: its colours, its font, its width, no head and no stray id."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' id="[a-zA-Z0-9.]+_[0-9]+"', "", svg)  # names of groups, the same in every figure
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", svg)
    svg = svg.replace(ACCENT, "var(--cf-accent, #0d9488)").replace(INK, "currentColor")
    view = re.search(r'viewBox="[^"]*"', svg)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {names} {view[0] if view else ""} style="width:100%;height:auto" role="img" aria-label="{label}">'
    return head + svg[svg.index(">") + 1 :].strip()


def _lead(summary: Mapping[str, Any], privacy: Mapping[str, Any]) -> str:
    before, after, epsilon = _perplexity(summary, "before"), _perplexity(summary, "after"), _number(privacy, "epsilon")
    claim = (
        f"at ε ≤ {above(epsilon)}, δ = {plain(privacy.get('delta'))} for each {_unit(privacy)}"
        if epsilon is not None
        else "without any privacy guarantee"
    )
    if before is None or after is None:
        return f"Trained {claim}."
    way = "fell" if after <= before else "rose"
    by = abs(after / before - 1)
    return f"Held-out perplexity {way} by {by:.0%}, from {before:.1f} to {after:.1f} per word, {claim}."


def _tiles(summary: Mapping[str, Any], privacy: Mapping[str, Any]) -> Markup:
    before, trained = _perplexity(summary, "before"), count(summary.get("trainable_parameters"))
    return tiles(
        [
            ("ε per " + _unit(privacy), _epsilon(privacy, "epsilon"), _delta_note(privacy)),
            ("Held-out perplexity", decimal(_perplexity(summary, "after")), f"{decimal(before)} before"),
            ("Clients", count(summary.get("clients")), f"{count(summary.get('rounds'))} rounds"),
            ("Trained parameters", trained, f"of {count(summary.get('parameters'))}"),
        ]
    )


def _learned(summary: Mapping[str, Any]) -> Markup:
    noiseless = ["reference"] if isinstance(summary.get("reference"), Mapping) else []
    heads = ["", "Public base", "This run", "Change", *("Without noise" for _ in noiseless)]
    kinds = (("Perplexity per word", "perplexity"), ("Next word first", "top1"), ("… among three", "top3"))
    rows = []
    for name, key in kinds:
        before, after, *bare = (_score(summary.get(when), key) for when in ["before", "after", *noiseless])
        rows.append([name, before, after, _change(summary, key), *bare])
    note = "On held-out dialogues, which training never saw."
    if noiseless:
        note += " Beside it the same run without noise: it shows what privacy cost, and its model has no guarantee."
    return section("What was learned", tag("p", note), figures(heads, rows))


def _guarantee(privacy: Mapping[str, Any]) -> Markup:
    epsilon = _number(privacy, "epsilon")
    if epsilon is None:
        words = "No differential privacy is claimed for this run: its model may repeat what it was told."
        return section("The guarantee", tag("p", tag("strong", words)), _fields(privacy), css="warn")
    unit, delta = _unit(privacy), _number(privacy, "delta")
    whose, it = (f"{unit}'s dialogues", "them") if unit.endswith("client") else (unit, "it")
    word = str(privacy.get("strength") or strength(epsilon, 1.0 if delta is None else delta))
    words = (
        f"Strength: {word}. With any one {whose} or without {it}, the probability of any outcome of training changes "
        f"at most by the factor e^{above(epsilon)} = {factor_in_words(epsilon)}, plus {plain(privacy.get('delta'))}. "
        f"Holds against: {plain(privacy.get('holds_against'))}."
    )
    if word == NONE:
        words = f"Strength: none. At ε = {above(epsilon)} and δ = {plain(privacy.get('delta'))} the bound says nothing."
    css = "warn" if word in (WEAK, NONE) else ""
    warnings = [tag("p", f"Warning: {plain(each)}.") for each in _rows(privacy.get("warnings"))]
    scale = tag("p", plain(privacy.get("scale") or SCALE))
    return join(
        [
            section("The guarantee", tag("p", tag("strong", words)), *warnings, scale, _fields(privacy), css=css),
            _person(privacy),
        ]
    )


def _person(privacy: Mapping[str, Any]) -> Markup:
    """What the guarantee is for several dialogues of one person together."""
    rows = [row for row in _rows(privacy.get("person")) if isinstance(row, Mapping)]
    if not rows:
        return Markup("")
    said = [[plain(row.get("who")), count(row.get("dialogues")), said_of_several(row)] for row in rows]
    note = tag("p", f"{plain(privacy.get('person_note'))}.".capitalize())
    return section("For one person", figures(["", "Dialogues", "All of them together"], said), note)


def _rows(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _fields(privacy: Mapping[str, Any]) -> Markup:
    return facts((_label(key), _value(key, value)) for key, value in privacy.items() if key not in SHOWN_APART)


def _value(key: str, value: Any) -> Content:
    if key == "epsilon" and finite(value) is not None:
        return above(float(value))
    if key == "unit":
        return f"one {_unit({key: value})}"
    if key == "per_round" and isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(MISSING if finite(each) is None else above(float(each)) for each in value) or MISSING
    if isinstance(value, Mapping):
        return bullets(f"{_label(str(name))}: {plain(each)}" for name, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return bullets(plain(each) for each in value) if value else MISSING
    return plain(value)


def _time(summary: Mapping[str, Any]) -> Markup:
    seconds = summary.get("seconds")
    phases = seconds if isinstance(seconds, Mapping) else {}
    spent = {str(name): value for name in phases if name != "total" and (value := _number(phases, name)) is not None}
    if not spent:
        return section("Time", tag("p", "No times were recorded."))
    whole = sum(spent.values()) or 1.0
    rows: list[list[Content]] = [[_label(name), bar(value / whole), duration(value)] for name, value in spent.items()]
    return section("Time by phase", figures(["Phase", "Share", "Time"], [*rows, ["All", "", duration(whole)]]))


def _run(summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> Markup:
    survivors = [value for _, value in _series(metrics, "survivors")]
    cohort = [value for _, value in _series(metrics, "cohort")]
    sent = [value for _, value in _series(metrics, "bytes_up")]
    answered = MISSING
    if survivors and cohort:
        answered = f"{min(survivors):,.0f} to {max(survivors):,.0f} of {max(cohort):,.0f}"
    rows = [
        ("Clients", count(summary.get("clients"))),
        ("Rounds", count(summary.get("rounds"))),
        ("Clients that answered in a round", answered),
        ("Parameters", count(summary.get("parameters"))),
        ("Trained parameters", count(summary.get("trainable_parameters"))),
        ("Sent by all clients", size(sum(sent)) if sent else MISSING),
    ]
    return section("The run", facts(rows))


def _rounds(metrics: Sequence[Mapping[str, Any]]) -> Markup:
    heads = ["Round", "Answered", "ε, most", "ε, mean", "Perplexity", "Top-1", "Top-3", "Sent", "Time"]
    rows = [
        [
            count(row.get("round")),
            f"{count(row.get('survivors'))} of {count(row.get('cohort'))}",
            _epsilon(row, "epsilon_max"),
            _epsilon(row, "epsilon_mean"),
            *(_score(row, key) for key in ("perplexity", "top1", "top3")),
            MISSING if (sent := _number(row, "bytes_up")) is None else size(sent),
            MISSING if (seconds := _number(row, "seconds")) is None else duration(seconds),
        ]
        for row in metrics
    ]
    table = figures(heads, rows) if rows else tag("p", "No round was run.")
    return tag("section", tag("details", tag("summary", "Every round in figures"), table))


def _reading() -> Markup:
    return section("How to read this", bullets(SHOWS), join([tag("h3", "What it does not show"), bullets(SHOWS_NOT)]))


def _number(mapping: Mapping[str, Any], key: str) -> float | None:
    return finite(mapping.get(key))


def _series(metrics: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """(round, value) wherever a row has a finite value."""
    found = ((_number(row, "round"), _number(row, key)) for row in metrics)
    return [(int(number), value) for number, value in found if number is not None and value is not None]


def _epsilon(mapping: Mapping[str, Any], key: str) -> str:
    value = _number(mapping, key)
    return MISSING if value is None else above(value)


def _perplexity(summary: Mapping[str, Any], when: str) -> float | None:
    scores = summary.get(when)
    return _number(scores, "perplexity") if isinstance(scores, Mapping) else None


def _score(scores: Any, key: str) -> str:
    value = _number(scores, key) if isinstance(scores, Mapping) else None
    if value is None:
        return MISSING
    return decimal(value) if key == "perplexity" else f"{value:.1%}"


def _change(summary: Mapping[str, Any], key: str) -> str:
    pair = [summary.get(when) for when in ("before", "after")]
    before, after = (_number(scores, key) if isinstance(scores, Mapping) else None for scores in pair)
    if before is None or after is None or (key == "perplexity" and before == 0):
        return MISSING
    change = f"{after / before - 1:+.1%}" if key == "perplexity" else f"{100 * (after - before):+.1f} points"
    return change.replace("-", "−")


def _unit(privacy: Mapping[str, Any]) -> str:
    return {"example": "dialogue"}.get(str(privacy.get("unit")), str(privacy.get("unit", "unit")))


def _delta_note(privacy: Mapping[str, Any]) -> str:
    return f"δ = {plain(privacy.get('delta'))}" if _number(privacy, "epsilon") is not None else "nothing is claimed"


def _label(key: str) -> str:
    return LABELS.get(key, key.replace("_", " ").capitalize())
