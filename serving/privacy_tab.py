"""Says what is claimed about the served model: words and figures, as HTML.

Knows the files of a run folder by their keys; knows no model. It claims nothing that privacy.json does not. A file may
hold anything: every text of it is escaped, and what should be a number and is none is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatfed.audit.figures import above, as_sentence, finite
from chatfed.audit.tiers import NONE, WEAK, factor_in_words, guess_in_words

from .markup import escape, quoted, region
from .run_folder import RunFolder
from .texts import Texts, read_texts
from .theme import finite_epsilon, format_small, sentences, strength_of, unit_noun, why_no_claim

SHOWN_ABOVE = ("person", "person_note", "scale", "warnings")


def privacy_html(run: RunFolder, texts: Texts | None = None) -> str:
    """The guarantee, in words and then every field of privacy.json; or that there is none."""
    texts, privacy = texts or read_texts(), run.privacy
    if privacy is None:
        heading, why = texts("privacy.no_claim"), texts("privacy.no_file")
        if run.no_claim:
            heading = texts("privacy.no_claim_why", why=escape(why_no_claim(run.no_claim, texts)))
            why = texts("privacy.not_its_own")
        return f'<div class="cf-card cf-warn cf-prose"><h2>{heading}</h2><p>{why}</p></div>'
    statement = (
        f'<div class="cf-prose">{_one_sentence(privacy, texts)}<h2>{texts("privacy.heading")}</h2>'
        f"{_statement(privacy, texts)}</div>"
    )
    return f"{statement}{_person(privacy, texts)}{_fields(privacy, texts)}"


def _unit(privacy: Mapping[str, Any], texts: Texts) -> str:
    """What one epsilon protects, as a noun; escaped."""
    return escape(texts.named("unit", unit_noun(str(privacy.get("unit", "unit")))))


def _one_sentence(privacy: Mapping[str, Any], texts: Texts) -> str:
    """What is proven, as a person may repeat it; empty where nothing is claimed, which is said below."""
    epsilon = finite_epsilon(privacy)
    if epsilon is None or strength_of(privacy) == NONE:
        return ""
    guess = guess_in_words(epsilon, float(privacy["delta"]))
    said = texts("privacy.proven", unit=_unit(privacy, texts), guess=texts.figures(guess))
    return f'<p class="cf-card" id="one-sentence"><strong>{said}</strong></p>'


def _statement(privacy: Mapping[str, Any], texts: Texts) -> str:
    epsilon = finite_epsilon(privacy)
    if epsilon is None:
        return f'<div class="cf-card cf-warn"><p>{texts("privacy.not_finite")}</p></div>'
    word, delta = strength_of(privacy), texts.figures(format_small(privacy.get("delta")))
    unit, factor = _unit(privacy, texts), _factor(epsilon, texts)
    tiles = [
        (texts("privacy.epsilon_per", unit=unit), f'<span id="epsilon-value">{texts.figures(above(epsilon))}</span>'),
        (texts("privacy.delta"), delta),
        (texts("privacy.strength"), f'<span id="strength-value">{texts(f"strength.{word}")}</span>'),
        (texts("privacy.factor"), texts("privacy.factor_value", factor=factor)),
        (texts("privacy.guess"), _best_guess(epsilon, privacy.get("delta"), texts)),
    ]
    figures = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in tiles)
    who = privacy.get("holds_against")
    against = texts("privacy.against", who=_quoted(who, texts)) if who else ""
    about = "privacy.says_client" if unit_noun(str(privacy.get("unit"))).endswith("client") else "privacy.says_dialogue"
    says = texts(about, unit=unit, factor=factor, delta=delta, against=against)
    if word == NONE:
        says = texts("privacy.bound_says_nothing")
    return (
        f'<dl class="cf-figures">{figures}</dl>{_warnings(privacy, word, texts)}<p>{says}</p>'
        f'<p class="cf-note">{texts("privacy.words", scale=_scale(privacy, texts))}</p>'
    )


def _factor(epsilon: float, texts: Texts) -> str:
    words = factor_in_words(epsilon)
    return texts.figures(words) if words[0].isdigit() else texts("privacy.more_than_a_billion")


def _scale(privacy: Mapping[str, Any], texts: Texts) -> str:
    """What the words of strength mean: ours, and where privacy.json was written by another scale, that one."""
    scale = privacy.get("scale")
    ours = not scale or scale == read_texts()("privacy.scale")
    return escape(texts("privacy.scale")) if ours else _quoted(scale, texts)


def _warnings(privacy: Mapping[str, Any], word: str, texts: Texts) -> str:
    said = [quoted(each, texts) for each in sentences(privacy.get("warnings"))]
    if not said and word in (WEAK, NONE):
        said = [texts("privacy.strength_is", strength=texts(f"strength.{word}"))]
    return "".join(f'<p class="cf-card cf-warn">{texts("privacy.warning", warning=each)}</p>' for each in said)


def _best_guess(epsilon: float, delta: Any, texts: Texts) -> str:
    share = finite(delta)
    if share is None:
        return texts("privacy.guess_unknown")
    words = guess_in_words(epsilon, share)
    return texts.figures(words) if words[0].isdigit() else texts("privacy.no_bound")


def _person(privacy: Mapping[str, Any], texts: Texts) -> str:
    """What the guarantee is for several dialogues of one person together; empty where privacy.json has none of it."""
    rows = privacy.get("person")
    kept = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list | tuple) else []
    if not kept:
        return ""
    body = "".join(
        f"<tr><th scope='row'>{_whose(row, texts)}</th>"
        f"<td class='n'>{_number(row.get('dialogues'), texts)}</td><td>{_several(row, texts)}</td></tr>"
        for row in kept
    )
    heads = "".join(
        f'<th scope="col"{number}>{texts(f"privacy.{key}")}</th>'
        for key, number in (("whose", ""), ("dialogues", ' class="n"'), ("guarantee", ""))
    )
    table = f'<table class="cf-table" id="person"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
    note = quoted(as_sentence(_text(privacy.get("person_note"), read_texts())), texts)
    return (
        f'<div class="cf-prose"><h2>{texts("privacy.person")}</h2>'
        f"<p>{texts('privacy.person_says', unit=_unit(privacy, texts))}</p></div>"
        f'{region(texts("privacy.person"), table)}<p class="cf-note">{note}</p>'
    )


def _whose(row: Mapping[str, Any], texts: Texts) -> str:
    """Whose dialogues a row of `person` is about."""
    who, count = row.get("who"), row.get("dialogues")
    if isinstance(count, int) and who == f"{count} dialogues":
        return texts("privacy.so_many", count=count)
    return _known("whose", who, texts)


def _several(row: Mapping[str, Any], texts: Texts) -> str:
    """What holds for several dialogues of one person together; a row of `person`."""
    epsilon = finite(row.get("epsilon"))
    if epsilon is None:
        return texts("privacy.several_none")
    shown = texts.figures(above(epsilon))
    if row.get("strength") == NONE:
        return texts("privacy.several_none_at", epsilon=shown)
    word, guess = (str(row.get(key)) for key in ("strength", "best_guess"))
    strength, share = escape(texts.named("strength", word)), escape(texts.figures(guess))
    return texts("privacy.several", epsilon=shown, strength=strength, guess=share)


def _fields(privacy: Mapping[str, Any], texts: Texts) -> str:
    labels = texts.section("privacy.field")
    known = [key for key in labels if key in privacy]
    others = [key for key in privacy if key not in labels and key not in SHOWN_ABOVE]
    rest = _table(privacy, others, "guarantee-rest", texts("privacy.others"), texts)
    more = f'<details class="cf-prose"><summary>{texts("privacy.all_else")}</summary>{rest}</details>'
    return _table(privacy, known, "guarantee", texts("privacy.rests_on"), texts) + (more if others else "")


def _table(privacy: Mapping[str, Any], keys: Sequence[str], name: str, label: str, texts: Texts) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{_label(key, texts)}</th><td>{_value(key, privacy[key], texts)}</td></tr>" for key in keys
    )
    return region(label, f'<table class="cf-table" id="{name}"><tbody>{rows}</tbody></table>')


def _label(key: str, texts: Texts) -> str:
    known = texts.section("privacy.field").get(key)
    return known or quoted(key.replace("_", " ").capitalize(), texts)


def _value(key: str, value: Any, texts: Texts) -> str:
    if key == "unit":
        return texts("privacy.one", unit=escape(texts.named("unit", unit_noun(str(value)))))
    if key in ("noise", "adjacency"):
        return _known(key, value, texts)
    if key == "epsilon" and finite(value) is not None:
        return escape(_spent(value, texts))
    if key == "per_round" and isinstance(value, Sequence) and not isinstance(value, str):
        return escape((", " if texts.language == "en" else "; ").join(_spent(each, texts) for each in value)) or texts(
            "privacy.none"
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = "".join(f"<li>{_said(item, texts)}</li>" for item in value)
        return f'<ul class="cf-plain">{items}</ul>' if items else texts("privacy.none")
    return _said(value, texts)


def _known(kind: str, value: Any, texts: Texts) -> str:
    """One of a few words of privacy.json in the page's language; any other value as the file has it."""
    found = texts.sentences.get(f"{kind}.{value}") if isinstance(value, str) else None
    return _said(value, texts) if found is None else escape(found)


