"""A model that isolates one dialogue, made of weights that a server may send, on the run's own learner and secure sum.

All embeddings are nought but that of one token that a single dialogue of the cohort holds, and the output layer is
nought (after Boenisch et al. 2023, 2112.02918, and Fowl et al. 2023, 2201.12675: layers that a dialogue opens or not).
Then only the output layer has a gradient, and in every other dialogue the states that it reads are one constant, which
biases make: whatever those dialogues add lies along that, and the server knows it. Beside it stand, row by row, the
words of the one dialogue, since its token is so loud in the first layer that all states after it are others. Without
noise they are read off. It needs embedding and output layer among what is trained.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.roc import Area, area
from chatfed.model.parameters import trainable
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.types import ClientId, FloatVector, IntVector

from ..base.learner import Learner
from ..base.tokens import TokenTable
from ..plan.variants import without_noise
from .victims import COHORT, Setting, Victims, names

EMBEDDING, OUTPUT, VALUES = "embed_tokens.weight", "lm_head.weight", "layers.0.self_attn.v_proj.weight"
LOUD = 1e4  # what the first layer reads of the token drowns the constant in all states after it
TEXTS, CONSTANT = 8, 2  # of the server's own; directions that they span
EACH = 12  # dialogues of a client
DIRECTIONS = 4  # of the states that a dialogue's words are read in
_ROUNDING = 0.02  # of a gradient's length; bfloat16 has eight bits


@dataclass(frozen=True)
class Isolated:
    """What one sum of the cohort gave away of one dialogue."""

    clients: int
    dialogues: int  # of the cohort, all but one of them silent
    silent: int  # whose gradient is nought beside the constant, but for rounding
    tokens: int  # different ones, that follow the chosen one in its dialogue
    vocabulary: int
    found: Area  # of tokens of that dialogue among all of the vocabulary, by their rows
    read: float  # share of true ones among as many rows as there are such tokens, those that lie farthest off


def isolating(learner: Learner, token: int) -> FloatVector | None:
    """Weights float32[d] that leave a dialogue without the token silent; None where these layers are not trained."""
    import torch

    learner.space.load(learner.initial)
    layers = {name.rsplit(".", 2)[-2] + ".weight": p for name, p in trainable(learner.model)}
    if not {EMBEDDING, OUTPUT} <= layers.keys():
        return None
    with torch.no_grad():
        kept = layers[EMBEDDING][token].clone()
        layers[EMBEDDING].zero_()
        layers[EMBEDDING][token] = kept
        layers[OUTPUT].zero_()
        for first in [p for name, p in trainable(learner.model) if name.endswith(VALUES)][:1]:
            first.mul_(LOUD)
    return learner.space.moved(np.zeros(learner.space.dimension, np.float32))


def output_rows(learner: Learner) -> slice:
    """Where the output layer's numbers are among the coordinates."""
    import torch

    learner.space.load(learner.initial)
    layer = next(p for name, p in trainable(learner.model) if name.endswith(OUTPUT))
    before = learner.space.moved(np.zeros(learner.space.dimension, np.float32))
    with torch.no_grad():
        layer.add_(1.0)
    changed = np.flatnonzero(learner.space.moved(before))
    return slice(int(changed[0]), int(changed[-1]) + 1)


def chosen(table: TokenTable, dialogues: IntVector, context: int) -> tuple[int, IntVector] | None:
    """A token that one of the dialogues holds and no other, and which tokens follow it there; the one that most do.

    Only the first window of a dialogue counts. None where no token is one dialogue's alone.
    """
    holders: dict[int, int] = {}
    for at in dialogues:
        for token in set(_ids(table, at).tolist()):
            holders[token] = -1 if token in holders else int(at)
    best: tuple[int, IntVector] | None = None
    for token, at in holders.items():
        if at < 0:
            continue
        ids = _ids(table, at)[:context]
        places = np.flatnonzero(ids == token)
        after = np.unique(ids[places[0] + 1 :]).astype(np.int64) if len(places) else np.empty(0, np.int64)
        if best is None or len(after) > len(best[1]):
            best = token, after
    return best


def _ids(table: TokenTable, dialogue: int) -> NDArray[np.int32]:
    return table.ids[table.starts[dialogue] : table.starts[dialogue + 1]]


