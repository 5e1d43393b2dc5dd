"""What the guarantee cost, client by client and round by round, and what is left of budgets: HTML for the Privacy tab.

Knows privacy.json and the lines of metrics.jsonl by their keys. What should be a number and is none is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chatfed.audit.figures import above, finite

from .markup import escape, region
from .run_folder import RunFolder
from .texts import Texts, read_texts
from .theme import finite_epsilon, format_small


def budget_html(privacy: Mapping[str, Any] | None, texts: Texts | None = None) -> str:
    """Tiles: what a client may spend and what was spent on what; empty without a guarantee."""
    texts = texts or read_texts()
    if privacy is None or finite_epsilon(privacy) is None:
        return ""
    tiles = [
        ("may_spend", _epsilon(privacy.get("budget_epsilon"), texts)),
        ("spent_most", _epsilon(privacy.get("epsilon"), texts)),
        ("spent_mean", _epsilon(privacy.get("epsilon_mean"), texts)),
        ("count", _epsilon(_inside(privacy, "count", "epsilon"), texts)),
        ("measuring", _epsilon(_inside(privacy, "measuring", "epsilon"), texts)),
        ("charged", _charged(privacy, texts)),
        ("most", _whole(finite(privacy.get("participations_most")), texts)),
    ]
    shown = "".join(f"<div><dt>{texts(f'budget.{key}')}</dt><dd>{value}</dd></div>" for key, value in tiles if value)
    return (
        f'<div class="cf-prose"><h2>{texts("budget.heading")}</h2><p>{texts("budget.says")}</p></div>'
        f'<dl class="cf-figures" id="budgets">{shown}</dl>'
    )


def _charged(privacy: Mapping[str, Any], texts: Texts) -> str:
    clients, charged = (_whole(finite(privacy.get(key)), texts) for key in ("clients", "clients_charged"))
    return texts("budget.of", some=charged, all=clients) if charged and clients else charged


def rounds_html(run: RunFolder, texts: Texts | None = None) -> str:
    """Epsilon after each round, as a plot and as a table; empty when the files say nothing of rounds."""
    texts, spent = texts or read_texts(), _rounds(run)
    if not spent or run.privacy is None:
        return ""
    last = texts.figures(above(spent[-1]["epsilon_max"] or 0.0))
    return (
        f'<div class="cf-prose"><h2>{texts("budget.rounds")}</h2>'
        f"<p>{texts('budget.spent_after', epsilon=last, round=_last(run))}</p></div>"
        f'<div class="cf-plot cf-card">{_plot(spent, texts)}</div>'
        f'<details class="cf-prose"><summary>{texts("budget.table")}</summary>{_table(spent, texts)}</details>'
    )


def _table(spent: list[dict[str, float | None]], texts: Texts) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{_whole(row['round'], texts)}</th>"
        f"<td class='n'>{_epsilon(row['epsilon_max'], texts)}</td>"
        f"<td class='n'>{_epsilon(row['epsilon_mean'], texts) or '–'}</td></tr>"
        for row in spent
    )
    heads = "".join(f'<th scope="col" class="n">{texts(f"budget.{key}")}</th>' for key in ("most_head", "mean_head"))
    head = f'<thead><tr><th scope="col">{texts("budget.round")}</th>{heads}</tr></thead>'
    return region(
        texts("budget.table_name"), f'<table class="cf-table" id="rounds">{head}<tbody>{rows}</tbody></table>'
    )


def _plot(spent: list[dict[str, float | None]], texts: Texts) -> str:
    """The library's plot, which speaks English, with its few words and figures in the page's language."""
    from chatfed.audit.plots import epsilon_plot

    drawn, english = epsilon_plot(spent), read_texts()
    if texts.language == english.language:
        return drawn
    for key in ("plot_most", "plot_mean", "plot_round"):
        drawn = drawn.replace(f">{english(f'budget.{key}')}<", f">{escape(texts(f'budget.{key}'))}<")
    drawn = re.sub(r">([0-9.]+)</text>", lambda found: f">{texts.figures(found[1])}</text>", drawn)
    last = next((row for row in reversed(spent) if row["round"] is not None), None)
    if last is None:
        return drawn
    said = {"epsilon": texts.figures(above(last["epsilon_max"] or 0.0)), "round": _whole(last["round"], texts)}
    return re.sub(r'aria-label="[^"]*"', f'aria-label="{escape(texts("budget.plot", **said))}"', drawn, count=1)


def _rounds(run: RunFolder) -> list[dict[str, float | None]]:
    """A row for each round that says what was spent; of a published folder, as privacy.json has it."""
    keys = ("round", "epsilon_max", "epsilon_mean")
    rows = [{key: finite(row.get(key)) for key in keys} for row in run.metrics]
    if not rows:
        listed = (run.privacy or {}).get("per_round")
        values = listed if isinstance(listed, list) else []
        rows = [
            {"round": float(number), "epsilon_max": finite(value), "epsilon_mean": None}
            for number, value in enumerate(values, 1)
        ]
    return [row for row in rows if row["epsilon_max"] is not None]


def _last(run: RunFolder) -> int:
    return len(run.metrics) or len(_rounds(run))


def _inside(privacy: Mapping[str, Any], part: str, key: str) -> Any:
    found = privacy.get(part)
    return found.get(key) if isinstance(found, Mapping) else None


def _epsilon(value: Any, texts: Texts) -> str:
    number = finite(value)
    if number is None or number < 0:
        return ""
    return texts.figures(above(number) if number < 1e6 else format_small(number))


def _whole(value: float | None, texts: Texts) -> str:
    return "" if value is None else texts.figures(f"{value:,.0f}")
