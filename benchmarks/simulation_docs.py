"""The page and the plot of benchmarks.simulation for docs/. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.durable import write_atomically

HEAD = "clients a second | processor ms a client | MiB, all processes |"


def write_docs(folder: Path, figures: Mapping[str, Any], programs: Mapping[str, tuple[str, int]]) -> None:
    """Writes simulation.md and simulation.png. programs: words and cores by key."""
    write_atomically(folder / "simulation.md", _page(figures, programs).encode(), mode=0o644)
    _plot(folder / "simulation.png", figures["populations"])


def _page(figures: Mapping[str, Any], programs: Mapping[str, tuple[str, int]]) -> str:
    lines = [
        "# What a rehearsal on one machine costs",
        "",
        "Written by `python -m benchmarks.simulation --docs docs`. Ours is `chatfed train`: secure sum,",
        "distributed noise and ledgers on disk. The peers train the same clients on the same tokens and add up; they",
        "have no keys, masks or ledgers, and read frozen layers anew where ours keeps what they say (of usual clients",
        "all but the output layer and the last norm are frozen, of small ones nothing is). Timed from the end of a",
        "run's first round to that of its last but one; memory is the proportional share (PSS) of all processes of the",
        "run together in the last one.",
        "",
        f"Machine: {figures['machine']}.",
        "",
        "![clients a second and memory against the number of clients](simulation.png)",
        "",
        f"2 workers; {figures['populations_words']}, drawn from all clients (keys are agreed on in each round; 100 "
        "clients are all asked in each, and keys serve five):",
        "",
        f"| clients | {HEAD}",
        "|---|--:|--:|--:|",
        *(f"| {row['clients']:,} | {_cells(row)} |" for row in figures["populations"]),
    ]
    for name, table in figures["settings"].items():
        asked = f"{table['words']}, all clients in every round (keys of ours serve ten)"
        lines += ["", f"{name.capitalize()}: {asked}:", "", f"| program | {HEAD}", "|---|--:|--:|--:|"]
        lines += [f"| {words} | {_cells(table[key])} |" for key, (words, _) in programs.items() if key in table]
        if "pfl" not in table:
            lines += [f"| pfl-research: {figures['pfl']} | | | |"]
        if "two_cores_over_one" in table:
            lines += ["", f"Two cores over one: {table['two_cores_over_one']:.2f}."]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, float]) -> str:
    return f"{row['clients_per_s']:.1f} | {row['cpu_ms']:.1f} | {row['peak_mib']:,.0f}"


def _plot(path: Path, rows: list[dict[str, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    sizes = [row["clients"] for row in rows]
    for ax, key, words in zip(axes, ("clients_per_s", "peak_mib"), ("clients a second", "MiB"), strict=True):
        ax.plot(sizes, [row[key] for row in rows], "o-")
        ax.set(xscale="log", xlabel="clients in the federation", ylabel=words)
        ax.set_ylim(0, 1.1 * max(row[key] for row in rows))
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
        ax.minorticks_off()
        ax.grid(True, alpha=0.25)
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=110)
    plt.close(figure)
    temporary.replace(path)
