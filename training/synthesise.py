"""`chatfed synthesise`: dialogues that a run's model says by itself, with where they come from and what is claimed.

Reads the model, its claim and public text, and no client's dialogue: so it costs no further epsilon. Knows no round.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatfed.command_line import application, examples, exit_code
from chatfed.types import ChatfedError

if TYPE_CHECKING:
    from chatfed.conversation.synthetic import Provenance
    from chatfed.types import IntVector

    from .base.synthetic import Said, Wanted
    from .run.run_folder import RunFolder

EPILOG = (
    examples(
        ("chatfed synthesise runs/default", "5,000 dialogues, into runs/default/synthetic"),
        ("chatfed synthesise runs/default --n 20000 --to copy --seed 7", ""),
        ("chatfed synthesise runs/default --exchanges 2 --temperature 0.7 --replace", "surer words"),
    )
    + "\n\nExit codes: 0 done, 2 there is no such model or it claims nothing (the message says why), 130 interrupted."
)
SECONDS_BETWEEN = 5.0  # of two lines that say how far it is
SHORTEST = 64  # tokens of context that a dialogue needs at least

app = application()


class NoModel(ChatfedError):
    """A folder that holds no finished run, or whose model is not the one that its claim is about."""

    code = "no_claimed_model"
    mend = "name the folder of a finished run, as it was when it finished"


class CopyThere(ChatfedError):
    """Something is where a copy is to be written, and it was not asked to be replaced, or is no copy."""

    code = "copy_there"
    mend = "name a folder that is not there yet with --to; a copy that is there is replaced with --replace"


class NothingClaimed(ChatfedError):
    """A copy of what a model says that was trained without noise was asked for."""

    code = "nothing_claimed"
    mend = "take a run with noise; or, to compare with and never to share, say --even-without-privacy"


@app.command(epilog=EPILOG)
def synthesise(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Dialogues.")] = 5000,
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to; else RUN/synthetic.")] = None,
    temperature: Annotated[float, typer.Option(min=0.01, max=10, help="1: as the model says it.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, help="The likeliest tokens of so much.")] = 1.0,
    exchanges: Annotated[int, typer.Option(min=0, help="Of each dialogue; 0: as many as public ones have.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 1,
    replace: Annotated[bool, typer.Option("--replace", help="In place of a copy that is there.")] = False,
    even_without_privacy: Annotated[
        bool, typer.Option("--even-without-privacy", help="Also of a model that nothing is claimed of.")
    ] = False,
) -> None:
    """Writes dialogues that a run's model says by itself.

    For people who need copies. The model's own claim holds for the copy; provenance.json and README.md beside it say it
    whole. They do not say that it is anonymous: measure that with chatfed audit synthetic.
    """

    def job() -> None:
        from .base.synthetic import Wanted

        asked = Wanted(n, _always(exchanges), temperature, top_p, seed)
        _synthesise(run, to, asked, replace, even_without_privacy)

    raise typer.Exit(exit_code(job))


def _always(exchanges: int) -> IntVector:
    import numpy as np

    return np.array([exchanges] if exchanges else [], np.int64)


def _synthesise(path: Path, elsewhere: Path | None, wanted: Wanted, replace: bool, even_bare: bool) -> None:
    from chatfed.model.transformer import stay_offline

    from .run.run_folder import RunFolder

    stay_offline()
    folder = RunFolder(path)
    claim = claimed(folder)
    if claim.get("epsilon") is None and not even_bare:
        raise NothingClaimed(
            f"{path} was trained without noise: what its model says may be its clients' own words, and nothing is "
            "claimed. To compare with, never to share: --even-without-privacy.",
            param=str(path),
        )
    to = elsewhere or path / "synthetic"
    check_place(path, to, replace)
    told = copied(folder, claim, wanted, to, replace, _Progress())
    beside = f" --copy {shlex.quote(str(to))}" if elsewhere else ""
    print(f"{told.dialogues:,} dialogues are in {to}; {told.cut:,} ended early, {told.repeated:,} repeat another.")
    print(
        "README.md there says what is claimed. What they give away: "
        f"chatfed audit synthetic {shlex.quote(str(path))}{beside}"
    )


def check_place(run: Path, to: Path, replace: bool) -> None:
    """That a copy may be written to the folder `to`, before anything is drawn; makes the folders above it.

    Raises CopyThere where something is there that is not to be replaced or is no copy, the run and what it lies in
    before all, and DiskError.
    """
    from chatfed.conversation.synthetic import foreign_in

    from .durable import disk_error

    place, own = to.resolve(), run.resolve()
    if place in (own, *own.parents):
        raise CopyThere(f"{to} is the run's own folder, or one that it lies in: name another with --to.", param="--to")
    try:
        if place.exists():
            if not replace:
                raise CopyThere(f"{to} is there already: name another with --to, or say --replace.", param="--to")
            if foreign := foreign_in(place):
                raise CopyThere(
                    f"{to} is not replaced, for {foreign}: name another folder with --to, or remove it yourself.",
                    param="--to",
                )
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(to, error) from error


class _Progress:
    """Says what is done, every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN:
            self._last = now
            print(f"drawing dialogues: {done:,} of {of:,}", flush=True)


