"""`chatfed quiz`: asks a run's models what the generated house knows, and what its clients alone know.

Reads a run's folder, asks, and writes quiz.json into it. Knows no round and no claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatfed.command_line import application, examples, exit_code
from chatfed.types import ChatfedError

if TYPE_CHECKING:
    from chatfed.data.helpdesk import HelpdeskCorpus

    from .run.run_folder import RunFolder

EPILOG = examples(
    ("chatfed quiz runs/default", ""),
    ("chatfed quiz runs/default --json", "the same figures, as quiz.json in the run's folder has them"),
) + ("\n\nExit codes: 0 done, 2 the run cannot be asked (the message says why), 130 interrupted.")
app = application()


class NoQuiz(ChatfedError):
    """A run that the questions of the generated house are not about."""

    code = "no_quiz"
    mend = "ask a finished run on the generated help desk: chatfed train without --data"


@app.command(epilog=EPILOG)
def quiz(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Asks a run's models about the generated house.

    Once what many clients were told: private training should raise that. And what single clients said of themselves, of
    clients that trained and of others that never did: these should stay alike. Writes quiz.json, and the report anew.
    """
    raise typer.Exit(exit_code(lambda: _ask(folder, json)))


def _ask(path: Path, as_json: bool) -> None:
    from chatfed.model.transformer import stay_offline

    from .durable import to_json
    from .run.release import write_page
    from .run.run_folder import RunFolder

    folder = RunFolder(path)
    corpus, seed = _house(folder)
    stay_offline()
    found = _scores(folder, corpus, seed)
    folder.write_json("quiz.json", found)
    write_page(folder, folder.read_json("summary.json"), folder.read_json("privacy.json"), folder.read_metrics())
    for line in [to_json(found, indent=2)] if as_json else _table(found):
        print(line)


def _house(folder: RunFolder) -> tuple[HelpdeskCorpus, int]:
    """The house that the run's clients are of, and its seed. Raises NoQuiz where it is another."""
    from chatfed.data.helpdesk import read

    from .base.corpus import HELP_DESK, generated_help_desk
    from .plan.recipe import load_recipe

    if not (folder.path / "summary.json").is_file():
        raise NoQuiz(f"{folder.path} holds no finished run: go on with chatfed resume.", param=str(folder.path))
    recipe = load_recipe(folder.path / "recipe.toml")
    data = recipe.data
    if data.source != HELP_DESK:
        raise NoQuiz(
            f"{folder.path} learned from {data.source}: the quiz is about the generated house, so ask a run of chatfed "
            f"train without --data.",
            param=str(folder.path),
        )
    return read(generated_help_desk(Path(recipe.runtime.cache), data.seed, data.clients)), data.seed


def _scores(folder: RunFolder, corpus: HelpdeskCorpus, seed: int) -> dict[str, Any]:
    """What quiz.json holds: of each model and each part of the quiz the share that was right, and the mean bits."""
    import torch

    from chatfed import load_chat
    from chatfed.data.helpdesk.quiz import quiz as questions_of

    from .base.asking import score

    torch.set_num_threads(1)  # of a small model: more of them wait for each other
    asked = vars(questions_of(corpus, seed))
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for name, place in _models(folder):
        chat = load_chat(place)
        _same_house(folder, chat.tokenizer, corpus)
        scores[name] = {part: score(chat, questions).to_json() for part, questions in asked.items()}
    return {"seed": seed, "models": scores}


def _models(folder: RunFolder) -> Iterator[tuple[str, Path]]:
    """The run's models that there are, each with its name."""
    reference = folder.path / "reference"
    base = reference if reference.is_dir() else Path(folder.prepared() or "")
    places = {
        "public base model": base,
        "after private training": folder.path / "model",
        "the same run without noise": folder.path / "without-noise" / "model",
        "trained together, without privacy": folder.path / "ceiling" / "model",
    }
    return ((name, place) for name, place in places.items() if place.name and place.is_dir())


def _same_house(folder: RunFolder, tokenizer: Any, corpus: HelpdeskCorpus) -> None:
    """A generator of another version makes other people of the same names: their facts were never learned."""
    from chatfed.model.tokenizer import close_answer, encode_dialogue

    from .base.tokens import open_tokens

    if not (folder.state / "private").is_dir():  # a run that was handed out without its state
        return
    table = open_tokens(folder.state / "private")
    last = table.ids[table.starts[-2] : table.starts[-1]]
    ids = close_answer(tokenizer, encode_dialogue(tokenizer, corpus.private[-1].messages)).ids
    if len(table) != len(corpus.private) or ids.tolist() != last.tolist():
        raise NoQuiz(
            f"{folder.path} learned from a house that another version of chatfed generated: ask it with that version, "
            f"or train anew.",
            param=str(folder.path),
        )


PARTS: Mapping[str, str] = {
    "house": "the house",
    "trained": "facts, trained",
    "never_trained": "facts, never trained",
}


def _table(found: Mapping[str, Any]) -> Iterator[str]:
    """A row a model, two columns a part of the quiz."""
    models = found["models"]
    width = max(map(len, models))
    yield f"{'':{width}}" + "".join(f"  {title:>20}" for title in PARTS.values())
    yield f"{'':{width}}" + f"  {'right':>11}{'bits':>9}" * len(PARTS)
    for name, scores in models.items():
        cells = (f"  {scores[part]['right']:>11.1%}{scores[part]['bits']:>9.1f}" for part in PARTS)
        yield f"{name:{width}}{''.join(cells)}"
    counts = next(iter(models.values()))
    yield (
        f"Questions: {counts['house']['questions']} about the house, which many clients were told; "
        f"{counts['trained']['questions']} about single clients' facts, of clients that trained and as many of others. "
        "Bits: what an answer costs the model, on average."
    )