def _quoted(value: Any, texts: Texts) -> str:
    """A value as the file has it, with its figures as English writes them."""
    return quoted(_text(value, read_texts()), texts)


def _said(value: Any, texts: Texts) -> str:
    """A value of privacy.json: figures and nothing as this page says them, words as the file has them."""
    ours = value is None or isinstance(value, bool | int | float) or (isinstance(value, Mapping | list) and not value)
    return escape(_text(value, texts)) if ours else _quoted(value, texts)


def _spent(value: Any, texts: Texts) -> str:
    """An epsilon, never smaller than it is; any other value as it stands."""
    number = finite(value)
    return texts.figures(above(number)) if number is not None and 0 <= number < 1e6 else _text(value, texts)


def _text(value: Any, texts: Texts) -> str:
    """Any JSON value for a reader."""
    if isinstance(value, Mapping | list | tuple) and not value:
        return texts("privacy.none")
    if value is None:
        return texts("privacy.not_stated")
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_text(item, texts)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(item, texts) for item in value)
    return _plain(value, texts)


def _plain(value: Any, texts: Texts) -> str:
    if isinstance(value, bool):
        return texts("privacy.yes" if value else "privacy.no")
    if isinstance(value, int):
        return texts.said(value)
    if isinstance(value, float):
        return texts.figures(f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else format_small(value))
    return str(value)


def _number(value: Any, texts: Texts) -> str:
    return "" if finite(value) is None else _plain(value, texts)
