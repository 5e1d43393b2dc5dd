"""How a report looks: one style sheet and a few pieces of HTML. Escapes all it is given; knows no run and no figure.

The page asks no host for anything, and says so to the browser in its content policy.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

STYLE = """
:root { color-scheme: light dark; --page: #f5f7f9; --card: #ffffff; --ink: #17212c; --soft: #51606f; --line: #dbe1e7;
  --cf-accent: #0f766e; --track: #e6ebf0; --warn-ink: #7a3a06; --warn: #fdf1e3; }
@media (prefers-color-scheme: dark) { :root { --page: #0e1419; --card: #161e26; --ink: #e7edf2; --soft: #a7b4c0;
  --line: #2a3641; --cf-accent: #4fd1c1; --track: #24303b; --warn-ink: #f6c894; --warn: #33261a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.2rem 1.1rem 3rem; }
h1 { font-size: 1.65rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.12rem; margin: 0 0 .7rem; }
h3 { font-size: 1rem; margin: 1.1rem 0 .3rem; }
p { margin: 0 0 .7rem; max-width: 46rem; }
.lead { color: var(--soft); font-size: 1.06rem; margin-bottom: 1.3rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.2rem 1.3rem;
  margin: 0 0 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .8rem; margin: 0 0 1rem; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .9rem 1.1rem; }
.tiles dt { color: var(--soft); font-size: .86rem; }
.tiles dd { margin: .1rem 0 0; font-size: 1.45rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; font-size: .84rem; font-weight: 400; color: var(--soft); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem;
  margin: 0 0 1rem; }
.pair section { margin: 0; min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .42rem .9rem .42rem 0; border-bottom: 1px solid var(--line); }
tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; }
thead th { color: var(--soft); font-size: .86rem; white-space: nowrap; }
.figures td, .figures thead th:not(:first-child) { text-align: right; }
.figures td:last-child, .figures th:last-child { padding-right: 0; }
.facts th { width: 14rem; color: var(--soft); font-weight: 500; }
.facts td ul { margin: 0; padding-left: 1.1rem; }
.facts td { overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
.bar { display: block; height: .6rem; border-radius: .3rem; background: var(--track); overflow: hidden; min-width: 6rem;
  margin-top: .5rem; }
.bar i { display: block; height: 100%; background: var(--cf-accent); }
.warn { background: var(--warn); color: var(--warn-ink); border-color: transparent; }
details summary { cursor: pointer; font-weight: 600; }
details[open] summary { margin-bottom: .6rem; }
ul { margin: 0 0 .6rem; padding-left: 1.2rem; max-width: 46rem; }
footer { color: var(--soft); font-size: .86rem; }
code { font-size: .92em; }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--cf-accent); outline-offset: 3px; border-radius: 4px; }
@media (max-width: 34rem) { main { padding: 1.3rem .8rem 2rem; } section { padding: 1rem; } h1 { font-size: 1.4rem; }
  .facts tr, .facts th, .facts td { display: block; width: auto; } .facts th { border: 0; padding: .5rem 0 0; }
  .facts td { padding: 0 0 .5rem; } .figures { font-size: .84rem; } .figures th, .figures td { padding-right: .4rem; }
  thead th { white-space: normal; } }
@media print { body { background: #fff; } section, .tiles div { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Markup:
    """HTML that is already safe: made here from escaped text, or drawn by us. All other text is escaped."""

    html: str


Content = str | Markup


def safe(content: Content) -> str:
    """Text escaped for HTML; markup as it is."""
    return content.html if isinstance(content, Markup) else html.escape(content, quote=True)


def join(parts: Iterable[Content]) -> Markup:
    """The parts one after the other, text escaped."""
    return Markup("".join(safe(part) for part in parts))


def tag(name: str, *content: Content, css: str = "") -> Markup:
    """An element with `content` in it; `css` is its class."""
    attribute = f' class="{html.escape(css, quote=True)}"' if css else ""
    return Markup(f"<{name}{attribute}>{join(content).html}</{name}>")


def section(title: str, *content: Content, css: str = "") -> Markup:
    """A section under its heading."""
    return tag("section", tag("h2", title), *content, css=css)


def bullets(items: Iterable[Content]) -> Markup:
    """A list of the items."""
    return tag("ul", *(tag("li", item) for item in items))


def tiles(items: Iterable[tuple[str, Content, Content]]) -> Markup:
    """Large figures: label, value, and a line below it."""
    boxes = (tag("div", tag("dt", label), tag("dd", value, tag("small", note))) for label, value, note in items)
    return tag("dl", *boxes, css="tiles")


def figures(heads: Sequence[str], rows: Iterable[Sequence[Content]]) -> Markup:
    """A table of numbers: the first column names the row, the others are right-aligned."""
    top = "".join(f'<th scope="col">{safe(head)}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{safe(row[0])}</th>{join(tag("td", cell) for cell in row[1:]).html}</tr>' for row in rows
    )
    table = f'<table class="figures"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    return tag("div", Markup(table), css="scroll")


def facts(rows: Iterable[tuple[str, Content]]) -> Markup:
    """A table of named values."""
    body = "".join(f'<tr><th scope="row">{safe(name)}</th><td>{safe(value)}</td></tr>' for name, value in rows)
    return Markup(f'<table class="facts"><tbody>{body}</tbody></table>')


def bar(fraction: float) -> Markup:
    """A bar from 0 to 1; the number it shows stands beside it."""
    width = 100 * min(1.0, max(0.0, fraction))
    return Markup(f'<span class="bar" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>')


def document(title: str, *content: Content, style: str = "") -> str:
    """A whole page that needs nothing from anywhere. style: rules of CSS beside those that all pages have."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{safe(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{safe(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body><main>{join(content).html}</main></body></html>\n"
    )