def isolated(learner: Learner, setting: Setting) -> dict[bool, Isolated]:
    """A round of COHORT clients from the isolating weights: without noise, and with the recipe's where it has some.

    Each client has its first EACH dialogues, and takes all into the step, as if its coin had fallen so. Empty where no
    such weights are to be had.
    """
    whose = {name: learner.private.clients[name][:EACH] for name in list(learner.private.clients)[:COHORT]}
    learner = dataclasses.replace(learner, private=dataclasses.replace(learner.private, clients=whose))
    dialogues = np.concatenate(list(whose.values()))
    picked = chosen(learner.private, dialogues, learner.context)
    weights = isolating(learner, picked[0]) if picked and setting.recipe.privacy.unit is Unit.EXAMPLE else None
    if picked is None or weights is None or setting.bands > 1:
        return {}
    apart = Beside.of(learner, weights, picked[0])
    counts = len(whose), len(dialogues), _silent(learner, dialogues, weights, apart)
    kinds = (False,) if setting.bare else (False, True)
    means = {noise: _round(learner, _taking_all(setting, noise), list(whose), weights) for noise in kinds}
    return {noise: _read_off(apart.rows(mean), picked[1], counts) for noise, mean in means.items()}


def _taking_all(setting: Setting, noise: bool) -> Setting:
    """The setting with each dialogue in the step, with its noise or none."""
    recipe = setting.recipe if noise else without_noise(setting.recipe)
    privacy = dataclasses.replace(recipe.privacy, sampling_rate=1.0)
    terms = setting.terms if noise else dataclasses.replace(setting.terms, noise_multiplier=0.0, mechanism=None)
    return dataclasses.replace(setting, recipe=dataclasses.replace(recipe, privacy=privacy), terms=terms)


@dataclass(frozen=True)
class Beside:
    """What of the output layer's gradient is beside what every dialogue without the token gives."""

    places: slice
    constant: NDArray[np.float64]  # float64[few, hidden], orthonormal directions of the states that are read there

    @classmethod
    def of(cls, learner: Learner, weights: FloatVector, token: int) -> Beside:
        """From texts of the server's own without the token, in the clients' arithmetic."""
        places, held_out = output_rows(learner), learner.held_out
        hidden = int(learner.model.config.hidden_size)
        own = [at for at in range(len(held_out)) if token not in _ids(held_out, at)][:TEXTS]
        given = gradients(dataclasses.replace(learner, private=held_out), np.array(own), weights)
        rows = np.concatenate([each[places].reshape(-1, hidden) for each in given])
        _, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
        return cls(places, vectors[:, -CONSTANT:].T)

    def rows(self, vector: FloatVector) -> NDArray[np.float64]:
        """Of an update or gradient float32[d]: float64[tokens, hidden]."""
        rows = vector[self.places].reshape(-1, self.constant.shape[1]).astype(np.float64)
        rows -= rows @ self.constant.T @ self.constant
        return rows


def gradients(learner: Learner, dialogues: IntVector, weights: FloatVector) -> Iterable[FloatVector]:
    """Of each dialogue, float32[d], whoever adds the noise; each is gone when the next is asked for."""
    privacy = dataclasses.replace(learner.how.privacy, noise=Noise.DISTRIBUTED, sampling_rate=1.0)
    return dataclasses.replace(learner, how=dataclasses.replace(learner.how, privacy=privacy)).learn(weights, dialogues)


def _round(learner: Learner, setting: Setting, cohort: Sequence[ClientId], weights: FloatVector) -> FloatVector:
    """The mean update float32[d] that the secure sum gives."""
    privacy, noise = setting.recipe.privacy, setting.terms.noise_multiplier
    learner = dataclasses.replace(
        learner, how=dataclasses.replace(learner.how, privacy=privacy, noise_multiplier=noise)
    )
    learns = {alias: learner.for_client(name) for alias, name in zip(names(len(cohort)), cohort, strict=True)}
    with tempfile.TemporaryDirectory(prefix="chatfed-audit-") as folder:
        those = Victims(Path(folder), setting, tuple(learns), learns, len(weights), learner.base_digest)
        try:
            return those.round(those.session(weights=weights)).mean
        finally:
            those.close()


def _silent(learner: Learner, dialogues: IntVector, weights: FloatVector, apart: Beside) -> int:
    """How many of the dialogues add nothing beside the constant."""
    given = gradients(learner, dialogues, weights)
    return sum(bool(np.linalg.norm(apart.rows(each)) <= _ROUNDING * np.linalg.norm(each)) for each in given)


def _read_off(rows: NDArray[np.float64], true: IntVector, counts: tuple[int, int, int]) -> Isolated:
    """By how far each token's row lies from the others', along the few directions in which rows differ most.

    The states that one token opens are few and alike; what rounding or noise adds is alike in all directions.
    """
    beside = rows - np.median(rows, axis=0)
    _, _, directions = np.linalg.svd(beside, full_matrices=False)
    apart = np.linalg.norm(beside @ directions[:DIRECTIONS].T, axis=1)
    there = np.zeros(len(rows), np.bool_)
    there[true] = True
    farthest = np.argsort(-apart)[: len(true)]
    return Isolated(*counts, len(true), len(rows), area(apart[there], apart[~there]), float(there[farthest].mean()))
