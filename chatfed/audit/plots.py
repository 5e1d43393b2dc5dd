"""A run's rounds, and what runs learned, as plots: inline SVG in the colours of the page around it. Knows no page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chatfed.audit.figures import above, bits, finite, percent

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

INK, ACCENT = "#010203", "#040506"  # stand for the page's colours in what matplotlib draws

DASHED: dict[str, Any] = {"color": INK, "linewidth": 1.4, "linestyle": (0, (4, 3))}


def epsilon_plot(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Inline SVG of epsilon after each round, most and mean over clients, in the colours of the page around it."""
    most, mean = series(metrics, "epsilon_max"), series(metrics, "epsilon_mean")
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


def learning_plot(
    metrics: Sequence[Mapping[str, Any]], before: float | None = None, reference: float | None = None
) -> str:
    """Inline SVG of held-out bits per byte after each round, from the public base on."""
    values = series(metrics, "bits_per_byte")
    if not values:
        return "<p>Nothing was measured on held-out dialogues.</p>"
    points = values if before is None else [(values[0][0] - 1, before), *values]

    def draw(axes: Axes) -> None:
        _line(axes, points, "this run")
        if reference is not None:
            axes.axhline(reference, label="same run without noise", **DASHED)
            axes.legend(loc="upper right", frameon=False)

    return _plot("learning", f"Held-out bits per byte: {bits(values[-1][1])} after round {values[-1][0]}", draw)


def gain_plot(
    points: Sequence[tuple[float, float | None, float | None, float | None]], without: float | None = None
) -> str:
    """Inline SVG of the share of what could be learned against epsilon.

    points: (epsilon, share, low, high) of each run; a point without a share is left out, an interval without ends too.
    without: the share of the same run without noise.
    """
    there = sorted((epsilon, 100 * share, low, high) for epsilon, share, low, high in points if share is not None)
    if not there:
        return "<p>No run learned anything that could be compared.</p>"

    def draw(axes: Axes) -> None:
        axes.plot([each[0] for each in there], [each[1] for each in there], color=ACCENT, linewidth=2, marker="o")
        for epsilon, _, low, high in there:
            if low is not None and high is not None:
                axes.plot([epsilon, epsilon], [100 * low, 100 * high], color=ACCENT, linewidth=1.4)
        if without is not None:
            axes.axhline(100 * without, label="without noise", **DASHED)
            axes.legend(loc="best", frameon=False)
        axes.set_xscale("log", base=2)
        axes.set_xticks([each[0] for each in there], [f"{each[0]:.2g}" for each in there])
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.set_ylabel("% of what could be learned")

    at = ", ".join(f"{percent(share / 100)} at epsilon {above(epsilon)}" for epsilon, share, _, _ in there)
    return _plot("gain", f"Share of what could be learned: {at}", draw, "ε")


def _line(axes: Axes, points: Sequence[tuple[int, float]], label: str) -> None:
    axes.plot(*zip(*points, strict=True), color=ACCENT, linewidth=2, marker="o", markersize=4, label=label)


def _plot(name: str, label: str, draw: Callable[[Axes], None], across: str = "round") -> str:
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
        axes.set_xlabel(across)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.grid(axis="y", color=INK, alpha=0.14, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_alpha(0.4)
        axes.tick_params(length=0, which="both")
        draw(axes)
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


def series(metrics: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """(round, value) wherever a row has a finite value."""
    found = ((finite(row.get("round")), finite(row.get(key))) for row in metrics)
    return [(int(number), value) for number, value in found if number is not None and value is not None]


def roc_plot(curves: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]], what: str) -> str:
    """Inline SVG of true against false positive rates, both logarithmic: what matters of an attack is at the left.

    curves: a name, and false and true positive rates float64[k], rising from (0, 0); the first is drawn in colour.
    Below the dashed line an attack does no better than chance.
    """
    if not curves:
        return "<p>No attack was tried that could be judged.</p>"
    least = min(min((rate for rate in rates[1:] if rate), default=1.0) for _, rates, _ in curves)

    def draw(axes: Axes) -> None:
        for number, (name, false, true) in enumerate(curves):
            look: dict[str, Any] = {"color": INK, "linewidth": 1.4} if number else {"color": ACCENT, "linewidth": 2}
            axes.step(false, true, where="post", label=name, **look)
        axes.plot([least, 1], [least, 1], label="chance", **DASHED)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda rate, _: f"{100 * rate:g} %")
        axes.set_xlim(least, 1)
        axes.set_ylim(least, 1)
        axes.set_ylabel("members found")
        axes.legend(loc="lower right", frameon=False)

    return _plot("roc", f"Members found against others taken for members: {what}", draw, "others taken for members")
