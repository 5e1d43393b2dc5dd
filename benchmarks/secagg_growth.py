"""How the cost of a round grows with participants, neighbours and dimension: a table and a plot for docs/.

One of the three is varied at a time, around 100 participants of 54 neighbours and a million coordinates at 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.secagg_round import Figures, Setting, whole_round
from training.durable import write_atomically

MIDDLE = Setting(participants=100, degree=54, threshold=28, dimension=1_000_000, ring_bits=16)
SMALL = Setting(participants=20, degree=10, threshold=6, dimension=5_000, ring_bits=16)
AXES = {"participants": "participants n", "degree": "neighbours k", "dimension": "coordinates d"}


@dataclass(frozen=True)
class Point:
    """One round of a sweep over `axis`."""

    axis: str
    setting: Setting
    figures: Figures


def growth(quick: bool = False) -> list[Point]:
    """One round of each setting."""
    middle = SMALL if quick else MIDDLE
    sweeps = {
        "participants": [middle.participants * k for k in ((1, 2) if quick else (1, 2, 5, 10))],
        "degree": [10, 18] if quick else [14, 28, 54, 98],
        "dimension": [1_000, 10_000] if quick else [10_000, 100_000, 1_000_000, 10_000_000],
    }
    points = [_point(axis, middle, value) for axis, values in sweeps.items() for value in values]
    signed = [replace(middle, signed=True), replace(middle, signed=True, slots=10)]
    return points + [_point("participants", setting, n) for setting in signed for n in sweeps["participants"]]


def _point(axis: str, middle: Setting, value: int) -> Point:
    changed: dict[str, Any] = {axis: value}
    if axis == "degree":
        changed["threshold"] = value // 2 + 1
    setting = replace(middle, **changed)
    return Point(axis, setting, whole_round(setting))


def write_docs(folder: Path, about: str, points: list[Point]) -> None:
    """Writes secagg-cost.md and secagg-cost.png."""
    write_atomically(folder / "secagg-cost.md", _page(about, points).encode(), mode=0o644)
    _plot(folder / "secagg-cost.png", points)


def _page(about: str, points: list[Point]) -> str:
    lines = [
        "# What a round of secure aggregation costs",
        "",
        "Processor seconds; written by `python -m benchmarks.secagg --docs docs`. A tenth of the participants dropped",
        "out after sharing. A client: the median over those that stayed, its encoding apart. Signed: with pinned",
        "identities and a certificate, as against a server that cheats. Keys for R rounds: a round has one part in R",
        "of what agreeing on them takes.",
        "",
        f"Machine: {about}.",
        "",
        "![a client's and the server's seconds against participants, neighbours and coordinates](secagg-cost.png)",
        "",
        "| varied | signed | keys | n | k | t | d | bits | client s | encode s | server s | client bytes up | down |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for p in points:
        s, f, signed = p.setting, p.figures, "yes" if p.setting.signed else "no"
        lines.append(
            f"| {AXES[p.axis]} | {signed} | {s.slots} | {s.participants:,} | {s.degree} | {s.threshold} "
            f"| {s.dimension:,} | {s.ring_bits} | {f.client_s:.4f} | {f.encode_s:.4f} | {f.server_s:.3f} "
            f"| {f.client_bytes_up:,} | {f.client_bytes_down:,} |"
        )
    return "\n".join(lines) + "\n"


def _plot(path: Path, points: list[Point]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True, layout="constrained")
    for (axis, words), ax in zip(AXES.items(), axes, strict=True):
        for signed, style in ((False, "-"), (True, ":")):
            mine = [p for p in points if p.axis == axis and p.setting.signed == signed and p.setting.slots == 1]
            suffix = ", signed" * signed
            at = [getattr(p.setting, axis) for p in mine]
            ax.plot(at, [p.figures.server_s for p in mine], "o" + style, color="C0", label=f"server{suffix}")
            ax.plot(at, [p.figures.client_s for p in mine], "s" + style, color="C1", label=f"one client{suffix}")
        ax.set(xscale="log", yscale="log", xlabel=words)
        ticks = sorted({getattr(p.setting, axis) for p in points if p.axis == axis})
        ax.set_xticks(ticks, [f"{value:,}" for value in ticks])
        ax.minorticks_off()
        ax.grid(True, alpha=0.25)
    axes[0].set_ylabel("processor seconds a round")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=110)
    plt.close(figure)
    temporary.replace(path)