def claimed(folder: RunFolder) -> dict[str, Any]:
    """privacy.json of a finished run. Raises NoModel where there is none, or the weights are others."""
    from chatfed.model.checkpoint import weights_file

    path = folder.path
    if not (path / "privacy.json").is_file() or not (path / "model").is_dir():
        raise NoModel(f"{path} holds no finished run: name another folder, or chatfed resume {path}.", param=str(path))
    claim = folder.read_json("privacy.json")
    if hashlib.sha256(weights_file(path / "model").read_bytes()).hexdigest() != claim["model_sha256"]:
        raise NoModel(
            f"{path / 'model'} holds other weights than privacy.json speaks of: bring those back.",
            param=str(path / "model"),
        )
    return claim


def copied(
    folder: RunFolder,
    claim: dict[str, Any],
    wanted: Wanted,
    to: Path,
    replacing: bool,
    say: Callable[[int, int], None],
) -> Provenance:
    """Draws a copy into the folder `to`, whole or not at all. wanted: without exchanges, public dialogues' are taken.

    Raises ModelError, DataError, NothingSaid, DiskError, and CopyThere where something came there meanwhile.
    """
    from dataclasses import replace

    from chatfed.conversation.synthetic import exchanges_of, to_lines
    from chatfed.model.checkpoint import base_digest

    from .base.corpus import public_text, turns_of
    from .base.synthetic import dialogues

    recipe, exchanges = folder.begun().recipe, int(wanted.exchanges[0]) if len(wanted.exchanges) else 0
    if not exchanges:
        public = public_text(recipe.data, Path(recipe.runtime.cache), [])
        wanted = replace(wanted, exchanges=exchanges_of(turns_of(public)))
    model = folder.path / "model"
    digest = base_digest(model).hex()
    said = dialogues(str(model), recipe.model.context, wanted, recipe.runtime.workers, say)
    lines = to_lines(each.turns for each in said)
    told = _provenance(folder, claim, wanted, said, exchanges, digest, lines)
    check_place(folder.path, to, replacing)
    return _write(to.resolve(), lines, told)


def _provenance(
    folder: RunFolder,
    claim: dict[str, Any],
    wanted: Wanted,
    said: list[Said],
    exchanges: int,
    folder_sha256: str,
    lines: bytes,
) -> Provenance:
    import chatfed
    from chatfed.conversation.synthetic import Provenance, digest, repeated

    return Provenance(
        dialogues=len(said),
        cut=sum(each.cut for each in said),
        repeated=repeated([each.turns for each in said]),
        run=folder.begun().run.hex(),
        model_sha256=str(claim["model_sha256"]),
        folder_sha256=folder_sha256,
        claim=claim,
        exchanges=exchanges,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        seed=wanted.seed,
        chatfed=chatfed.__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        dialogues_sha256=digest(lines),
    )


def _write(to: Path, lines: bytes, told: Provenance) -> Provenance:
    """The copy's files, in a folder that takes the place of `to` once they are whole."""
    import shutil
    import tempfile

    from chatfed.conversation.synthetic import CARD_FILE, DIALOGUES, PROVENANCE, card

    from .durable import disk_error, to_json, write_atomically

    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    except OSError as error:
        raise disk_error(to, error) from error
    new = scratch / "new"
    try:
        new.mkdir()
        new.chmod(0o755 if told.private else 0o700)
        mode = 0o644 if told.private else 0o600
        write_atomically(new / DIALOGUES, lines, mode)
        write_atomically(new / PROVENANCE, (to_json(told.to_json(), indent=2) + "\n").encode(), mode)
        write_atomically(new / CARD_FILE, card(told).encode(), mode)
        _put(new, to, scratch / "old")
    except OSError as error:
        raise disk_error(to, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return told


def _put(new: Path, to: Path, aside: Path) -> None:
    """Renames `new` to `to`; what is there goes to `aside`, in a folder of our own, and back where that fails."""
    there = to.exists()
    if there:
        to.replace(aside)
    try:
        new.replace(to)
    except OSError:
        if there:
            aside.replace(to)
        raise
