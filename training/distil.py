"""`chatfed he distil`: a next-word network that answers encrypted questions, taught by a run's model.

It learns from texts of the model's own alone, so what protects the model protects it, and costs no further epsilon.
Writes two halves into the run's folder. Knows no cipher and no round.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatfed.command_line import application, examples, exit_code
from chatfed.types import ChatfedError

if TYPE_CHECKING:
    from chatfed import Chat

    from .base.next_word import NextWord, Teaching

EPILOG = examples(
    ("chatfed he distil runs/default", "then: chatfed he serve runs/default"),
    ("chatfed he distil runs/default --texts 512 --passes 2", "less to learn from, and quicker"),
)
CARD = """# The asker's half of a next-word network

Tables in which an asker looks up its last tokens, and the tokenizer. With it:
`chatfed he ask --half FOLDER --at HOST:PORT`.
Distilled from a run's model on {texts:,} texts that the model itself imagined; no dialogue of a client was read.
"""
SECONDS_BETWEEN = 5.0  # of two lines that say how far it is

app = application()


class NoModel(ChatfedError):
    """A folder that holds no finished run, so no model to distil."""

    code = "no_model"
    mend = "name the folder of a finished run"


@app.command("distil", epilog=EPILOG)
def distil(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    texts: Annotated[int, typer.Option(min=1, help="Texts that the model imagines to teach with.")] = 3584,
    passes: Annotated[int, typer.Option(min=1, help="Passes over them.")] = 3,
    dialogues: Annotated[int, typer.Option(min=0, help="Held-out dialogues to measure on; 0: measure nothing.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of the texts and of the network.")] = 1,
) -> None:
    """Distils a next-word network from a run's model.

    Writes its two halves into RUN/encrypted, asker/ to hand out and server/ to keep, and says how well it predicts
    held-out dialogues beside the model itself.
    """

    def job() -> None:
        from .base.next_word import Teaching

        _distil(run, Teaching(texts=texts, passes=passes, seed=seed), dialogues)

    raise typer.Exit(exit_code(job))


def _distil(run: Path, teaching: Teaching, dialogues: int) -> None:
    import torch

    from chatfed import load_chat
    from chatfed.model.transformer import stay_offline

    from .base.next_word import lessons, teach

    if not (run / "model").is_dir():
        raise NoModel(f"{run} holds no finished run: there is no {run / 'model'}.", param=str(run))
    stay_offline()
    torch.set_num_threads(1)  # of small models: more of them wait for each other
    chat, show = load_chat(run), _Progress()
    tokens, given = lessons(chat, teaching, show)
    network = teach(tokens, int(chat.model.config.vocab_size), given, teaching, show)
    found = figures(run, chat, network, dialogues)
    _write(run / "encrypted", chat, network, teaching, found)
    for line in table(found):
        print(line)
    print(f"The halves are in {run / 'encrypted'}: chatfed he serve {run}, and chatfed he ask --half {run}")


class _Progress:
    """Says what is done, every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, doing: str, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN:
            self._last = now
            print(f"{doing}: {done:,} of {of:,}", flush=True)


def figures(run: Path, chat: Chat, network: NextWord, most: int) -> dict[str, dict[str, Any]]:
    """What both predict of the run's held-out dialogues, by name; nothing where there are none here."""
    import numpy as np

    from .base.evaluation import evaluate
    from .base.tokens import open_tokens
    from .run.run_folder import RunFolder

    place = RunFolder(run).state / "held-out"
    if not most or not place.is_dir():
        return {}
    held = open_tokens(place)
    chosen = np.arange(min(most, len(held)))
    models: dict[str, Any] = {"served model": chat.model, "distilled network": network}
    return {
        name: evaluate(model, held, chosen, chat.context).result().to_json() | {"dialogues": len(chosen)}
        for name, model in models.items()
    }


def table(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The figures of both, side by side."""
    if not found:
        yield "There are no held-out dialogues here to measure on."
        return
    yield f"{'':17}  {'perplexity a word':>17}  {'top-1':>6}  {'top-3':>6}"
    for name, each in found.items():
        perplexity = "above 1,000,000" if each["perplexity"] is None else f"{each['perplexity']:,.1f}"
        yield f"{name:17}  {perplexity:>17}  {each['top1']:>6.1%}  {each['top3']:>6.1%}"
    served, distilled = found.values()
    if served["top3"]:
        yield (
            f"Of {distilled['words']:,} words of {distilled['dialogues']} held-out dialogues: the network has "
            f"{distilled['top3'] / served['top3']:.0%} of the model's top-3."
        )


def _write(folder: Path, chat: Chat, network: NextWord, teaching: Teaching, found: dict[str, dict[str, Any]]) -> None:
    from chatfed.model.checkpoint import new_folder

    from .durable import to_json, write_atomically

    asker, server = network.halves()
    with new_folder(folder / "asker", chat.tokenizer, CARD.format(texts=teaching.texts)) as scratch:
        (scratch / "network.npz").write_bytes(asker.to_bytes())
    write_atomically(folder / "server" / "network.npz", server.to_bytes())
    write_atomically(folder / "figures.json", to_json(found, indent=2).encode(), 0o644)
