"""A folder that is there whole or not at all, with a line for each file in SHA256SUMS. Knows no model and no format."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from chatfed.model.checkpoint import replace_folder

from .pieces import Piece
from .refusals import PublishError

SUMS = "SHA256SUMS"


def check_place(target: Path, run: Path, replace: bool) -> None:
    """Raises PublishError for a place that holds something, or that lies in the run or around it."""
    here, there = target.resolve(), run.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise PublishError(
            f"{target} and the run {run} lie in each other; give a folder apart with --to.", param="--to"
        )
    if not target.exists() and not target.is_symlink():
        return
    if not replace:
        raise PublishError(
            f"{target} is there already; give another folder with --to, or put a new one in its place with --replace.",
            param="--to",
        )
    if target.is_symlink() or not (target / SUMS).is_file() or not (target / "README.md").is_file():
        raise PublishError(
            f"{target} was not made by chatfed publish ({SUMS} is missing), and is not replaced; move it away.",
            param="--to",
        )


def write_folder(target: Path, pieces: Sequence[Piece], check: Callable[[Path], None]) -> None:
    """Writes all pieces beside `target`, has them checked, and then puts them there at once.

    check: raises for what is not as it should be; nothing is left then. Raises PublishError when the disk refuses.
    """
    scratch = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        os.chmod(scratch, 0o755)  # noqa: S103  # as any folder that a person makes; mkdtemp's is for its owner alone
        for piece in pieces:
            place = scratch / piece.name
            place.parent.mkdir(parents=True, exist_ok=True)
            piece.write(place)
        (scratch / SUMS).write_text(sums(scratch), encoding="utf-8")
        check(scratch)
        replace_folder(scratch, target)
    except OSError as error:
        raise PublishError(f"{target} cannot be written ({error.strerror or error}).", param="--to") from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def sums(folder: Path) -> str:
    """A line for each file, as sha256sum prints and checks it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(f"{_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
