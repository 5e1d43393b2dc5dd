"""What attackers got, beside what is proven, and the files to take home: HTML for the Privacy tab.

Figures are shown only of an audit that was compared with the model's weights and claim; where it is of another, that is
said and nothing of it shown. A file may hold anything: every text of it is escaped. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chatfed.audit.figures import above, finite
from chatfed.audit.part import Verdict

from .audit_beside import AuditBeside
from .markup import escape, quoted, region
from .texts import Texts, read_texts
from .theme import finite_epsilon, sentences

BOUNDS = (  # a part's figures, the one that assumes least first
    "epsilon_lower_bound_distribution_free",
    "epsilon_lower_bound_product_channel_any_curve",
    "epsilon_lower_bound_product_channel",
)
FILES = {"privacy.json": "privacy", "audit.html": "page", "audit.json": "results", "audit.sig": "signature"}


def audit_html(audit: AuditBeside | None, privacy: Mapping[str, Any] | None, texts: Texts | None = None) -> str:
    """The audit's findings beside the proven epsilon; a sentence where there is none, or it is not of this model."""
    texts = texts or read_texts()
    heading = f"<h2>{texts('audit.heading')}</h2>"
    if audit is None:
        return f'<div class="cf-prose">{heading}<p>{texts("audit.nobody")}</p></div>'
    if audit.fault:
        why = texts("audit.not_shown", why=quoted(audit.fault, texts))
        return f'<div class="cf-card cf-warn cf-prose">{heading}<p>{why}</p></div>'
    parts = list(_parts(audit.results))
    bounds = any(_bound(part) is not None for part in parts)
    rows = "".join(_row(part, bounds, texts) for part in parts)
    heads = "".join(f'<th scope="col">{texts(f"audit.{key}")}</th>' for key in ("part", "comes_to"))
    more = f'<th scope="col" class="n">{texts("audit.shows")}</th>' if bounds else ""
    table = f'<table class="cf-table" id="audit"><thead><tr>{heads}{more}</tr></thead><tbody>{rows}</tbody></table>'
    return (
        f'<div class="cf-prose">{heading}<p>{_proven(privacy or {}, texts)} {_signed(audit, texts)}</p></div>'
        f"{region(texts('audit.heading'), table)}{_words(audit.results, texts)}{_open(audit.results, texts)}"
        f'<p class="cf-note">{texts("audit.covered")}</p>'
    )


def downloads_html(files: Mapping[str, bytes], texts: Texts | None = None) -> str:
    """Links to the files that are handed out; empty where there are none."""
    texts = texts or read_texts()
    if not files:
        return ""
    items = "".join(
        f'<li><a href="published/{name}" download="{name}">{name}</a>, {texts(f"audit.file.{key}")} '
        f"({_size(files[name], texts)})</li>"
        for name, key in FILES.items()
        if name in files
    )
    return f'<div class="cf-prose"><h2>{texts("audit.downloads")}</h2><ul id="downloads">{items}</ul></div>'


def _parts(results: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    parts = results.get("parts")
    if isinstance(parts, Mapping):
        yield from (part for part in parts.values() if isinstance(part, Mapping))


def _proven(privacy: Mapping[str, Any], texts: Texts) -> str:
    epsilon = finite_epsilon(privacy)
    if epsilon is None:
        return texts("audit.not_proven")
    return texts("audit.proven", epsilon=texts.figures(above(epsilon)))


def _signed(audit: AuditBeside, texts: Texts) -> str:
    return texts("audit.signed", key=escape(audit.signer[:16])) if audit.signer else texts("audit.not_signed")


def _bound(part: Mapping[str, Any]) -> float | None:
    """What a part shows epsilon to be at least, by the figure that assumes least."""
    return next((value for value in (finite(part.get(key)) for key in BOUNDS) if value is not None), None)


def _row(part: Mapping[str, Any], bounds: bool, texts: Texts) -> str:
    """bounds: whether any part of the audit shows one."""
    shown, verdict = _bound(part), _verdict(part)
    said = texts(f"audit.verdict.{verdict}") if verdict else quoted(str(part.get("verdict")), texts)
    cell = f"<td class='n'>{'–' if shown is None else texts.figures(f'{shown:.2f}')}</td>" if bounds else ""
    return (
        f"<tr><th scope='row'>{quoted(str(part.get('title')), texts)}<br>"
        f'<span class="cf-note">{quoted(str(part.get("sentence")), texts)}</span></th><td>{said}</td>{cell}</tr>'
    )


def _verdict(part: Mapping[str, Any]) -> str:
    """The name of a part's verdict among the texts; empty for none of ours."""
    return next((each.name.lower() for each in Verdict if each == part.get("verdict")), "")


def _words(results: Mapping[str, Any], texts: Texts) -> str:
    found = {_verdict(part) for part in _parts(results)}
    keys = [each.name.lower() for each in Verdict if each.name.lower() in found]
    said = "; ".join(f"<em>{texts(f'audit.verdict.{key}')}</em>: {texts(f'audit.means.{key}')}" for key in keys)
    return f'<p class="cf-note">{said}.</p>' if said else ""


def _open(results: Mapping[str, Any], texts: Texts) -> str:
    items = "".join(f"<li>{quoted(each, texts)}</li>" for each in sentences(results.get("not_protected")))
    summary = f"<summary>{texts('audit.not_protected')}</summary>"
    return f'<details class="cf-prose">{summary}<ul>{items}</ul></details>' if items else ""


def _size(content: bytes, texts: Texts) -> str:
    return f"{texts.said(max(1, round(len(content) / 1000)))} kB"
