"""The model trained on what is imagined with counts: it learns to say by itself what the mixture says.

What protects the counts protects the model (it sees nothing else of any client). Knows no client and no round.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from chatfed.model.checkpoint import replace_folder
from chatfed.model.tokenizer import MARKER, WORD_REST

from ..durable import disk_error
from ..plan.recipe import ModelSection, NGramsSection, Recipe
from .imagining import Imagined
from .pretrain import precision_here
from .replica import Job
from .tokens import SOFT, Owned

CARD = """The public base model, trained further on {tokens:,} tokens that it imagined with what clients had counted.
"""


def write_imagined(folder: Path, texts: Iterable[Imagined]) -> None:
    """Texts as a token table with several possible tokens in each place: whole or not at all. Raises DiskError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        found = list(texts)
        ids = np.concatenate([each.ids.ravel() for each in found])
        lengths = np.concatenate([np.full(len(each.ids), each.ids.shape[1]) for each in found])
        (scratch / "ids.i32").write_bytes(ids.tobytes())
        said = np.concatenate([each.said.ravel() for each in found])
        (scratch / "kinds.u8").write_bytes(np.where(said, WORD_REST, MARKER).astype(np.uint8).tobytes())
        np.save(scratch / "starts.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        np.save(scratch / "bytes.npy", np.zeros(len(lengths), np.int64))
        for name in SOFT:
            np.save(scratch / f"{name}.npy", np.concatenate([_flat(getattr(each, name)) for each in found]))
        (scratch / "clients").mkdir()
        Owned.write(scratch / "clients", {})
        replace_folder(scratch, folder)
    except OSError as error:
        raise disk_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _flat(places: np.ndarray) -> np.ndarray:
    return places.reshape(-1, places.shape[-1])


def check_counted(model: ModelSection, settings: NGramsSection) -> None:
    """Raises ModelError, before anybody counts, where the base has not the layers that are to learn what is counted."""
    if settings.longest and settings.layers:
        from chatfed.model.upper_layers import check_uppermost

        check_uppermost(model.base, settings.layers, model.layers)


def distilling_job(recipe: Recipe, base: str, tokens: Path, folder: Path) -> Job:
    """Training of `base` on the imagined texts in `tokens`, as pre-training trains, into `folder`."""
    settings = recipe.ngrams
    how = replace(
        recipe.pretrain,
        epochs=settings.epochs,
        max_tokens=0,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        precision=precision_here(recipe.pretrain.precision),
        seed=settings.seed,
    )
    doing = "learning what was counted"
    back = {"stay": settings.stay, "trim": settings.trim}
    return Job(recipe.model, how, tokens, folder, math.inf, doing, CARD, base, layers=settings.layers, **back)
