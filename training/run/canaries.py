"""The canaries of a run on disk: its seed, who and what they add to the data, and the sums to look for them in.

The seed lies in `state/`, apart from what is handed out, and its digest in the recipe. What anyone needs to do the
audit again lies in `canaries/`: the sums, which are releases that the claim covers, where rounds began, and all canary
dialogues.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chatfed.audit.canary import SEED_BYTES, coins, commitment, numbers
from chatfed.model.transformer import load_tokenizer
from chatfed.types import ChatfedError, ClientId, FloatVector, IntVector, Turn

from ..base.canaries import SUFFIX, Canaries, canary_dialogues
from ..base.corpus import Corpus, public_text, turns_of
from ..base.tokens import ASSISTANT, TokenTable, open_tokens, write_tokens
from ..durable import read_if_there, write_atomically
from ..plan.recipe import Recipe
from .run_folder import RunError, RunFolder

TOKENS_A_WORD = 5  # of which a window must hold an opening, with room for what comes behind


@dataclass(frozen=True, eq=False)
class KeptSum:
    """A sum that canaries may be in."""

    mean: FloatVector  # float32[d], over the survivors
    survivors: int
    canaries: tuple[ClientId, ...]  # clients of canaries among the survivors


def seed_file(folder: RunFolder) -> Path:
    """Where a run's seed is."""
    return folder.state / "canaries.seed"


def canaries_of(seed: Path, recipe: Recipe) -> Canaries | None:
    """The canaries that a recipe speaks of; None where it has none. Raises RunError for another seed than its own."""
    if not recipe.audit.canaries:
        return None
    raw = read_if_there(seed) or b""
    if len(raw) != SEED_BYTES or commitment(raw) != recipe.audit.commitment:
        raise RunError(f"{seed} is not the seed that audit.commitment speaks of: bring that back.", param=str(seed))
    return Canaries(raw, recipe.audit.canaries)


def opened(folder: RunFolder, recipe: Recipe) -> Canaries:
    """The canaries by the seed that an audit has opened. Raises RunError where there are none, or it is another's."""
    found = canaries_of(folder.canaries / "seed", recipe)
    if found is None:
        raise RunError(
            f"{folder.path} was run without canaries: run it with --set audit.canaries=4096.", param="audit.canaries"
        )
    return found


def open_seed(folder: RunFolder, recipe: Recipe) -> None:
    """Puts the seed of a finished run beside its sums, for everybody. Raises RunError for another seed than its own."""
    found = canaries_of(seed_file(folder), recipe)
    if found is not None:
        write_atomically(folder.canaries / "seed", found.seed, 0o644)


def committed(recipe: Recipe, folder: RunFolder) -> Recipe:
    """The recipe with the digest of a seed that is drawn now, or was before this run was cut short."""
    if not recipe.audit.canaries:
        return recipe
    path = seed_file(folder)
    seed = read_if_there(path)
    if seed is None:
        seed = os.urandom(SEED_BYTES)
        write_atomically(path, seed, 0o600)
    said = commitment(seed)
    if recipe.audit.commitment not in ("", said):
        raise RunError(
            f"audit.commitment is given, and {path} is another seed: leave it out, the run writes it itself.",
            param="audit.commitment",
        )
    return replace(recipe, audit=replace(recipe.audit, commitment=said))


def with_canary_clients(recipe: Recipe, folder: RunFolder, corpus: Corpus) -> Corpus:
    """The corpus with the clients that give directions: they have no dialogue."""
    canaries = canaries_of(seed_file(folder), recipe)
    if canaries is None:
        return corpus
    added = canaries.clients(recipe.privacy.unit)
    if taken := [name for name in added if name in corpus.clients]:
        raise ChatfedError(
            f"a client of the data is called {taken[0]}, as canaries are: rename it", param="audit.canaries"
        )
    return replace(corpus, clients={**corpus.clients, **{name: np.empty(0, np.int64) for name in added}})


