"""Writes an audit as a page: first what a person needs who has never heard of any of it, then everything.

Takes what audit.json holds, and the parts with their plots. Knows no run, no attack and no file. What is not protected
stands beside what is, in letters of the same size; a part that could not judge is not shown as one that found nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatfed.audit.annex import NOTE
from chatfed.audit.figures import MISSING, above, as_sentence, duration, finite, plain
from chatfed.audit.page import Content, Markup, bullets, document, facts, join, safe, section, tag
from chatfed.audit.part import Part, Table, Verdict
from chatfed.audit.tiers import NONE, guess_in_words, strength

STYLE = """
:root { --bad: #fde8e8; --bad-ink: #8a1414; --good: #dff3ef; --good-ink: #0b4f49; --dim: #e9edf1; --dim-ink: #3c4854; }
@media (prefers-color-scheme: dark) { :root { --bad: #3d1a1c; --bad-ink: #ffb4b0; --good: #12322f; --good-ink: #8fe5d8;
  --dim: #26313b; --dim-ink: #c3ced8; } }
h1 { margin-bottom: 1rem; }
.banner { border-left: .5rem solid; padding-bottom: .9rem; } .banner strong { font-size: 1.12rem; }
.banner p { margin: 0 0 .5rem; max-width: none; } .chips { display: flex; flex-wrap: wrap; gap: .4rem; }
.banner.holds { border-color: var(--good-ink); } .banner.fault { border-color: var(--bad-ink); }
.banner.open { border-color: var(--warn-ink); } .banner.unjudged { border-color: var(--dim-ink); }
section.banner { background: var(--card); color: var(--ink); } a.verdict { text-decoration: none; }
a.verdict:hover { text-decoration: underline; }
.first { display: grid; grid-template: auto 1fr / 1fr 1fr; gap: 1rem; margin: 0 0 1rem; }
.first section { margin: 0; min-width: 0; } .first section:nth-child(2) { grid-area: 1 / 2 / 3 / 3; }
@media (max-width: 52rem) { .first { display: block; } .first section { margin: 0 0 1rem; } }
.said p, .said li { font-size: 1.06rem; }
.said ul { margin-bottom: 0; } .said li { margin-bottom: .35rem; }
.verdict { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; font-size: .84rem; font-weight: 650;
  white-space: nowrap; }
.holds { background: var(--good); color: var(--good-ink); } .fault { background: var(--bad); color: var(--bad-ink); }
.open { background: var(--warn); color: var(--warn-ink); } .unjudged { background: var(--dim); color: var(--dim-ink); }
.found { list-style: none; padding: 0; max-width: none; }
.found li { display: grid; grid-template-columns: 7.2rem 1fr; gap: .2rem .9rem; padding: .6rem 0;
  border-top: 1px solid var(--line); }
.found li:first-child { border-top: 0; } .found li > div { min-width: 0; overflow-wrap: anywhere; }
.found p { margin: .1rem 0 0; } .found small { color: var(--soft); font-size: .92rem; }
.grid { margin: 0 0 1.1rem; } .grid figcaption { font-weight: 600; margin: 0 0 .3rem; }
.grid thead th { white-space: normal; vertical-align: bottom; } .grid tbody th { font-weight: 500; min-width: 6.5rem; }
.grid td.n, .grid th.n { text-align: right; } .grid td.n { white-space: nowrap; }
.grid td:not(.n) { min-width: 6rem; overflow-wrap: break-word; } .grid th { overflow-wrap: break-word; }
.grid th:last-child, .grid td:last-child { padding-right: 0; }
.many { font-size: .86rem; } .many th, .many td { padding-right: .6rem; }
.scroll:focus-visible { outline: 2px solid var(--cf-accent); outline-offset: 2px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem;
  margin: 0 0 1rem; } .plots svg { max-width: 34rem; }
.head { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; margin: 0 0 .7rem; }
.head h2 { margin: 0; }
.facts th { overflow-wrap: anywhere; } details { margin: .6rem 0 0; } code { overflow-wrap: anywhere; }
@media (max-width: 34rem) { .found li { grid-template-columns: 1fr; } .grid { font-size: .88rem; }
  .grid td, .grid th { padding-right: .7rem; } .grid td:not(.n) { min-width: 5.5rem; } }
"""

MEANS = {
    Verdict.FAULT: "more was found than the claim allows, or a check failed",
    Verdict.HOLDS: "nothing was found beyond what is proven",
    Verdict.OPEN: "the attack succeeds, and nothing in the claim says that it would not",
    Verdict.UNJUDGED: "too little data, or data that differ without the model; this is no sign of safety",
}
CSS = {Verdict.HOLDS: "holds", Verdict.FAULT: "fault", Verdict.OPEN: "open", Verdict.UNJUDGED: "unjudged"}

LIMITS = (
    "An attack that fails shows that this attack failed. Only the proof speaks of attacks that nobody has thought of, "
    "and only under its assumptions."
)
NO_POWER = (
    "No part of this audit says how small a leak it could have found. That it found none is then no evidence that "
    "there is none."
)
UNKNOWN_KEY = (
    "It was made for this run, in the run's own folder. It is not the key of any auditor, nor of anybody whom you "
    "know: the signature shows only that nothing was changed since."
)
OWN_KEY = (
    "Whoever audited named it. Whose it is this page cannot show: compare it with what the auditor says by another way."
)
VERIFY = (
    "chatfed audit verify and the run's folder checks the signature, this page, audit.json and the model's weights, "
    "and works out again what planted secrets showed, where there are any. With --key and the auditor's public key it "
    "also says whether that is who signed."
)


def render(audit: Mapping[str, Any], parts: Sequence[Part]) -> str:
    """The page. audit: what audit.json holds; parts: in the order in which they ran."""
    return document(
        "chatfed: an audit",
        tag("h1", "What an attacker gets from this model, beside what is proven"),
        _banner(audit, parts),
        _first(audit),
        section("What was tried, and what it found", _found(audit, parts), css="said"),
        *(_part(each) for each in parts),
        _annex(audit),
        _verify(audit),
        tag("footer", "Written by chatfed. This page loads nothing from anywhere."),
        style=STYLE,
    )


def summary(parts: Sequence[Part]) -> str:
    """What the parts come to, in one sentence or two."""
    if not parts:
        return "Nothing was tried."
    counts = {verdict: sum(part.verdict is verdict for part in parts) for verdict in Verdict}
    said = (
        (Verdict.FAULT, "found more than the claim allows, or failed"),
        (Verdict.HOLDS, "found nothing beyond what is proven"),
        (Verdict.OPEN, "succeeded where nothing is claimed"),
        (Verdict.UNJUDGED, "could not judge"),
    )
    told = [f"{counts[verdict]} {words}" for verdict, words in said if counts[verdict]]
    tried = "attack or check" if len(parts) == 1 else "attacks and checks"
    return f"Of {len(parts)} {tried}, {', '.join(told)}."


def proven(claim: Mapping[str, Any]) -> str:
    """What is proven, in one sentence for a person who has never heard of epsilon. claim: privacy.json.

    >>> print(proven({"epsilon": 1.0, "delta": 1e-5, "unit": "dialogue"}))
    Whether any one dialogue was learned from, a guess tells rightly in at most 73.11 % of cases; a coin in 50 %.
    """
    epsilon, delta = finite(claim.get("epsilon")), finite(claim.get("delta"))
    if epsilon is None or delta is None:
        return "Nothing: no noise was added, and the model may repeat what it was told."
    if strength(epsilon, delta) == NONE:
        return f"Nothing: at ε = {above(epsilon)} and δ = {plain(delta)} the bound says nothing."
    return (
        f"Whether any one {_unit(claim)} was learned from, a guess tells rightly in at most "
        f"{guess_in_words(epsilon, delta)} of cases; a coin in 50 %."
    )


def _unit(claim: Mapping[str, Any]) -> str:
    return {"example": "dialogue"}.get(str(claim.get("unit")), str(claim.get("unit", "unit")))


def _banner(audit: Mapping[str, Any], parts: Sequence[Part]) -> Markup:
    """What all parts come to, and a link to each."""
    chips = (
        Markup(
            f'<a class="verdict {CSS[part.verdict]}" href="#{safe(part.name)}">{safe(part.name)}: {part.verdict}</a>'
        )
        for part in parts
    )
    verdict = CSS[Verdict(audit["verdict"])]
    return tag(
        "section", tag("p", tag("strong", summary(parts))), tag("div", *chips, css="chips"), css=f"banner {verdict}"
    )


def _first(audit: Mapping[str, Any]) -> Markup:
    """What is proven and what is not protected, side by side, and how far the audit could see."""
    open_to_all = bullets(as_sentence(each.rstrip(".").replace("`", "")) for each in audit["not_protected"])
    return tag(
        "div",
        section("What is proven", *_proof(audit["claim"]), css="said"),
        section("What is not protected", open_to_all, css="said warn"),
        section("The smallest leak that this audit could have found", _power(audit), css="said"),
        css="first",
    )


def _proof(claim: Mapping[str, Any]) -> Iterator[Markup]:
    yield tag("p", tag("strong", _together(proven(claim))))
    epsilon = finite(claim.get("epsilon"))
    if epsilon is None:
        return
    figures = f"ε = {above(epsilon)} at δ = {plain(claim.get('delta'))} for each {_unit(claim)}"
    yield tag(
        "p", f"No attack does better, known or not, by those whom the proof covers: {claim.get('holds_against')}."
    )
    yield tag("p", _together(f"In figures: {figures}; {plain(claim.get('strength'))}."))


def _together(words: str) -> str:
    """With blanks at which no line breaks, inside figures."""
    return re.sub(r"(?<=[εδ=]) (?=[=\d])| (?=%)", "\u00a0", words)


def badge(verdict: Verdict) -> Markup:
    """A verdict as it is shown."""
    return tag("span", str(verdict), css=f"verdict {CSS[verdict]}")


def _found(audit: Mapping[str, Any], parts: Sequence[Part]) -> Markup:
    tries = {name: about.get("tries", "") for name, about in audit["parts"].items()}
    rows = [
        tag(
            "li",
            tag("div", badge(part.verdict)),
            tag("div", tag("strong", part.title), tag("p", part.sentence), tag("small", _tried(tries.get(part.name)))),
        )
        for part in parts
    ]
    shown = {part.verdict for part in parts}
    missing = [f"{name}: {why}" for name, why in audit["not_run"].items()]
    left = [tag("h3", "What was not tried"), bullets(missing)] if missing else []
    words = bullets(join([badge(verdict), f" {MEANS[verdict]}"]) for verdict in MEANS if verdict in shown)
    return join([tag("ul", *rows, css="found"), *left, tag("h3", "What the words mean"), words, tag("p", LIMITS)])


def _tried(tries: str | None) -> str:
    return f"It {tries}." if tries else ""


def _power(audit: Mapping[str, Any]) -> Markup:
    said = [
        join([tag("strong", title if title.endswith("?") else f"{title}:"), " ", words])
        for title, words in powers(audit)
    ]
    return bullets(said) if said else tag("p", NO_POWER)


def powers(audit: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(title, what the smallest leak is that it could have found) of each part that says so."""
    for about in audit["parts"].values():
        power = about.get("power")
        words = power.get("sentence") if isinstance(power, Mapping) else power
        if isinstance(words, str) and words:
            yield about["title"], words


def _part(part: Part) -> Markup:
    head = tag("div", tag("h2", part.title), badge(part.verdict), css="head")
    shown: list[Content] = [head, tag("p", tag("strong", part.sentence))]
    shown += [_grid(table) for table in part.tables]
    if part.plots:
        shown.append(tag("div", *(Markup(plot) for plot in part.plots), css="plots"))
    if part.not_protected:
        shown += [tag("h3", "Not protected"), tag("div", bullets(part.not_protected), css="said")]
    if part.notes:
        shown.append(
            tag("details", tag("summary", "Method, sources, and what the figures do not say"), bullets(part.notes))
        )
    if part.figures:
        shown.append(tag("details", tag("summary", "All figures"), facts(_flat(part.figures))))
    return Markup(f'<section id="{safe(part.name)}">{join(shown).html}</section>')


def _grid(table: Table) -> Markup:
    """A table in which columns of numbers are right-aligned; wider than its place, it is scrolled, by keys too."""
    numbers = [all(_is_number(row[at]) for row in table.rows) for at in range(len(table.heads))]
    css = [' class="n"' if number and table.rows else "" for number in numbers]
    top = "".join(f'<th scope="col"{style}>{safe(head)}</th>' for head, style in zip(table.heads, css, strict=True))
    body = "".join(f"<tr>{_row(row, css)}</tr>" for row in table.rows)
    inside = f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    label = f'class="scroll" tabindex="0" role="region" aria-label="{safe(table.caption)}"'
    many = ' class="many"' if len(table.heads) > _MANY else ""
    scrolled = f"<div {label}><table{many}>{inside}</table></div>"
    return tag("figure", tag("figcaption", table.caption), Markup(scrolled), css="grid")


def _row(row: Sequence[str | int | float | None], css: Sequence[str]) -> str:
    first, *rest = (_breakable(_cell(cell)) for cell in row)
    cells = "".join(f"<td{style}>{cell}</td>" for cell, style in zip(rest, css[1:], strict=True))
    return f'<th scope="row"{css[0]}>{first}</th>{cells}'


def _cell(cell: str | int | float | None) -> str:
    """As a table shows it: of a number below a thousand three digits."""
    short = isinstance(cell, float) and abs(cell) < 1000
    return f"{cell:.3g}".replace("e-0", "e-") if short else plain(cell)


def _breakable(text: str) -> str:
    """Text escaped for HTML; a word longer than _WORD, such as a digest, may go on in the next line."""
    pieces = re.split(rf"(\S{{{_WORD}}}(?=\S))", text)
    return "<wbr>".join(safe(piece) for piece in pieces if piece)


def _is_number(cell: str | int | float | None) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


_WORD = 24  # letters, after which a longer word of a table may be broken
_MANY = 7  # columns, above which letters are smaller
_LONGEST = 12  # values of one figure that a page shows; audit.json has all


def _flat(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, value) of each figure; those inside another with dots between, as long as they are few."""
    for key, value in figures.items():
        leaves = list(_leaves(value, key))
        if _is_list(value) and not any(isinstance(each, Mapping) or _is_list(each) for each in value):
            more = f" … ({len(value):,} in audit.json)" if len(value) > _LONGEST else ""
            yield key, (", ".join(plain(each) for each in value[:_LONGEST]) + more) or MISSING
        elif len(leaves) > _LONGEST:
            yield key, f"{len(leaves):,} figures, in audit.json"
        else:
            yield from leaves


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) or _is_list(value):
        for at, each in value.items() if isinstance(value, Mapping) else enumerate(value, 1):
            yield from _leaves(each, f"{key}.{at}")
    else:
        yield key, plain(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _annex(audit: Mapping[str, Any]) -> Markup:
    texts = dict.fromkeys(str(row["text"]) for row in audit["annex"])
    tables = [
        join([tag("h3", text), facts((row["asks"], _answer(row)) for row in audit["annex"] if row["text"] == text)])
        for text in texts
    ]
    return section("Annex: which figure answers which question", tag("p", NOTE), *tables)


def _answer(row: Mapping[str, Any]) -> Markup:
    """Where audit.json answers a point, and what it leaves open."""
    places = tag("code", ", ".join(row["places"])) if row["places"] else "Nothing in this audit."
    lacks = tag("small", as_sentence(row["lacks"])) if row["lacks"] else ""
    return join([places, Markup("<br>") if lacks else "", lacks])


def _verify(audit: Mapping[str, Any]) -> Markup:
    signer = audit["signer"]
    rows = [
        (
            "Signed by",
            join([tag("code", f"ed25519 {signer['public']}"), " ", OWN_KEY if signer["named"] else UNKNOWN_KEY]),
        ),
        ("SHA-256 of the weights", tag("code", audit["weights_sha256"])),
        ("Run", tag("code", audit["run"])),
        ("Date", audit["date"]),
        ("chatfed", f"{audit['chatfed']}, audit.json of form {audit['schema']}"),
        ("Machine", audit["machine"]),
        ("Time", duration(sum(float(each["seconds"]) for each in audit["parts"].values()))),
        ("The claim, in full", plain(audit["claim"].get("sentence"))),
    ]
    return section("How to verify", tag("p", VERIFY), facts(rows))
