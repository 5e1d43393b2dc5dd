"""`chatfed publish RUN --to FOLDER`: a finished run as a folder for a model hub. Knows options and lines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatfed.command_line import application, examples, exit_code

if TYPE_CHECKING:
    from .facts import Asked

EPILOG = (
    examples(
        ("chatfed publish runs/default --to published --dry-run", "the list of files, and what stays at home"),
        ("chatfed publish runs/default --to published --license apache-2.0 --language en", ""),
        ("chatfed publish runs/default --to published --repo owner/name --replace", "again, in its place"),
        ("chatfed publish runs/sgd --to bare --without-guarantee", "the card says first that there is none"),
    )
    + "\n\nExit codes: 0 the folder is there, 2 something given was wrong and nothing was written, 130 interrupted."
)
NO_GGUF = "No GGUF file was made: the model is adapters; merge them into their base for one."
NO_LICENSE = "No license was chosen, and the card says so: --license apache-2.0, for example."


class Stored(StrEnum):
    """The numbers of a GGUF file."""

    f32 = "f32"
    f16 = "f16"
    bf16 = "bf16"
    none = "none"


app = application()

GgufOption = Annotated[Stored, typer.Option(help="The numbers of the GGUF file; none: no such file.")]


@app.command("publish", epilog=EPILOG)
def publish(
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or a model folder.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to make.")],
    name: Annotated[str, typer.Option(help="The model's name; else that of the run's folder.")] = "",
    license: Annotated[str, typer.Option(metavar="NAME", help="As hubs write it: apache-2.0.")] = "",
    language: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Of the dialogues: en; may repeat.")
    ] = None,
    base_model: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The base that the run began with.")] = "",
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Where it will be uploaded; nothing is sent.")] = "",
    curator: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Who publishes it; may repeat.")] = None,
    gguf: GgufOption = Stored.f32,
    wheel: Annotated[Path | None, typer.Option(help="A wheel of chatfed to put beside the Space's app.")] = None,
    without_guarantee: Annotated[
        bool, typer.Option("--without-guarantee", help="Publish a model that has none; the card says so first.")
    ] = False,
    without_evaluation: Annotated[
        bool, typer.Option("--without-evaluation", help="Leave out held-out figures, which no guarantee covers.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="In place of an earlier published folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")] = False,
) -> None:
    """Makes a folder for a model hub of a finished run.

    Model, card, guarantee, audit, GGUF file, Space, entry for the registry; nothing is sent anywhere. The guarantee
    goes only with the weights whose hash it holds.
    """

    def job() -> None:
        from chatfed.model.transformer import stay_offline

        from .facts import Asked

        stay_offline()
        languages, curators = tuple(language or ()), tuple(curator or ())
        said = (name, license, languages, base_model, repo, curators, without_guarantee, without_evaluation)
        _publish(run, to, Asked(*said), gguf.value, wheel, replace=replace, dry_run=dry_run)

    raise typer.Exit(exit_code(job))


def _publish(run: Path, to: Path, asked: Asked, gguf: str, wheel: Path | None, *, replace: bool, dry_run: bool) -> None:
    from chatfed.model.checkpoint import holds_adapters

    from .facts import gather, refuse_others
    from .folder import SUMS, check_place, write_folder
    from .pieces import left_at_home, pieces

    facts = gather(run, asked)
    check_place(to, run, replace)
    found = pieces(facts, gguf, wheel)
    if not dry_run:
        write_folder(to, found, lambda scratch: refuse_others(scratch, facts))
    print(f"{'Would be published' if dry_run else 'Published'} in {to}:")
    for piece in found:
        print(f"  {piece.name:<34} {piece.says}")
    print(f"  {SUMS:<34} a line for each file")
    print("Not published:")
    for what, why in left_at_home(facts):
        print(f"  {what:<34} {why}")
    if holds_adapters(facts.run.model) and gguf != "none":
        print(NO_GGUF)
    if not asked.license:
        print(NO_LICENSE)