def plant(
    recipe: Recipe, folder: RunFolder, base: str, corpus: Corpus
) -> tuple[list[tuple[Turn, ...]], Mapping[ClientId, IntVector]]:
    """(dialogues to put behind the clients' own, whose all are then). All canary dialogues are kept in `audit/`.

    Raises ChatfedError where one does not fit the window or has no token that is learned.
    """
    canaries = canaries_of(seed_file(folder), recipe)
    if canaries is None:
        return [], corpus.clients
    public = corpus.public or public_text(recipe.data, Path(recipe.runtime.cache), [])
    owners = sorted(name for name, mine in corpus.clients.items() if len(mine))
    count = min(canaries.count, len(owners))
    most = recipe.model.context // TOKENS_A_WORD
    made = canary_dialogues(canaries.seed, count, list(turns_of(public)), most)
    table = write_tokens(folder.canaries / "dialogues", load_tokenizer(base), made)
    _refuse_unlearned(table, recipe)
    whose = numbers(canaries.seed, "owners", len(owners), 1 << 40).argsort(kind="stable")[:count]
    added, clients = list[tuple[Turn, ...]](), dict(corpus.clients)
    for at in np.flatnonzero(coins(canaries.seed, "dialogues", count)):
        owner = owners[whose[at]]
        clients[owner] = np.append(clients[owner], len(corpus.private) + len(added))
        added.append(made[at])
    return added, clients


def _refuse_unlearned(table: TokenTable, recipe: Recipe) -> None:
    """That each canary fits a window whole, and ends in words that are learned: what is not learned shows no leak."""
    lengths = np.diff(table.starts)
    if (most := int(lengths.max(initial=0))) > recipe.model.context:
        raise ChatfedError(
            f"a canary dialogue has {most} tokens, and a window {recipe.model.context}: give shorter public dialogues, "
            "or raise model.context",
            param="audit.canaries",
        )
    silent = sum(not (table.kinds[stop - SUFFIX : stop] & ASSISTANT).any() for stop in table.starts[1:])
    if silent:
        raise ChatfedError(
            f"{silent} canary dialogues have no token that is learned: set data.train_on to all",
            param="audit.canaries",
        )


def keep_sum(folder: RunFolder, recipe: Recipe, name: str, mean: FloatVector, survivors: Sequence[ClientId]) -> None:
    """Keeps a sum where the recipe has canaries, before anything is made of it."""
    if not recipe.audit.canaries:
        return
    known = {str(each) for each in Canaries(bytes(SEED_BYTES), recipe.audit.canaries).clients(recipe.privacy.unit)}
    there = [each for each in survivors if each in known]
    _write(folder.canaries / "sums" / f"{name}.npz", mean=mean, survivors=len(survivors), canaries=np.array(there, str))


def keep_start(folder: RunFolder, recipe: Recipe, weights: FloatVector) -> None:
    """Keeps where the rounds begin, likewise."""
    if recipe.audit.canaries:
        _write(folder.canaries / "start.npz", weights=weights)


def kept_sum(folder: RunFolder, name: str) -> KeptSum | None:
    """A sum that was kept; None where there is none of that name."""
    path = folder.canaries / "sums" / f"{name}.npz"
    if not path.exists():
        return None
    with np.load(path) as stored:
        names = tuple(ClientId(str(each)) for each in stored["canaries"])
        return KeptSum(stored["mean"], int(stored["survivors"]), names)


def kept_or_raise(folder: RunFolder, name: str) -> KeptSum:
    """A sum that must be there. Raises RunError."""
    kept = kept_sum(folder, name)
    if kept is None:
        raise RunError(f"{folder.canaries / 'sums'} has no {name}: bring it back, or run again.")
    return kept


def kept_start(folder: RunFolder) -> FloatVector:
    """Where the rounds began: float32[d]. Raises RunError where it is not there."""
    try:
        with np.load(folder.canaries / "start.npz") as stored:
            weights: FloatVector = stored["weights"]
            return weights
    except (OSError, KeyError, ValueError) as error:
        path = folder.canaries / "start.npz"
        raise RunError(f"{path} cannot be read ({error}): it was written before the first round.") from None


def planted_dialogues(folder: RunFolder, recipe: Recipe) -> int:
    """How many canary dialogues stand behind the clients' own."""
    canaries = canaries_of(seed_file(folder), recipe)
    return int(coins(canaries.seed, "dialogues", len(kept_dialogues(folder))).sum()) if canaries else 0


def kept_dialogues(folder: RunFolder) -> TokenTable:
    """All canary dialogues, those that nobody got as well."""
    return open_tokens(folder.canaries / "dialogues")


def _write(path: Path, **arrays: object) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # arrays and whole numbers
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue(), 0o644)
