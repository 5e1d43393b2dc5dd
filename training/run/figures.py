"""Writes the README's table of figures from a run folder: `python -m training.run.figures runs/default`.

Run it on the machine that ran the training: it also writes down which machine that was. Takes every number from
summary.json, privacy.json and recipe.toml; knows no number of its own.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chatfed.audit.comparison import sentence
from chatfed.audit.figures import above, bits, count, decimal, duration
from chatfed.audit.gain import gain_sentence
from chatfed.command_line import Parser, exit_code

from ..durable import from_json, write_atomically
from ..plan.recipe import load_recipe
from ..workers import processors
from .run_folder import RunError

EXAMPLES = """examples:
  python -m training.run.figures runs/default
  python -m training.run.figures runs/mine --readme notes.md
"""
README = Path(__file__).parents[2] / "README.md"
START, END = "<!-- figures:start -->", "<!-- figures:end -->"
ROWS = (
    ("before", "public base model, before any private dialogue"),
    ("after", "after private training"),
    ("reference", "the same run without noise (no privacy)"),
    ("ceiling", "central training on all private dialogues (no privacy): what could be learned"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites the table in the README. Returns the exit code."""
    parser = Parser(prog="python -m training.run.figures", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("run", type=Path, help="run folder, for example runs/default")
    parser.add_argument("--readme", type=Path, default=README, help="file with the two marks (default: the README)")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _rewrite(options.run, options.readme))


def _rewrite(run: Path, readme: Path) -> None:
    text = replaced(_read(readme), "\n".join(table(run)))
    write_atomically(readme, text.encode(), 0o644)


def table(run: Path) -> Iterator[str]:
    """The lines between the marks, from the files of a finished run."""
    summary, privacy = (_figures(run / name) for name in ("summary.json", "privacy.json"))
    recipe = load_recipe(run / "recipe.toml")
    yield f"| {recipe.data.held_out} | bits per byte | next word right | within three | perplexity per word |"
    yield "|---|--:|--:|--:|--:|"
    for key, name in ROWS:
        if (found := summary.get(key)) is not None:
            shares = f"{found['top1']:.1%} | {found['top3']:.1%}"
            yield f"| {name} | {bits(found['bits_per_byte'])} | {shares} | {decimal(found['perplexity'])} |"
    yield ""
    yield " ".join(text for text in (sentence(summary), gain_sentence(summary)) if text)
    yield ""
    yield f"{_cost(privacy)} {_size(summary)} {_time(summary['seconds'])}"
    yield ""
    yield f"Recipe `{recipe.digest().hex()[:16]}`, on {machine()}."


def machine() -> str:
    """This machine in a few words."""
    model = re.search(r"^model name\s*:\s*(.+)$", _read_if_there(Path("/proc/cpuinfo")), re.MULTILINE)
    processor = " ".join((model[1] if model else platform.processor() or platform.machine()).split())
    return (
        f"{processors()} cores of {processor}, {platform.system()}, Python {platform.python_version()}, "
        f"torch {importlib.metadata.version('torch')}"
    )


def replaced(text: str, lines: str) -> str:
    """`text` with what stands between the marks replaced. Raises ChatfedError when it has not both, once, in order."""
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end or START in rest or END in tail:
        raise RunError(f"the file needs {START} and, after it, {END}, each once")
    return f"{head}{START}\n{lines}\n{END}{tail}"


def _cost(privacy: Mapping[str, Any]) -> str:
    if privacy["epsilon"] is None:
        return "No noise was added: no privacy is claimed."
    return (
        f"Cost: epsilon {above(privacy['epsilon'])} at delta {privacy['delta']:g} for each {privacy['unit']} "
        f"({privacy['adjacency']}; {privacy['accountant']}; noise: {privacy['noise']}), in {privacy['rounds']} rounds."
    )


def _size(summary: Mapping[str, Any]) -> str:
    return (
        f"{count(summary['clients'])} clients; {count(summary['trainable_parameters'])} of "
        f"{count(summary['parameters'])} parameters trained."
    )


def _time(seconds: Mapping[str, float]) -> str:
    phases = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items() if name != "total")
    return f"Time: {duration(seconds['total'])} ({phases})."


def _figures(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = from_json(_read(path))
    except ValueError as error:
        raise RunError(f"{path} is no JSON ({error}): name the folder of a finished run") from None
    return content


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): name the folder of a finished run") from None


def _read_if_there(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
