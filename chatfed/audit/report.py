"""Writes a run's report: what was learned, what is guaranteed, what it took.

Takes mappings, as the run folder holds them. Knows no model and no training.
A figure that a mapping lacks is shown as missing, never as zero.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chatfed.audit.comparison import LEARNED, UNKNOWN, sentence
from chatfed.audit.figures import (
    MISSING,
    above,
    as_sentence,
    bits,
    count,
    decimal,
    duration,
    finite,
    plain,
    points,
    size,
)
from chatfed.audit.gain import NOT_COVERED, gain_sentence
from chatfed.audit.leakage import AuditError
from chatfed.audit.page import Content, Markup, bar, bullets, document, facts, figures, join, section, tag, tiles
from chatfed.audit.plots import epsilon_plot, learning_plot, series
from chatfed.audit.tiers import NONE, SCALE, WEAK, factor_in_words, said_of_several, strength

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
    "budget_epsilon": "ε that a client's ledger allows",
    "excludes": "Not covered",
    "sentence": "In one sentence",
    "model_sha256": "SHA-256 of model.safetensors",
}

SHOWN_APART = ("person", "person_note", "scale", "warnings")

SHOWS = (
    "Bits per byte say how many bits the model needs for a byte of text, on average: lower is better. They are "
    "measured on held-out dialogues that neither training nor pre-training saw. Top-1 and top-3 are the shares "
    "of words that were the model's first guess, or among its first three. Perplexity per word says between how many "
    "equally likely words the model hesitates; few words that it never saw can move it far.",
    "A run has learned when the whole interval of the change in bits per byte is below zero and no measure got worse; "
    "it made the model worse when the whole interval of any measure lies on the wrong side; else it did not learn. The "
    "intervals (95 %) are from resampling held-out clients, or dialogues where nobody is named, with both models "
    "measured on the same ones.",
    "ε bounds what the model can give away about one unit: with that unit in the training data or without it, the "
    "probability of any outcome, such as an attacker's conclusion from the model, changes at most by the factor e^ε, "
    "plus δ. Smaller is stronger.",
    "The figure for ε is an upper bound from an accountant, for the client that spent most; no other client spent "
    "more.",
)

QUIZ_PARTS = {"house": "The house", "trained": "Facts, trained", "never_trained": "Facts, never trained"}
QUIZ = (
    "Right answers, and bits that an answer costs the model. The house is what many clients were told: it should rise. "
    "Facts are what single clients said: of those that trained they should be no better known than of others."
)

SHOWS_NOT = (
    "It does not show that the model repeats nothing: ε bounds the effect of one unit. What many people said alike is "
    "learned. Where the unit is a dialogue, one person's many dialogues count as many units; where it is a client, so "
    "do one person's clients.",
    "It does not measure attacks. The leakage probe lets one look at single texts, and proves nothing about others.",
    "None of these figures measures whether an answer is true or useful.",
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
    before, reference = _bits(summary, "before"), _bits(summary, "reference")
    return document(
        "chatfed: report of a run",
        tag("h1", "What this run learned, and what it may give away"),
        tag("p", _lead(summary, privacy), css="lead"),
        _tiles(summary, privacy),
        _learned(summary),
        _ceiling(summary),
        _quiz(summary),
        _guarantee(privacy),
        tag(
            "div",
            section("ε spent, round by round", Markup(epsilon_plot(metrics))),
            section("Held-out bits per byte", Markup(learning_plot(metrics, before, reference))),
            css="pair",
        ),
        tag("div", _time(summary), _run(summary, metrics), css="pair"),
        _rounds(metrics),
        _reading(),
        tag("footer", "Written by chatfed. This page loads nothing from anywhere."),
    )


def _lead(summary: Mapping[str, Any], privacy: Mapping[str, Any]) -> str:
    epsilon = _number(privacy, "epsilon")
    claim = (
        f"at ε ≤ {above(epsilon)}, δ = {plain(privacy.get('delta'))} for each {_unit(privacy)}"
        if epsilon is not None
        else "without any privacy guarantee"
    )
    return " ".join(text for text in (f"Trained {claim}.", sentence(summary)) if text)


def _tiles(summary: Mapping[str, Any], privacy: Mapping[str, Any]) -> Markup:
    before, trained = _bits(summary, "before"), count(summary.get("trainable_parameters"))
    return tiles(
        [
            ("ε per " + _unit(privacy), _epsilon(privacy, "epsilon"), _delta_note(privacy)),
            ("Held-out bits per byte", bits(_bits(summary, "after")), f"{bits(before)} before: {_verdict(summary)}"),
            ("Clients", count(summary.get("clients")), f"rounds: {count(summary.get('rounds'))}"),
            ("Trained parameters", trained, f"of {count(summary.get('parameters'))}"),
        ]
    )


def _learned(summary: Mapping[str, Any]) -> Markup:
    noiseless = ["reference"] if isinstance(summary.get("reference"), Mapping) else []
    heads = ["", "Public base", "This run", "Change", "95 % interval", *("Without noise" for _ in noiseless)]
    kinds = (
        ("Bits per byte", "bits_per_byte"),
        ("Next word first", "top1"),
        ("… among three", "top3"),
        ("Perplexity per word", "perplexity"),
    )
    rows = []
    for name, key in kinds:
        before, after, *bare = (_score(summary.get(when), key) for when in ["before", "after", *noiseless])
        rows.append([name, before, after, _change(summary, key), _interval(summary, key), *bare])
    note = " ".join(text for text in (sentence(summary), "On held-out dialogues, which training never saw.") if text)
    if noiseless:
        note += " Beside it the same run without noise: it shows what privacy cost, and its model has no guarantee."
    warn = "" if _verdict(summary) in (LEARNED, UNKNOWN, MISSING) else "warn"
    return section("What was learned", tag("p", note), figures(heads, rows), _cut(summary), css=warn)


def _ceiling(summary: Mapping[str, Any]) -> Markup:
    """What could be learned, from a run that was made beside a ceiling."""
    most = summary.get("ceiling")
    if not isinstance(most, Mapping):
        return Markup("")
    rows = [
        [name, *(_score(summary.get(when), key) for when in ("before", "after", "ceiling"))]
        for name, key in (("Bits per byte", "bits_per_byte"), ("Next word first", "top1"), ("… among three", "top3"))
    ]
    table = figures(["", "Public base", "This run", "Without privacy"], rows)
    return section(
        "What could be learned",
        tag("p", gain_sentence(summary), " The ceiling is the base trained on all private dialogues together."),
        table,
        tag("p", tag("strong", NOT_COVERED)),
        css="warn",
    )


def _quiz(summary: Mapping[str, Any]) -> Markup:
    """Scores of chatfed quiz, a row a model; nothing where it was not asked."""
    quiz = summary.get("quiz")
    models = quiz.get("models") if isinstance(quiz, Mapping) else None
    if not isinstance(models, Mapping):
        return Markup("")
    rows = [[str(name), *(_answers(scores, part) for part in QUIZ_PARTS)] for name, scores in models.items()]
    return section("What it knows of the house", tag("p", QUIZ), figures(["", *QUIZ_PARTS.values()], rows))


def _answers(scores: Any, part: str) -> str:
    found = scores.get(part) if isinstance(scores, Mapping) else None
    cost = _number(found, "bits") if isinstance(found, Mapping) else None
    return MISSING if cost is None else f"{_score(found, 'right')}, {cost:.1f} bits"


def _cut(summary: Mapping[str, Any]) -> Markup:
    pretraining = summary.get("pretraining")
    if not isinstance(pretraining, Mapping) or not pretraining.get("cut"):
        return join(())
    done, steps = (count(pretraining.get(name)) for name in ("done", "steps"))
    words = f"The time limit cut pre-training after {done} of {steps} steps: the base is not the one the recipe names."
    return tag("p", tag("strong", words))


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
    note = tag("p", as_sentence(plain(privacy.get("person_note"))))
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
    survivors = [value for _, value in series(metrics, "survivors")]
    cohort = [value for _, value in series(metrics, "cohort")]
    sent = [value for _, value in series(metrics, "bytes_up")]
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
    heads = ["Round", "Answered", "ε, most", "ε, mean", "Bits per byte", "Top-1", "Top-3", "Sent", "Time"]
    rows = [
        [
            count(row.get("round")),
            f"{count(row.get('survivors'))} of {count(row.get('cohort'))}",
            _epsilon(row, "epsilon_max"),
            _epsilon(row, "epsilon_mean"),
            *(_score(row, key) for key in ("bits_per_byte", "top1", "top3")),
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


def _epsilon(mapping: Mapping[str, Any], key: str) -> str:
    value = _number(mapping, key)
    return MISSING if value is None else above(value)


def _bits(summary: Mapping[str, Any], when: str) -> float | None:
    scores = summary.get(when)
    return _number(scores, "bits_per_byte") if isinstance(scores, Mapping) else None


def _verdict(summary: Mapping[str, Any]) -> str:
    comparison = summary.get("comparison")
    return str(comparison.get("verdict", MISSING)) if isinstance(comparison, Mapping) else MISSING


def _score(scores: Any, key: str) -> str:
    value = _number(scores, key) if isinstance(scores, Mapping) else None
    if value is None:
        return MISSING
    return {"perplexity": decimal, "bits_per_byte": bits}.get(key, "{:.1%}".format)(value)


def _change(summary: Mapping[str, Any], key: str) -> str:
    pair = [summary.get(when) for when in ("before", "after")]
    before, after = (_number(scores, key) if isinstance(scores, Mapping) else None for scores in pair)
    if before is None or after is None or (key == "perplexity" and before == 0):
        return MISSING
    if key == "bits_per_byte":
        return bits(after - before, signed=True)
    return f"{after / before - 1:+.1%}".replace("-", "−") if key == "perplexity" else points(after - before)


def _interval(summary: Mapping[str, Any], key: str) -> str:
    comparison = summary.get("comparison")
    found = comparison.get(key) if isinstance(comparison, Mapping) else None
    low, high = (_number(found, end) if isinstance(found, Mapping) else None for end in ("low", "high"))
    if low is None or high is None:
        return MISSING
    return " to ".join(bits(end, signed=True) if key == "bits_per_byte" else points(end) for end in (low, high))


def _unit(privacy: Mapping[str, Any]) -> str:
    return {"example": "dialogue"}.get(str(privacy.get("unit")), str(privacy.get("unit", "unit")))


def _delta_note(privacy: Mapping[str, Any]) -> str:
    return f"δ = {plain(privacy.get('delta'))}" if _number(privacy, "epsilon") is not None else "nothing is claimed"


def _label(key: str) -> str:
    return LABELS.get(key, key.replace("_", " ").capitalize())
