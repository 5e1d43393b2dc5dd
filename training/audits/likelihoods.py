"""What several models give every token of some dialogues, in batched forward passes. Knows no attack and no claim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.membership import TokenLikelihoods
from chatfed.model.tokenizer import MARKER
from chatfed.types import IntVector

from ..base.tokens import ASSISTANT, TokenTable, windows

if TYPE_CHECKING:
    import torch

LOGITS_AT_ONCE = 1 << 22  # float32 of one model: 16 MiB, and a few times that while they turn into probabilities


@dataclass(frozen=True)
class Cast:
    """Which models are asked: those under attack, those to compare with, and what was published in what order."""

    models: Mapping[str, torch.nn.Module]
    references: Sequence[str]  # the public one first
    sequences: Mapping[str, Sequence[str]]  # of each target: published models in order, the target last


@dataclass(frozen=True, eq=False)
class Readings:
    """Per token that is learned from, dialogues end to end in the order asked for."""

    starts: IntVector  # int64[dialogues + 1]
    log_probs: Mapping[str, NDArray[np.float64]]  # by model, nats
    missed: Mapping[str, NDArray[np.float64]]  # by target: 1 where another token was its first choice
    divergence: Mapping[str, NDArray[np.float64]]  # by target: KL(mean of the references || target), nats

    def of(self, target: str, cast: Cast) -> TokenLikelihoods:
        """As attacks on one target take them. Raises AuditError for what is not finite."""
        references = np.stack([self.log_probs[name] for name in cast.references])
        missed = self.missed[target] > 0
        return TokenLikelihoods(self.starts, self.log_probs[target], references, missed, self.divergence[target])


def read(cast: Cast, table: TokenTable, dialogues: IntVector, context: int, train_on: str = "all") -> Readings:
    """Asks every model for every token of the dialogues that is learned from, in windows as training cuts them.

    Of no dialogues: readings of every model that hold nothing.
    """
    lengths = np.diff(table.starts)[dialogues]
    order = np.argsort(lengths, kind="stable")
    vocabulary = int(next(iter(cast.models.values())).config.vocab_size)  # type: ignore[union-attr, arg-type] # a transformers model
    found: defaultdict[tuple[str, str], list[NDArray[np.float64]]] = defaultdict(list)
    counts = np.zeros(len(dialogues), np.int64)
    for places in _batches(np.minimum(lengths[order], context), order, max(1, LOGITS_AT_ONCE // vocabulary)):
        batch = windows(table, dialogues[places], context)
        counted = _counted(batch.kinds, train_on)
        counts[places] = np.bincount(batch.owner, counted.sum(1), len(places)).astype(np.int64)
        for key, values in _ask(cast, batch.ids, batch.targets[counted], counted).items():
            found[key].append(values)
    keys = [("log_probs", name) for name in cast.models]
    keys += [(kind, name) for kind in ("missed", "divergence") for name in cast.sequences]
    return _in_order(counts, order, {key: np.concatenate([np.empty(0), *found[key]]) for key in keys})


def learned_from(table: TokenTable, dialogues: IntVector, train_on: str) -> NDArray[np.bool_]:
    """Whether each dialogue has a token that is learned from: bool[dialogues]; of the others no model says anything."""
    spans = [(int(table.starts[at]) + 1, int(table.starts[at + 1])) for at in dialogues]  # the first is no target
    return np.array([_counted(np.asarray(table.kinds[start:stop]), train_on).any() for start, stop in spans], np.bool_)


def _batches(lengths: IntVector, order: IntVector, most: int) -> Iterator[IntVector]:
    """Dialogues of like length, as many at once as have `most` tokens together with their padding."""
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[stop] <= most:
            stop += 1
        yield order[start:stop]
        start = stop


def _counted(kinds: NDArray[np.uint8], train_on: str) -> NDArray[np.bool_]:
    counted: NDArray[np.bool_] = (kinds & ~np.uint8(ASSISTANT)) != MARKER
    if train_on == "assistant":
        counted &= (kinds & ASSISTANT) != 0
    return counted


def _ask(
    cast: Cast, ids: NDArray[np.int64], targets: NDArray[np.int64], counted: NDArray[np.bool_]
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Of one batch, by ("log_probs", "missed" or "divergence", model): float64[counted tokens]."""
    import torch

    rows, chosen, where = torch.from_numpy(ids), torch.from_numpy(targets)[:, None], torch.from_numpy(counted)
    found: dict[tuple[str, str], torch.Tensor] = {}
    with torch.inference_mode():
        kept = {}
        for name, model in cast.models.items():
            logs = model(input_ids=rows, use_cache=False).logits[where].float().log_softmax(-1)
            found["log_probs", name] = logs.gather(1, chosen)[:, 0]
            if name in cast.references or name in cast.sequences:
                kept[name] = logs
        mean = torch.stack([kept[name].exp() for name in cast.references]).mean(0)
        entropy = torch.special.entr(mean).sum(-1)
        for name in cast.sequences:
            found["missed", name] = (kept[name].argmax(-1, keepdim=True) != chosen)[:, 0].float()
            found["divergence", name] = -entropy - (mean * kept[name]).sum(-1)
    return {key: values.double().numpy() for key, values in found.items()}


def _in_order(counts: IntVector, order: IntVector, found: Mapping[tuple[str, str], NDArray[np.float64]]) -> Readings:
    """From the order of batches to the order asked for."""
    starts, read_at = (np.concatenate([[0], np.cumsum(each)]) for each in (counts, counts[order]))
    came = np.empty(len(order), np.int64)
    came[order] = read_at[:-1]
    places = np.arange(starts[-1]) + np.repeat(came - starts[:-1], counts)
    kinds: dict[str, dict[str, NDArray[np.float64]]] = {"log_probs": {}, "missed": {}, "divergence": {}}
    for (kind, name), values in found.items():
        kinds[kind][name] = values[places]
    return Readings(starts, kinds["log_probs"], kinds["missed"], kinds["divergence"])


def end_to_end(parts: Sequence[Readings]) -> Readings:
    """Several readings by the same models as one."""

    def joined(kind: str) -> dict[str, NDArray[np.float64]]:
        first: Mapping[str, NDArray[np.float64]] = getattr(parts[0], kind)
        return {name: np.concatenate([getattr(part, kind)[name] for part in parts]) for name in first}

    counts = np.concatenate([np.diff(part.starts) for part in parts])
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Readings(starts, joined("log_probs"), joined("missed"), joined("divergence"))
