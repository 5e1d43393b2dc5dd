"""The table of architectures in docs/bases.md: each made tiny from its configuration and examined as a base is.

`make base-table` writes it anew.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from chatfed.model.checkpoint import save_model
from chatfed.model.decoding import Decoder
from chatfed.model.examination import Check, check_base
from chatfed.model.tokenizer import train_tokenizer
from chatfed.model.transformer import load_model
from tests.model.architectures import KINDS, MORE_THAN_TEXT, tiny
from tests.model.tokenizers_of_others import TEXTS

DOCS = Path(__file__).parents[2] / "docs" / "bases.md"
START, END = "<!-- architectures:start -->", "<!-- architectures:end -->"
WAYS = {"given": "with a cache", "own": "with the model's own cache", "none": "without a cache: slower"}


def saved(kind: str, folder: Path, tokenizer: Any) -> Path:
    """A folder with the tiny model."""
    text = kind in MORE_THAN_TEXT
    model = tiny(f"{kind}_text" if text else kind)
    save_model(folder, model, tokenizer, "")
    if text:  # the wrapper's configuration is what is looked at
        from transformers import AutoConfig

        wrapper = AutoConfig.for_model(kind, text_config=model.config.to_dict(), vision_config={"num_hidden_layers": 1})
        wrapper.save_pretrained(folder)
    return folder


def row(kind: str, folder: Path) -> str:
    """One line of the table."""
    checks = {check.name: check for check in check_base(folder)}
    fault = next((check.fault for check in checks.values() if check.fault), "")
    if fault:
        why = fault.removeprefix(f"{folder} ({kind})").removeprefix(f"The base ({kind})").strip()
        return f"| {kind} | no | {why.partition(':')[0]} | |"
    way = WAYS[Decoder(load_model(folder)[0]).way]
    return f"| {kind} | yes | {way} | {_adapters(checks['places for adapters'])} |"


def _adapters(check: Check) -> str:
    if not check.note:
        return "every linear layer"
    if check.note.startswith("none by"):
        return "by name: " + check.note.rpartition("some of ")[2].rstrip(".")
    return "not " + check.note.rpartition("none to ")[2]


def rows() -> list[str]:
    """The table's lines, all architectures."""
    tokenizer = train_tokenizer(TEXTS, 290)
    with tempfile.TemporaryDirectory() as scratch:
        return [row(kind, saved(kind, Path(scratch) / kind, tokenizer)) for kind in sorted(KINDS)]


def main() -> None:
    """Writes the table into the page."""
    head = ["| `model_type` | taken | replies, or why not | adapters by `all-linear` |", "|---|---|---|---|"]
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    table = "\n".join([START, *head, *rows(), END])
    DOCS.write_text(before + table + after, encoding="utf-8")


if __name__ == "__main__":
    main()
